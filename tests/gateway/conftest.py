"""A gateway on real SQLite and real HTTP, before a Triton that can be made to fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import running

from medtower.adapters import api_keys
from medtower.domain.access import CallerRole
from medtower.domain.api_key import ApiKey, HashedSecret
from medtower.domain.contract import Contract
from medtower.domain.prediction import Failure, Prediction, Shadowed
from medtower.domain.routing import Arm, Route, RoutingTable, Shadow
from medtower.gateway import watched
from medtower.gateway.app import create
from medtower.gateway.recording.shipper import Sink
from medtower.serving import routing
from medtower.settings import Settings

KEY = api_keys.new_secret("clients")
DIGESTS = {1: "a" * 64, 2: "b" * 64, 3: "c" * 64, 4: "d" * 64}

RISK: dict[str, Any] = {
    "schema": "medtower/contract/v1",
    "name": "demo_risk",
    "title": "Risk of something",
    "task": "classification",
    "intended_use": "tests",
    "out_of_scope": ["patients"],
    "owner": "clinical@example.org",
    "inputs": [
        {"name": "age", "dtype": "float", "unit": "a", "range": [18, 110]},
        {"name": "sex", "dtype": "category", "categories": ["F", "M"]},
        {"name": "visits", "dtype": "integer", "unit": "{count}", "range": [0, 100]},
        {"name": "smoker", "dtype": "boolean"},
        {
            "name": "marker", "dtype": "float", "unit": "mg/L", "range": [0, 6e38],
            "missing": "impute", "absent_means": "it was not measured",
        },
    ],
    "output": {
        "name": "risk", "unit": "{probability}", "description": "risk within a year", "positive": "event",
        "threshold": 0.5, "confidence_floor": 0.6,
    },
    "kpis": {"auc_roc": {"target": 0.9, "warning": 0.88, "critical": 0.85}},
    "gates": {"primary": "auc_roc"},
}  # fmt: skip
SCORE = RISK | {
    "name": "demo_score",
    "task": "regression",
    "inputs": RISK["inputs"][:1],
    "output": {"name": "score", "unit": "{score}", "description": "a score", "range": [0, 10]},
    "kpis": {"mae": {"target": 0.1, "warning": 0.2, "critical": 0.3}},
    "gates": {"primary": "mae"},
}
FEATURES = {"age": 70.5, "sex": "M", "visits": 3, "smoker": True, "marker": None}


@dataclass
class Gateway:
    """The parts of one running gateway."""

    http: httpx.Client
    app: FastAPI
    settings: Settings
    triton: FakeTriton
    url: str = ""
    seen: list[str] = field(default_factory=list)

    def ask(self, model: str = "demo_risk", /, **changes: Any) -> httpx.Response:
        question = {"subject_id": "subject-1", "features": FEATURES if model == "demo_risk" else {"age": 70}}
        return self.http.post(f"/api/v1/ml/predict/{model}", json=question | changes)

    def send(self, content: bytes | str, path: str = "/api/v1/ml/predict/demo_risk") -> httpx.Response:
        return self.http.post(path, content=content, headers={"Content-Type": "application/json"})

    def publish(self, *, shadow: int | None = None, **weights: dict[int, float]) -> None:
        publish(self.settings, shadow=shadow, **weights)

    def recorded(self) -> list[Prediction]:
        return [item for item in self.spooled() if isinstance(item, Prediction)]

    def failures(self) -> list[Failure]:
        return [item for item in self.spooled() if isinstance(item, Failure)]

    def shadows(self) -> list[Shadowed]:
        return [item for item in self.spooled() if isinstance(item, Shadowed)]

    def spooled(self) -> list[Any]:
        return [w.item for w in self.app.state.parts.record.spool.waiting(1000)]

    def metric(self, name: str) -> float:
        """The value of one sample, 0 when it is not there."""
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


def contracts() -> list[Contract]:
    return [Contract.model_validate(RISK), Contract.model_validate(SCORE)]


def publish(
    settings: Settings,
    approved: dict[str, Contract] | None = None,
    candidates: dict[int, Contract] | None = None,
    /,
    shadow: int | None = None,
    **weights: dict[int, float],
) -> None:
    """Route each model to the versions with the weights given (`approved`: under other contracts); no versions close it.

    The first is `current`, a second is its `candidate`. `shadow` goes with every model that has one arm. `candidates` are contracts by
    version.
    """
    by_name = {c.name: c for c in contracts()} | (approved or {})
    own = candidates or {}
    routes = {
        model: Route(
            model=model,
            arms=[
                Arm(name=name, version=v, digest=DIGESTS[v], weight=w, contract=own.get(v, by_name[model]))
                for name, (v, w) in zip(("current", "candidate"), arms.items(), strict=False)
            ],
            shadow=Shadow(version=shadow, digest=DIGESTS[shadow], contract=own.get(shadow, by_name[model]))
            if shadow and len(arms) == 1
            else None,
            reason="" if arms else "withdrawn after an incident",
        )
        for model, arms in weights.items()
    }
    table = RoutingTable(commit="c0ffee", published_at=datetime.now(UTC), routes=routes)
    routing.publish(settings.path("routing"), table)


@pytest.fixture(autouse=True)
def every_request_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test publishes counts at once, however fast the machine is."""
    monkeypatch.setattr(watched, "SHARED_SECONDS", 0.0)


@pytest.fixture(scope="module")
def triton_server() -> Iterator[tuple[FakeTriton, str]]:
    fake = FakeTriton()
    with running(fake) as url:
        yield fake, url


@pytest.fixture
def triton(triton_server: tuple[FakeTriton, str]) -> FakeTriton:
    fake, _ = triton_server
    fake.__init__()  # type: ignore[misc]
    return fake


@pytest.fixture
def settings(tmp_path: Path, triton_server: tuple[FakeTriton, str]) -> Settings:
    return settings_of(tmp_path, triton_server[1])


def settings_of(home: Path, triton_url: str) -> Settings:
    """Settings of a gateway that knows one key, KEY, of an administrator who may ask as much as there is to ask."""
    found = Settings(
        home=home,
        triton_url=triton_url.removeprefix("http://"),
        gateway_key=KEY,
        subject_key="key-of-the-pseudonyms",
    )
    grant(found, "clients", KEY, rate=1e6, burst=1_000_000)
    return found


def grant(settings: Settings, identity: str, secret: str, role: CallerRole = "admin", **more: Any) -> None:
    """Have the gateway know `secret` as the key of `identity`."""
    hashed = HashedSecret(sha256=api_keys.digest(secret))
    key = ApiKey(id=identity, role=role, created=datetime.now(UTC), secrets=(hashed,), **more)
    api_keys.register(settings.path("access"), key)


@pytest.fixture
def gateway(settings: Settings, triton: FakeTriton) -> Iterator[Gateway]:
    with started(settings, triton) as gateway:
        yield gateway


@contextmanager
def started(settings: Settings, triton: FakeTriton, sink: Sink | None = None) -> Iterator[Gateway]:
    """A running gateway that routes `demo_risk` to version 1 and `demo_score` to version 2."""
    publish(settings, demo_risk={1: 100}, demo_score={2: 100})
    app = create(settings, sink=sink)
    with running(app) as url, httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=10) as http:
        yield Gateway(http, app, settings, triton, url)
