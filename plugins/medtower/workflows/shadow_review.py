"""The disagreements of a version in the shadow, reviewed by people: whose answer was right?"""

from __future__ import annotations

from medtower.adapters.postgres.rollout_record import Disagreement, Right, RolloutRecord
from medtower.workflows import trail
from medtower.workflows.tower import Tower


def waiting(tower: Tower, name: str, limit: int) -> list[Disagreement]:
    """The oldest `limit` disagreements about `name` that nobody has reviewed."""
    return _record(tower).disagreements(name, limit)


def review(tower: Tower, name: str, version: int, request_id: str, *, by: str, right: Right) -> None:
    """Keep the review, once, and note it in the audit trail. Raises NotFound, or Conflict when somebody was first."""
    _record(tower).review(request_id, name, version, by=by, right=right)
    trail.note(tower.database, by, "reviews", f"{name} {version}", request_id=request_id, right=right)


def _record(tower: Tower) -> RolloutRecord:
    return RolloutRecord(tower.settings.dsn.get_secret_value())
