"""The verbs of a rollout: one look at it, and the disagreements that wait for a person."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Table

from medtower.cli.verb import Model, Version, out, this_tower, verb

Right = Literal["current", "candidate", "either", "neither"]


@verb
def advance(model: Model) -> None:
    """Look at a rollout once, as the DAG does every hour, and do what the verdict says: one step, the revert, or nothing.

    Example: medtower advance als_risk
    """
    from medtower.workflows.advance_rollout import advance

    out.print_json(data=advance(model, this_tower()))


@verb
def reviews(
    model: Model, limit: Annotated[int, typer.Option(help="How many, oldest first", min=1, max=1000)] = 20
) -> None:
    """List the requests about which the version in the shadow disagrees with the one that answered, and that nobody reviewed yet.

    Example: medtower reviews als_risk
    """
    from medtower.workflows.shadow_review import waiting

    found = waiting(this_tower(), model, limit)
    table = Table("request", "asked", "version", "says", "version that answered", "said", box=None)
    for one in found:
        table.add_row(
            one["request_id"],
            f"{one['event_time']:%Y-%m-%d %H:%M:%SZ}",
            str(one["version"]),
            f"{one['prediction']:.4g}",
            str(one["current_version"]),
            f"{one['current_prediction']:.4g}",
        )
    out.print(table if found else f"{model}: nothing waits for a review")


@verb
def review(
    model: Model,
    version: Version,
    request_id: Annotated[str, typer.Argument(help="The request, as `medtower reviews` lists it")],
    right: Annotated[Right, typer.Option(help="Whose answer is right")],
    reviewer: Annotated[str, typer.Option("--as", help="Your e-mail address")],
) -> None:
    """Say once whose answer to a request is right: the version's in the shadow (candidate), or the one's that answered (current).

    Example: medtower review als_risk 2 3f0c… --right candidate --as clinical@example.org
    """
    from medtower.workflows.shadow_review import review

    review(this_tower(), model, version, request_id, by=reviewer, right=right)
    out.print(f"{request_id}: {right}, by {reviewer}", markup=False)
