"""The verbs that rehearse a rollback, look back at who was exposed to what, and make a key to sign with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtower.cli.verb import Model, moment_of, out, this_tower, verb
from medtower.errors import InvalidInput


@verb
def drill(
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Train and propose a version to take back, for reviewers to sign"),
    ] = False,
) -> None:
    """Rehearse a rollback on the throw-away model rollback_drill, by the real path, and say the seconds it took.

    Example: medtower drill --prepare
    """
    from medtower.workflows import drill as rehearsal

    if prepare:
        branch = rehearsal.prepare(this_tower(), progress=lambda step: out.print(f"  {step}"))
        out.print(f"{branch} is proposed; once every role has signed it, `medtower drill` uses it up")
        return
    found = rehearsal.drill(this_tower())
    out.print(f"version {found['version']} served after {found['promote_seconds']} s")
    if found["back_to"] is None:
        out.print("it stays in service: the next drill goes back to it")
    else:
        out.print(f"taken back: version {found['back_to']} served again after {found['revert_seconds']} s")


@verb
def exposure(
    model: Model,
    at: Annotated[
        str, typer.Option(help="The moment with its time zone, 2026-11-21T10:00Z; default: now")
    ] = "",
) -> None:
    """Say which versions patients were exposed to at a past moment, by git and by the audit trail; fails when these disagree.

    Example: medtower exposure als_risk --at 2026-11-21T10:00Z
    """
    from medtower.workflows import exposure as exposed

    moment, tower = moment_of(at), this_tower()
    out.print(f"git:         {_told(exposed.at(tower.repository, model, moment))}")
    out.print(f"audit trail: {_told(exposed.from_trail(tower.database, model, moment))}")
    found = exposed.compare(tower.repository, tower.database, model, moment, moment)
    for disagreement in found:
        out.print(str(disagreement), style="red", markup=False)
    if found:
        raise typer.Exit(1)


@verb
def key(
    path: Annotated[
        Path, typer.Argument(help="Where the private key goes; the public one lies beside it in .pub")
    ],
    person: Annotated[str, typer.Option("--as", help="Your e-mail address")],
    role: Annotated[str, typer.Option(help="The role you review in, or rollout for the rollout bot")],
) -> None:
    """Make an Ed25519 key to sign with, and print the line of allowed_signers to send to whoever keeps the trust root.

    Example: medtower key ~/.ssh/medtower --as clinical@example.org --role clinical
    """
    from medtower.releases import allowed_signers, sshsig

    if role not in allowed_signers.SIGNER_ROLES:
        raise InvalidInput(f"role: {role} is none; write one of {', '.join(allowed_signers.SIGNER_ROLES)}")
    placeholder = f'{person} namespaces="medtower-{role}" ssh-ed25519 AAAA'
    if not allowed_signers.LINE.fullmatch(placeholder):
        raise InvalidInput("--as: write a plain e-mail address, such as clinical@example.org")
    place = path.expanduser()
    sshsig.generate(place, person)
    public = place.with_name(place.name + ".pub").read_text().split()
    out.print(f'{person} namespaces="medtower-{role}" {public[0]} {public[1]}', markup=False)


def _told(found: list[tuple[int, float]]) -> str:
    parts = [
        f"version {v} in the shadow" if not share else f"version {v} for {share:g} %" for v, share in found
    ]
    return ", ".join(parts) or "nobody was sent to a version"
