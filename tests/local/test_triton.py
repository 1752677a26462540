"""Where the embedded Triton's files and flags come from; that it really runs is what every test with a Triton shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.triton import ENVIRONMENT

from medtower.errors import NotFound
from medtower.local import triton

PORTS = {"http": 1, "grpc": 2, "metrics": 3}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    if not ENVIRONMENT.exists():
        pytest.skip("the Triton environment is missing: make setup")
    triton.prepare(tmp_path, ENVIRONMENT)
    return tmp_path


def test_preparing_lays_out_both_backends_and_the_store(home: Path) -> None:
    backends = home / "triton" / "backends"
    assert (backends / "python" / "libtriton_python.so").stat().st_size > 0
    assert (backends / "python" / "triton_python_backend_stub").stat().st_mode & 0o111
    assert "class TritonPythonModel" in (backends / "onnxruntime" / "model.py").read_text()
    assert (home / "store").is_dir()


def test_preparing_again_touches_nothing_that_a_server_has_open(home: Path) -> None:
    stub = home / "triton" / "backends" / "python" / "triton_python_backend_stub"
    before = stub.stat()
    triton.prepare(home, ENVIRONMENT)
    assert (stub.stat().st_ino, stub.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_server_listens_on_loopback_and_loads_nothing_unasked(home: Path) -> None:
    argv = triton.command(home, PORTS, "key")
    for address in ("http", "grpc", "metrics"):
        assert f"--{address}-address=127.0.0.1" in argv
    assert "--model-control-mode=explicit" in argv
    assert not any(a.startswith("--load-model") for a in argv)
    assert "--http-restricted-api=model-repository:X-Admin=key" in argv


def test_the_stub_finds_the_servers_own_environment_first(home: Path) -> None:
    assert triton.environment(home)["PATH"].startswith(str(ENVIRONMENT / "bin"))


def test_a_missing_environment_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="make setup"):
        triton.prepare(tmp_path, tmp_path / "nowhere")
    with pytest.raises(NotFound, match="prepared Triton"):
        triton.command(tmp_path, PORTS, "key")
