"""Whose signatures count here, and as of when: the installed trust root, its copy in git, and what this reconciler verified before."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters.git import Repository
from medtower.domain.contract import Role
from medtower.domain.release import Manifest
from medtower.domain.rollout import Traffic
from medtower.domain.tree import TRUST_ROOT
from medtower.errors import ApprovalInvalid, Refused
from medtower.releases import allowed_signers, approvals, dossier, policy, sshsig, traffic_file
from medtower.workflows.reconcile.memory import Memory


class Trusted:
    """The trust root as installed, read afresh for each question.

    What this reconciler verified before is judged as of that moment: a key that expired since keeps the releases that it signed in service. What is
    new is judged as of now, and refused as long as the installed trust root is not the one that git holds.
    """

    def __init__(self, root: Path, environment: str, required: Collection[Role], memory: Memory) -> None:
        self._root, self._environment, self._required, self._memory = root, environment, required, memory
        self.dispute: Refused | None = None

    def look(self, repository: Repository, commit: str) -> str:
        """Compare with the copy in git at `commit`; return what names the state of trust, for whoever keeps verdicts."""
        copy = repository.read(commit, TRUST_ROOT)
        installed = self._root.read_bytes() if self._root.is_file() else b""
        self.dispute = None
        if copy is not None and copy != installed:
            ours, theirs = (hashlib.sha256(c).hexdigest()[:12] for c in (installed, copy))
            self.dispute = Refused(
                allowed_signers.RULE,
                f"the installed trust root ({ours}…) is not {TRUST_ROOT} of main ({theirs}…); install the one that the quorum signed. "
                f"What was verified before goes on, nothing new does",
            )
        return f"{allowed_signers.digest(self._root)} {hashlib.sha256(copy).hexdigest() if copy is not None else ''}"

    def approve(self, place: Path, manifest: Manifest) -> None:
        """Raise Refused and its kin unless the dossier at `place` has the approvals that count here."""
        first = self._first(dossier.digest(manifest))
        policy.check_roles(manifest.model, manifest.approvals, self._required)
        try:
            approvals.verify(place, manifest, self._root, self._environment, at=first)
        except ApprovalInvalid:
            # while two trust roots are in dispute, neither may stop the rollback to what was verified under the one before; a revoked key does
            if self.dispute is None or first is None or self._revoked(place):
                raise
        self._memory.verified(dossier.digest(manifest), datetime.now(UTC))

    def traffic(self, folder: Path) -> Traffic | None:
        """The traffic file of a model's folder, signed by the rollout bot; None when there is none. Raises Refused and its kin."""
        path = folder / traffic_file.NAME
        if not path.is_file() or path.is_symlink():
            return traffic_file.verify(folder, self._root)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        traffic = traffic_file.verify(folder, self._root, at=self._first(digest))
        self._memory.verified(digest, datetime.now(UTC))
        return traffic

    def _first(self, digest: str) -> datetime | None:
        first = self._memory.verified_at(digest)
        if first is None and self.dispute is not None:
            raise self.dispute
        return first

    def _revoked(self, place: Path) -> bool:
        revoked = allowed_signers.revoked(self._root)
        signatures = sorted((place / dossier.APPROVALS).glob("*.sig"))
        return any(sshsig.claimed(s.read_bytes()) in revoked for s in signatures)
