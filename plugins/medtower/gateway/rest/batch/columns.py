"""Which columns a file for a model has: `subject_id`, the model's inputs by name, and `event_time` where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from medtower.domain.contract import Contract
from medtower.errors import FeatureInvalid

SUBJECT, TIME = "subject_id", "event_time"
LONGEST_CELL = 128 * 1024
Row = list[Any] | FeatureInvalid
Format = Literal["csv", "parquet"]


class Columns(BaseModel):
    """`dtypes` of the model's inputs by name; `needed` are those that may not be missing."""

    dtypes: dict[str, str]
    needed: list[str]

    def check(self, names: Sequence[str]) -> None:
        """Raises FeatureInvalid for the whole file. An unknown column is told by its place: its name may be PHI."""
        known = {SUBJECT, TIME, *self.dtypes}
        for place, name in enumerate(names, start=1):
            if name not in known:
                raise FeatureInvalid(
                    f"column {place}", f"is neither {SUBJECT}, {TIME} nor an input of the model"
                )
        if len(set(names)) != len(names):
            raise FeatureInvalid("header", "names a column twice")
        for name in (SUBJECT, *self.needed):
            if name not in names:
                raise FeatureInvalid(name, "is required: the file has no such column")


def columns_of(contract: Contract) -> Columns:
    return Columns(
        dtypes={spec.name: spec.dtype for spec in contract.inputs},
        needed=[spec.name for spec in contract.inputs if spec.missing == "refuse"],
    )
