"""Does a `cohort.yaml` fit the `model.yaml` beside it? Rules that need both, each with the place it is broken at."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from medtower.adapters.yaml_lines import Place
from medtower.domain.cohort import CohortSpec, Distribution, SyntheticSource
from medtower.domain.contract import Contract, Input

Misfit = tuple[Place, str]

PARAMETERS = {"normal": 2, "lognormal": 2, "beta": 2, "uniform": 2, "poisson": 1, "bernoulli": 1}


def misfits(contract: Contract, spec: CohortSpec) -> list[Misfit]:
    """Every rule that is broken, as (place in cohort.yaml, what is wrong and what to do). Empty when the two fit."""
    found: list[Misfit] = [*_unknown(contract, [(("columns", name), name) for name in spec.columns])]
    shifts = spec.rehearsal.shifts
    found += _unknown(
        contract, [(("rehearsal", "shifts", i, "input"), s.input) for i, s in enumerate(shifts)]
    )
    found += [
        (("rehearsal", "shifts", i, "input"), f"'{s.input}' is no number and cannot be shifted; remove it")
        for i, s in enumerate(shifts)
        if s.input in contract.input_names and contract.input(s.input).dtype not in ("float", "integer")
    ]
    if isinstance(spec.source, SyntheticSource):
        return found + list(_synthetic(contract, spec, spec.source))
    return found + list(_tabular(spec))


def _tabular(spec: CohortSpec) -> Iterator[Misfit]:
    if spec.label is None:
        yield (
            ("label",),
            "is required: say which column holds the outcome, `label: {kind: column, column: …}`",
        )
    for i, shift in enumerate(spec.rehearsal.shifts):
        if shift.when == "true":
            what = "a table's patients cannot be moved, only what is measured of them; write `when: measured`"
            yield ("rehearsal", "shifts", i, "when"), what


def _synthetic(contract: Contract, spec: CohortSpec, source: SyntheticSource) -> Iterator[Misfit]:
    if spec.label is not None:
        yield ("label",), "a synthetic source makes its own outcome; remove it"
    named: list[Misfit] = [(("source", "inputs", n), n) for n in source.inputs]
    named += [(("source", "coefficients", n), n) for n in source.coefficients]
    for part, pairs in (("correlations", source.correlations), ("interactions", source.interactions)):
        named += [(("source", part, i), n) for i, pair in enumerate(pairs) for n in pair[:2]]
    yield from _unknown(contract, named)
    for spec_input in contract.inputs:
        distribution = source.inputs.get(spec_input.name)
        if distribution is None:
            yield ("source", "inputs"), f"'{spec_input.name}' has no distribution; add it"
        else:
            for what in _distribution(spec_input, distribution):
                yield ("source", "inputs", spec_input.name), what


def _distribution(spec: Input, distribution: Distribution) -> Iterator[str]:
    if spec.dtype in ("text", "sequence"):
        yield f"a {spec.dtype} cannot be drawn at random; take the cohort from a table"
        return
    family, parameters = distribution.family, distribution.parameters
    fitting = {"boolean": ["bernoulli"], "category": ["category"]}.get(
        spec.dtype, ["normal", "lognormal", "beta", "uniform", "poisson"]
    )
    if family not in fitting:
        yield f"a {spec.dtype} takes one of {', '.join(fitting)}, not {family}"
        return
    expected = PARAMETERS.get(family, len(spec.categories or []))
    if len(parameters) != expected:
        yield f"{family} takes {expected} parameters, {len(parameters)} are given"
    elif problem := _impossible(family, parameters):
        yield problem
    if distribution.missing_rate and spec.missing == "refuse":
        yield "the contract says `missing: refuse`; remove `missing_rate` or allow the gap in model.yaml"


def _impossible(family: str, p: list[float]) -> str:
    if family in ("normal", "lognormal") and p[1] <= 0:
        return "the second parameter (standard deviation) must be above 0"
    if family == "uniform" and p[0] >= p[1]:
        return "write [lowest, highest] with lowest < highest"
    if family in ("beta", "poisson") and min(p) <= 0:
        return "every parameter must be above 0"
    if family == "bernoulli" and not 0 < p[0] < 1:
        return "the parameter is a probability between 0 and 1"
    if family == "category" and (min(p) <= 0 or abs(sum(p) - 1) > 1e-6):
        return "the shares of the categories must be above 0 and sum to 1"
    return ""


def _unknown(contract: Contract, named: Sequence[tuple[Place, str]]) -> Iterator[Misfit]:
    for place, name in named:
        if name not in contract.input_names:
            close = difflib.get_close_matches(name, contract.input_names, n=1)
            hint = f"write '{close[0]}'" if close else f"write one of {', '.join(contract.input_names)}"
            yield place, f"'{name}' is not an input of {contract.name}; {hint}"
