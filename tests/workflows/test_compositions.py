"""What may be proposed where compositions are released: real git, real keys, real ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.releases import World, contract_text

from medtower.adapters.git import MAIN
from medtower.domain.contract import Contract
from medtower.errors import Refused
from medtower.workflows import model_tree
from medtower.workflows.compositions import check_fits

PARTS = [{"name": "part", "model": "sum_model"}, {"name": "own", "model": "own"}]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "sum_model", "whole_model")


def changed(name: str, **changes: Any) -> Contract:
    return Contract.model_validate(yaml.safe_load(contract_text(name)) | changes)


def composing(model: str = "sum_model") -> Contract:
    parts = [PARTS[0] | {"model": model}, PARTS[1]]
    return changed("whole_model", composition={"parts": parts, "synthesis": {"kind": "confidence_weighted"}})


def test_a_composition_of_what_is_not_released_is_not_proposed(world: World) -> None:
    with pytest.raises(Refused, match="part: no version of sum_model is released"):
        check_fits(world.repository, composing())
    world.promote("sum_model", 1)
    check_fits(world.repository, composing())
    with pytest.raises(Refused, match="no version of other_model is released"):
        check_fits(world.repository, composing("other_model"))


def test_a_version_that_would_take_a_released_composition_out_of_service_is_not_proposed(
    world: World,
) -> None:
    world.promote("sum_model", 1)
    contract = yaml.safe_dump(composing().model_dump(mode="json", by_alias=True, exclude_none=True))
    world.write(model_tree.path("whole_model", "dossiers", "1", "model.yaml"), contract)
    release = world.repository.read(MAIN, model_tree.path("sum_model", "release.yaml"))
    assert release is not None
    whole = yaml.safe_dump(yaml.safe_load(release) | {"model": "whole_model"})
    world.write(model_tree.path("whole_model", "release.yaml"), whole)
    check_fits(world.repository, changed("sum_model"))
    narrower = yaml.safe_load(contract_text("sum_model"))["inputs"]
    narrower[1]["range"] = [0, 5]
    with pytest.raises(Refused, match="whole_model is composed of sum_model"):
        check_fits(world.repository, changed("sum_model", inputs=narrower))
    check_fits(world.repository, changed("third_model", inputs=narrower))
