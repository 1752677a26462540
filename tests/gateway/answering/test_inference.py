"""Triton's faults, one by one: what the caller sees, and that nothing of it is on record."""

from __future__ import annotations

import asyncio
import socket
from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.gateway.conftest import Gateway, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.errors import Unavailable
from medtower.gateway.answering.inference import Triton
from medtower.settings import Settings


@pytest.mark.parametrize(
    ("fault", "status", "code", "message"),
    [
        ("nan", 502, "MODEL_MISBEHAVED", "finite"),
        ("infinite", 502, "MODEL_MISBEHAVED", "finite"),
        ("shape", 502, "MODEL_MISBEHAVED", "float32"),
        ("name", 502, "MODEL_MISBEHAVED", "float32"),
        ("two", 502, "MODEL_MISBEHAVED", "float32"),
        ("empty", 502, "MODEL_MISBEHAVED", "float32"),
        ("text", 502, "MODEL_MISBEHAVED", "float32"),
        ("500", 502, "MODEL_MISBEHAVED", "answered 500"),
        ("503", 503, "UNAVAILABLE", "Triton"),
        ("another's", 503, "UNAVAILABLE", "answered another question"),
    ],
)
def test_05_what_triton_gets_wrong_is_withheld(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, fault: str, status: int, code: str, message: str
) -> None:
    gateway.triton.fault = fault
    answer = gateway.ask()
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert message in answer.json()["message"]
    assert not gateway.recorded()
    assert message in " ".join(r.reason for r in caplog.records if hasattr(r, "reason"))
    assert gateway.metric(f'medtower_requests_total{{code="{status}",model="demo_risk",version="1"}}') == 1


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_probability_outside_0_and_1_is_withheld(gateway: Gateway, value: float) -> None:
    gateway.triton.value = value
    assert gateway.ask().status_code == 502
    assert not gateway.recorded()


def test_an_answer_in_json_is_understood_as_well(gateway: Gateway) -> None:
    gateway.triton.fault = "json"
    assert gateway.ask().json()["prediction"] == 0.75


def test_04_a_hanging_triton_is_given_up_after_its_deadline(gateway: Gateway) -> None:
    gateway.triton.fault = "hang"
    answer = gateway.ask()
    assert (answer.status_code, answer.json()["error"]) == (504, "DEADLINE_EXCEEDED")
    assert 2 <= answer.elapsed.total_seconds() < 4
    assert not gateway.recorded()
    gateway.triton.fault = ""
    assert gateway.ask().status_code == 200


def test_04_after_five_that_hang_the_next_is_told_at_once_until_triton_answers_again(
    gateway: Gateway,
) -> None:
    gateway.triton.fault = "hang"
    with ThreadPoolExecutor(5) as callers:
        codes = {answer.status_code for answer in callers.map(lambda _: gateway.ask(), range(5))}
    assert codes == {504}
    told = gateway.ask()
    assert (told.status_code, told.json()["error"]) == (503, "UNAVAILABLE")
    assert "5 times in a row" in told.json()["message"]
    assert told.elapsed.total_seconds() < 1
    assert gateway.metric('medtower_circuit_open{model="demo_risk",version="1"}') == 1
    assert told.headers["retry-after"]
    gateway.triton.fault = ""
    wait_until(lambda: gateway.ask().status_code == 200)
    assert len(gateway.recorded()) == 1


def test_04_a_triton_that_is_not_there_is_503_at_once(settings: Settings, triton: FakeTriton) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        elsewhere = settings.model_copy(update={"triton_url": f"127.0.0.1:{nobody.getsockname()[1]}"})
        with started(elsewhere, triton) as gateway:
            answer = gateway.ask()
            assert (answer.status_code, answer.json()["error"]) == (503, "UNAVAILABLE")
            assert answer.headers["retry-after"]
            assert gateway.metric("medtower_triton_up") == 0
    with started(settings, triton) as gateway:
        assert gateway.ask().status_code == 200
        assert gateway.metric("medtower_triton_up") == 1


def test_a_connection_that_breaks_is_unavailable() -> None:
    async def ask() -> None:
        async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        triton = Triton(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            with pytest.raises(Unavailable, match="Triton"):
                await triton.infer("demo_risk", 1, array("f", [1.0]))
        finally:
            await triton.close()
            server.close()

    asyncio.run(ask())
