"""How the demo ends: a table, the addresses of what still runs, a page, and the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from medtower.local import addresses as places
from medtower.local.state import TowerState
from medtower.reports.publish import publish, publish_index

if TYPE_CHECKING:
    from medtower.local.demo.chapters import Story


def write(story: Story, seconds: float) -> dict[str, Any]:
    """Return the result as JSON-able facts, and write the reports' index page."""
    result: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "revert_seconds": round(story.revert_seconds, 3) if story.revert_seconds is not None else None,
        "failed_requests": story.failed_requests,
        "requests": story.requests,
        "models": {
            name: {
                "versions": {str(v): what for v, what in m.versions.items()},
                "predictions": m.predictions,
                "labels": m.labels,
                "status": m.status,
                "drifted_features": m.drifted,
            }
            for name, m in story.models.items()
        },
        "steps": [
            {"title": s.title, "seconds": round(s.seconds, 2), "result": s.result}
            for s in story.telling.steps
        ],
    }
    folder = story.state.home / "reports"
    publish(folder, "demo.html", "demo_summary.html.j2", result=result, links=places.links(story.state))
    publish_index(folder)
    return result


def table(result: dict[str, Any]) -> Table:
    grid = Table(
        "model", "versions", "predictions", "labels", "tracked", "drifted features", title="What happened"
    )
    for name, m in result["models"].items():
        versions = ", ".join(f"{v} ({what})" for v, what in m["versions"].items())
        grid.add_row(
            name,
            versions,
            f"{m['predictions']:,}",
            f"{m['labels']:,}",
            m["status"],
            str(m["drifted_features"]),
        )
    grid.caption = (
        f"{result['seconds']:.0f} s in all; revert to the old version's first answer {result['revert_seconds']} s; "
        f"{result['failed_requests']} of {result['requests']} live requests failed"
    )
    return grid


def addresses(state: TowerState) -> Table:
    return places.table(state)
