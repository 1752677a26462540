"""Fixtures that more than one folder of tests uses."""

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.triton", "tests.fixtures.tower"]
