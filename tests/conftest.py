"""Fixtures that more than one folder of tests uses, and which tests stay together when two processes share the suite."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.triton",
    "tests.fixtures.tower",
    "tests.fixtures.reconciler",
]

TOWER = "tower"  # too dear to start in every process: all tests that use it run in the same
LONGEST = ("e2e", TOWER, "platform")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup`, a file is a group, so that its module fixtures are started once; the longest groups go first."""
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: next((i for i, n in enumerate(LONGEST) if n in groups[item]), len(LONGEST)))


def _group(item: pytest.Item) -> str:
    return (
        TOWER
        if TOWER in getattr(item, "fixturenames", ())
        else item.path.relative_to(item.config.rootpath).as_posix()
    )
