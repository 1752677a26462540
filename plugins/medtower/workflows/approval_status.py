"""What is missing before each open proposal may be merged, and from whom; and how far what is released has got. Needs only the repository."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from medtower.adapters.git import MAIN, Repository
from medtower.domain.contract import MODEL_NAME, ROLES, Role
from medtower.domain.release import Manifest
from medtower.domain.tree import PROMOTE, TRUST_ROOT
from medtower.errors import ApprovalInvalid, MedtowerError, NotFound
from medtower.releases import allowed_signers as trust
from medtower.releases import approvals, dossier, ledger, policy
from medtower.workflows import history, model_tree

BRANCH = re.compile(rf"{PROMOTE}(?P<model>{MODEL_NAME.pattern})-(?P<version>[1-9][0-9]{{0,9}})")


@dataclass(frozen=True)
class RoleStatus:
    """One role of one proposal. `said` is who signed when, or which rule the approval breaks; `may_sign` are the persons who still can."""

    role: Role
    state: Literal["signed", "missing", "does not count"]
    said: str = ""
    may_sign: Sequence[str] = ()

    def __str__(self) -> str:
        line = f"{self.role:<11} {self.state}" + (f": {self.said}" if self.said else "")
        if self.state == "signed":
            return line
        people = ", ".join(self.may_sign)
        return f"{line}; {people} may sign" if people else f"{line}; nobody in the trust root may sign"


@dataclass(frozen=True)
class ProposalStatus:
    """An open proposal. `problem` says why nobody can sign it as it stands, and what to do; empty when nothing is wrong with it."""

    model: str
    version: int
    replaces: int | None = None
    strategy: str = ""
    digest: str = ""
    problem: str = ""
    roles: Sequence[RoleStatus] = ()

    @property
    def complete(self) -> bool:
        return not self.problem and all(r.state == "signed" for r in self.roles)

    def __str__(self) -> str:
        head = f"{self.model} {self.version}: proposed"
        if self.digest:
            instead = f"in place of {self.replaces}" if self.replaces else "as the first version"
            head += f" {instead}, {self.strategy}, digest {self.digest[:12]}…"
        lines = [head, *(f"  {r}" for r in self.roles)]
        if self.problem:
            lines.append(f"  problem: {self.problem}")
        if self.complete:
            lines.append(f"  every role has signed; run: medtower merge {self.model} {self.version}")
        return "\n".join(lines)


def proposals(
    repository: Repository,
    allowed_signers: Path,
    environment: str,
    required: Sequence[Role] = ROLES,
    *,
    model: str | None = None,
    version: int | None = None,
    at: datetime | None = None,
) -> list[ProposalStatus]:
    """Every open proposal (of `model` and `version`, when named), in the order of their names. Nothing in one proposal hides another.

    Raises NotFound when `version` is named and not proposed.
    """
    found = [
        (b["model"], int(b["version"])) for b in map(BRANCH.fullmatch, repository.branches(PROMOTE)) if b
    ]
    wanted = sorted((m, v) for m, v in found if model in (None, m) and version in (None, v))
    if version is not None and not wanted:
        raise NotFound(
            f"a proposal of {model} {version}", str(repository.path), "medtower status shows the open ones"
        )
    with trust_root(repository, allowed_signers) as root:
        return [
            _proposal(repository, m, v, root, environment, required, at or datetime.now(UTC))
            for m, v in wanted
        ]


@contextmanager
def trust_root(repository: Repository, installed: Path) -> Iterator[Path]:
    """The installed trust root; on a machine without one, the repository's copy, which decides nothing and is good enough to be told."""
    if installed.is_file():
        yield installed
        return
    with tempfile.TemporaryDirectory(prefix="medtower-trust-") as folder:
        place = Path(folder) / installed.name
        for name in (TRUST_ROOT, str(Path(TRUST_ROOT).with_name(trust.REVOKED))):
            if content := repository.read(MAIN, name):
                place.with_name(Path(name).name).write_bytes(content)
        yield place


def _proposal(
    repository: Repository,
    model: str,
    version: int,
    root: Path,
    environment: str,
    required: Sequence[Role],
    at: datetime,
) -> ProposalStatus:
    manifest: Manifest | None = None
    roles: list[RoleStatus] = []
    problem = ""
    try:
        tip = model_tree.require_branch(repository, model, version)
        with model_tree.exported(repository, tip, model) as folder:
            place = policy.dossier_of(folder, version)
            manifest = dossier.read(place)
            roles = _roles(place, manifest, root, environment, at)
            if policy.evidence(folder)[1] != manifest:
                problem = (
                    f"the branch does not release {model} {version}; run: medtower propose {model} {version}"
                )
            policy.check_roles(model, manifest.approvals, required)
            _check_follows(repository, model, tip)
    except MedtowerError as error:
        problem = str(error)
    if manifest is None:
        return ProposalStatus(model, version, problem=problem)
    strategy, digest = manifest.rollout.strategy, dossier.digest(manifest)
    return ProposalStatus(model, version, manifest.replaces, strategy, digest, problem, roles)


def _check_follows(repository: Repository, model: str, tip: str) -> None:
    """Raise Refused unless the proposal may follow what main releases now."""
    proposed = model_tree.release_at(repository, tip, model)
    released = history.ledger(repository, MAIN, model)
    ledger.classify(released, proposed, history.traffic_at(repository, MAIN, model))


def _roles(place: Path, manifest: Manifest, root: Path, environment: str, at: datetime) -> list[RoleStatus]:
    signers = trust.TrustRoot.load(root)
    judged = approvals.judge(place, manifest, root, environment, at=at)
    busy = {s.approver.casefold() for s in judged.values() if not isinstance(s, ApprovalInvalid)}
    found = []
    for role in manifest.approvals:
        said = judged.get(role)
        people = _may_sign(signers, role, busy, at)
        if said is None:
            found.append(RoleStatus(role, "missing", may_sign=people))
        elif isinstance(said, ApprovalInvalid):
            found.append(RoleStatus(role, "does not count", said.why, people))
        else:
            when = f"{said.signed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            found.append(RoleStatus(role, "signed", f"{said.approver}, {when} by their clock"))
    return found


def _may_sign(signers: trust.TrustRoot, role: Role, busy: set[str], at: datetime) -> list[str]:
    """Who has a key for `role` that counts now, and has not signed in another role; the bot that steps rollouts never may."""
    bots = {s.person.casefold() for s in signers.lines(trust.ROLLOUT)} | {
        s.fingerprint for s in signers.lines(trust.ROLLOUT)
    }
    people = {
        s.person
        for s in signers.lines(role)
        if signers.why_not(role, s.fingerprint, at, s.person) is None
        and not {s.person.casefold(), s.fingerprint} & bots
        and s.person.casefold() not in busy
    }
    return sorted(people)
