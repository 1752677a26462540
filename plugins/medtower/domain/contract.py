"""The contract (`model.yaml`): what a model promises. Written by people, checked here, bound by digest into every release."""

from __future__ import annotations

import difflib
import math
from itertools import accumulate, pairwise
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from medtower.domain.contract_composition import Composition
from medtower.domain.contract_emergency import Emergency
from medtower.domain.contract_input import Input as Input  # noqa: PLC0414 - it is part of a contract to whoever imports this
from medtower.domain.contract_part import MODEL_NAME as MODEL_NAME  # noqa: PLC0414
from medtower.domain.contract_part import Name, Part, Unit
from medtower.domain.contract_rollout import Rollout
from medtower.domain.metric import METRICS, SERVICE_METRICS, Metric, Task
from medtower.errors import NameInvalid


def check_model_name(name: str) -> str:
    """Return `name` when it is safe as a folder, branch and URL part; raise NameInvalid otherwise."""
    if not MODEL_NAME.fullmatch(name):
        raise NameInvalid(name)
    return name


MOST_COLUMNS = 4096
Role = Literal["technical", "clinical", "compliance", "final"]
ROLES: tuple[Role, ...] = get_args(Role)


class Output(Part):
    """What the model answers: a probability of `positive` (classification) or a number in `unit` (regression)."""

    name: Name
    unit: Unit
    description: str
    positive: str = ""
    range: tuple[float, float] | None = None
    threshold: float = Field(0.5, gt=0, lt=1)
    confidence_floor: float = Field(0.0, ge=0, le=1)


class Population(Part):
    """A split by which fairness is reported: the levels of a category, or bands of a number between `edges`."""

    name: Name
    input: Name
    edges: list[float] | None = None


class Kpi(Part):
    """A promise about one metric: the `target`, and the bounds past which it is a warning or critical."""

    target: float
    warning: float
    critical: float

    def against(self, metric: Metric) -> None:
        """Raise ValueError when the thresholds are impossible for the metric or in the wrong order."""
        for label, value in (("target", self.target), ("warning", self.warning), ("critical", self.critical)):
            if not metric.possible(value):
                raise ValueError(
                    f"{metric.name}: {label} {value:g} is impossible, the metric lies in {_interval(metric)}"
                )
        ordered = [self.critical, self.warning, self.target]
        if not metric.higher_is_better:
            ordered.reverse()
        if any(a > b for a, b in pairwise(ordered)):
            order = (
                "target ≥ warning ≥ critical" if metric.higher_is_better else "target ≤ warning ≤ critical"
            )
            raise ValueError(
                f"{metric.name}: {order} must hold, because {'higher' if metric.higher_is_better else 'lower'} is better"
            )


def _interval(metric: Metric) -> str:
    low, high = metric.bounds
    return f"[{'-∞' if low is None else f'{low:g}'}, {'∞' if high is None else f'{high:g}'}]"


class Drift(Part):
    """How drift is judged: window, least n, false discovery rate, PSI bounds, and how many windows in a row, none overlapping another, before it alarms."""

    window_days: int = Field(7, ge=1, le=90)
    min_samples: int = Field(200, ge=30)
    false_discovery_rate: float = Field(0.05, gt=0, lt=0.5)
    psi_moderate: float = Field(0.10, gt=0)
    psi_severe: float = Field(0.25, gt=0)
    persistence: int = Field(1, ge=1, le=24)


class Gates(Part):
    """What a candidate must show before it may be proposed.

    `margin` is the non-inferiority margin on `primary` against the champion; `max_ece` bounds the calibration error; `max_population_gap` the
    distance of the worst population from the whole on `primary`; `max_memorisation` the train-minus-holdout gap of `primary` (privacy).
    """

    primary: str
    margin: float = Field(0.02, ge=0)
    min_samples: int = Field(300, ge=30)
    max_ece: float = Field(0.08, gt=0)
    max_population_gap: float = Field(0.10, gt=0)
    max_memorisation: float = Field(0.05, gt=0)
    parity_tolerance: float = Field(1e-4, gt=0)


class Tracking(Part):
    """Daily tracking: the window it looks at, the least labelled n for a number, and how late ground truth comes."""

    window_days: int = Field(14, ge=1)
    min_labelled: int = Field(100, ge=10)
    label_delay_days: float = Field(7, ge=0)

    @model_validator(mode="after")
    def _labels_come_within_the_window(self) -> Self:
        if self.label_delay_days >= self.window_days:
            raise ValueError(
                f"tracking: ground truth that comes {self.label_delay_days:g} days late is never due in a window of {self.window_days} days; "
                f"write window_days: {math.floor(self.label_delay_days) + 1} or more"
            )
        return self


class Retraining(Part):
    """When to retrain: a drop of `primary` by more than `drop` against the baseline, or drift, and how far back data are taken."""

    drop: float = Field(0.05, gt=0)
    window_days: int = Field(365, ge=7)
    min_labelled: int = Field(500, ge=50)


class Training(Part):
    """`trainer` is a built-in (`mlp`, `logistic`, `linear`) or `package.module:function`; `options` are its keyword arguments."""

    trainer: str = "mlp"
    options: dict[str, float | int | str | bool] = {}
    holdout: float = Field(0.25, gt=0.05, lt=0.6)
    seed: int = 20260101


class Contract(Part):
    """A whole contract. The order of `inputs` is the order of the columns in the tensor `features` [batch, width], float32."""

    schema_: Literal["medtower/contract/v1"] = Field("medtower/contract/v1", alias="schema")
    name: Name
    title: str
    task: Task
    intended_use: str
    out_of_scope: list[str] = Field(min_length=1)
    owner: str
    inputs: list[Input] = Field(min_length=1, max_length=4096)
    output: Output
    populations: list[Population] = []
    kpis: dict[str, Kpi] = Field(min_length=1)
    service_levels: dict[str, Kpi] = {}
    tracking: Tracking = Tracking()
    drift: Drift = Drift()
    gates: Gates
    retraining: Retraining = Retraining()
    rollout: Rollout = Rollout()
    training: Training = Training()
    approvals: list[Role] = Field(default=list(ROLES), min_length=1)
    clinical_priority: Literal["routine", "urgent", "emergency"] = "routine"
    cache_seconds: int = Field(0, ge=0, le=86_400)
    composition: Composition | None = None
    emergency: Emergency | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [i.name for i in self.inputs]
        if duplicates := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"inputs: {', '.join(duplicates)} is listed twice")
        if self.width > MOST_COLUMNS:
            raise ValueError(
                f"inputs: they are {self.width} columns together, at most {MOST_COLUMNS} are served; use fewer `buckets:`"
            )
        for population in self.populations:
            self._check_population(population, names)
        for metric, kpi in {**self.kpis, **self.service_levels}.items():
            kpi.against(self._metric(metric))
        for name in self.kpis:
            if name in SERVICE_METRICS:
                raise ValueError(f"kpis: {name} is a service level; move it to `service_levels:`")
        for name in self.service_levels:
            if name not in SERVICE_METRICS:
                raise ValueError(f"service_levels: {name} is a KPI; move it to `kpis:`")
        if self.gates.primary not in self.kpis:
            raise ValueError(
                f"gates: primary '{self.gates.primary}' must be one of kpis: {', '.join(self.kpis)}"
            )
        if len(set(self.approvals)) != len(self.approvals):
            raise ValueError("approvals: every role once")
        if self.composition:
            self.composition.against(self)
        if self.emergency:
            self.emergency.against(self)
        return self

    def _check_population(self, population: Population, names: list[str]) -> None:
        if population.input not in names:
            close = next(iter(difflib.get_close_matches(population.input, names, n=1)), names[0])
            raise ValueError(
                f"populations: {population.name} names the input '{population.input}', which is not there; write '{close}'"
            )
        dtype = self.input(population.input).dtype
        if dtype in ("text", "sequence"):
            raise ValueError(f"populations: {population.name} cannot split by a {dtype}")
        numeric = dtype in ("float", "integer")
        if numeric and not population.edges:
            raise ValueError(f"populations: {population.name} splits a number and needs `edges: [...]`")
        if not numeric and population.edges:
            raise ValueError(f"populations: {population.name} splits categories and takes no `edges:`")

    def _metric(self, name: str) -> Metric:
        fitting = [m.name for m in METRICS.values() if self.task in m.tasks]
        if name not in fitting:
            close = next(iter(difflib.get_close_matches(name, fitting, n=1)), None)
            hint = f"write '{close}'" if close else f"write one of {', '.join(fitting)}"
            raise ValueError(f"'{name}' is not a metric of a {self.task} model; {hint}")
        return METRICS[name]

    def input(self, name: str) -> Input:
        """The input called `name`; raises KeyError when the contract has none."""
        for candidate in self.inputs:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    @property
    def input_names(self) -> list[str]:
        return [i.name for i in self.inputs]

    @property
    def texts(self) -> tuple[str, ...]:
        """The names of the inputs that are free text."""
        return tuple(i.name for i in self.inputs if i.dtype == "text")

    @property
    def width(self) -> int:
        """The number of columns of the tensor `features`; as many as inputs, unless there are texts or sequences."""
        return sum(i.width for i in self.inputs)

    @property
    def slices(self) -> list[slice]:
        """Where each input's columns stand in the tensor, in the order of `inputs`."""
        ends = [0, *accumulate(i.width for i in self.inputs)]
        return [slice(start, end) for start, end in pairwise(ends)]

    @property
    def columns(self) -> list[tuple[Input, int]]:
        """Every column of the tensor: its input, and its place among the columns of that input."""
        return [(i, place) for i in self.inputs for place in range(i.width)]
