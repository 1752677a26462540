"""`medtower <verb>`: parse, call one workflow, print, map errors to exit codes. `medtower VERB --help` has examples."""

from medtower.cli import tower, models, releases, rollouts, rehearsals, trust, access, processes  # noqa: F401, I001  # the order of the verbs in --help
from medtower.cli.verb import app

__all__ = ["app"]
