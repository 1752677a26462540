"""The hook that tells Argo CD of a push: exactly the applications that the push concerns, and never an obstacle to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.argocd.conftest import ARGOCD
from tests.fixtures.releases import World

ZERO = "0" * 40


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "als_risk", "kidney_risk")


def told(world: World, *pushes: tuple[str | None, str | None, str], status: int = 0) -> list[str]:
    """What the hook says to kubectl when the repository received `pushes` (old, new, ref)."""
    log, kubectl = world.root / "kubectl.log", world.root / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexit {status}\n')
    kubectl.chmod(0o755)
    lines = "".join(f"{old or ZERO} {new or ZERO} {ref}\n" for old, new, ref in pushes)
    environment = {**os.environ, "KUBECTL": str(kubectl), "GIT_DIR": str(world.repository.path)}
    subprocess.run(
        [str(ARGOCD / "post-receive")], input=lines.encode(), env=environment, check=True, timeout=60
    )
    return log.read_text().splitlines() if log.exists() else []


def test_a_promotion_refreshes_its_own_application_at_once(world: World) -> None:
    before = world.repository.head()
    after = world.write("triton_models/als_risk/release.yaml", "model: als_risk\nreason: x\n")
    assert told(world, (before, after, "refs/heads/main")) == [
        "--namespace argocd annotate application triton-models-als-risk argocd.argoproj.io/refresh=normal --overwrite"
    ]


def test_a_change_of_the_server_refreshes_the_server(world: World) -> None:
    before = world.repository.head()
    world.write("argocd/triton/deployment.yaml", "a: 1\n")
    after = world.write("argocd/model-release/verify-job.yaml", "a: 1\n")
    (line,) = told(world, (before, after, "refs/heads/main"))
    assert " application triton " in line


def test_a_branch_and_a_first_push_refresh_nothing(world: World) -> None:
    before = world.repository.head()
    after = world.write("triton_models/als_risk/release.yaml", "model: als_risk\nreason: x\n")
    assert (
        told(world, (before, after, "refs/heads/promote/als_risk-1"), (None, after, "refs/heads/main")) == []
    )


def test_a_name_that_is_no_application_is_not_passed_on(world: World) -> None:
    before = world.repository.head()
    after = world.write("triton_models/--all;x/release.yaml", "a: 1\n")
    assert told(world, (before, after, "refs/heads/main")) == []


def test_a_cluster_that_does_not_answer_never_fails_the_push(world: World) -> None:
    before = world.repository.head()
    after = world.write("triton_models/als_risk/release.yaml", "model: als_risk\nreason: x\n")
    assert len(told(world, (before, after, "refs/heads/main"), status=1)) == 1
