"""The verbs that judge a change at the repository's door, and that change who may sign."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medtower.cli.verb import app, out, this_tower, tower_settings, verb, verb_of
from medtower.domain.contract import Role

if TYPE_CHECKING:
    from medtower.settings import Settings
    from medtower.workflows.check import Rules

trust = typer.Typer(no_args_is_help=True, help="Change who may sign: init, propose, approve, merge.")
app.add_typer(trust, name="trust")


def trust_verb(function: Callable[..., Any]) -> Callable[..., Any]:
    return verb_of(trust, function)


@verb
def check(
    base: Annotated[str, typer.Option(help="What main is before the change")] = "origin/main",
    head: Annotated[
        str, typer.Option(help="The change: it is judged as the one commit that it is merged as")
    ] = "HEAD",
    history: Annotated[
        bool, typer.Option(help="Judge each commit from base to head of main instead")
    ] = False,
    pre_receive: Annotated[
        bool, typer.Option(help="Judge the push that git tells on standard input")
    ] = False,
) -> None:
    """Judge a change of what serves, with git's history: a forge's required check, or the receiving hook of a repository.

    Example: medtower check --base origin/main --head HEAD
    """
    from medtower.adapters.git import Repository
    from medtower.adapters.git_process import quarantine
    from medtower.workflows import check as checking
    from medtower.workflows.receive import receive

    if pre_receive:
        from medtower.settings import Settings

        receive(Repository(Path.cwd(), quarantine=quarantine()), sys.stdin, _rules(Settings()))
        return
    repository = Repository(Path.cwd())
    judge = checking.check if history else checking.check_squashed
    # a step that the forge gets late, after it was down, is none of now, but none of the future either
    rules = replace(_rules(tower_settings()), now=datetime.now(UTC), arriving=not history)
    judge(repository, repository.commit_id(base), repository.commit_id(head), rules)
    out.print(f"{head} may follow {base}")


def _rules(chosen: Settings) -> Rules:
    from medtower.workflows.check import Rules

    return Rules(chosen.environment, chosen.approval_roles, chosen.path("trust_root"))


@trust_verb
def init() -> None:
    """Put the first copy of the installed trust root into git.

    Example: medtower trust init
    """
    from medtower.workflows.trust import init

    tower = this_tower()
    out.print(f"on main with {init(tower.repository, tower.trust_root, tower.settings.approval_roles)}")


@trust_verb
def propose(
    file: Annotated[Path, typer.Argument(help="The allowed_signers file that should count next")],
) -> None:
    """Propose another trust root; the quorum of the present one must sign it.

    Example: medtower trust propose allowed_signers.new
    """
    from medtower.workflows.trust import propose

    tower = this_tower()
    out.print(propose(tower.repository, file, tower.settings.approval_roles))


@trust_verb
def approve(
    role: Annotated[Role, typer.Option(help="The role you review in")],
    key: Annotated[Path, typer.Option(help="Your SSH private key (or the .pub of a key in your agent)")],
    approver: Annotated[str, typer.Option("--as", help="Your e-mail address, as in allowed_signers")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
) -> None:
    """Show what changes and what is being signed, sign it with your key, and commit it to the proposal.

    Example: medtower trust approve --role final --key ~/.ssh/id_ed25519 --as final@example.org
    """
    from medtower.workflows.trust import approve

    def confirm(text: str) -> None:
        out.print(text, markup=False)
        if not yes and not typer.confirm("Sign this?"):
            raise typer.Exit(1)

    tower = this_tower()
    environment = tower.settings.environment
    approve(tower.repository, role, key=key, approver=approver, environment=environment, confirm=confirm)
    out.print(f"the trust root is signed as {role}")


@trust_verb
def merge() -> None:
    """Put the approved trust root on main. It counts at deploy time once it is installed on the tower.

    Example: medtower trust merge
    """
    from medtower.workflows.trust import merge

    tower = this_tower()
    commit = merge(tower.repository, _rules(tower.settings))
    out.print(f"on main with {commit}; now install it as {tower.trust_root}")
