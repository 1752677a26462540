"""The verbs that give out, change and take back the gateway's API keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medtower import log
from medtower.cli.verb import app, err, out, tower_settings, verb_of
from medtower.domain.access import CallerRole

if TYPE_CHECKING:
    from medtower.domain.api_key import ApiKey

access = typer.Typer(no_args_is_help=True, help="Who may ask the gateway: new, list, rotate, revoke.")
app.add_typer(access, name="access")

Name = Annotated[str, typer.Argument(help="What the key is for: a system or a ward, never a person")]


def access_verb(function: Callable[..., Any]) -> Callable[..., Any]:
    return verb_of(access, function)


@access.callback()
def logged() -> None:
    """Every key that is made, rotated or revoked is a line in the log as well."""
    log.configure()


@access_verb
def new(
    name: Name,
    role: Annotated[CallerRole, typer.Option(help="What its holder may do")],
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may ask (more than once for more); without: all")
    ] = None,
    days: Annotated[int, typer.Option(help="How long it counts", min=1, max=3650)] = 365,
    rate: Annotated[float | None, typer.Option(help="Requests a second; without: the setting's")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once; without: the setting's")] = None,
) -> None:
    """Make a key and show it, this once. Only its SHA-256 is kept.

    Example: medtower access new ward-3 --role clinician --model als_risk
    """
    from medtower.workflows.access import new

    key, secret = new(tower_settings(), name, role, models=model or (), days=days, rate=rate, burst=burst)
    _show(secret, f"the key {key.id} counts until {key.expires:%Y-%m-%d}; this is the only time it is shown")


@access_verb
def list_() -> None:
    """Show every key that was ever given out, without its secret.

    Example: medtower access list
    """
    from medtower.workflows.access import listed

    now = datetime.now(UTC)
    for key in listed(tower_settings()):
        out.print(_line(key, now), markup=False)


@access_verb
def rotate(
    name: Name,
    grace_hours: Annotated[
        float, typer.Option(help="How long the secret before goes on counting", min=0, max=24 * 30)
    ] = 24,
) -> None:
    """Give a key another secret and show it, this once. Both count until the grace is over.

    Example: medtower access rotate ward-3 --grace-hours 48
    """
    from medtower.workflows.access import rotate

    key, secret = rotate(tower_settings(), name, grace=timedelta(hours=grace_hours))
    _show(secret, f"the key {key.id} has this secret now; the one before counts for {grace_hours:g} h more")


@access_verb
def revoke(name: Name) -> None:
    """Let a key count no more, from the next request on.

    Example: medtower access revoke ward-3
    """
    from medtower.workflows.access import revoke

    out.print(f"the key {revoke(tower_settings(), name).id} counts no more")


def _show(secret: str, said: str) -> None:
    """The secret alone on standard output, for a pipe into where it is needed."""
    out.print(secret, markup=False)
    err.print(said, markup=False)


def _line(key: ApiKey, now: datetime) -> str:
    models = "all models" if key.models is None else ", ".join(key.models)
    ends = f"{key.expires:%Y-%m-%d}" if key.expires else "open end"
    return f"{key.id}  {key.role}  {models}  made {key.created:%Y-%m-%d}  until {ends}  {key.state(now)}"
