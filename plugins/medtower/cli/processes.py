"""The verbs that are a long-running process of the tower."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medtower.cli.verb import tower_settings, verb


@verb
def reconcile(
    watch: Annotated[bool, typer.Option("--watch/--once", help="Keep going, or one pass")] = False,
) -> None:
    """Make what serves agree with what git says.

    Example: medtower reconcile --once
    """
    from medtower import log
    from medtower.workflows.reconciler_process import run

    log.configure()
    sys.exit(run(tower_settings(), watch=watch))


@verb
def gateway() -> None:
    """Run the inference service on loopback.

    Example: medtower gateway
    """
    from medtower.gateway import serve

    serve.main()
