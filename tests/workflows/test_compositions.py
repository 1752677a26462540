"""What may be proposed where compositions are released: real git, real keys, real ONNX files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.releases import ENVIRONMENT, GRADUAL, PROMOTE, PROVENANCE, World, contract_text

from medtower.adapters.git import MAIN
from medtower.domain.contract import Contract
from medtower.domain.rollout import IMMEDIATE, Plan
from medtower.errors import Refused
from medtower.workflows import model_tree
from medtower.workflows.check import Rules, check
from medtower.workflows.compositions import check_fits
from medtower.workflows.propose import propose

PARTS = [{"name": "part", "model": "sum_model"}, {"name": "own", "model": "own"}]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "sum_model", "whole_model")


def changed(name: str, **changes: Any) -> Contract:
    return Contract.model_validate(yaml.safe_load(contract_text(name)) | changes)


def text(contract: Contract) -> str:
    return yaml.safe_dump(contract.model_dump(mode="json", by_alias=True, exclude_none=True))


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
    world.write(model_tree.path("whole_model", "dossiers", "1", "model.yaml"), text(composing()))
    release = world.repository.read(MAIN, model_tree.path("sum_model", "release.yaml"))
    assert release is not None
    whole = yaml.safe_dump(yaml.safe_load(release) | {"model": "whole_model"})
    world.write(model_tree.path("whole_model", "release.yaml"), whole)
    check_fits(world.repository, changed("sum_model"))
    with pytest.raises(Refused, match="whole_model is composed of sum_model"):
        check_fits(world.repository, narrower())
    check_fits(world.repository, narrower("third_model"))


def proposed(world: World, contract: Contract, version: int, plan: Plan = IMMEDIATE) -> None:
    """A version with this contract, proposed and approved."""
    evidence = {"evaluation.json": b"{}", "gates.json": PROMOTE, "model.yaml": text(contract).encode()}
    propose(
        world.repository,
        contract=contract,
        version=version,
        weights=world.weights(contract.name, version),
        evidence=evidence,
        pages={"approval.md": b"# Approval\n", "model_card.md": b"# Card\n"},
        provenance=PROVENANCE,
        plan=plan,
    )
    world.approve(contract.name, version)


def narrower(name: str = "sum_model") -> Contract:
    inputs = yaml.safe_load(contract_text(name))["inputs"]
    inputs[1]["range"] = [0, 5]
    return changed(name, inputs=inputs)


def test_a_composition_that_fitted_when_it_was_proposed_is_not_merged_when_its_part_has_changed(
    world: World,
) -> None:
    world.promote("sum_model", 1)
    proposed(world, composing(), 1)
    proposed(world, narrower(), 2)
    world.merge("sum_model", 2)
    with pytest.raises(Refused, match=r"rule composition.*part: input_1 of sum_model takes \[0, 5\]"):
        world.merge("whole_model", 1)


def test_a_push_past_the_verbs_is_held_to_the_same(world: World) -> None:
    world.promote("sum_model", 1)
    proposed(world, composing(), 1)
    proposed(world, narrower(), 2)
    world.merge("whole_model", 1)
    before = world.repository.head()
    world.merge_by_hand("sum_model", 2, datetime.now(UTC))
    pushed = world.repository.head()
    with pytest.raises(Refused, match="whole_model is composed of sum_model"):
        check(world.repository, before, pushed, Rules(ENVIRONMENT, trust_root=world.trust_root))


def test_while_a_part_is_rolled_out_a_composition_must_fit_its_incumbent_too(world: World) -> None:
    proposed(world, narrower(), 1)
    world.merge("sum_model", 1)
    proposed(world, changed("sum_model"), 2, GRADUAL)
    world.merge("sum_model", 2)
    with pytest.raises(Refused, match=r"takes \[0, 5\]"):
        check_fits(world.repository, composing())
    for _ in GRADUAL.stages[1:]:
        world.advance("sum_model")
    check_fits(world.repository, composing())


def test_a_contract_that_nobody_can_read_stands_for_no_version_and_stops_no_other_model(world: World) -> None:
    world.promote("sum_model", 1)
    world.write(model_tree.path("sum_model", "dossiers", "1", "model.yaml"), "- no contract")
    check_fits(world.repository, changed("third_model"))
    with pytest.raises(Refused, match="no version of sum_model is released"):
        check_fits(world.repository, composing())
