"""What a model's reconciliation works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medtower.adapters.triton import Triton
from medtower.errors import MedtowerError
from medtower.serving.store import Store
from medtower.workflows.reconcile.downloads import Downloads
from medtower.workflows.reconcile.memory import Memory
from medtower.workflows.reconcile.metrics import ReconcileMetrics

# in this order; a process may die at each of them and the next one goes on
STEPS = (
    "fetched",
    "placed",
    "configured",
    "loaded",
    "tried",
    "remembered",
    "published",
    "told",
)


@dataclass(frozen=True)
class Parts:
    """`unsound` is told of weights in the store that are not what was signed, `reached` of each of STEPS when it is done."""

    store: Store
    triton: Triton
    memory: Memory
    metrics: ReconcileMetrics
    downloads: Downloads
    unsound: Callable[[str, int, MedtowerError], None]
    reached: Callable[[str], None]
