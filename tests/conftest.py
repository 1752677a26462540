"""Fixtures that more than one folder of tests uses, and the order in which several processes share the suite."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.triton",
    "tests.fixtures.tower",
    "tests.fixtures.reconciler",
]

LONGEST = (
    "e2e",
    "integration",
    "platform",
    "workflows",
)  # folders: what takes long begins first, so that the processes end together


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """A test that configures logging, as every process of ours does, writes to a stream of its own: the next test must not inherit it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
