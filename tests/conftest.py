"""Fixtures that more than one folder of tests uses, and the order in which several processes share the suite."""

from __future__ import annotations

import logging
import sys
import threading
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

DECIDING = (
    "domain",
    "statistics",
    "evaluation",
    "drift",
    "rollout",
    "releases",
    "serving",
    "audit",
)  # folders: the rooms that have a floor of coverage reach it by their own tests; tracing the others would take half their time again


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
    for item in items:
        if _folder(item) not in DECIDING:
            item.add_marker(pytest.mark.untraced)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run an untraced test without coverage. (pytest-cov's own marker for this has no effect in a process of xdist: there are two collectors.)"""
    traced = sys.gettrace(), threading.gettrace()
    if item.get_closest_marker("untraced"):
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    try:
        return (yield)
    finally:
        sys.settrace(traced[0])
        threading.settrace(traced[1])  # type: ignore[arg-type]


def _place(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(item.config.rootpath / "tests").parts[0]


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """A test that configures logging, as every process of ours does, writes to a stream of its own: the next test must not inherit it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
