"""A gateway whose record goes to a real Postgres and is read from there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from tests.fixtures.postgres import Cluster
from tests.gateway.conftest import Gateway, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.adapters.postgres.predictions import PredictionStore
from medtower.settings import Settings


@pytest.fixture
def recorded(settings: Settings, triton: FakeTriton, clean_postgres: Cluster) -> Iterator[Gateway]:
    dsn = clean_postgres.dsn("medtower_gateway")
    with started(
        settings.model_copy(update={"dsn": SecretStr(dsn)}), triton, PredictionStore(dsn)
    ) as gateway:
        yield gateway


def shipped(gateway: Gateway) -> None:
    """Return when Postgres has the record."""
    wait_until(lambda: gateway.app.state.parts.record.spool.depth()[0] == 0)
