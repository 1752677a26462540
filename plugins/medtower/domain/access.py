"""Who may do what at the gateway: four roles, one table, and the models that a caller may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from medtower.errors import Forbidden, NotFound

CallerRole = Literal["clinician", "service", "auditor", "admin"]
Action = Literal["predict", "outcome", "batch", "models", "history", "performance", "stats", "operate"]
CALLER_ROLES: tuple[CallerRole, ...] = get_args(CallerRole)
ACTIONS: frozenset[Action] = frozenset(get_args(Action))

MAY: dict[CallerRole, frozenset[Action]] = {
    #                      asks        reports    many at once  sees the models, what was answered, how well, how much, the process
    "clinician": frozenset({"predict", "outcome",               "models", "history", "performance"}),
    "service":   frozenset({"predict", "outcome", "batch",      "models"}),
    "auditor":   frozenset({                                    "models", "history", "performance", "stats", "operate"}),
    "admin":     ACTIONS,
}  # fmt: skip

NO_SUCH_MODEL = ("the model", "the routing table", "GET /api/v1/ml/models lists what there is")
"""What NotFound says of a model that is not there, and of one that the caller may not know of: the same."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has logged in. `id` is the id of a key or the pseudonym of a person, fit for logs and the record; `models` None means every model."""

    id: str
    actions: frozenset[Action]
    models: frozenset[str] | None = None

    def sees(self, model: str) -> bool:
        """Whether `model` is in this caller's scope. What it does not see must not show in lists, errors or times."""
        return self.models is None or model in self.models

    def must(self, action: Action, model: str | None = None) -> None:
        """Return when this caller may do `action` (to `model`). Call it before looking anything up.

        Raises Forbidden when its role does not include the action; NotFound, worded as for a model that does not exist, when the model is out of
        its scope. "operate" is of the whole process, whose metrics name every model: a caller of some models may not.
        """
        if action not in self.actions or (action == "operate" and self.models is not None):
            raise Forbidden(action)
        if model is not None and not self.sees(model):
            raise NotFound(*NO_SUCH_MODEL)


def actions_of(roles: Iterable[CallerRole]) -> frozenset[Action]:
    """What any of `roles` may do; nothing without a role."""
    return frozenset[Action]().union(*(MAY[role] for role in roles))
