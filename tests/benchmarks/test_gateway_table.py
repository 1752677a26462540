"""The tables of `make bench-gateway`."""

from __future__ import annotations

from benchmarks import gateway, gateway_escalation, gateway_table

ENTRY = {
    "rps_c16": 5123.4,
    "p50_c1_ms": 0.351,
    "p95_c1_ms": 0.62,
    "p99_c1_ms": 1.255,
    "rss_mb": 96.4,
    "version": "1.7.1",
}


def test_a_measured_server_is_a_row_of_its_numbers() -> None:
    head, rule, row = gateway_table.servers({"mlserver": ENTRY}, {}).splitlines()
    assert head.split(" | ")[0] == "| server"
    assert rule == "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert row == "| MLServer | 1.7.1 | wrk | 5,123 | 0.35 | 0.62 | 1.25 | 96 |"


def test_a_server_that_could_not_be_measured_says_why_in_its_row() -> None:
    text = gateway_table.servers({"bentoml": None}, {"bentoml": "it answers 500 | on\nport 1"})
    assert (
        text.splitlines()[2] == "| BentoML |  | wrk | not measured: it answers 500 / on port 1 |  |  |  |  |"
    )


def test_a_row_says_which_client_asked() -> None:
    rows = gateway_table.servers({"triton_grpc": ENTRY, "triton_http_json": ENTRY}, {}).splitlines()[2:]
    assert [row.split(" | ")[2] for row in rows] == ["grpc.aio", "wrk"]


def test_every_target_has_a_title() -> None:
    assert set(gateway.selected([])) == set(gateway_table.TITLES)


def test_only_selects_by_the_beginning_of_names() -> None:
    assert gateway.selected(["triton", "fast"]) == [
        "triton_http_json",
        "triton_http_binary",
        "triton_grpc",
        "fastapi",
    ]
    assert gateway.selected(["nothing"]) == []


def test_escalation_is_a_row_a_number_of_callers_and_says_who_was_told_in_time() -> None:
    late, early = gateway_escalation.Told(), gateway_escalation.Told()
    early.took_ms, early.answer, early.webhook = [1.0, 3.0], {"a": 2.0, "b": 2.0}, {"a": 1.5, "b": 2.0}
    late.took_ms, late.answer, late.webhook, late.undelivered = [300.0], {"c": 5.0}, {"c": 6.0}, 1
    found = gateway_escalation.summary({1: early, 16: late})
    assert found == {
        "p50_c1_ms": 2.0, "p95_c1_ms": 2.9, "p50_c16_ms": 300.0, "p95_c16_ms": 300.0,
        "requests": 3, "told_before": 2, "undelivered": 1,
    }  # fmt: skip
    assert gateway_table.escalation(found).splitlines() == [
        "| emergencies | p50 ms | p95 ms |",
        "| --- | ---: | ---: |",
        "| 1 at once | 2.0 | 2.9 |",
        "| 16 at once | 300.0 | 300.0 |",
        "",
        "2 of 3 webhooks were told before their answer came.",
    ]


def test_the_soak_is_a_row_a_count() -> None:
    text = gateway_table.soak({"acknowledged": 12000, "lost": 0})
    assert text.splitlines() == [
        "| soak | count |",
        "| --- | ---: |",
        "| acknowledged | 12,000 |",
        "| lost | 0 |",
    ]


def test_the_notes_name_the_conditions_and_what_stands_behind_the_gateway() -> None:
    text = gateway_table.notes(
        cores=2, seconds=10, rounds=3, found={"triton_http_json": ENTRY, "mlflow": None}
    )
    assert text.startswith("2 cores, shared by client and server")
    assert "3 interleaved rounds of 10 s" in text
    assert "another 96 MB" in text
    assert "behind the gateway" not in gateway_table.notes(
        cores=2, seconds=10, rounds=3, found={"fastapi": ENTRY}
    )
