"""What every verb shares: how it is registered, where it prints, the kinds of its arguments, and which tower it means."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from medtower.errors import InvalidInput, MedtowerError, NotFound, Unavailable

if TYPE_CHECKING:
    from medtower.settings import Settings
    from medtower.workflows.tower import Tower

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)

Model = Annotated[str, typer.Argument(help="The model's name, as its folder in triton_models/")]
Version = Annotated[int, typer.Argument(help="The version's number, as in MLflow", min=1)]


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register `function` as a verb; an error raised on purpose becomes one clear message and its exit code."""
    return verb_of(app, function)


def verb_of(group: typer.Typer, function: Callable[..., Any]) -> Callable[..., Any]:
    """Register `function` as a verb of a group of verbs, as `verb` does."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except MedtowerError as error:
            raise _told(str(error), error.exit_code) from None
        except ValidationError as error:
            if error.title != "Settings":
                raise
            fields = ", ".join(f"MEDTOWER_{'_'.join(map(str, e['loc'])).upper()}" for e in error.errors())
            raise _told(f"{fields}: not a value that this setting takes", InvalidInput.exit_code) from None
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise _told(f"{error.strerror or error}{where}", Unavailable.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return group.command(function.__name__.rstrip("_").replace("_", "-"))(run)


def _told(message: str, code: int) -> typer.Exit:
    err.print(f"medtower: {message}", style="red", markup=False)
    return typer.Exit(code)


@app.callback()
def main() -> None:
    """The whole life of clinical models on one GPU tower. Every model in production is a git commit."""


def tower_home(name: str = "tower") -> Path:
    """MEDTOWER_HOME when set, else `.medtower/<name>` in the checkout. Raises NotFound without either."""
    from medtower.local.tower import source_folder

    configured = os.environ.get("MEDTOWER_HOME")
    return Path(configured) if configured else source_folder() / ".medtower" / name


def tower_settings() -> Settings:
    """This process's settings; on a machine with a running embedded tower and no MEDTOWER_* of its own, that tower's."""
    from medtower.settings import Settings

    if "MEDTOWER_DSN" in os.environ or "MEDTOWER_MLFLOW_URI" in os.environ:
        return Settings()
    from medtower.local import operator

    try:
        home = tower_home()
    except NotFound:  # installed without a checkout: no embedded tower here
        return Settings()
    return operator.settings_of(home)


def this_tower() -> Tower:
    """The tower that `tower_settings` describe."""
    from medtower.workflows.tower import Tower

    return Tower(tower_settings())


def moment_of(text: str) -> datetime:
    """The moment that `--at` names; now without one. Raises InvalidInput without a time zone."""
    try:
        found = datetime.fromisoformat(text) if text else datetime.now(UTC)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput("--at: write a moment with its time zone, such as 2026-11-21T10:00Z")
    return found
