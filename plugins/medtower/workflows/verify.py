"""Verify a model's folder offline: the policy of the reconciler, for people and for hooks."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from medtower.domain.contract import ROLES, Role
from medtower.releases import policy


def verify(
    model_folder: Path,
    *,
    allowed_signers: Path,
    environment: str,
    required: Collection[Role] = ROLES,
    at: datetime | None = None,
) -> str:
    """Return one sentence about what the folder releases. Raises Refused and its kin when it may not serve. `at` (aware) is when the keys must
    have been valid, for whoever looks back; None is now."""
    release, manifest = policy.verify(model_folder.absolute(), allowed_signers, environment, required, at=at)
    if manifest is None:
        return f"{release.model}: no model is released ({release.reason})"
    return (
        f"{release.model} {manifest.version} ({manifest.label}) may serve in {environment}: "
        f"digest {str(release.digest)[:12]}…, approved as {', '.join(manifest.approvals)}"
    )
