"""The results of `make bench-gateway` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {
    "triton_http_json": "raw Triton, HTTP JSON",
    "triton_http_binary": "raw Triton, HTTP binary",
    "triton_grpc": "raw Triton, gRPC",
    "gateway_v2_json": "Medtower gateway, V2 JSON, record on",
    "gateway_v2_binary": "Medtower gateway, V2 binary, record on",
    "gateway_grpc": "Medtower gateway, gRPC, record on",
    "gateway_rest": "Medtower gateway, REST, record on",
    "gateway_v2_json_no_record": "Medtower gateway, V2 JSON, record off",
    "gateway_v2_binary_no_record": "Medtower gateway, V2 binary, record off",
    "gateway_grpc_no_record": "Medtower gateway, gRPC, record off",
    "gateway_rest_no_record": "Medtower gateway, REST, record off",
    "mlserver": "MLServer",
    "bentoml": "BentoML",
    "ray_serve": "Ray Serve",
    "mlflow": "mlflow models serve",
    "fastapi": "bare FastAPI + ONNX Runtime",
}
HEAD = (
    "server",
    "version",
    "client",
    "requests/s, 16 callers",
    "p50 ms, 1 caller",
    "p95 ms",
    "p99 ms",
    "RSS MB",
)


def servers(found: Mapping[str, Mapping[str, Any] | None], reasons: Mapping[str, str]) -> str:
    """One row a server, in the order of `found`. What could not be measured says why."""
    rows = [_server(name, entry, reasons.get(name, "it was not measured")) for name, entry in found.items()]
    return _table(HEAD, rows)


def escalation(found: Mapping[str, float]) -> str:
    """One row a number of callers, and how many webhooks had been told when the answer came."""
    callers = [name[len("p50_c") : -len("_ms")] for name in found if name.startswith("p50_c")]
    rows = [[f"{n} at once", *(f"{found[f'{p}_c{n}_ms']:.1f}" for p in ("p50", "p95"))] for n in callers]
    told = f"{found['told_before']:,.0f} of {found['requests']:,.0f} webhooks were told before their answer came.\n"
    return _table(("emergencies", "p50 ms", "p95 ms"), rows) + "\n" + told


def soak(found: Mapping[str, Any]) -> str:
    """What the soak counted, one row a count."""
    return _table(
        ("soak", "count"), [[name.replace("_", " "), _number(count)] for name, count in found.items()]
    )


def notes(*, cores: int, seconds: float, rounds: int, found: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Under what conditions the numbers were taken."""
    triton = next((e["rss_mb"] for n, e in found.items() if e and n.startswith("triton")), None)
    behind = f" Triton, which stands behind the gateway, takes another {triton:,.0f} MB." if triton else ""
    return (
        f"{cores} cores, shared by client and server; the same 16-64-32-1 network and rows for all; one row a request; each number is the median of "
        f"{rounds} interleaved rounds of {seconds:g} s a number, after a warm-up. HTTP is asked by wrk with one thread, gRPC by a `grpc.aio` process whose own "
        f"cost limits what it can show: compare gRPC with gRPC. RSS is the server's whole tree of processes; what they share counts for each.{behind}"
    )


def _server(name: str, entry: Mapping[str, Any] | None, reason: str) -> list[str]:
    client = "grpc.aio" if "grpc" in name else "wrk"
    if entry is None:
        return [TITLES[name], "", client, f"not measured: {reason}", "", "", "", ""]
    times = [f"{entry[f'{p}_c1_ms']:.2f}" for p in ("p50", "p95", "p99")]
    return [
        TITLES[name],
        entry["version"],
        client,
        _number(entry["rps_c16"]),
        *times,
        _number(entry["rss_mb"]),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    first = sum(not _numeric(name) for name in head)
    rule = ["---" if column < first else "---:" for column in range(len(head))]
    clean = [[cell.replace("|", "/").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), rule, *clean]) + "\n"


def _numeric(name: str) -> bool:
    return any(word in name for word in ("/s", " ms", " MB", "count"))
