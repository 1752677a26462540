"""Small inline SVG figures. They take their colours from the page's style sheet, so they follow light, dark and print."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from medtower.domain.contract import Kpi
from medtower.domain.estimate import CalibrationReport, Estimate
from medtower.domain.metric import METRICS

WIDTH, HEIGHT = 240, 22


def forest(found: Estimate, kpi: Kpi | None) -> Markup:
    """The interval as a line with a dot on the value, over the zones of the promise; the tick is the target. Empty without a number."""
    if found.value is None or found.lower is None or found.upper is None:
        return Markup("")
    marks = [found.lower, found.upper] + ([kpi.critical, kpi.warning, kpi.target] if kpi else [])
    scale = _Scale(min(marks), max(marks), WIDTH)
    zones = _zones(kpi, scale, higher=METRICS[found.metric].higher_is_better) if kpi else ""
    target = _line("target", scale(kpi.target), 2, scale(kpi.target), HEIGHT - 2) if kpi else ""
    middle = HEIGHT / 2
    label = f"{found.metric}: {found.value:.4g}, interval {found.lower:.4g} to {found.upper:.4g}"
    body = (
        zones
        + target
        + _line("interval", scale(found.lower), middle, scale(found.upper), middle)
        + f'<circle class="value" cx="{scale(found.value):.1f}" cy="{middle}" r="4"/>'
    )
    return _svg(WIDTH, HEIGHT, label, body)


def bar(value: float | None, bounds: Sequence[float], tone: str, label: str, longest: float) -> Markup:
    """A bar from 0 to `value` with a tick at each of `bounds`, where the figure's whole width is `longest`; empty without a value."""
    if value is None:
        return Markup("")
    ticks = "".join(_line("target", WIDTH * b / longest, 2, WIDTH * b / longest, HEIGHT - 2) for b in bounds)
    width = WIDTH * max(value, 0.0) / longest
    body = f'<rect class="bar {tone}" x="0" y="6" width="{width:.1f}" height="{HEIGHT - 12}" rx="2"/>{ticks}'
    return _svg(WIDTH, HEIGHT, label, body)


def calibration(report: CalibrationReport) -> Markup:
    """Observed against predicted probability by bin, with the bins' intervals and the diagonal of a perfect model. Empty without bins."""
    if not report.bins:
        return Markup("")
    size, edge = 260.0, 26.0

    def x(p: float) -> float:
        return edge + p * size

    def y(p: float) -> float:
        return 8 + (1 - p) * size

    points = "".join(
        _line("interval", x(b["predicted"]), y(b["lower"]), x(b["predicted"]), y(b["upper"]))
        + f'<circle class="value" cx="{x(b["predicted"]):.1f}" cy="{y(b["observed"]):.1f}" r="4"/>'
        for b in report.bins
    )
    frame = f'<rect class="frame" x="{edge}" y="8" width="{size}" height="{size}"/>'
    ticks = "".join(
        f'<text x="{x(p):.0f}" y="{y(0) + 16:.0f}" text-anchor="middle">{p:g}</text>'
        f'<text x="{edge - 6:.0f}" y="{y(p) + 4:.0f}" text-anchor="end">{p:g}</text>'
        for p in (0, 0.5, 1)
    )
    axis = f'<text x="{x(0.5):.0f}" y="{y(0) + 32:.0f}" text-anchor="middle">predicted, against observed upwards</text>'
    body = frame + _line("target", x(0), y(0), x(1), y(1)) + points + ticks + axis
    return _svg(
        int(size + edge + 12), int(size + 46), "calibration: observed against predicted probability", body
    )


class _Scale:
    def __init__(self, low: float, high: float, width: int) -> None:
        margin = 0.08 * (high - low) or max(abs(high), 1.0) * 0.05
        self.low, self.high, self.width = low - margin, high + margin, width

    def __call__(self, value: float) -> float:
        return self.width * (value - self.low) / (self.high - self.low)


def _zones(kpi: Kpi, scale: _Scale, *, higher: bool) -> str:
    critical, warning = scale(kpi.critical), scale(kpi.warning)
    if higher:
        return _zone("bad", 0, critical) + _zone("warn", critical, warning) + _zone("good", warning, WIDTH)
    return _zone("good", 0, warning) + _zone("warn", warning, critical) + _zone("bad", critical, WIDTH)


def _zone(tone: str, start: float, end: float) -> str:
    return f'<rect class="zone {tone}" x="{start:.1f}" y="0" width="{max(end - start, 0):.1f}" height="{HEIGHT}"/>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(width: int, height: int, label: str, body: str) -> Markup:
    opening = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(label)}">'
    # safe: made of our own numbers, and the label is escaped
    return Markup(opening + body + "</svg>")  # noqa: S704 # nosec B704
