"""The waves of a composition, with models that answer or fail as they are told: generated compositions never hang, and parts do not touch each other."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.compositions import AGE, OWN, contract

from medtower.domain.contract import Contract
from medtower.domain.routing import Arm, Route
from medtower.errors import DeadlineExceeded, FeatureInvalid, MedtowerError, ModelMisbehaved, Unavailable
from medtower.gateway.answering.case import Ask, Case, Inferred
from medtower.gateway.answering.composition_answer import Composed, Ran
from medtower.gateway.answering.composition_parts import DOWN, LATE, MISBEHAVED, NOT_MET, Waves
from medtower.gateway.parts import Parts

NAMES = [f"p{n}" for n in range(6)]
SECONDS = 5.0


def arm(contract: Contract) -> Arm:
    return Arm(name="current", version=1, digest="a" * 64, weight=100, contract=contract)


@dataclass
class Models:
    """Every part's model: the probability that it says, and what it fails with, by name of the part. `hangs` never answer."""

    whole: Contract
    says: Mapping[str, float] = field(default_factory=dict)
    fails: Mapping[str, MedtowerError] = field(default_factory=dict)
    hangs: frozenset[str] = frozenset()
    cases: list[Case] = field(default_factory=list)
    together: int = 0
    most: int = 0

    async def ask_own(self, arm: Arm, case: Case, _until: float) -> Inferred:
        return await self._say(arm, case)

    async def ask_model(self, case: Case, route: Route, _until: float) -> Ran:
        return Ran(case, Composed.alone(await self._say(route.arms[0], case)))

    async def _say(self, arm: Arm, case: Case) -> Inferred:
        self.cases.append(case)
        name = case.question.request_id.rpartition("~")[2]
        self.together += 1
        self.most = max(self.most, self.together)
        try:
            await (asyncio.Event().wait() if name in self.hangs else asyncio.sleep(0))
            if name in self.fails:
                raise self.fails[name]
        finally:
            self.together -= 1
        return Inferred(arm, array("f", [70]), self.says.get(name, 0.25), 1.0)

    def run(self, features: dict[str, Any] | None = None, *, deadline: float = SECONDS) -> Composed:
        """The answer, which must be there within `SECONDS`."""
        return asyncio.run(asyncio.wait_for(self._run(features or {"age": 70}, deadline), SECONDS))

    async def _run(self, features: dict[str, Any], deadline: float) -> Composed:
        def route(model: str) -> Route:
            return Route(model=model, arms=[arm(contract(model, [AGE]))])

        parts = SimpleNamespace(
            routing=SimpleNamespace(route=route),
            breakers=SimpleNamespace(is_open=lambda *_: False),
            triton=SimpleNamespace(deadline=deadline),
        )
        now = datetime.now(UTC)
        case = Case("whole", Ask("r1", False, "subject-1", features, now), "f" * 64, "0" * 64, now)
        until = time.perf_counter() + deadline
        waves = Waves(
            cast(Parts, parts), case, arm(self.whole), until, ask_model=self.ask_model, ask_own=self.ask_own
        )
        return await waves.answered(array("f", [70]), time.perf_counter())


def part(name: str, needs: list[str] | None = None, **more: Any) -> dict[str, Any]:
    when = {"when": {"any_of": [{"part": n, "at_or_above": 0.0} for n in needs]}} if needs else {}
    return {"name": name, "model": f"model_{name}"} | when | more


@st.composite
def parts(draw: st.DrawFn, **more: Any) -> list[dict[str, Any]]:
    """Parts, each asked when any of some parts before it answered; the first is always asked."""
    order = draw(st.permutations(NAMES[: draw(st.integers(2, len(NAMES)))]))
    return [
        part(name, draw(st.lists(st.sampled_from(order[:n]), unique=True)) if n else None, **more)
        for n, name in enumerate(order)
    ]


def needs(form: dict[str, Any]) -> set[str]:
    return {each["part"] for each in form.get("when", {}).get("any_of", [])}


def told(composed: Composed) -> dict[str, tuple[float | None, float | None]]:
    return {each.name: (each.prediction, each.confidence) for each in composed.parts}


SAYS = st.fixed_dictionaries({name: st.floats(0, 1) for name in NAMES})
FAILS = st.sets(st.sampled_from(NAMES))
DOWN_NOW = Unavailable("Triton", "it cannot be reached")


@given(parts(optional=True), SAYS, FAILS)
def test_every_generated_composition_ends_with_an_answer_or_a_reason(
    forms: list[dict[str, Any]], says: dict[str, float], fails: set[str]
) -> None:
    models = Models(contract(parts=forms), says, dict.fromkeys(fails, DOWN_NOW))
    try:
        composed = models.run()
    except Unavailable:
        assert forms[0]["name"] in fails  # nothing answers only where nothing that is always asked did
        return
    assert [each.name for each in composed.parts] == [form["name"] for form in forms]
    for each in composed.parts:
        assert (each.prediction is None) == (each.version is None)
        assert each.used or each.why_not
    used = [each.prediction for each in composed.parts if each.used and each.prediction is not None]
    assert min(used) <= composed.inferred.value <= max(used)


@given(parts(optional=True), SAYS, FAILS)
def test_a_missing_optional_part_changes_nothing_that_others_say(
    forms: list[dict[str, Any]], says: dict[str, float], fails: set[str]
) -> None:
    forms = [*forms, OWN]
    everyone = told(Models(contract(parts=forms), says).run())
    without = told(Models(contract(parts=forms), says, dict.fromkeys(fails, DOWN_NOW)).run())
    touched = set(fails)
    for form in forms:  # in an order in which every part comes after what it needs
        if needs(form) and needs(form) <= touched:
            touched.add(form["name"])
    for name in everyone.keys() - touched:
        assert without[name] == everyone[name]
    assert all(without[name] == (None, None) for name in touched & everyone.keys())


def test_parts_that_need_nothing_of_each_other_are_asked_at_once() -> None:
    models = Models(contract(parts=[part("p0"), part("p1"), part("p2"), part("p3", ["p0"])]))
    models.run()
    assert models.most == 3
    assert [case.question.request_id for case in models.cases][-1] == "r1~p3"


def test_a_part_gets_what_its_contract_takes_under_its_names_and_a_request_id_of_its_own() -> None:
    models = Models(contract(parts=[part("p0"), OWN]))
    composed = models.run({"age": 70, "sex": "F", "marker": None})
    by_id = {case.question.request_id: case for case in models.cases}
    assert by_id["r1~p0"].question.features == {"age": 70}
    assert by_id["r1~own"].question.features == {"age": 70, "sex": "F", "marker": None}
    assert {case.subject for case in models.cases} == {"f" * 64}
    assert not any(case.question.repeatable for case in models.cases)
    assert [(ran.case.model, ran.part_of) for ran in composed.ran] == [("model_p0", "r1"), ("whole", "r1")]


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (DOWN_NOW, 503, DOWN),
        (DeadlineExceeded("Triton", 2.0), 504, LATE),
        (ModelMisbehaved("model_p1", 3, "the answer is not a finite number"), 502, MISBEHAVED),
        (FeatureInvalid("age", "must be a number"), 503, DOWN),
    ],
)
def test_a_part_that_fails_is_left_out_or_fails_the_whole_with_its_code(
    error: MedtowerError, code: int, why: str
) -> None:
    with pytest.raises(MedtowerError, match="the part p1 \\(model_p1\\) of whole") as caught:
        Models(contract(parts=[part("p0"), part("p1")]), fails={"p1": error}).run()
    assert caught.value.http_status == code
    assert not isinstance(caught.value, FeatureInvalid)
    composed = Models(contract(parts=[part("p0"), part("p1", optional=True)]), fails={"p1": error}).run()
    left_out = composed.parts[1]
    assert (left_out.used, left_out.why_not, left_out.version) == (False, why, None)
    assert composed.inferred.value == composed.parts[0].prediction


def test_an_optional_part_that_hangs_leaves_time_for_the_answer() -> None:
    form = contract(parts=[part("p0"), part("p1", optional=True), part("p2", ["p0"])])
    composed = Models(form, hangs=frozenset({"p1"})).run(deadline=0.2)
    assert [each.why_not for each in composed.parts] == [None, LATE, None]


def test_a_part_that_hangs_ends_with_the_deadline_of_the_whole() -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="the part p1"):
        Models(contract(parts=[part("p0"), part("p1")]), hangs=frozenset({"p1"})).run(deadline=0.1)
    assert time.monotonic() - start < SECONDS / 2


def test_a_part_is_asked_only_where_its_condition_is_met() -> None:
    form = contract(parts=[part("p0", when={"input": "age", "below": 65}), OWN])
    models = Models(form)
    composed = models.run({"age": 65})
    assert composed.parts[0].why_not == NOT_MET
    assert [case.question.request_id for case in models.cases] == ["r1~own"]
    assert Models(form).run({"age": 64}).parts[0].used


def test_a_case_that_no_part_takes_is_the_callers_to_know() -> None:
    form = contract(parts=[part("p0", when={"input": "age", "below": 65})])
    with pytest.raises(FeatureInvalid, match="conditions of no part"):
        Models(form).run({"age": 65})


def test_a_part_that_asks_for_human_review_makes_the_whole_ask() -> None:
    form = contract(parts=[part("p0"), OWN], output={"confidence_floor": 0.6})
    assert Models(form, {"p0": 0.1, "own": 0.1}).run().review is None
    review = Models(form, {"p0": 0.1, "own": 0.45}).run().review
    assert review is not None
    assert review.startswith("the part own asks for it: the confidence is below the contract's floor")
    unsure = Models(form, {"p0": 0.5, "own": 0.5}).run().review
    assert unsure == "the confidence is below the contract's floor of 0.6"
