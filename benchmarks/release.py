"""`make bench-release`: what a promotion and its revert cost on a real tower under load, how often a rollout errs, and what a verification takes.

Prints tables and writes benchmarks/release.json. Asserts nothing about time. `--quick` takes a few of each, to see that it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import rollout_rates
from rich.console import Console
from rich.table import Table

from medtower.local import health, operator, tower
from medtower.local.demo import approvers
from medtower.releases import policy
from medtower.serving import routing
from medtower.settings import Settings
from medtower.workflows import drill, model_tree
from medtower.workflows.approve import approve
from medtower.workflows.merge import merge
from medtower.workflows.tower import Tower

HERE = Path(__file__).resolve().parent
GROUPS = ("postgres", "triton", "mlflow", "serving")
RATE = 200.0
console = Console()


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent and answered (monotonic seconds), the status and the version that answered."""

    sent: float
    at: float
    status: int
    version: int | None


class Load(threading.Thread):
    """Asks for the model at `RATE` requests/s, each at its appointed time whether or not the one before has come back (an open loop)."""

    def __init__(self, chosen: Settings) -> None:
        super().__init__(daemon=True)
        self._settings, self._stopping = chosen, threading.Event()
        self.answers: list[Answer] = []

    def run(self) -> None:
        asyncio.run(self._all())

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    async def _all(self) -> None:
        key = {"X-API-Key": self._settings.gateway_key.get_secret_value()}
        limits = httpx.Limits(max_connections=64)
        async with (
            httpx.AsyncClient(
                base_url=self._settings.gateway_url, headers=key, timeout=10, limits=limits, trust_env=False
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            start, sent = time.monotonic(), 0
            while not self._stopping.is_set():
                due = int((time.monotonic() - start) * RATE)
                for _ in range(due - sent):
                    group.create_task(self._one(http, sent))
                    sent += 1
                await asyncio.sleep(1 / RATE)

    async def _one(self, http: httpx.AsyncClient, number: int) -> None:
        body = {
            "request_id": str(uuid.uuid4()),
            "subject_id": f"subject-{number % 5000}",
            "features": {"first": (number % 90) / 10 - 4.5, "second": 1.0},
        }
        sent = time.monotonic()
        try:
            response = await http.post(f"/api/v1/ml/predict/{drill.MODEL}", json=body)
        except httpx.HTTPError:
            self.answers.append(Answer(sent, time.monotonic(), 0, None))
            return
        version = response.json().get("version") if response.status_code == 200 else None
        self.answers.append(Answer(sent, time.monotonic(), response.status_code, version))

    def first(self, version: int, after: float) -> float | None:
        return min((a.at for a in self.answers if a.version == version and a.at > after), default=None)

    def last(self, version: int, after: float) -> float:
        """When the last answer by `version` came; `after` itself when none came later."""
        return max((a.at for a in self.answers if a.version == version and a.at > after), default=after)


@contextlib.contextmanager
def running() -> Iterator[tuple[Path, Tower]]:
    """An embedded tower of its own, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="medtower-bench-"))
    try:
        with tower.exclusive(home):
            tower.up(home, progress=console.log, groups=GROUPS)
            approvers.prepare(home)
            yield home, Tower(operator.settings_of(home, role="medtower_airflow"))
    finally:
        tower.remove(home)
        shutil.rmtree(home)


def sign(home: Path, parts: Tower, version: int) -> None:
    for role in approvers.ROLES:
        approve(
            parts.repository,
            drill.MODEL,
            version,
            role,
            key=approvers.key(home, role),
            approver=approvers.address(role),
            environment=parts.settings.environment,
        )


def promote(parts: Tower, version: int) -> str:
    settings = parts.settings
    return merge(
        parts.repository,
        drill.MODEL,
        version,
        allowed_signers=parts.trust_root,
        environment=settings.environment,
        required=settings.approval_roles,
    )


def wait_served(parts: Tower, version: int) -> None:
    def served() -> bool:
        table = routing.current(parts.settings.path("routing"))
        route = table.routes.get(drill.MODEL) if table else None
        return bool(route and [a.version for a in route.arms] == [version])

    health.poll(served, part=f"the reconciler ({version})", deadline=120)


def revert_by_hand(clone: Path, commit: str) -> None:
    """As anybody would: pull, `git revert`, push. Nothing of Medtower is called."""
    identity = ("-c", "user.name=Operator", "-c", "user.email=technical@example.org")
    for arguments in (("pull", "-q"), ("revert", "--no-edit", commit), ("push", "-q")):
        subprocess.run(["git", *identity, *arguments], cwd=clone, check=True, capture_output=True)


def cycles(home: Path, parts: Tower, times: int) -> dict[str, Any]:
    """Promote and revert `times` versions under load; the seconds of each, and how many requests failed."""
    drill.prepare(parts)
    sign(home, parts, 1)
    promote(parts, 1)
    wait_served(parts, 1)
    clone = home / "clone"
    subprocess.run(["git", "clone", "-q", str(parts.repository.path), str(clone)], check=True)
    up, down, requests, failed = [], [], 0, 0
    for version in range(2, times + 2):
        drill.prepare(parts)
        sign(home, parts, version)
        load = Load(parts.settings)
        load.start()
        time.sleep(1.0)
        merged = time.monotonic()
        commit = promote(parts, version)
        health.poll(lambda: load.first(version, merged) is not None, part="the new version", deadline=120)  # noqa: B023
        first = load.first(version, merged)
        up.append((first or merged) - merged)
        wait_served(parts, version)
        time.sleep(1.0)
        reverted = time.monotonic()
        revert_by_hand(clone, commit)
        health.poll(lambda: load.first(1, reverted) is not None, part="the old version", deadline=120)  # noqa: B023
        wait_served(parts, 1)
        time.sleep(1.0)
        load.stop()
        down.append(load.last(version, reverted) - reverted)
        requests += len(load.answers)
        failed += sum(a.status != 200 for a in load.answers)
        console.log(
            f"{version - 1}/{times}: promoted in {up[-1]:.2f} s, reverted in {down[-1]:.2f} s, {failed} of {requests} failed"
        )
    return {"promote_s": told(up), "revert_s": told(down), "failed_requests": failed, "requests": requests}


def told(seconds: list[float]) -> dict[str, float]:
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "n": len(seconds)}


def verification(parts: Tower, times: int) -> dict[str, float]:
    """Milliseconds that `policy.verify` takes for a signed release: digests, four signatures, every file."""
    taken = []
    with model_tree.exported(parts.repository, "main", drill.MODEL) as folder:
        for _ in range(times):
            started = time.perf_counter()
            policy.verify(folder, parts.trust_root, parts.settings.environment)
            taken.append((time.perf_counter() - started) * 1000)
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "n": times}


def show(result: dict[str, Any]) -> None:
    table = Table("measure", "p50", "p95", "n", title="Promotion and revert under 200 requests/s")
    for name, unit in (("promote_s", "s"), ("revert_s", "s"), ("verify_ms", "ms")):
        row = result[name]
        table.add_row(name.replace("_", " "), f"{row['p50']} {unit}", f"{row['p95']} {unit}", str(row["n"]))
    console.print(table)
    console.print(f"failed requests: {result['failed_requests']} of {result['requests']}")
    rollout_rates.show(result["aa_false_rollback"], result["power"], console)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two cycles, and few simulated rollouts")
    quick = parser.parse_args().quick
    with running() as (home, parts):
        result = cycles(home, parts, 2 if quick else 30)
        result["verify_ms"] = verification(parts, 20 if quick else 200)
    result["aa_false_rollback"] = rollout_rates.false_rollbacks(n=40 if quick else 2000)
    result["power"] = rollout_rates.power(n=6 if quick else 60)
    show(result)
    if not quick:
        (HERE / "release.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
