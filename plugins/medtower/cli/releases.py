"""The verbs that change or check what git says should serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtower.cli.verb import Model, Version, moment_of, out, this_tower, tower_settings, verb
from medtower.domain.contract import Role
from medtower.errors import InvalidInput


@verb
def init_repo(
    folder: Annotated[Path, typer.Argument(help="A copy of the repository, as it is on the forge")],
    forge: Annotated[str, typer.Option(help="github or gitea (also for Forgejo)")],
    owners: Annotated[Path | None, typer.Option(help='A YAML file: ROLE: ["@account", "@org/team"]')] = None,
    owner: Annotated[
        list[str] | None, typer.Option(help="ROLE=@ACCOUNT, once a role, instead of a file")
    ] = None,
    bot: Annotated[
        list[str] | None, typer.Option(help="An account that steps rollouts and rolls back")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace also what a person changed")] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the branch protection on the forge, too")
    ] = False,
) -> None:
    """Write owners by role, the pull request's template, the required check and the branch protection for a forge.

    Example: medtower init-repo . --forge github --owners roles.yaml --dry-run
    """
    from medtower.adapters.forge.chosen import hosted
    from medtower.workflows import init_repo as repo

    kind = repo.kind_of(forge)
    if owners or owner:
        by_role = repo.read_owners(owners) if owners else repo.parse_owners(owner or [])
        chosen = tower_settings()
        wanted = repo.Wanted(kind, by_role, bot or [], chosen.environment, chosen.approval_roles)
        changes = repo.plan(folder, wanted, force=force)
        for change in changes:
            out.print(str(change), markup=False)
            if change.diff and (dry_run or change.action == "kept"):
                out.print(change.diff, markup=False)
        if not dry_run:
            repo.write(folder, kind, changes)
    elif not apply:
        raise InvalidInput("owners: name them with --owners FILE, or --owner ROLE=@ACCOUNT for each role")
    if apply and not dry_run:
        hosted(tower_settings().model_copy(update={"forge": kind})).protect(repo.settings_of(folder, kind))
        out.print("the branch protection of main is set")
    else:
        out.print(f"the branch protection is set by: {repo.call(kind, folder)}", markup=False)


@verb
def propose(
    model: Model,
    version: Version,
    reason: Annotated[str, typer.Option(help="Why; it stands in the release")] = "",
    emergency: Annotated[
        bool,
        typer.Option("--emergency", help="A fix that serves everybody at once; reviewers sign it as such"),
    ] = False,
) -> None:
    """Open the pull request that proposes a version, with its evidence. Asking again brings it up to date.

    Example: medtower propose als_risk 2 --reason "drift of als_fs_r"
    """
    from medtower.workflows import pull_request
    from medtower.workflows.proposal import open_proposal

    tower = this_tower()
    branch = open_proposal(tower, model, version, reason=reason, emergency=emergency)
    out.print(branch, pull_request.find(tower, model, version).url, markup=False)


@verb
def approve(
    model: Model,
    version: Version,
    role: Annotated[Role, typer.Option(help="The role you review in")],
    key: Annotated[Path, typer.Option(help="Your SSH private key (or the .pub of a key in your agent)")],
    approver: Annotated[str, typer.Option("--as", help="Your e-mail address, as in allowed_signers")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
) -> None:
    """Show what is being signed, sign it with your key and commit statement and signature to the proposal.

    Example: medtower approve als_risk 2 --role clinical --key ~/.ssh/id_ed25519 --as clinical@example.org
    """
    from medtower.workflows import pull_request
    from medtower.workflows.approve import approve

    def confirm(text: str) -> None:
        out.print(text, markup=False)
        if not yes and not typer.confirm("Sign this?"):
            raise typer.Exit(1)

    tower = this_tower()
    environment = tower.settings.environment
    with pull_request.synchronised(tower, model, version):
        approve(
            tower.repository,
            model,
            version,
            role,
            key=key,
            approver=approver,
            environment=environment,
            confirm=confirm,
        )
    out.print(f"{model} {version} signed as {role}")


@verb
def merge(model: Model, version: Version) -> None:
    """Promote: one commit on main, when the evidence is whole and every role has signed.

    Example: medtower merge als_risk 2
    """
    from medtower.workflows import pull_request

    commit = pull_request.merge(this_tower(), model, version)
    out.print(f"promoted by {commit}; take it back with: medtower rollback {model} --reason WHY")


@verb
def rollback(
    model: Model,
    reason: Annotated[str, typer.Option(help="Why; it stands in the commit")],
    version: Annotated[
        int | None, typer.Option(help="Only if this version is what is released", min=1)
    ] = None,
) -> None:
    """Take the last promotion back: the same commit that `git revert` makes. Needs git only; incident and report follow.

    Example: medtower rollback als_risk --reason "sensitivity critical since Monday"
    """
    from medtower.workflows.take_back import take_back

    out.print(str(take_back(this_tower(), model, reason, version=version)), markup=False)


@verb
def deactivate(
    model: Model, reason: Annotated[str, typer.Option(help="Why; the gateway says it to callers")]
) -> None:
    """Release no model in place of what is released now. Needs git only, and no approvals; what was released must be proposed anew.

    Example: medtower deactivate als_risk --reason "the laboratory changed its assay"
    """
    from medtower.workflows.take_back import take_out

    out.print(f"{model}: no model is released, by {take_out(this_tower(), model, reason)}")


@verb
def verify(
    folder: Annotated[Path, typer.Argument(help="A model's folder: triton_models/NAME")],
    trust: Annotated[Path | None, typer.Option(help="The allowed_signers file to trust")] = None,
    environment: Annotated[str | None, typer.Option(help="The environment that approvals must name")] = None,
    at: Annotated[
        str, typer.Option(help="When the keys must have been valid, 2026-11-21T10:00Z; default: now")
    ] = "",
) -> None:
    """Check digests and signatures of what a folder releases. Offline; needs only the folder and the public keys.

    Example: medtower verify triton_models/als_risk --trust /etc/medtower/allowed_signers
    """
    from medtower.workflows.verify import verify

    chosen = tower_settings()
    trusted, named = trust or chosen.path("trust_root"), environment or chosen.environment
    told = verify(
        folder,
        allowed_signers=trusted,
        environment=named,
        required=chosen.approval_roles,
        at=moment_of(at),
    )
    out.print(told, markup=False)


@verb
def smoke(model: Model) -> None:
    """Ask the version that should serve for its golden inference; fails when it does not answer as signed.

    Example: medtower smoke als_risk
    """
    from medtower.workflows.smoke import smoke

    out.print(smoke(this_tower(), model))
