from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.releases import GRADUAL, World


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world in which sum_model 1 is promoted, and an exported copy of its folder. Not to be changed: copy it."""
    world = World(tmp_path_factory.mktemp("world"), "sum_model")
    world.promote("sum_model", 1)
    folder = tmp_path_factory.mktemp("tree") / "sum_model"
    world.repository.export("main:triton_models/sum_model", folder)
    return world, folder


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world in which the rollout of sum_model 2 has taken its first step, and an exported copy of its folder. Not to be changed: copy it."""
    world = World(tmp_path_factory.mktemp("rolling-world"), "sum_model")
    world.promote("sum_model", 1)
    world.promote("sum_model", 2, plan=GRADUAL)
    world.advance("sum_model")
    folder = tmp_path_factory.mktemp("rolling-tree") / "sum_model"
    world.repository.export("main:triton_models/sum_model", folder)
    return world, folder
