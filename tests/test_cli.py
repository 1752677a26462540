"""`medtower VERB`: help, exit codes, one clear line on stderr, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medtower import cli
from medtower.errors import (
    Conflict,
    DeadlineExceeded,
    DiskFull,
    InvalidInput,
    MedtowerError,
    NotFound,
    Unavailable,
)
from medtower.local import state, tower
from medtower.local.state import TowerState
from tests.fixtures.tower import cohort_text, contract_text

ROOT = Path(__file__).parents[1]
VERBS = sorted(str(c.name) for c in cli.app.registered_commands)
KNOWN = {
    *("demo", "up", "down", "status", "new-model", "add-model", "check-contract", "schema", "train", "propose", "approve", "merge"),
    *("rollback", "deactivate", "verify", "check", "track", "drift", "smoke", "reconcile", "gateway", "advance", "reviews", "review"),
    *("drill", "exposure", "key", "init-repo"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of this shell, and a home in which no tower was ever started."""
    for name in [n for n in os.environ if n.startswith("MEDTOWER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDTOWER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command in this process."""
    done = CliRunner().invoke(cli.app, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "small_model"
    folder.mkdir()
    (folder / "model.yaml").write_text(contract_text("small_model"))
    (folder / "cohort.yaml").write_text(cohort_text(tmp_path / "cohort.csv"))
    return folder


def test_the_verbs_are_the_ones_that_the_guides_name() -> None:
    assert set(VERBS) == KNOWN


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"medtower {verb}" in out.split("Example:")[1]


def test_help_needs_no_network_and_no_heavy_library() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('the network')\n"
        "socket.socket.connect = refuse\n"
        "from medtower.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'airflow', 'evidently', 'numpy', 'scipy', 'psycopg2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check-contract" in done.stdout


def test_the_installed_command_ends_with_the_error_s_code_and_one_line(home: Path) -> None:
    command = Path(sys.executable).parent / "medtower"
    done = subprocess.run([command, "status"], capture_output=True, text=True, check=False)
    assert done.returncode == NotFound.exit_code
    assert done.stdout == ""
    assert done.stderr == f"medtower: a tower not found in {home}; start one with `make up` or `make demo`\n"


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("wrong"),
        NotFound("it", "here"),
        Conflict("twice"),
        DiskFull("a/folder", 2, 1),
        DeadlineExceeded("MLflow", 3),
        Unavailable("postgres", "nothing answers"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_error_raised_on_purpose_becomes_its_exit_code_and_its_message(
    monkeypatch: pytest.MonkeyPatch, error: MedtowerError
) -> None:
    def fails(*_: object, **__: object) -> TowerState:
        raise error

    monkeypatch.setattr(tower, "up", fails)
    code, out, err = run("up")
    assert (code, out, err) == (error.exit_code, "", f"medtower: {error}\n")


def test_an_error_of_the_operating_system_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> TowerState:
        raise OSError(28, "No space left on device", "/somewhere/file")

    monkeypatch.setattr(tower, "up", full)
    assert run("up") == (6, "", "medtower: No space left on device: /somewhere/file\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> TowerState:
        raise ZeroDivisionError

    monkeypatch.setattr(tower, "up", broken)
    with pytest.raises(ZeroDivisionError):
        run("up")


def test_a_setting_of_the_wrong_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTOWER_GATEWAY_PORT", "the usual one")
    monkeypatch.setenv("MEDTOWER_MLFLOW_URI", "http://127.0.0.1:1")
    code, _, err = run("track", "als_risk")
    assert code == 2
    assert err == "medtower: MEDTOWER_GATEWAY_PORT: not a value that this setting takes\n"


def test_down_where_nothing_runs_says_so(home: Path) -> None:
    assert run("down") == (0, "nothing to stop: no tower was started here\n", "")
    state.credentials(home)
    assert run("down") == (0, "home: 0 processes stopped\n", "")


def test_down_deletes_a_tower_s_data_only_when_told_to(home: Path) -> None:
    state.credentials(home)
    (home / "store").mkdir()
    run("down")
    assert (home / "store").exists()
    assert run("down", "--remove") == (0, "home: 0 processes stopped, data deleted\n", "")
    assert [p.name for p in home.iterdir()] == [".lock"]


@pytest.fixture
def busy(home: Path) -> Iterator[None]:
    state.credentials(home)
    with tower.exclusive(home):
        yield


@pytest.mark.parametrize("verb", ["up", "down", "demo"])
def test_a_second_command_on_the_same_tower_is_a_conflict_that_names_the_first(busy: None, verb: str) -> None:
    code, _, err = run(verb)
    assert code == Conflict.exit_code
    assert f"process {os.getpid()}" in err


def test_down_all_stops_the_others_when_one_tower_is_busy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home.parent / "other"
    for place in (home, other):
        state.credentials(place)
    monkeypatch.setattr(tower, "homes", lambda: [other])
    stopped: list[str] = []
    monkeypatch.setattr(tower, "down", lambda place: stopped.append(place.name) or 1)
    with tower.exclusive(home):
        code, out, err = run("down", "--all")
    assert (code, stopped) == (Conflict.exit_code, ["other"])
    assert "other: 1 processes stopped" in out
    assert "home" in err


def test_a_contract_without_faults_is_told_in_one_line(model: Path) -> None:
    code, out, err = run("check-contract", str(model))
    assert (code, err) == (0, "")
    assert out == "small_model: 4 inputs, 2 KPIs, 4 approvals needed\n"


@pytest.mark.parametrize(
    ("old", "new", "line_of", "told"),
    [
        ("title: Loss", "titel: Loss", "titel:", "titel"),
        ("unit: mg/dL", "unit: mg/dl", "unit: mg/dl", "write 'mg/dL'"),
        ("target: 0.8", "target: 1.8", "auc_roc:", "impossible"),
        ("warning: 0.7", "warning: 0.9", "auc_roc:", "target ≥ warning ≥ critical"),
    ],
    ids=["unknown key", "wrong unit", "impossible threshold", "thresholds in the wrong order"],
)
def test_a_fault_in_a_contract_is_told_with_file_line_and_what_to_write(
    model: Path, old: str, new: str, line_of: str, told: str
) -> None:
    path = model / "model.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    lines = path.read_text().splitlines()
    near = next(i for i, line in enumerate(lines, 1) if line_of in line)
    code, out, err = run("check-contract", str(model))
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    fault = next(line for line in err.splitlines() if told in line)
    where = int(fault.split("model.yaml:")[1].split(":")[0])
    assert abs(where - near) <= 3, fault


def test_a_folder_without_a_contract_is_not_found(tmp_path: Path) -> None:
    code, _, err = run("check-contract", str(tmp_path))
    assert code in (2, 3)
    assert "model.yaml" in err
    assert "Traceback" not in err


def test_the_committed_schemas_are_up_to_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert run("schema", "--check") == (0, "", "")
    code, _, err = run("schema", "--check", "--folder", str(tmp_path))
    assert (code, "run: medtower schema" in err) == (1, True)
    assert run("schema", "--folder", str(tmp_path))[0] == 0
    assert run("schema", "--check", "--folder", str(tmp_path))[0] == 0


def test_a_name_that_is_no_model_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    code, _, err = run("new-model", "../evil", "--models", str(tmp_path / "models"))
    assert code == 2
    assert "is not a model name" in err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "arguments",
    [("train", "als_risk"), ("track", "als_risk"), ("drift", "als_risk"), ("merge", "als_risk", "1"), ("smoke", "als_risk")],
    ids=lambda a: a[0],
)  # fmt: skip
def test_a_verb_that_needs_a_tower_says_that_there_is_none(arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)
    assert code == NotFound.exit_code
    assert "start the tower" in err
    assert len(err.splitlines()) == 1
