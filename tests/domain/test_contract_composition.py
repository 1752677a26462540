from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.domain.compositions import OWN, contract

from medtower.domain.contract_composition import Composition

NAMES = [f"p{n}" for n in range(8)]


def part(name: str, needs: list[str]) -> dict[str, Any]:
    """A part that is asked when all the others that it needs gave a low answer."""
    form: dict[str, Any] = {"name": name, "model": f"model_{name}"}
    return form | ({"when": {"all_of": [{"part": n, "below": 0.5} for n in needs]}} if needs else {})


@st.composite
def acyclic(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Parts, each needing some of those before it in a hidden order, listed in another order."""
    order = draw(st.permutations(NAMES[: draw(st.integers(2, len(NAMES)))]))
    parts = [
        (name, sorted(draw(st.sets(st.sampled_from(order[:n])) if n else st.just(set()))))
        for n, name in enumerate(order)
    ]
    return draw(st.permutations(parts))


def composition(parts: list[tuple[str, list[str]]]) -> Composition:
    return Composition.model_validate(
        {"parts": [part(*each) for each in parts], "synthesis": {"kind": "confidence_weighted"}}
    )


@given(acyclic())
def test_every_part_is_asked_once_and_after_what_it_needs(parts: list[tuple[str, list[str]]]) -> None:
    asked: list[str] = []
    for wave in composition(parts).waves():
        assert wave
        assert all(needed in asked for each in wave for needed in each.needs)
        asked += [each.name for each in wave]
    assert sorted(asked) == sorted(name for name, _ in parts)


@given(acyclic(), st.data())
def test_parts_that_wait_for_each_other_are_refused(
    parts: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    needs = dict(parts)
    first = data.draw(st.sampled_from(sorted(needs)))
    above = [first]  # a chain of parts, each needing the next; the last is made to need the first
    while needs[above[-1]] and data.draw(st.booleans()):
        above.append(data.draw(st.sampled_from(needs[above[-1]])))
    needs[above[-1]] = sorted({*needs[above[-1]], first})
    with pytest.raises(ValidationError, match="wait for each other"):
        composition(list(needs.items()))


SCREEN = {"name": "screen", "model": "screen_risk"}


@pytest.mark.parametrize(
    ("parts", "synthesis", "said"),
    [
        ([SCREEN, SCREEN], None, "screen is listed twice"),
        ([{"name": "own", "model": "screen_risk"}], None, "`{name: own, model: own}`"),
        ([{"name": "mine", "model": "own"}], None, "`{name: own, model: own}`"),
        ([OWN | {"inputs": {"age": "marker"}}], None, "as they are"),
        ([OWN | {"when": {"part": "sreen", "below": 1}}, SCREEN], None, "write 'screen'"),
        ([SCREEN], {"kind": "own"}, "`own` needs the part own"),
        ([OWN | {"optional": True}], {"kind": "own"}, "`own` needs the part own"),
        ([SCREEN], {"kind": "confidence_weighted", "parts": ["own"]}, "synthesis names 'own'"),
        ([SCREEN], {"kind": "confidence_weighted", "parts": ["screen", "screen"]}, "every part once"),
        ([SCREEN], {"kind": "first_confident", "order": []}, "at least 1 item"),
        ([SCREEN], {"kind": "best"}, "'confidence_weighted', 'first_confident', 'own'"),
        ([SCREEN | {"model": "whole"}], None, "its own weights are `model: own`"),
        ([SCREEN | {"inputs": {"years": "aeg"}}], None, "write 'age'"),
        ([SCREEN | {"when": {"input": "aeg", "below": 60}}], None, "write 'age'"),
        ([SCREEN | {"when": {"input": "age", "below": 600}}], None, "outside its range of [18, 110] a"),
        ([SCREEN | {"when": {"input": "age", "equals": True}}], None, "true or false, but it is a float"),
        ([SCREEN | {"when": {"input": "age", "one_of": ["F"]}}], None, "categories, but it is a float"),
        ([SCREEN | {"when": {"input": "sex", "one_of": ["W"]}}], None, "names 'W'"),
        ([SCREEN | {"when": {"input": "smoker", "above": 0}}], None, "a number, but it is a boolean"),
        ([], None, "at least 1 item"),
    ],
)
def test_a_composition_that_means_nothing_is_refused_with_what_to_write(
    parts: list[dict[str, Any]], synthesis: dict[str, Any] | None, said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        contract(parts=parts, synthesis=synthesis)
    assert said in str(caught.value)


def test_a_composition_is_not_cached_as_a_whole() -> None:
    with pytest.raises(ValidationError, match="never cached"):
        contract(parts=[SCREEN, OWN], cache_seconds=60)


def test_a_contract_without_a_composition_is_what_it_was() -> None:
    assert contract().composition is None
