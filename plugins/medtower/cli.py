"""`medtower <verb>`: parse, call one workflow, print, map errors to exit codes. `medtower VERB --help` has examples."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from medtower.domain.contract import Role
from medtower.errors import Conflict, InvalidInput, MedtowerError, NotFound, Unavailable

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)

Model = Annotated[str, typer.Argument(help="The model's name, as its folder in triton_models/")]
Version = Annotated[int, typer.Argument(help="The version's number, as in MLflow", min=1)]


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register `function` as a verb; an error raised on purpose becomes one clear message and its exit code."""

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

    return app.command(function.__name__.rstrip("_").replace("_", "-"))(run)


def _told(message: str, code: int) -> typer.Exit:
    err.print(f"medtower: {message}", style="red", markup=False)
    return typer.Exit(code)


@app.callback()
def main() -> None:
    """The whole life of clinical models on one GPU tower. Every model in production is a git commit."""


def _home(name: str = "tower") -> Path:
    """MEDTOWER_HOME when set, else `.medtower/<name>` in the checkout."""
    import os

    from medtower.local.tower import source_folder

    configured = os.environ.get("MEDTOWER_HOME")
    return Path(configured) if configured else source_folder() / ".medtower" / name


# -- the embedded tower ---------------------------------------------------------------------------------------------------


@verb
def demo(days: Annotated[int, typer.Option(help="Days of traffic to replay", min=30, max=365)] = 90) -> None:
    """Run the whole loop once, on real parts, and leave it running to look at.

    Example: medtower demo
    """
    from medtower.local.demo import story

    story.run(_home("demo"), days)


@verb
def up() -> None:
    """Start the stack without the story and print its addresses.

    Example: MEDTOWER_PORT_AIRFLOW=8081 medtower up
    """
    from medtower.local import addresses, tower

    home = _home()
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

    homes = [_home(), *(tower.homes() if everything else [])]
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
def status() -> None:
    """Show the addresses of a running tower, and what each model should serve and serves.

    Example: MEDTOWER_HOME=.medtower/demo medtower status
    """
    from medtower.local import addresses, state, tower

    found = state.load(_home().resolve())
    if not tower.running(found.home):
        out.print("the tower is stopped; start it with `medtower up`")
        raise typer.Exit(NotFound.exit_code)
    out.print(addresses.table(found))
    out.print(addresses.models(found))
    if gone := tower.stopped(found):
        why = f"stopped: {', '.join(gone)}; see {found.home / 'logs'} and start it again with `medtower up`"
        raise Unavailable("a part of the tower", why)


# -- contracts and cohorts --------------------------------------------------------------------------------------------------


@verb
def new_model(
    name: Model,
    task: Annotated[str, typer.Option(help="classification or regression")] = "classification",
    table: Annotated[Path | None, typer.Option(help="A CSV or Parquet file to infer the inputs from")] = None,
    models: Annotated[Path, typer.Option(help="The folder of all models")] = Path("triton_models"),
) -> None:
    """Make triton_models/NAME with a commented contract and cohort.

    Example: medtower new-model kidney_risk --table cohort.csv
    """
    from medtower.workflows.new_model import scaffold

    folder = scaffold(models, name, task, table)
    out.print(f"wrote {folder}/model.yaml and cohort.yaml; read them, then: medtower check-contract {folder}")


@verb
def check_contract(folder: Annotated[Path, typer.Argument(help="A model's folder")]) -> None:
    """Check model.yaml and cohort.yaml, with file and line of what is wrong and what to write instead.

    Example: medtower check-contract triton_models/als_risk
    """
    from medtower.adapters import contracts

    contract = contracts.read(folder)
    contracts.read_cohort(folder)
    out.print(
        f"{contract.name}: {len(contract.inputs)} inputs, {len(contract.kpis)} KPIs, {len(contract.approvals)} approvals needed"
    )


@verb
def add_model(folder: Annotated[Path, typer.Argument(help="A model's folder")]) -> None:
    """Bring a model's contract and cohort to the tower, or changes of them. What serves does not change.

    Example: medtower add-model triton_models/kidney_risk
    """
    from medtower.workflows.add_model import add_model
    from medtower.workflows.tower import Tower

    commit = add_model(Tower(_settings()).repository, folder)
    out.print(f"{folder.name}: on main with {commit}" if commit else f"{folder.name}: main has it already")


@verb
def schema(
    check: Annotated[bool, typer.Option(help="Only say whether the exported files are up to date")] = False,
    folder: Annotated[Path, typer.Option(help="Where the schemas lie")] = Path("docs/schemas"),
) -> None:
    """Export the JSON Schemas of model.yaml and cohort.yaml for editors.

    Example: medtower schema --check
    """
    import json

    from medtower.adapters.contracts import json_schemas

    for name, document in json_schemas().items():
        path, text = folder / f"{name}.schema.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            err.print(f"{path} is out of date; run: medtower schema")
            raise typer.Exit(1)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


# -- training, releases --------------------------------------------------------------------------------------------------------


@verb
def train(
    model: Model,
    window_days: Annotated[
        int, typer.Option(help="Train on that many days of the record instead of the cohort")
    ] = 0,
    reason: Annotated[str, typer.Option(help="Why; it stands in the release")] = "trained by hand",
) -> None:
    """Train a version, run its gates and register it in MLflow. Nothing serves because of this.

    Example: medtower train als_risk --reason "first version"
    """
    from medtower.workflows.tower import Tower
    from medtower.workflows.train import train

    with err.status(f"training {model}") as status:
        trained = train(
            Tower(_settings()),
            model,
            reason=reason,
            window_days=window_days or None,
            progress=lambda step: status.update(f"training {model}: {step}"),
        )
    for verdict in trained.gates:
        out.print(f"  {verdict}", markup=False)
    out.print(
        f"{model} {trained.version} registered"
        + ("" if trained.passed else "; its gates failed, it cannot be proposed")
    )


@verb
def propose(
    model: Model,
    version: Version,
    reason: Annotated[str, typer.Option(help="Why; it stands in the release")] = "",
) -> None:
    """Open the branch that proposes a version, with its evidence.

    Example: medtower propose als_risk 2 --reason "drift of als_fs_r"
    """
    from medtower.workflows.proposal import open_proposal
    from medtower.workflows.tower import Tower

    out.print(open_proposal(Tower(_settings()), model, version, reason=reason))


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
    from medtower.workflows.approve import approve
    from medtower.workflows.tower import Tower

    def confirm(text: str) -> None:
        out.print(text, markup=False)
        if not yes and not typer.confirm("Sign this?"):
            raise typer.Exit(1)

    tower = Tower(_settings())
    environment = tower.settings.environment
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
    from medtower.workflows.merge import merge
    from medtower.workflows.tower import Tower

    tower = Tower(_settings())
    environment = tower.settings.environment
    required = tower.settings.approval_roles
    commit = merge(
        tower.repository,
        model,
        version,
        allowed_signers=tower.trust_root,
        environment=environment,
        required=required,
    )
    out.print(f"promoted by {commit}; take it back with: medtower rollback {model} --reason WHY")


@verb
def rollback(model: Model, reason: Annotated[str, typer.Option(help="Why; it stands in the commit")]) -> None:
    """Take the last promotion back: the same commit that `git revert` makes. Needs git only.

    Example: medtower rollback als_risk --reason "sensitivity critical since Monday"
    """
    from medtower.workflows.rollback import rollback
    from medtower.workflows.tower import Tower

    done = rollback(Tower(_settings()).repository, model, reason)
    out.print(f"{model}: {done.taken_back} taken back by {done.commit}; {done.to or 'no model'} serves now")


@verb
def verify(
    folder: Annotated[Path, typer.Argument(help="A model's folder: triton_models/NAME")],
    trust: Annotated[Path | None, typer.Option(help="The allowed_signers file to trust")] = None,
    environment: Annotated[str | None, typer.Option(help="The environment that approvals must name")] = None,
) -> None:
    """Check digests and signatures of what a folder releases. Offline; needs only the folder and the public keys.

    Example: medtower verify triton_models/als_risk --trust /etc/medtower/allowed_signers
    """
    from medtower.workflows.verify import verify

    chosen = _settings()
    trusted, named = trust or chosen.path("trust_root"), environment or chosen.environment
    told = verify(folder, allowed_signers=trusted, environment=named, required=chosen.approval_roles)
    out.print(told, markup=False)


# -- what the DAGs call, by hand -----------------------------------------------------------------------------------------------


@verb
def track(model: Model) -> None:
    """Compare predictions with the ground truth known today, and judge them by the contract.

    Example: medtower track als_risk
    """
    from medtower.workflows.track import track

    out.print_json(data=track(model, _tower()))


@verb
def drift(model: Model) -> None:
    """Test the last window of inputs and answers against training.

    Example: medtower drift als_risk
    """
    from medtower.workflows.detect import detect

    out.print_json(data=detect(model, _tower()))


@verb
def smoke(model: Model) -> None:
    """Ask the version that should serve for its golden inference; fails when it does not answer as signed.

    Example: medtower smoke als_risk
    """
    from medtower.workflows.smoke import smoke

    out.print(smoke(_tower(), model))


# -- processes -------------------------------------------------------------------------------------------------------------------


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
    sys.exit(run(_settings(), watch=watch))


@verb
def gateway() -> None:
    """Run the inference service on loopback.

    Example: medtower gateway
    """
    from medtower.gateway import serve

    serve.main()


def _settings() -> Any:
    """This process's settings; on a machine with a running embedded tower and no MEDTOWER_* of its own, that tower's."""
    import os

    from medtower.settings import Settings

    if "MEDTOWER_DSN" in os.environ or "MEDTOWER_MLFLOW_URI" in os.environ:
        return Settings()
    from medtower.local import operator

    try:
        home = _home()
    except NotFound:  # installed without a checkout: no embedded tower here
        return Settings()
    return operator.settings_of(home)


def _tower() -> Any:
    from medtower.workflows.tower import Tower

    return Tower(_settings())
