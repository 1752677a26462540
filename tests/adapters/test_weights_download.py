"""Downloads of weights: against a small server that can go on in the middle, through a proxy that breaks connections."""

from __future__ import annotations

import hashlib
import http.server
import logging
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.fixtures.proxy import Proxy

from medtower.adapters import weights_download
from medtower.adapters.weights_download import Artifacts
from medtower.errors import DigestMismatch, NotFound, Refused, Unavailable

CONTENT = hashlib.shake_128(b"seeded").digest(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SOURCE = "mlflow-artifacts:/1/models/m-1/artifacts/model.onnx"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ranges: list[str | None]
    resumes: bool

    def do_GET(self) -> None:
        if self.path != "/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts/model.onnx":
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(re.findall(r"\d+", asked)[0]) if asked and self.resumes else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        for place in range(start, len(CONTENT), 100_000):
            self.wfile.write(CONTENT[place : min(place + 100_000, len(CONTENT))])

    def log_message(self, *_: object) -> None:
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # the connections that the proxy breaks


class AnswerProxy(Proxy):
    """Counts what the server sends: it breaks answers, not requests."""

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        super()._pump(source, sink, not counted)


@pytest.fixture
def handler() -> type[Handler]:
    return type("Fresh", (Handler,), {"ranges": [], "resumes": True})


@pytest.fixture
def proxy(handler: type[Handler]) -> Iterator[Proxy]:
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    front = AnswerProxy(server.server_address[1])
    yield front
    front.cut()
    server.shutdown()
    server.server_close()
    thread.join()


def download(proxy: Proxy, to: Path, *, size: int = len(CONTENT), sha256: str = SHA256) -> None:
    artifacts = Artifacts(f"http://{proxy.address}", timeout=10)
    artifacts.download(SOURCE, to, size=size, sha256=sha256, label="als_risk/1")


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_that_broke_off_is_gone_on_with(
    proxy: Proxy, handler: type[Handler], tmp_path: Path, resumes: bool
) -> None:
    handler.resumes = resumes
    to = tmp_path / "weights"
    proxy.cut_after(1_000_000)
    with pytest.raises(Unavailable, match="broke off"):
        download(proxy, to)
    there = to.stat().st_size
    assert 0 < there < len(CONTENT)
    with pytest.raises(Unavailable):
        download(proxy, to)  # still cut: what is there stays
    assert to.stat().st_size == there
    proxy.mend()
    download(proxy, to)
    assert to.read_bytes() == CONTENT
    assert handler.ranges == [None, f"bytes={there}-"]


def test_what_is_complete_is_not_asked_for_again(
    proxy: Proxy, handler: type[Handler], tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(CONTENT)
    download(proxy, tmp_path / "weights")
    assert handler.ranges == []


@pytest.mark.parametrize("part", [b"", b"x" * 1000, CONTENT + b"x", b"x" * len(CONTENT)])
def test_a_part_of_other_bytes_is_never_taken(proxy: Proxy, tmp_path: Path, part: bytes) -> None:
    to = tmp_path / "weights"
    to.write_bytes(part)
    for _ in range(2):
        try:
            download(proxy, to)
        except DigestMismatch:
            assert not to.exists()
    assert to.read_bytes() == CONTENT


@pytest.mark.parametrize(("size", "sha256"), [(len(CONTENT), "0" * 64), (1000, SHA256)])
def test_other_bytes_or_more_than_signed_are_refused_and_removed(
    proxy: Proxy, tmp_path: Path, size: int, sha256: str
) -> None:
    with pytest.raises(DigestMismatch, match="als_risk/1 as fetched"):
        download(proxy, tmp_path / "weights", size=size, sha256=sha256)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "http://127.0.0.1:1/model.onnx",
        "s3://bucket/model.onnx",
        "/etc/passwd",
        "mlflow-artifacts:/1/../../etc/passwd",
        "mlflow-artifacts:/1/%2e%2e/passwd",
        "mlflow-artifacts:/1/model.onnx?x=y",
        "mlflow-artifacts:/.hidden/model.onnx",
        "mlflow-artifacts:/1/model.onnx\n",
        "models:/als_risk/1",
        "",
    ],
)
def test_only_mlflow_s_own_artifact_store_is_a_source(
    proxy: Proxy, handler: type[Handler], source: str
) -> None:
    with pytest.raises(Refused, match="MLflow's own artifact store"):
        Artifacts(f"http://{proxy.address}").read(source, 100)
    assert handler.ranges == []


def test_small_files_are_read_whole_or_not_at_all(proxy: Proxy) -> None:
    artifacts = Artifacts(f"http://{proxy.address}")
    assert artifacts.read(SOURCE, len(CONTENT)) == CONTENT
    with pytest.raises(Refused, match="more than 1000 bytes"):
        artifacts.read(SOURCE, 1000)
    with pytest.raises(NotFound):
        artifacts.read("mlflow-artifacts:/1/nothing", 1000)


def test_progress_is_logged_where_there_is_no_terminal(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(weights_download, "SAY_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        download(proxy, tmp_path / "weights")
    assert "fetching als_risk/1: 100 % of 2 MiB" in caplog.text


def test_a_terminal_gets_a_bar(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(weights_download, "sys", terminal)
    download(proxy, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT
