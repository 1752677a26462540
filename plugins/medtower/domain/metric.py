"""The metrics a contract may promise: direction, bounds, unit and the task they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Metric:
    """`bounds` are the values that are possible at all; `None` is open."""

    name: str
    title: str
    higher_is_better: bool
    bounds: tuple[float | None, float | None]
    tasks: tuple[Task, ...]
    unit: str = "1"

    def breached(self, value: float, threshold: float) -> bool:
        """True when `value` is on the bad side of `threshold`."""
        return value < threshold if self.higher_is_better else value > threshold

    def possible(self, value: float) -> bool:
        low, high = self.bounds
        return (low is None or value >= low) and (high is None or value <= high)


_C: tuple[Task, ...] = ("classification",)
_R: tuple[Task, ...] = ("regression",)
_BOTH: tuple[Task, ...] = ("classification", "regression")

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", "accuracy", True, (0, 1), _C),
        Metric("sensitivity", "sensitivity", True, (0, 1), _C),
        Metric("specificity", "specificity", True, (0, 1), _C),
        Metric("auc_roc", "AUC-ROC", True, (0, 1), _C),
        Metric("precision", "precision", True, (0, 1), _C),
        Metric("f1", "F1", True, (0, 1), _C),
        Metric("brier", "Brier score", False, (0, 1), _C),
        Metric("r2", "R²", True, (None, 1), _R),
        Metric("mae", "MAE", False, (0, None), _R),
        Metric("mse", "MSE", False, (0, None), _R),
        Metric("rmse", "RMSE", False, (0, None), _R),
        Metric("latency_p95", "latency p95", False, (0, None), _BOTH, "ms"),
        Metric("latency_p99", "latency p99", False, (0, None), _BOTH, "ms"),
        Metric("error_rate", "error rate", False, (0, 1), _BOTH),
        Metric("throughput", "throughput", True, (0, None), _BOTH, "1/s"),
        Metric("model_load", "model load", False, (0, None), _BOTH, "s"),
    )
}

SERVICE_METRICS = ("latency_p95", "latency_p99", "error_rate", "throughput", "model_load")
