from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from tests.gateway.conftest import Gateway

from medtower import log as logs
from medtower.gateway.access.guard import refusal
from medtower.gateway.observing.metrics import Metrics
from medtower.gateway.observing.observed import Observed, Observer, Seen
from medtower.gateway.problems import UNFORESEEN


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def observer(**more: Any) -> Observer:
    return Observer(Metrics(), **more)


def requests(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "medtower.gateway.observing.observed"]


def test_a_quiet_gateway_logs_every_request_and_a_busy_one_ten_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    watching = observer(clock=clock)
    for _ in range(1000):
        watching.end(watching.begin([]), 200, 0.001)
    assert len(requests(caplog)) == 10
    clock.now += 1
    for _ in range(3):
        watching.end(watching.begin([]), 200, 0.001)
    lines = requests(caplog)
    assert len(lines) == 13
    assert [line.__dict__["skipped"] for line in lines[9:12]] == [None, 990, None]


def test_failures_and_slow_requests_are_always_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watching = observer(successes=0, slow=0.5)
    watching.end(watching.begin([]), 200, 0.499)
    for code, seconds in ((200, 0.5), (422, 0.001), (503, 0.001), (500, 0.001)):
        watching.end(watching.begin([]), code, seconds)
    lines = [(r.__dict__["code"], r.__dict__["reason"], r.levelname) for r in requests(caplog)]
    assert lines == [
        (200, None, "WARNING"),
        (422, "invalid_input", "INFO"),
        (503, "unavailable", "INFO"),
        (500, "internal", "INFO"),
    ]


def test_who_asks_too_much_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watching = observer()
    for _ in range(3):
        watching.end(watching.begin([]), 429, 0.001)
    assert requests(caplog) == []
    assert watching.metrics.registry.get_sample_value("medtower_rate_limited_total") == 3


def test_requests_on_their_way_are_counted() -> None:
    watching = observer()
    gauge = lambda: watching.metrics.registry.get_sample_value("medtower_requests_in_flight")  # noqa: E731
    first, second = watching.begin([]), watching.begin([])
    assert gauge() == 2
    watching.end(first, 200, 0.1)
    assert gauge() == 1
    watching.end(second, 500, 0.1)
    assert gauge() == 0


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError


async def broken_after_its_start(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ZeroDivisionError


def ask(
    app: Any, watching: Observer, sent: list[dict[str, Any]], path: str = "/v2/models/demo_risk/infer"
) -> None:
    """Have `app` asked for a prediction; what leaves comes into `sent`."""

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": [], "scheme": "http"}
    asyncio.run(Observed(app, watching, refusal)(scope, None, send))  # type: ignore[arg-type]


def test_a_request_that_breaks_in_the_middle_ends_too() -> None:
    watching = observer()
    ask(broken, watching, [])
    value = watching.metrics.registry.get_sample_value
    assert value("medtower_requests_in_flight") == 0
    assert value("medtower_errors_total", {"model": "unknown", "reason": "internal"}) == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/ml/predict/demo_risk", UNFORESEEN.model_dump()),
        ("/v2/models/demo_risk/infer", {"error": UNFORESEEN.message}),
    ],
)
@pytest.mark.parametrize("breaks", ["the path", "the observer"])
def test_an_error_that_comes_out_of_everything_is_answered_as_any_other(
    breaks: str, path: str, said: dict[str, Any]
) -> None:
    watching = observer()
    if breaks == "the observer":
        watching.tracing = SimpleNamespace(begin=lambda _: 1 / 0)  # type: ignore[assignment]
    sent: list[dict[str, Any]] = []
    ask(broken, watching, sent, path)
    start, body = sent
    assert start["status"] == 500
    assert dict(start["headers"])[b"x-content-type-options"] == b"nosniff"
    assert json.loads(body["body"]) == said
    assert watching.metrics.registry.get_sample_value("medtower_requests_in_flight") == 0


def test_an_answer_that_broke_after_its_start_is_not_answered_twice() -> None:
    sent: list[dict[str, Any]] = []
    with pytest.raises(ZeroDivisionError):
        ask(broken_after_its_start, observer(), sent)
    assert [message["status"] for message in sent] == [200]


def test_lines_written_in_the_course_of_a_request_say_which_it_is() -> None:
    watching = observer()

    async def request(name: str) -> Seen:
        seen = watching.begin([])
        seen.request_id = name
        await asyncio.sleep(0)  # the other one comes between
        assert logs.answering.get() is seen
        return seen

    async def both() -> None:
        await asyncio.gather(request("one"), request("two"))

    asyncio.run(both())
    assert logs.answering.get() is None


def test_the_gateway_logs_ids_status_and_seconds_and_nothing_that_was_asked(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    formatted: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            formatted.append(logs.JsonFormatter().format(record))

    handler = Lines()
    logging.getLogger().addHandler(handler)
    try:
        gateway.ask(request_id="case-1", subject_id="Zaphod-4711")
        gateway.ask(request_id="case-2", subject_id="Zaphod-4711", features={"age": "Zaphod-4711"})
    finally:
        logging.getLogger().removeHandler(handler)
    of_case = [line for line in formatted if '"case-1"' in line]
    assert any(
        '"prediction request"' in line and '"code": 200' in line and '"arm": "current"' in line
        for line in of_case
    )
    assert any('"no answer"' in line and '"case-2"' in line for line in formatted)
    assert "Zaphod" not in "".join(formatted)
    assert "70.5" not in "".join(formatted)
