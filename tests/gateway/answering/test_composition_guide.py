"""The example in docs/guides/compositions.md is read from the page, and the gateway answers as the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.gateway.conftest import RISK, Gateway, publish

from medtower.adapters import contracts
from medtower.domain.contract import Contract

PAGE = (Path(__file__).parents[3] / "docs" / "guides" / "compositions.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def example(tmp_path: Path) -> dict[str, Contract]:
    """Both contracts of the page; the composition as people would check it, from its file."""
    whole, screen, _ = blocks("yaml")
    folder = tmp_path / "fall_risk"
    folder.mkdir()
    (folder / "model.yaml").write_text(whole)
    part = RISK | {"name": "fall_screen", "populations": []} | yaml.safe_load(screen)
    return {"fall_risk": contracts.read(folder), "fall_screen": Contract.model_validate(part)}


def subset(shown: Any, whole: Any) -> Any:
    """What of `whole` the page shows."""
    if isinstance(shown, dict):
        return {key: subset(value, whole[key]) for key, value in shown.items()}
    if isinstance(shown, list):
        return [subset(*pair) for pair in zip(shown, whole, strict=True)]
    return pytest.approx(whole, abs=1e-6) if isinstance(shown, float) else whole


def test_the_example_is_answered_as_the_page_says(gateway: Gateway, tmp_path: Path) -> None:
    publish(gateway.settings, example(tmp_path), fall_risk={1: 100}, fall_screen={2: 100})
    gateway.triton.values = {1: 0.8, 2: 0.6}
    question, shown = (json.loads(block) for block in blocks("json"))
    answer = gateway.send(json.dumps(question), "/api/v1/ml/predict/fall_risk")
    assert answer.status_code == 200
    assert shown == subset(shown, answer.json())
    assert {each.request_id for each in gateway.recorded()} == {
        "visit-12",
        "visit-12~own",
        "visit-12~screen",
    }


def test_without_the_walking_speed_the_own_weights_of_the_example_answer(
    gateway: Gateway, tmp_path: Path
) -> None:
    publish(gateway.settings, example(tmp_path), fall_risk={1: 100}, fall_screen={2: 100})
    gateway.triton.values = {1: 0.8, 2: 0.6}
    answer = gateway.ask("fall_risk", features={"age": 81, "falls": 2}).json()
    assert answer["prediction"] == pytest.approx(0.8)
    assert answer["parts"][1]["why_not"] == "its condition is not met"


def test_the_condition_of_the_page_is_one(tmp_path: Path) -> None:
    contract = example(tmp_path)["fall_risk"].model_dump(by_alias=True)
    contract["composition"]["parts"].append(
        {"name": "more", "model": "more_risk", "when": yaml.safe_load(blocks("yaml")[2])["when"]}
    )
    found = Contract.model_validate(contract).composition
    assert found is not None
    assert found.parts[-1].needs == {"screen"}
