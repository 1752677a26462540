"""Visible progress: one line a step, with its seconds, on a terminal and in a log alike."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console

from medtower.workflows.train import Trained


@dataclass
class Step:
    """One step as it is kept: its `title`, what it found, and how long it took."""

    title: str
    result: str = ""
    seconds: float = 0.0


@dataclass
class Telling:
    """Tells the steps on a console and keeps them for the summary."""

    console: Console
    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` with a spinner while the work inside runs; set `.result` for what is told afterwards."""
        current, started = Step(title), time.monotonic()
        self.steps.append(current)
        try:
            with self.console.status(title) as status:
                self._status = status
                yield current
        except BaseException:
            self.console.print(f"[red]✗[/] {title}", highlight=False)
            raise
        current.seconds = time.monotonic() - started
        self.console.print(
            f"[green]✓[/] {title} [dim]{current.seconds:.1f} s[/]  {current.result}", highlight=False
        )

    def now(self, detail: str) -> None:
        """Say what the current step is doing."""
        self._status.update(f"{self.steps[-1].title}: {detail}")


def headline(made: Trained) -> str:
    """A trained version in one line: its main metric with interval and n, and its gates."""
    known = [e for e in made.evaluation.estimates if e.population == "all" and e.value is not None]
    best = next((e for e in known if e.metric in ("auc_roc", "r2")), None)
    shown = f"{best.metric} {best.value:.3f} [{best.lower:.3f}–{best.upper:.3f}], " if best else ""
    verdict = (
        "gates passed"
        if made.passed
        else "gates: " + ", ".join(str(v.name) for v in made.gates if v.decision != "PROMOTE")
    )
    return f"version {made.version}, {shown}n={made.evaluation.n}, {verdict}"
