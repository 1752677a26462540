"""The demo, chapter by chapter. Each chapter does real work on the tower and tells what it found."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from rich.console import Console

from medtower.errors import Conflict
from medtower.local import operator, tower
from medtower.local.demo import approvers, summary
from medtower.local.demo.chapters import Story
from medtower.local.demo.steps import Telling
from medtower.local.state import TowerState
from medtower.local.tower import LOCK

MARKER = ".demo"


def run(home: Path, days: int) -> None:
    """Tell the whole story on a new tower at `home`; an earlier demo's tower there is stopped and removed first.

    Raises Conflict when a demo runs there now. On any error the tower stays up with its logs, and the error names the log.
    """
    home = home.resolve()
    console = Console(width=None if sys.stdout.isatty() else 140)
    started = time.monotonic()
    with tower.exclusive(home):
        telling = Telling(console)
        with telling.step("Start the tower: Postgres, MLflow, Triton, gateway, reconciler, Airflow") as step:
            clear(home)
            state = tower.up(home, progress=telling.now)
            approvers.prepare(home)
            step.result = f"{len(state.ports)} ports on loopback"
        story = Story(state, operator.settings_of(home, role="medtower_airflow"), telling, days)
        story.tell()
        result = summary.write(story, time.monotonic() - started)
    _keep(state, result)
    console.print(summary.table(result))
    console.print(summary.addresses(state))


def clear(home: Path) -> None:
    """Stop and remove an earlier demo's tower. Raises Conflict when `home` holds anything that no demo made."""
    found = [path for path in home.iterdir() if path.name != LOCK]
    if found and not (home / MARKER).exists():
        raise Conflict(
            f"{home} holds what no demo made, and a demo starts empty; choose another MEDTOWER_HOME"
        )
    tower.remove(home)
    (home / MARKER).touch()


def _keep(state: TowerState, result: dict[str, object]) -> None:
    path = state.source / "benchmarks" / "demo.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
