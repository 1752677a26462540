"""The part of a contract that describes one input, and the columns of the tensor that it becomes."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medtower.domain.contract_part import Name, Part, Unit

NUMBERS = ("float", "integer", "sequence")


class Input(Part):
    """One input. `missing: impute` lets the model see a gap, `refuse` turns it into a 422; `absent_means` says why it may be absent.

    A `text` of at most `max_length` characters is hashed into `buckets` columns (domain.text_hashing). A `sequence` is a list of numbers in
    `unit` and `range`, as many as `length: [least, most]` says; it becomes `most` columns, the rest of them missing. Every other input is one column.
    """

    name: Name
    dtype: Literal["float", "integer", "boolean", "category", "text", "sequence"]
    unit: Unit = "1"
    range: tuple[float, float] | None = None
    categories: list[str] | None = None
    max_length: int | None = Field(None, ge=1, le=20_000)
    buckets: int | None = Field(None, ge=2, le=1024)
    length: tuple[int, int] | None = None
    missing: Literal["impute", "refuse"] = "refuse"
    absent_means: str = ""
    group: Literal["clinical", "sensor", "omics", "text"] = "clinical"
    pathway: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_foreign()
        if self.dtype == "category":
            if not self.categories or len(set(self.categories)) != len(self.categories):
                raise ValueError("a category needs `categories:`, a list of different values")
        elif self.dtype == "text":
            if self.max_length is None or self.buckets is None:
                raise ValueError(
                    "a text needs `max_length:` in characters and `buckets:`, the number of columns it is hashed into"
                )
        elif self.dtype in NUMBERS:
            self._check_numbers()
        if self.missing == "impute" and not self.absent_means:
            raise ValueError(
                "`missing: impute` needs `absent_means:`, what it means when the value is not there"
            )
        return self

    def _check_foreign(self) -> None:
        """What another kind of input has."""
        own = {
            "category": {"categories"},
            "text": {"max_length", "buckets"},
            "sequence": {"range", "length"},
            "boolean": set[str](),
        }.get(self.dtype, {"range"})
        there = ("range", "categories", "max_length", "buckets", "length")
        if foreign := [name for name in there if name not in own and getattr(self, name) is not None]:
            raise ValueError(f"a {self.dtype} has no `{foreign[0]}:`; remove it")

    def _check_numbers(self) -> None:
        if self.range is None:
            raise ValueError("a number needs `range: [lowest, highest]` in its unit")
        if self.range[0] >= self.range[1]:
            raise ValueError("`range:` must be [lowest, highest] with lowest < highest")
        if self.dtype == "sequence":
            least, most = self.length or (0, 0)
            if not 1 <= least <= most or not 2 <= most <= 2048:
                raise ValueError(
                    "a sequence needs `length: [least, most]` with 1 ≤ least ≤ most and 2 ≤ most ≤ 2048"
                )

    @property
    def width(self) -> int:
        """How many columns of the tensor it takes."""
        if self.dtype == "text":
            return self.buckets or 0
        return (self.length or (0, 0))[1] if self.dtype == "sequence" else 1

    def column_name(self, place: int) -> str:
        """The name of its column `place`: `note[3]`, or the input's own when it has but one."""
        return self.name if self.dtype not in ("text", "sequence") else f"{self.name}[{place}]"

    def may_lack(self, place: int) -> bool:
        """Whether column `place` may be missing (NaN): the input may be, or a sequence may end before it."""
        return self.missing == "impute" or (self.length is not None and place >= self.length[0])
