"""What `medtower init-repo` writes: complete, true to what it says, and never over a person's work."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.adapters.forge_server import REPOSITORY, TOKEN, Reply, serving
from typer.testing import CliRunner

from medtower import cli
from medtower.adapters.forge.pull_request import CHECK, run_title
from medtower.domain.contract import ROLES
from medtower.errors import InvalidInput, NotFound, Refused
from medtower.workflows import init_repo
from medtower.workflows.init_repo import Kind, Wanted, owners, parse_owners, plan, read_owners, write

OWNERS = {role: [f"@hospital/{role}"] for role in ROLES}
FORGES: list[Kind] = ["github", "gitea"]
PROMOTION = [
    "triton_models/als_risk/release.yaml",
    "triton_models/als_risk/config.pbtxt",
    "triton_models/als_risk/dossiers/2/manifest.json",
    *(
        f"triton_models/als_risk/dossiers/2/approvals/{role}.{end}"
        for role in ROLES
        for end in ("json", "sig")
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in init_repo.NEEDED:
        (tmp_path / name).write_text("")
    return tmp_path


def made(folder: Path, forge: Kind, **options: object) -> dict[str, str]:
    wanted = Wanted(forge, OWNERS, **options)  # type: ignore[arg-type]
    write(folder, forge, plan(folder, wanted))
    return {p: (folder / p).read_text() for p in wanted.files()}


def asked(text: str, path: str, *, expressions: bool) -> set[str]:
    """Whom a forge asks for a review of `path`: GitHub the last line that fits, Gitea every line that fits."""
    found: list[set[str]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        pattern, *people = line.split()
        if expressions:
            fits = re.fullmatch(pattern, path) is not None
        else:
            plain = pattern.removeprefix("/")
            fits = plain == "*" or fnmatch.fnmatch(path, plain + "*" if plain.endswith("/") else plain)
        if fits:
            found.append(set(people))
    return set.union(*found) if expressions else found[-1]


@pytest.mark.parametrize("forge", FORGES)
def test_a_promotion_asks_the_owners_of_all_four_roles(folder: Path, forge: Kind) -> None:
    text = made(folder, forge)[f".{forge}/CODEOWNERS"]
    people = set().union(*(asked(text, path, expressions=forge == "gitea") for path in PROMOTION))
    assert people == {f"@hospital/{role}" for role in ROLES}


@pytest.mark.parametrize("forge", FORGES)
def test_each_approval_is_owned_by_its_role(folder: Path, forge: Kind) -> None:
    text = made(folder, forge)[f".{forge}/CODEOWNERS"]
    for role in ROLES:
        people = asked(
            text, f"triton_models/als_risk/dossiers/2/approvals/{role}.json", expressions=forge == "gitea"
        )
        assert f"@hospital/{role}" in people
        assert people <= {f"@hospital/{role}", "@hospital/technical"}


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize(
    "path", ["trust/allowed_signers", ".github/workflows/medtower.yml", ".gitea/CODEOWNERS"]
)
def test_what_decides_about_others_is_not_owned_by_the_technical_role_alone(
    folder: Path, forge: Kind, path: str
) -> None:
    text = made(folder, forge)[f".{forge}/CODEOWNERS"]
    assert "@hospital/compliance" in asked(text, path, expressions=forge == "gitea")


@pytest.mark.parametrize("forge", FORGES)
def test_the_check_runs_the_base_s_code_on_what_is_proposed_and_may_only_read(
    folder: Path, forge: Kind
) -> None:
    text = made(folder, forge, environment="ward-7")[f".{forge}/workflows/medtower.yml"]
    job = yaml.safe_load(text)
    assert job["permissions"] == {"contents": "read"}
    assert job["jobs"]["check"]["name"] == CHECK
    steps = job["jobs"]["check"]["steps"]
    assert "pull_request.base.sha" in steps[0]["with"]["ref"]
    assert steps[0]["with"]["fetch-depth"] == 0
    # YAML 1.1 reads the key `on` as true; on this event the file itself is main's, too
    assert set(job[True]) == {"pull_request_target", "push"}
    assert job[True]["pull_request_target"] == {"branches": ["main"]}
    assert job["run-name"] == run_title("${{ github.event.pull_request.head.sha || github.sha }}")
    # the ref of this event is main's: by it alone, one pull request's check would cancel all others'
    assert "pull_request.number" in job["concurrency"]["group"]
    assert "secrets." not in text
    assert all("head" not in str(step.get("with")) for step in steps)
    assert steps[-1]["env"]["MEDTOWER_ENVIRONMENT"] == "ward-7"
    assert json.loads(steps[-1]["env"]["MEDTOWER_APPROVAL_ROLES"]) == list(ROLES)
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
        # what a pull request names never becomes shell text
        assert "${{" not in step.get("run", "")


def test_the_check_s_command_is_one_that_medtower_understands(folder: Path) -> None:
    job = yaml.safe_load(made(folder, "github")[".github/workflows/medtower.yml"])
    words = re.findall(r"medtower (check [^;\n]*)", job["jobs"]["check"]["steps"][-1]["run"])
    assert len(words) == 2
    import typer

    verbs = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    for line in words:
        verbs["check"].make_context("check", line.split()[1:])


@pytest.mark.parametrize("forge", FORGES)
def test_the_template_has_the_four_check_lists(folder: Path, forge: Kind) -> None:
    text = made(folder, forge)[f".{forge}/pull_request_template.md"]
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [r.capitalize() for r in ROLES]
    assert all("- [ ]" in part for part in text.split("### ")[1:])


@pytest.mark.parametrize("forge", FORGES)
def test_the_shell_of_the_check_is_correct(folder: Path, forge: Kind) -> None:
    job = yaml.safe_load(made(folder, forge)[f".{forge}/workflows/medtower.yml"])
    for step in job["jobs"]["check"]["steps"]:
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_a_second_run_changes_nothing(folder: Path) -> None:
    before = made(folder, "github")
    changes = plan(folder, Wanted("github", OWNERS))
    assert {c.action for c in changes} == {"same"}
    assert made(folder, "github") == before


def test_other_owners_update_what_no_person_touched(folder: Path) -> None:
    made(folder, "github")
    other = Wanted("github", OWNERS | {"final": ["@head"]})
    changes = {c.path: c for c in plan(folder, other)}
    assert changes[".github/CODEOWNERS"].action == "update"
    assert "+/triton_models/*/release.yaml @head" in changes[".github/CODEOWNERS"].diff
    write(folder, "github", list(changes.values()))
    assert "@head" in (folder / ".github/CODEOWNERS").read_text()


def test_what_a_person_changed_is_kept_unless_forced_and_its_difference_is_shown(folder: Path) -> None:
    made(folder, "gitea")
    path = folder / ".gitea/CODEOWNERS"
    path.write_text("mine\n")
    (change,) = [c for c in plan(folder, Wanted("gitea", OWNERS)) if c.action != "same"]
    assert change.action == "kept" and "-mine" in change.diff
    made(folder, "gitea")
    assert path.read_text() == "mine\n"
    write(folder, "gitea", plan(folder, Wanted("gitea", OWNERS), force=True))
    assert path.read_text() != "mine\n"


def test_a_file_that_was_there_before_is_a_person_s(folder: Path) -> None:
    (folder / ".github").mkdir()
    (folder / ".github/CODEOWNERS").write_text("* @somebody\n")
    made(folder, "github")
    assert (folder / ".github/CODEOWNERS").read_text() == "* @somebody\n"
    assert {c.path: c.action for c in plan(folder, Wanted("github", OWNERS))}[".github/CODEOWNERS"] == "kept"


def test_a_link_out_of_the_repository_is_not_written_through(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / ".github").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="link"):
        plan(folder, Wanted("github", OWNERS))


def test_a_folder_without_the_lock_is_no_repository_that_can_check_itself(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"medtower\.lock"):
        plan(tmp_path, Wanted("github", OWNERS))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"technical": "@a"},
        OWNERS | {"final": []},
        OWNERS | {"final": "somebody"},
        OWNERS | {"final": ["@a b"]},
        OWNERS | {"final": ["@a\n* @attacker"]},
        OWNERS | {"nurse": ["@a"]},
    ],
)
def test_owners_that_are_incomplete_or_no_accounts_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="owners"):
        owners(value)


def test_owners_come_from_a_file_or_from_options(tmp_path: Path) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(yaml.safe_dump(OWNERS))
    assert read_owners(path) == OWNERS
    assert parse_owners([f"{r}=@hospital/{r}" for r in ROLES]) == OWNERS
    with pytest.raises(InvalidInput, match="anchor"):
        path.write_text("a: &x [1]\nb: *x\n")
        read_owners(path)


def test_an_environment_that_would_change_the_workflow_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="MEDTOWER_ENVIRONMENT"):
        plan(folder, Wanted("github", OWNERS, environment='x"\n        run: true'))


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("MEDTOWER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDTOWER_HOME", str(tmp_path / "home"))


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, list(arguments))
    return done.exit_code, done.output


@pytest.mark.usefixtures("clean")
def test_the_command_shows_writes_and_applies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = [word for role in ROLES for word in ("--owner", f"{role}=@{role}")]
    code, said = run("init-repo", str(folder), "--forge", "gitea", *owned, "--dry-run")
    assert (
        code == 0
        and ".gitea/CODEOWNERS: create" in said
        and "+triton_models/[^/]*/release[.]yaml @final" in said
    )
    assert not (folder / ".gitea").exists()
    code, said = run("init-repo", str(folder), "--forge", "gitea", *owned)
    assert code == 0 and "--apply" in said and (folder / ".gitea/branch-protection.json").exists()
    with serving() as fake:
        at = f"/api/v1/repos/{REPOSITORY}"
        fake.on("PATCH", at, {})
        fake.on("POST", f"{at}/branch_protections", Reply(201, {}))
        for name, value in (("URL", fake.url), ("REPOSITORY", REPOSITORY), ("TOKEN", TOKEN)):
            monkeypatch.setenv(f"MEDTOWER_FORGE_{name}", value)
        code, said = run("init-repo", str(folder), "--forge", "gitea", "--apply")
        assert (code, TOKEN in said) == (0, False)
        assert [a.method for a in fake.asked] == ["PATCH", "PATCH", "POST"]
        assert fake.asked[-1].body["required_approvals"] == 1


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    "wrong", [["--forge", "gitlab"], ["--forge", "github"], ["--forge", "github", "--owner", "final=@x"]]
)
def test_a_wrong_option_is_told_and_writes_nothing(folder: Path, wrong: list[str]) -> None:
    code, _ = run("init-repo", str(folder), *wrong)
    assert code == InvalidInput.exit_code
    assert not list(folder.glob(".g*"))


def test_the_settings_of_a_changed_file_are_checked(folder: Path) -> None:
    made(folder, "github", bots=["tower[bot]"])
    found = init_repo.settings_of(folder, "github")
    assert found["branch"]["required_pull_request_reviews"]["bypass_pull_request_allowances"]["users"] == [
        "tower[bot]"
    ]
    (folder / ".github/branch-protection.json").write_text("[]")
    with pytest.raises(InvalidInput, match="branch-protection"):
        init_repo.settings_of(folder, "github")
