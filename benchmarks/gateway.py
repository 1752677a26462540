"""`make bench-gateway`: this gateway, raw Triton and the peers that serve models, asked the same rows on this machine in one run; then escalation, then the soak.

Prints Markdown tables and writes benchmarks/gateway.json: servers.<name> {rps_c16, p50_c1_ms, p95_c1_ms, p99_c1_ms, rss_mb, version}, null
for what could not be measured (`reasons.<name>` says why), escalation {p50_c1_ms, p95_c1_ms, p50_c16_ms, p95_c16_ms, requests, told_before, undelivered},
and soak {acknowledged, stored, lost, duplicates}. Asserts nothing about time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
from benchmarks import gateway_escalation, gateway_profile, gateway_soak, gateway_table
from benchmarks.gateway_peers import (
    bentoml,
    fastapi,
    gateway,
    mlflow,
    mlserver,
    network,
    ray,
    triton,
    wrk,
)
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.load import Load, measured
from benchmarks.gateway_peers.target import Running, Target, verify
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from medtower.errors import MedtowerError

ESCALATION = "escalation"
EMERGENCIES = 1000
OUT = Path(__file__).with_name("gateway.json")
CALLERS = 16
FAILURES = (MedtowerError, OSError, ValueError, httpx.HTTPError, subprocess.SubprocessError)
Start = Callable[[Backing], AbstractContextManager[Running]]
SERVERS: dict[tuple[str, ...], Start] = {
    triton.NAMES: triton.started,
    gateway.NAMES: gateway.started,
    gateway.NAMES_WITHOUT: gateway.started_without_record,
    mlserver.NAMES: mlserver.started,
    bentoml.NAMES: bentoml.started,
    ray.NAMES: ray.started,
    mlflow.NAMES: mlflow.started,
    fastapi.NAMES: fastapi.started,
}
EXAMPLES = """examples:
  make bench-gateway                                                          everything, about 40 minutes
  .venv/bin/python -m benchmarks.gateway --only triton gateway_v2 --seconds 5  what begins with these, without the others
  .venv/bin/python -m benchmarks.gateway --skip-soak --rounds 1               the table alone, one round
  .venv/bin/python -m benchmarks.gateway --only escalation --skip-soak        how long an emergency's answer takes
  .venv/bin/python -m benchmarks.gateway --only gateway_rest --skip-soak --profile
"""


class Rounds:
    """What was measured of every target, round after round, and why some are not."""

    def __init__(
        self, names: list[str], backing: Backing, seconds: float, progress: Progress, profile: bool
    ) -> None:
        self._backing, self._seconds, self._progress, self._profile = backing, seconds, progress, profile
        self.alone: dict[str, list[Load]] = {name: [] for name in names}
        self.crowd: dict[str, list[Load]] = {name: [] for name in names}
        self.rss: dict[str, list[float]] = {name: [] for name in names}
        self.versions: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def round(self, task: Any) -> None:
        """Each server once: started, asked, ended, so that none disturbs another."""
        for names, start in SERVERS.items():
            wanted = [name for name in names if name in self.alone and name not in self.reasons]
            if wanted:
                self._progress.update(task, description=f"starting {wanted[0]}")
                try:
                    with start(self._backing) as running:
                        self._server(running, wanted, task)
                except FAILURES as error:
                    self.reasons |= {name: _reason(error) for name in wanted if name not in self.reasons}
            self._progress.advance(task, sum(name in self.alone for name in names))

    def found(self) -> dict[str, dict[str, float | str] | None]:
        return {
            name: None
            if name in self.reasons
            else measured(self.alone[name], self.crowd[name], self.rss[name], self.versions[name])
            for name in self.alone
        }

    def _server(self, running: Running, wanted: list[str], task: Any) -> None:
        for target in running.targets:
            if target.name in wanted:
                self._progress.update(task, description=f"measuring {target.name}")
                self.versions[target.name] = running.version
                try:
                    self._target(running, target)
                except FAILURES as error:
                    self.reasons[target.name] = _reason(error)

    def _target(self, running: Running, target: Target) -> None:
        verify(target, self._backing.network)
        target.load(callers=CALLERS, seconds=max(1.0, self._seconds / 5))  # the warm-up
        running.settle()
        self.alone[target.name].append(_sound(target.load(callers=1, seconds=self._seconds)))
        with gateway_profile.of(running.process.pid, target.name, self._seconds, OUT.parent, self._profile):
            self.crowd[target.name].append(_sound(target.load(callers=CALLERS, seconds=self._seconds)))
        self.rss[target.name].append(running.process.rss_mb())
        running.settle()


class Unsound(MedtowerError):
    """A load whose requests were not all answered measures how fast errors are."""

    def __init__(self, load: Load) -> None:
        super().__init__(f"{load.errors} of {load.requests} requests failed under load")


def _sound(load: Load) -> Load:
    if load.errors:
        raise Unsound(load)
    return load


def _reason(error: BaseException) -> str:
    return str(getattr(error, "why", error)).strip().splitlines()[0][:200]


def selected(only: list[str]) -> list[str]:
    """The names of the targets that begin with one of `only`; all when it is empty."""
    names = [name for names in SERVERS for name in names]
    return [name for name in names if not only or name.startswith(tuple(only))]


def main() -> int:
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that every server is ended
    console = Console(stderr=True)
    names = selected(chosen.only)
    escalation = not chosen.only or ESCALATION.startswith(tuple(chosen.only))
    if not names and not escalation and chosen.skip_soak:
        known = ", ".join([*selected([]), ESCALATION])
        console.print(f"nothing to measure: --only takes the beginnings of {known}")
        return 2
    result: dict[str, Any] = {"servers": {}, "reasons": {}, ESCALATION: None, "soak": None}
    try:
        if names:
            wrk.found()
            result |= _measure(names, chosen, console)
        if escalation:
            result[ESCALATION] = gateway_escalation.measured(EMERGENCIES, console.log)
            sys.stdout.write("\n" + gateway_table.escalation(result[ESCALATION]))
        if not chosen.skip_soak:
            counts = gateway_soak.soak(seconds=chosen.minutes * 60, say=console.log)
            sys.stdout.write("\n" + gateway_table.soak(counts))
            result["soak"] = {name: counts[name] for name in gateway_soak.KEYS}
    except MedtowerError as error:
        console.print(str(error), style="red")
        return error.exit_code
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _measure(names: list[str], chosen: argparse.Namespace, console: Console) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="mt-bench-"))  # short: Ray puts sockets below it
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with (
            Backing(home, network.made(home / "network.onnx")) as backing,
            Progress(*columns, console=console) as progress,
        ):
            rounds = Rounds(names, backing, chosen.seconds, progress, chosen.profile)
            task = progress.add_task("", total=len(names) * chosen.rounds)
            for _ in range(chosen.rounds):
                rounds.round(task)
        found = rounds.found()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.stdout.write(gateway_table.servers(found, rounds.reasons) + "\n")
    conditions = {"cores": os.cpu_count() or 0, "seconds": chosen.seconds, "rounds": chosen.rounds}
    sys.stdout.write(gateway_table.notes(**conditions, found=found) + "\n")
    sys.stdout.flush()
    return {"servers": found, "reasons": rounds.reasons}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="measure what begins with these names"
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="the length of one measurement (default: 10)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each is measured, interleaved (default: 3)"
    )
    parser.add_argument("--minutes", type=float, default=10, help="the length of the soak (default: 10)")
    parser.add_argument("--skip-soak", action="store_true", help="measure the servers only")
    parser.add_argument(
        "--profile", action="store_true", help="record each server under load with py-spy, beside the JSON"
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, help="where the JSON goes (default: benchmarks/gateway.json)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
