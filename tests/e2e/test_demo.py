"""`make demo` as a user runs it: the whole story on a tower of its own, twice at once, and gone without a trace afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medtower.local import tower

MEDTOWER = str(Path(sys.executable).parent / "medtower")
RESULT = Path(__file__).parents[2] / "benchmarks" / "demo.json"


def medtower(home: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {"MEDTOWER_HOME": str(home)}
    return subprocess.Popen(
        [MEDTOWER, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """Home, output of the demo, and output of a second one that was started while it ran."""
    home = tmp_path_factory.mktemp("demo") / "home"
    try:
        first = medtower(home, "demo")
        assert first.stdout is not None
        told = first.stdout.readline()  # the first chapter is told: the lock is held
        second = medtower(home, "demo")
        refused = second.communicate(timeout=60)[0]
        assert second.returncode == 5
        told += first.communicate(timeout=570)[0]
        assert first.returncode == 0, told
        yield home, told, refused
    finally:
        assert "processes stopped" in medtower(home, "down").communicate(timeout=60)[0]
        assert tower.members(home) == []


@pytest.mark.e2e
@pytest.mark.timeout(700)
def test_the_story_is_told_to_its_end_and_no_request_failed(story: tuple[Path, str, str]) -> None:
    result = json.loads(RESULT.read_text())
    assert result["failed_requests"] == 0
    assert result["requests"] > 300
    assert 0 < result["revert_seconds"] < 60
    assert set(result["models"]) == {"als_risk", "alzheimer_risk", "mortality_5y", "parkinsons_severity"}
    hero = result["models"]["alzheimer_risk"]
    assert hero["versions"] == {"1": "champion", "2": "retrained on drift, serves", "3": "stale, reverted"}
    assert hero["drifted_features"] > 0
    assert hero["status"] == "ok"
    assert result["models"]["als_risk"]["drifted_features"] == 0
    assert all(
        m["predictions"] > 1000 and 0 < m["labels"] < m["predictions"] for m in result["models"].values()
    )


@pytest.mark.e2e
def test_what_was_told_agrees_with_git(story: tuple[Path, str, str]) -> None:
    log = ["git", "-C", str(story[0] / "models.git"), "log", "--format=%s", "main"]
    subjects = subprocess.run(log, capture_output=True, text=True, check=True).stdout.splitlines()
    assert subjects[0] == 'Revert "Promote alzheimer_risk to 3"'
    assert subjects[1:3] == ["Promote alzheimer_risk to 3", "Promote alzheimer_risk to 2"]
    assert sum(s.startswith("Promote ") for s in subjects) == 6


@pytest.mark.e2e
def test_everything_it_names_is_still_there_to_look_at(story: tuple[Path, str, str]) -> None:
    home = story[0]
    ports = json.loads((home / "state.json").read_text())["ports"]
    for name, path in {"airflow": "/", "mlflow": "/", "gateway": "/docs"}.items():
        answer = httpx.get(f"http://127.0.0.1:{ports[name]}{path}", follow_redirects=True, trust_env=False)
        assert answer.status_code == 200, name
    index = (home / "reports" / "index.html").read_text()
    assert "alzheimer_risk" in index
    for page in (home / "reports").rglob("*.html"):
        assert "Not medical advice" in page.read_text(), page.name


@pytest.mark.e2e
def test_a_second_demo_on_the_same_home_is_refused_in_one_line(story: tuple[Path, str, str]) -> None:
    assert story[2].count("\n") == 1
    assert "is at work on" in story[2]
    assert "Traceback" not in story[2]


@pytest.mark.e2e
def test_no_secret_is_in_a_log_or_world_readable(story: tuple[Path, str, str]) -> None:
    home = story[0]
    secrets = json.loads((home / "secrets.json").read_text())
    assert (home / "secrets.json").stat().st_mode & 0o077 == 0
    # Airflow prints nothing of them either; the password file it reads is ours and private
    assert (home / "airflow" / "passwords.json").stat().st_mode & 0o077 == 0
    values = [*secrets.pop("roles").values(), *secrets.values()]
    for log in (home / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert not [v for v in values if v in text], log.name
