from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.compositions import AGE, MARKER, OWN, SEX, SMOKER, contract, score

from medtower.domain.composition_fit import DEEPEST, misfits, withheld
from medtower.domain.contract import Contract
from medtower.domain.routing import Arm, Route

SCREEN = {"name": "screen", "model": "screen_risk"}


def fit(part: dict[str, Any], *theirs: Contract, synthesis: dict[str, Any] | None = None) -> list[str]:
    """What is wrong when the models called `theirs` are released beside a composition of `part` and its own weights."""
    whole = contract(parts=[SCREEN | part, OWN], synthesis=synthesis)
    return misfits(whole, {each.name: [each] for each in theirs})


def screen(*inputs: dict[str, Any], **changes: Any) -> Contract:
    return contract("screen_risk", list(inputs) or [AGE], **changes)


def test_a_part_that_takes_what_comes_fits() -> None:
    assert fit({}, screen(AGE, SEX, SMOKER, MARKER)) == []
    assert fit({"inputs": {"years": "age"}}, screen(AGE | {"name": "years", "range": [0, 120]})) == []


def test_what_the_part_imputes_need_not_be_given() -> None:
    other = {"name": "other", "dtype": "float", "unit": "1", "range": [0, 1]}
    assert fit({}, screen(AGE, other | {"missing": "impute", "absent_means": "not ordered"})) == []
    assert "needs other in 1" in fit({}, screen(AGE, other))[0]


@pytest.mark.parametrize(
    ("part", "theirs", "said"),
    [
        ({}, AGE | {"unit": "mo"}, "is in mo, our age in a; nothing is converted"),
        ({}, AGE | {"range": [50, 110]}, "takes [50, 110], our age comes in [18, 110]"),
        ({}, AGE | {"range": [18, 100]}, "takes [18, 100], our age comes in [18, 110]"),
        ({}, AGE | {"dtype": "integer"}, "is a integer, our age a float"),
        ({}, SEX | {"categories": ["F", "D"]}, "does not know M of our sex"),
        ({}, MARKER | {"missing": "refuse", "absent_means": ""}, "may not be missing, our marker may"),
        ({"inputs": {"years": "age"}}, AGE, "screen_risk has no input years"),
        ({"inputs": {"smoker": "age"}}, SMOKER, "is a boolean, our age a float"),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_what_differs(
    part: dict[str, Any], theirs: dict[str, Any], said: str
) -> None:
    (problem,) = fit(part, screen(theirs))
    assert problem.startswith("screen: ")
    assert said in problem


NOTE = {"name": "note", "dtype": "text", "max_length": 500, "buckets": 8}
STEPS = {"name": "steps", "dtype": "sequence", "unit": "m/s", "range": [0, 3], "length": [4, 20]}


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (NOTE, NOTE | {"max_length": 499}, "takes 499 characters, our note comes with up to 500"),
        (STEPS, STEPS | {"length": [5, 20]}, "takes [5, 20] numbers, our steps comes with [4, 20]"),
        (STEPS, STEPS | {"range": [0, 2]}, "takes [0, 2], our steps comes in [0, 3]"),
        (NOTE, NOTE | {"max_length": 501, "buckets": 16}, None),
        (STEPS, STEPS | {"length": [1, 21]}, None),
    ],
)
def test_texts_and_sequences_must_be_as_short_as_the_part_takes(
    ours: dict[str, Any], theirs: dict[str, Any], said: str | None
) -> None:
    whole = contract(inputs=[ours], parts=[SCREEN, OWN])
    found = misfits(whole, {"screen_risk": [screen(theirs)]})
    assert [said in problem for problem in found if said] == ([True] if said else [])
    assert bool(found) is bool(said)


@pytest.mark.parametrize(
    ("when", "theirs"),
    [
        ({"input": "age", "at_or_above": 50}, AGE | {"range": [50, 110]}),
        (
            {"all_of": [{"input": "age", "above": 50}, {"input": "age", "below": 90}]},
            AGE | {"range": [50, 90]},
        ),
        (
            {"any_of": [{"input": "age", "at_or_above": 50, "below": 60}, {"input": "age", "above": 70}]},
            AGE | {"range": [50, 110]},
        ),
        ({"input": "sex", "one_of": ["F"]}, SEX | {"categories": ["F", "D"]}),
        ({"input": "marker", "given": True}, MARKER | {"missing": "refuse", "absent_means": ""}),
        ({"input": "marker", "above": 5}, MARKER | {"missing": "refuse", "range": [5, 500]}),
    ],
)
def test_a_condition_narrows_what_comes(when: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert fit({"when": when}, screen(theirs)) == []
    assert fit({}, screen(theirs)) != []
    either = {"any_of": [when, {"input": "smoker", "equals": True}]}
    assert fit({"when": either}, screen(theirs)) != []


def test_answers_that_are_mixed_must_be_of_one_kind() -> None:
    points = score("screen_risk")
    assert "is a regression, the answer is made by classification" in fit({}, points)[0]
    assert fit({}, points, synthesis={"kind": "own"}) == []
    assert fit({}, screen(output={"unit": "1"})) == [
        "screen: screen_risk answers in 1, the composition in {probability}"
    ]
    assert "answers another question" in fit({}, screen(output={"positive": "another event"}))[0]


def test_a_condition_on_an_answer_that_cannot_be_is_found() -> None:
    whole = contract(
        parts=[SCREEN, OWN | {"when": {"part": "screen", "below": 30}}],
        synthesis={"kind": "confidence_weighted"},
    )
    assert misfits(whole, {"screen_risk": [screen()]}) == [
        "screen: own compares its answer with a number outside [0, 1]"
    ]
    points = score("screen_risk", range=[0, 40])
    shown = contract(
        parts=[SCREEN, {"name": "more", "model": "more_risk", "when": {"part": "screen", "below": 30}}, OWN],
        synthesis={"kind": "own"},
    )
    assert misfits(shown, {"screen_risk": [points], "more_risk": [contract("more_risk", [AGE])]}) == []


def test_a_part_that_escalates_is_not_silenced_by_a_composition_that_does_not() -> None:
    emergency = {"emergency": {"at_or_above": 0.8, "webhook": "crisis"}}
    loud = screen(**emergency)
    assert "escalates emergencies" in fit({}, loud)[0]
    whole = contract(parts=[SCREEN, OWN], **emergency)
    assert misfits(whole, {"screen_risk": [loud]}) == []


def test_a_model_that_is_not_released_is_named() -> None:
    assert fit({}) == ["screen: no version of screen_risk is released"]
    assert misfits(contract(), {}) == []


def test_every_arm_of_a_part_must_fit() -> None:
    whole = contract(parts=[SCREEN, OWN])
    both = [screen(), screen(AGE | {"unit": "mo"})]
    assert misfits(whole, {"screen_risk": both[:1]}) == []
    assert len(misfits(whole, {"screen_risk": both})) == 1


def asking(name: str, *models: str) -> Contract:
    parts = [{"name": f"p{n}", "model": model} for n, model in enumerate(models)]
    return contract(name, [AGE], parts=[*parts, OWN])


MODELS = [f"model_{n}" for n in range(6)]


@given(
    st.dictionaries(st.sampled_from(MODELS), st.sets(st.sampled_from(MODELS), max_size=3)),
    st.lists(st.sampled_from(MODELS), min_size=2, max_size=4, unique=True),
)
def test_a_circle_of_compositions_is_always_refused(asks: dict[str, set[str]], circle: list[str]) -> None:
    for one, next_one in zip(circle, [*circle[1:], circle[0]], strict=True):
        asks[one] = asks.get(one, set()) | {next_one}
    released = {
        name: [asking(name, *sorted(others - {name})) if others - {name} else contract(name, [AGE])]
        for name, others in {**{each: set() for each in MODELS}, **asks}.items()
    }
    for name in circle:
        assert any("a circle" in problem for problem in misfits(released[name][0], released))


def test_compositions_of_compositions_end_somewhere() -> None:
    chain = [f"model_{n}" for n in range(DEEPEST + 2)]
    released = {one: [asking(one, deeper)] for one, deeper in pairwise(chain)}
    released[chain[-1]] = [contract(chain[-1], [AGE])]
    assert misfits(released[chain[1]][0], released) == []
    assert f"{DEEPEST} is the most" in misfits(released[chain[0]][0], released)[0]


def test_only_the_versions_that_do_not_fit_are_withheld() -> None:
    digest = "a" * 64

    def route(*arms: Contract) -> Route:
        names = ("current", "candidate")
        return Route(
            model=arms[0].name,
            arms=[
                Arm(name=name, version=n + 1, digest=digest, weight=100 / len(arms), contract=each)
                for n, (name, each) in enumerate(zip(names, arms, strict=False))
            ],
        )

    routes = [
        route(screen()),
        route(contract(parts=[SCREEN, OWN]), contract(parts=[SCREEN | {"model": "gone_risk"}, OWN])),
        route(asking("lonely", "nobody")),
    ]
    found = withheld({each.model: each for each in routes})
    assert found.keys() == {("whole", 2), ("lonely", 1)}
    assert "no version of gone_risk is released" in found["whole", 2]
