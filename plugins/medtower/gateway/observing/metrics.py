"""The gateway's Prometheus metrics, as the rest of the gateway counts them.

`labels()` of prometheus_client costs more than counting does, so the children of each combination of labels are looked up once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from prometheus_client import Counter, Histogram, generate_latest

from medtower.domain.contract_part import MODEL_NAME
from medtower.domain.routing import Arm
from medtower.gateway.observing.families import Families
from medtower.gateway.observing.reasons import REASONS, UNEXPECTED

Key = TypeVar("Key")
Child = TypeVar("Child")
UNKNOWN = "unknown"
NO_ARM = "none"
ARMS = frozenset({"current", "candidate", NO_ARM})
MODELS = 200


class _Served(NamedTuple):
    requests: Counter
    seconds: Histogram


class _Answered(NamedTuple):
    predictions: Counter
    human_review: Counter


class Metrics(Families):
    """Labels are names of contracts, versions, arms, status codes and reasons from fixed lists: nothing a caller wrote becomes a label. Beyond
    200 models the others are counted as `unknown`."""

    def __init__(self) -> None:
        super().__init__()
        self._models: set[str] = {UNKNOWN}
        self._served: dict[tuple[str, int, str, int], _Served] = {}
        self._answered: dict[tuple[str, int], _Answered] = {}
        self._asked: dict[tuple[str, int, str, str], Counter] = {}
        self._looked_up: dict[tuple[str, bool], Counter] = {}

    def served(self, model: str, version: int, code: int, seconds: float, arm: str = NO_ARM) -> None:
        """Count one prediction request that ended with HTTP status `code`. Version 0: it never came to a version."""
        children = self._served.get((model, version, arm, code))
        if children is None:
            children = self._first_served(model, version, arm, code)
        children.requests.inc()
        children.seconds.observe(seconds)

    def failed(self, model: str, reason: str) -> None:
        """Count one prediction request that got no answer, by a reason of the fixed list."""
        known = reason if reason in REASONS else UNEXPECTED
        self.errors.labels(self._model(model), known).inc()

    def answered(self, model: str, version: int, review: bool) -> None:
        """Count one prediction that is on record and leaves."""
        children = self._answered.get((model, version))
        if children is None:
            children = self._first_answered(model, version)
        children.predictions.inc()
        if review:
            children.human_review.inc()

    def asked(self, model: str, version: int, arm: str, outcome: str) -> None:
        """Count one attempt of an arm."""
        child = self._asked.get((model, version, arm, outcome))
        if child is None:
            child = self.arm_requests.labels(self._model(model), str(version), arm, outcome)
            self._keep(self._asked, model, (model, version, arm, outcome), child)
        child.inc()

    def shadowed(self, model: str, version: int, result: str) -> None:
        """Count one copy for a version in the shadow."""
        self.shadow.labels(self._model(model), str(version), result).inc()

    def looked_up(self, model: str, *, hit: bool) -> None:
        """Count one row that was looked up in the cache."""
        child = self._looked_up.get((model, hit))
        if child is None:
            child = self.cache_lookups.labels(self._model(model), "hit" if hit else "miss")
            self._keep(self._looked_up, model, (model, hit), child)
        child.inc()

    def escalated(self, model: str, result: str) -> None:
        """Count one attempt to tell a webhook of an emergency."""
        self.escalations.labels(self._model(model), result).inc()

    def cache_failed(self, reason: str) -> None:
        """Count one time that Redis did not do its part."""
        self.cache_errors.labels(reason).inc()

    def spans_dropped(self, count: int) -> None:
        """Count spans that no collector took."""
        self.dropped.inc(count)

    def batched(self, rows: int) -> None:
        """Count one batch of `rows` that left for Triton."""
        self.batch_rows.observe(rows)

    def committed(self, writes: int) -> None:
        """Count one transaction of the spool."""
        self.commit_group.observe(writes)

    def breakers(self, candidates: Iterable[tuple[str, Arm]], is_open: Callable[[str, Arm], bool]) -> None:
        """Show the breakers of the rollouts that are under way, and of no other."""
        self.breaker_open.clear()
        for model, arm in candidates:
            self.breaker_open.labels(model, str(arm.version)).set(is_open(model, arm))

    def circuits(self, versions: Iterable[tuple[str, int, str]]) -> None:
        """Show the (model, version, digest) whose circuits are open, and no other."""
        self.circuit_open.clear()
        for model, version, _ in versions:
            self.circuit_open.labels(model, str(version)).set(1)

    def withheld(self, versions: Iterable[tuple[str, int]]) -> None:
        """Show the (model, version) that must not answer, because their compositions do not fit, and no other."""
        self.composition_withheld.clear()
        for model, version in versions:
            self.composition_withheld.labels(model, str(version)).set(1)

    def text(self) -> bytes:
        """The exposition format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
        return generate_latest(self.registry)

    def _first_served(self, model: str, version: int, arm: str, code: int) -> _Served:
        name, number = self._model(model), str(version)
        known = arm if arm in ARMS else NO_ARM
        children = _Served(
            self.requests.labels(name, number, str(code)), self.seconds.labels(name, number, known)
        )
        self._keep(self._served, model, (model, version, arm, code), children)
        return children

    def _first_answered(self, model: str, version: int) -> _Answered:
        labels = (self._model(model), str(version))
        children = _Answered(self.predictions.labels(*labels), self.human_review.labels(*labels))
        self._keep(self._answered, model, (model, version), children)
        return children

    def _model(self, model: str) -> str:
        """The label for `model`."""
        if model not in self._models and len(self._models) <= MODELS and MODEL_NAME.fullmatch(model):
            self._models.add(model)
        return model if model in self._models else UNKNOWN

    def _keep(self, children: dict[Key, Child], model: str, key: Key, child: Child) -> None:
        """Names that are counted as unknown are not kept: a table of them would grow without end."""
        if model in self._models:
            children[key] = child
