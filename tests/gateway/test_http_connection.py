"""Nobody fills the gateway's memory without a login, no connection stays idle, and an answer is one write."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from tests.gateway.access.process import serving
from tests.gateway.conftest import FEATURES, KEY, publish
from tests.gateway.fake_triton import FakeTriton

from medtower.gateway import serve
from medtower.gateway.app import create
from medtower.gateway.http_connection import LARGEST_HEAD, HttpConnection
from medtower.gateway.joined_writes import JoinedWrites
from medtower.settings import Settings


@pytest.fixture
def port(settings: Settings, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    publish(settings, demo_risk={1: 100})
    chosen = settings.model_copy(update={"gateway_port": 0, "gateway_grpc_port": 0})
    with serving(create(chosen), chosen, monkeypatch) as found:
        yield found


def flood(port: int, start: bytes, piece: bytes) -> int:
    """Send `start`, then `piece` after `piece` until the connection ends or 32 MiB went out; how much went out."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(start)
            while sent < 32 * 2**20:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
    return sent


HEAD = b"POST /v2/models/demo_risk/infer HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD + b"X-API-Key: ", b"k" * 4096),
        (HEAD, b"X-Header: value\r\n" * 256),
        (b"GET /", b"a" * 4096),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"X-Trailer: value\r\n" * 256),
    ],
    ids=["one header", "many headers", "the path", "trailers"],
)
def test_a_head_without_an_end_is_cut_off(port: int, start: bytes, piece: bytes) -> None:
    assert flood(port, start, piece) < 16 * 2**20  # what lies in the sockets' own buffers, and no more
    assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the timer of a connection has looked for how long it has been idle."""
    seen, look = threading.Event(), HttpConnection.timeout_keep_alive_handler

    def noted(connection: HttpConnection) -> None:
        look(connection)
        seen.set()

    monkeypatch.setattr(HttpConnection, "timeout_keep_alive_handler", noted)
    return seen


@pytest.fixture
def impatient(
    settings: Settings, triton: FakeTriton, looked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[int]:
    monkeypatch.setattr(serve, "IDLE_SECONDS", 0.3)
    publish(settings, demo_risk={1: 100})
    chosen = settings.model_copy(update={"gateway_port": 0, "gateway_grpc_port": 0})
    with serving(create(chosen), chosen, monkeypatch) as found:
        yield found


def test_a_connection_is_closed_when_it_is_idle_for_too_long_and_not_before(
    impatient: int, triton: FakeTriton, looked: threading.Event
) -> None:
    question = httpx.Request(
        "POST",
        "http://x/api/v1/ml/predict/demo_risk",
        json={"subject_id": "s", "features": FEATURES},
        headers={"X-API-Key": KEY},
    )
    head = b"POST /api/v1/ml/predict/demo_risk HTTP/1.1\r\n"
    head += b"".join(b"%b: %b\r\n" % (name, value) for name, value in question.headers.raw) + b"\r\n"
    with socket.create_connection(("127.0.0.1", impatient), timeout=10) as connection:
        connection.sendall(head + question.content)
        assert b" 200 " in connection.recv(65536)
        looked.clear()
        triton.before = lambda _: looked.wait(10)  # an answer that takes longer than a pause may
        connection.sendall(head + question.content)
        assert b" 200 " in connection.recv(65536)
        assert looked.is_set()
        assert connection.recv(65536) == b""


def test_heads_and_bodies_of_decent_size_pass_on_one_connection(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": KEY}) as http:
        for _ in range(5):
            answer = http.get("/api/v1/ml/models", headers={"X-More": "x" * (LARGEST_HEAD // 2)})
            assert answer.status_code == 200
        question = {"subject_id": "s", "features": FEATURES}
        large = b" " * 200_000 + httpx.Request("POST", "http://x", json=question).content
        assert http.post("/api/v1/ml/predict/demo_risk", content=large).status_code == 200
        parts = iter([b" " * 50_000] * 3 + [large[-200:]])
        assert http.post("/api/v1/ml/predict/demo_risk", content=parts).status_code in (200, 422)


def test_a_caller_who_waits_for_leave_to_send_the_body_gets_it(port: int) -> None:
    question = httpx.Request("POST", "http://x", json={"subject_id": "s", "features": FEATURES}).content
    head = b"POST /api/v1/ml/predict/demo_risk HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    head += b"X-API-Key: %b\r\nContent-Length: %d\r\n\r\n" % (KEY.encode(), len(question))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(question)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_caller_who_sends_no_more_gets_the_answer_all_the_same(port: int) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_answer_is_one_write(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    flush = JoinedWrites.flush

    def noted(joined: JoinedWrites) -> None:
        left.extend([len(joined._pieces)] if joined._pieces else [])
        flush(joined)

    monkeypatch.setattr(JoinedWrites, "flush", noted)
    assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    assert left == [2]  # its head and its body
