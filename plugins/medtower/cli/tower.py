"""The verbs of the embedded tower: the demo, start, stop, and what is running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medtower.cli.verb import err, out, this_tower, tower_home, tower_settings, verb
from medtower.errors import Conflict, DeadlineExceeded, NotFound, Unavailable

if TYPE_CHECKING:
    from medtower.local.state import TowerState


@verb
def demo(days: Annotated[int, typer.Option(help="Days of traffic to replay", min=30, max=365)] = 90) -> None:
    """Run the whole loop once, on real parts, and leave it running to look at.

    Example: medtower demo
    """
    from medtower.local.demo import story

    story.run(tower_home("demo"), days)


@verb
def up() -> None:
    """Start the stack without the story and print its addresses.

    Example: MEDTOWER_PORT_AIRFLOW=8081 medtower up
    """
    from medtower.local import addresses, tower

    home = tower_home()
    with tower.exclusive(home):
        state = tower.up(home, progress=lambda text: out.print(f"  {text}", style="dim"))
    out.print(addresses.table(state))


@verb
def down(
    everything: Annotated[
        bool, typer.Option("--all", help="Every tower below .medtower/ of this checkout")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Delete its data as well")] = False,
) -> None:
    """Stop a tower and leave no process. Its data stay, unless you say --remove.

    Example: medtower down --all
    """
    from medtower.local import tower

    homes = [tower_home(), *(tower.homes() if everything else [])]
    found = [home for home in dict.fromkeys(h.resolve() for h in homes) if (home / "secrets.json").exists()]
    if not found:
        out.print("nothing to stop: no tower was started here")
    busy: list[Conflict] = []
    for home in found:
        try:
            with tower.exclusive(home):
                count = tower.remove(home) if remove else tower.down(home)
                out.print(f"{home.name}: {count} processes stopped" + (", data deleted" if remove else ""))
        except Conflict as error:
            busy.append(error)
    if busy:
        raise Conflict("; ".join(map(str, busy)))


@verb
def status(
    model: Annotated[str | None, typer.Argument(help="Only this model")] = None,
    version: Annotated[int | None, typer.Argument(help="Only this version's proposal", min=1)] = None,
) -> None:
    """Show what is released and how far its rollout has got, what each open proposal lacks and from whom, and a running tower's addresses.

    Example: medtower status als_risk 2
    """
    from medtower.local import addresses, tower

    found = _state()
    running = found is not None and tower.running(found.home)
    if found and running and model is None:
        out.print(addresses.table(found))
        out.print(addresses.models(found))
    _print_releases(model, version)
    if found and not running and model is None:
        out.print("the tower is stopped; start it with `medtower up`")
        raise typer.Exit(NotFound.exit_code)
    if found and running and (gone := tower.stopped(found)):
        why = f"stopped: {', '.join(gone)}; see {found.home / 'logs'} and start it again with `medtower up`"
        raise Unavailable("a part of the tower", why)


def _state() -> TowerState | None:
    """The embedded tower's state; None where there is none, but a repository of models is. Raises NotFound without either."""
    from medtower.local import state

    try:
        return state.load(tower_home().resolve())
    except NotFound:
        if not tower_settings().path("repository").exists():
            raise
        return None


def _print_releases(model: str | None, version: int | None) -> None:
    from medtower.workflows import approval_status, pull_request, rollout_status

    here = this_tower()
    chosen, repository = here.settings, here.repository
    try:
        pull_request.refresh(here)
    except (Unavailable, DeadlineExceeded) as error:
        err.print(f"as of the last look at the forge: {error}", style="yellow", markup=False)
    with approval_status.trust_root(repository, here.trust_root) as root:
        for release in rollout_status.releases(repository, root, model=model):
            out.print(str(release), markup=False)
    for proposal in approval_status.proposals(
        repository,
        here.trust_root,
        chosen.environment,
        chosen.approval_roles,
        model=model,
        version=version,
    ):
        out.print(str(proposal), markup=False)
