"""How numbers, times and names are written on every page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple

from medtower.domain.contract import Kpi
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import METRICS
from medtower.domain.verdict import Decision, Verdict
from medtower.reports.comparison import Change

UNKNOWN = Status.INSUFFICIENT.value
_DIGITS = {"ms": 0, "1/s": 1, "s": 2}
_MARKS = {
    "ok": "✓",
    "warning": "!",
    "critical": "✕",
    "none": "✓",
    "moderate": "!",
    "severe": "✕",
    "passed": "✓",
    "failed": "✕",
}
_TONES = {"✓": "good", "!": "warn", "✕": "bad"}


def number(value: float | None, metric: str = "", *, signed: bool = False) -> str:
    """A value in its metric's digits and unit; "insufficient data" where there is none."""
    if value is None:
        return UNKNOWN
    unit = METRICS[metric].unit if metric in METRICS else "1"
    text = f"{value:{'+' if signed else ''}.{_DIGITS.get(unit, 3)}f}".replace("-", "−")
    return text if unit == "1" else f"{text} {unit}"


def estimate(found: Estimate | None) -> str:
    """Value and interval: `0.912 (0.894 to 0.930)`."""
    if found is None or found.value is None:
        return UNKNOWN
    return f"{number(found.value, found.metric)} {interval(found)}".strip()


def interval(found: Estimate) -> str:
    """The interval in brackets; empty where there is no number."""
    if found.value is None or found.lower is None or found.upper is None:
        return ""
    return f"({number(found.lower, found.metric)} to {number(found.upper, found.metric)})"


def difference(change: Change) -> str:
    """A change with its interval; "no earlier version" where there is none to compare with."""
    if change.old is None:
        return "no earlier version"
    if change.difference is None:
        return UNKNOWN
    low, high = (
        number(change.lower, change.metric, signed=True),
        number(change.upper, change.metric, signed=True),
    )
    return f"{number(change.difference, change.metric, signed=True)} ({low} to {high})"


def promise(kpi: Kpi | None, metric: str) -> str:
    """A KPI's target as a reader says it: `≥ 0.85`."""
    if kpi is None:
        return "none"
    return f"{'≥' if METRICS[metric].higher_is_better else '≤'} {kpi.target:g}"


def title(metric: str) -> str:
    """The metric's name for people; a name that is no metric stays as it is."""
    return METRICS[metric].title if metric in METRICS else metric


def percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def seconds(value: float | None) -> str:
    if value is None:
        return "not measured"
    minutes, rest = divmod(round(value), 60)
    return f"{value:.1f} s" if minutes == 0 else f"{minutes} min {rest} s"


def fact(value: object) -> str:
    """One piece of a verdict's evidence."""
    if value is None:
        return UNKNOWN
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


def mark(state: str) -> str:
    """A sign for a status, a severity or a gate's result, so that no page speaks by colour alone."""
    return _MARKS.get(str(state), "–")


def tone(state: str) -> str:
    """The CSS class of a status, a severity or a gate's result."""
    return _TONES.get(mark(state), "unknown")


def passed(verdict: Verdict) -> str:
    """A gate passes by PROMOTE and by nothing else."""
    return "passed" if verdict.decision is Decision.PROMOTE else "failed"


def populations(estimates: Sequence[Estimate]) -> list[str]:
    """The populations that were evaluated, in order, without the whole."""
    return [p for p in dict.fromkeys(e.population for e in estimates) if p != "all"]


class Page(NamedTuple):
    path: str
    title: str


def shelves(pages: Sequence[str]) -> dict[str, list[Page]]:
    """Pages by folder (a model's name, or empty for the tower's own), newest first within a folder."""
    found: dict[str, list[Page]] = {}
    for path in sorted(pages, reverse=True):
        place = PurePosixPath(path)
        folder = place.parent.name
        found.setdefault(folder, []).append(Page(path, place.stem.replace("-", " ", 1)))
    return dict(sorted(found.items()))
