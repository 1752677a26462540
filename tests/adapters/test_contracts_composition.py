"""What is wrong with a composition is told with its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtower.adapters.contracts import read
from medtower.errors import ContractInvalid

MODEL = Path(__file__).parents[2] / "triton_models" / "als_risk" / "model.yaml"
COMPOSITION = """
composition:
  parts:
    - {name: own, model: own}
    - name: screen
      model: als_screen
      inputs: {years: age}
      when:
        all_of:
          - {input: age, at_or_above: 65}
          - {part: own, below: 0.3}
  synthesis: {kind: first_confident, order: [{part: screen, floor: 0.8}, {part: own}]}
"""


def folder_with(tmp_path: Path, composition: str) -> Path:
    folder = tmp_path / "als_risk"
    folder.mkdir()
    (folder / "model.yaml").write_text(MODEL.read_text() + composition)
    return folder


def test_a_composition_is_read_from_its_file(tmp_path: Path) -> None:
    composition = read(folder_with(tmp_path, COMPOSITION)).composition
    assert composition is not None
    assert [[part.name for part in wave] for wave in composition.waves()] == [["own"], ["screen"]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("optional: true", "optionl: true", "optionl: this key is unknown; write 'optional', or remove it"),
        ("at_or_above: 65", "at_or_abov: 65", "write 'at_or_above', or remove it"),
        ("kind: first_confident", "kind: first", "kind 'first' is unknown"),
        ("floor: 0.8", "flor: 0.8", "flor: this key is unknown; write 'floor', or remove it"),
        ("floor: 0.8", "floor: 80", "less than or equal to 1"),
        ("{years: age}", "{years: agee}", "write 'age'"),
        ("part: own, below", "part: owm, below", "write 'own'"),
        ("model: als_screen", "model: als_risk", "`model: own`"),
        ("model: als_screen", "model: ALS", "use 2 to 63 characters"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = COMPOSITION.replace("model: als_screen\n", "model: als_screen\n      optional: true\n")
    assert old in text
    with pytest.raises(ContractInvalid) as caught:
        read(folder_with(tmp_path, text.replace(old, new)))
    (problem,) = caught.value.problems
    assert said in problem
    assert int(problem.split(":")[1]) > len(MODEL.read_text().splitlines())
