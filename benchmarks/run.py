"""`make bench`: what the hot and the heavy parts cost, next to a peer in the same run where there is one. Prints a table, asserts nothing.

Writes benchmarks/bench.json: {name: {value, unit, n, peer, ratio}}. `--quick` takes a tenth of the work, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from medtower.adapters import contracts
from medtower.audit import chain
from medtower.cohorts import load
from medtower.cohorts.encode import encode as encode_frame
from medtower.domain.audit_event import GENESIS, AuditEvent
from medtower.domain.contract import Contract
from medtower.domain.inference import encode
from medtower.drift import engine, evidently_report
from medtower.local.demo.client import named

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "triton_models" / "alzheimer_risk"


def seconds(work: Callable[[], object], times: int) -> float:
    """The median of `times` runs after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def drift(contract: Contract, rows: int, times: int) -> dict[str, Any]:
    """The drift engine on a model's window, next to Evidently's report on the same arrays."""
    spec = contracts.read_cohort(MODEL)
    reference = encode_frame(load.arrivals(contract, spec, MODEL, n=rows, seed=1), contract).astype(
        np.float64
    )
    current = encode_frame(load.today(contract, spec, MODEL, n=rows, seed=2), contract).astype(np.float64)
    now = datetime.now(UTC)

    def ours() -> object:
        return engine.run(
            contract,
            reference,
            current,
            reference_prediction=reference[:, 0],
            current_prediction=current[:, 0],
            version=1,
            window_start=now - timedelta(days=7),
            window_end=now,
        )

    with tempfile.TemporaryDirectory() as folder:
        peer = seconds(
            lambda: evidently_report.write(contract, reference, current, Path(folder) / "r.html"),
            max(1, times // 5),
        )
    mine = seconds(ours, times)
    return {"value": mine * 1000, "unit": "ms", "n": times, "peer": "Evidently", "ratio": peer / mine}


def encoding(contract: Contract, times: int) -> dict[str, Any]:
    """One request's named features to the row that the model takes."""
    spec = contracts.read_cohort(MODEL)
    patient = load.arrivals(contract, spec, MODEL, n=1, seed=1).iloc[0].to_dict()
    features = named(contract, {str(k): v for k, v in patient.items()})
    taken = seconds(lambda: [encode(contract, features) for _ in range(1000)], times)
    return {"value": taken * 1000, "unit": "µs a request", "n": times * 1000, "peer": None, "ratio": None}


def audit(events: int, times: int) -> dict[str, Any]:
    """Verifying the audit trail."""
    trail, previous = [], GENESIS
    for sequence in range(1, events + 1):
        event = AuditEvent(at=datetime.now(UTC), actor="bench", action="counts", subject=str(sequence))
        trail.append(chain.link(previous, sequence, event))
        previous = trail[-1].digest
    taken = seconds(lambda: chain.verify(trail), times)
    return {"value": events / taken, "unit": "events/s", "n": events * times, "peer": None, "ratio": None}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "bench.json")
    chosen = parser.parse_args()
    share = 10 if chosen.quick else 1
    contract = contracts.read(MODEL)
    console = Console()
    found: dict[str, dict[str, Any]] = {}
    for name, work in {
        f"drift: {len(contract.inputs)} features, {5000 // share} rows": lambda: drift(
            contract, 5000 // share, 20 // share
        ),
        "encode one request": lambda: encoding(contract, 20 // share),
        "verify the audit trail": lambda: audit(20_000 // share, 10 // share),
    }.items():
        with console.status(name):
            found[name] = work()
    table = Table("what", "value", "unit", "n", "peer", "peer takes")
    for name, f in found.items():
        ratio = f"{f['ratio']:.1f} times as long" if f["ratio"] else ""
        table.add_row(name, f"{f['value']:,.1f}", f["unit"], f"{f['n']:,}", f["peer"] or "", ratio)
    console.print(table)
    chosen.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
