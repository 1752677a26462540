"""What every part of a contract is made of."""

from __future__ import annotations

import difflib
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from medtower.domain.unit import MISTAKES, UNITS

MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{1,62}")


def _name(value: str) -> str:
    if not MODEL_NAME.fullmatch(value):
        raise ValueError("use 2 to 63 characters a-z, 0-9 and _, starting with a letter")
    return value


def _unit(value: str) -> str:
    if value in UNITS:
        return value
    close = MISTAKES.get(value) or next(iter(difflib.get_close_matches(value, UNITS, n=1)), None)
    hint = f"write '{close}'" if close else f"write one of {', '.join(sorted(UNITS))}"
    raise ValueError(f"'{value}' is not a UCUM unit known here; {hint}")


Name = Annotated[str, AfterValidator(_name)]
Unit = Annotated[str, AfterValidator(_unit)]


class Part(BaseModel):
    """Base of every part of a contract: unknown keys are errors, values are frozen, numbers are finite (JSON has no infinity)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
