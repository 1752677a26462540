"""The commands of the manifests, run for real: Triton takes its arguments, the mirror takes no forced push."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.argocd.checks import Manifest, containers
from tests.argocd.conftest import ROOT
from tests.fixtures.ports import free_port
from tests.fixtures.releases import World

from medtower.local import triton
from medtower.local.health import poll

ENVIRONMENT = ROOT / ".venv-triton"
KEY = "a-key-of-this-test"


@pytest.fixture(scope="module")
def server(tower: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The real server, started with the manifest's arguments on loopback."""
    if not ENVIRONMENT.exists():
        pytest.skip(".venv-triton is missing: make setup")
    home = tmp_path_factory.mktemp("tower")
    triton.prepare(home, ENVIRONMENT)
    manifest = next(c for name, _, c in containers(tower) if name == "triton/triton")
    port, metrics = free_port(), free_port()
    store = "/var/lib/medtower/data/store"
    told = [
        a.replace("$(TRITON_ADMIN_KEY)", KEY).replace(store, str(home / "store")) for a in manifest["args"]
    ]
    here = [
        "--http-address=127.0.0.1", f"--http-port={port}", f"--metrics-port={metrics}", "--metrics-address=127.0.0.1",
        f"--backend-directory={home / 'triton/backends'}", "--allow-gpu-metrics=false",
    ]  # fmt: skip
    binary = triton.command(home, {"http": port, "grpc": port, "metrics": metrics}, KEY)[0]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, *told, *here], env=triton.environment(home), stdout=log, stderr=subprocess.STDOUT
        )

    def live() -> bool:
        assert process.poll() is None, (home / "log").read_text()[-2000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/health/live", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        poll(live, part="Triton", deadline=60, log=home / "log")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def test_the_server_is_ready_without_a_model_so_that_the_pod_joins_its_service(server: httpx.Client) -> None:
    assert server.get("/v2/health/ready").status_code == 200


def test_control_of_models_is_closed_without_the_key(server: httpx.Client) -> None:
    index = "/v2/repository/index"
    assert server.post(index).status_code == 403
    assert server.post("/v2/repository/models/als_risk/unload").status_code == 403
    assert server.post(index, headers={"X-Admin": "another"}).status_code == 403
    assert server.post(index, headers={"X-Admin": KEY}).json() == []


@pytest.fixture
def mirror(tower: list[Manifest], tmp_path: Path) -> Iterator[tuple[World, Path, str]]:
    """A git server, the bare repository that `prepare` makes, and the one command that the mirror repeats."""
    world = World(tmp_path, "als_risk")
    place = tmp_path / "data/models.git"
    prepare = next(c for name, _, c in containers(tower) if name == "triton/prepare")
    arguments = [a.replace("/var/lib/medtower/data", str(tmp_path / "data")) for a in prepare["args"]]
    for _ in range(2):  # a pod that restarts finds it made
        subprocess.run(arguments, env={**os.environ, "GIT_DIR": str(place)}, check=True, timeout=60)
    assert (tmp_path / "data/store").is_dir()
    loop = next(c for name, _, c in containers(tower) if name == "triton/mirror")["args"][-1]
    (fetch,) = [line.strip().partition(" || ")[0] for line in loop.splitlines() if "git fetch" in line]
    yield world, place, fetch


def fetch(world: World, place: Path, command: str) -> bool:
    environment = {**os.environ, "GIT_DIR": str(place), "URL": str(world.repository.path)}
    done = subprocess.run(
        ["sh", "-euc", command], env=environment, capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


def test_the_mirror_follows_main_and_nothing_else(mirror: tuple[World, Path, str]) -> None:
    world, place, command = mirror
    world.propose("als_risk", 1)
    assert fetch(world, place, command)
    head = world.write("triton_models/als_risk/release.yaml", "model: als_risk\nreason: x\n")
    assert fetch(world, place, command)
    refs = subprocess.run(
        ["git", "for-each-ref", "--format=%(objectname) %(refname)"],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert refs.stdout.splitlines() == [f"{head} refs/heads/main"]


def test_the_mirror_takes_no_forced_push_and_no_deletion(mirror: tuple[World, Path, str]) -> None:
    world, place, command = mirror
    first = world.repository.head()
    head = world.write("triton_models/als_risk/release.yaml", "model: als_risk\nreason: x\n")
    assert fetch(world, place, command)
    world.repository.git("update-ref", "refs/heads/main", str(first))
    other = world.write("triton_models/als_risk/release.yaml", "model: als_risk\nreason: another past\n")
    assert other != head
    assert not fetch(world, place, command)
    world.repository.git("update-ref", "-d", "refs/heads/main")
    assert not fetch(world, place, command)
    assert (place / "refs/heads/main").read_text().strip() == head
