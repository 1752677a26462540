"""What the parts of a composition said, made one answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from medtower.domain.condition import Result
from medtower.domain.contract_composition import Composition, FirstConfident

NOT_IN_SYNTHESIS = "it is shown beside the answer and is no part of it"
BELOW_FLOOR = "its confidence is below its floor"
ANOTHER_ANSWERS = "another part answers"


@dataclass(frozen=True, slots=True)
class Synthesised:
    """The `value`, the `weights` (they sum to one) of the parts it is made of, and why others that answered were not used."""

    value: float
    weights: dict[str, float]
    why_not: dict[str, str]


def synthesise(composition: Composition, results: Mapping[str, Result]) -> Synthesised | None:
    """One answer out of `results` (by part; parts that did not answer are not there). None when no part of the synthesis answered."""
    chosen = [name for name in composition.synthesised if name in results]
    if not chosen:
        return None
    beside = {name: NOT_IN_SYNTHESIS for name in results if name not in chosen}
    if isinstance(composition.synthesis, FirstConfident):
        return _first_confident(composition.synthesis, results, beside)
    weights = weighted({name: results[name].confidence for name in chosen})
    return Synthesised(_mean(weights, results), weights, beside)


def weighted(confidences: Mapping[str, float]) -> dict[str, float]:
    """Weights in proportion to the confidences (each in [0, 1]), summing to one; equal when nobody is confident at all."""
    total = math.fsum(confidences.values())
    if total <= 0:
        return dict.fromkeys(confidences, 1 / len(confidences))
    return {name: confidence / total for name, confidence in confidences.items()}


def _mean(weights: Mapping[str, float], results: Mapping[str, Result]) -> float:
    said = [results[name].prediction for name in weights]
    mean = math.fsum(weight * results[name].prediction for name, weight in weights.items())
    return min(
        max(mean, min(said)), max(said)
    )  # rounding never leads out of what was said: a probability stays one


def _first_confident(
    synthesis: FirstConfident, results: Mapping[str, Result], beside: dict[str, str]
) -> Synthesised:
    answered = [choice for choice in synthesis.order if choice.part in results]
    first = next((c for c in answered if results[c.part].confidence >= c.floor), answered[-1])
    why_not = dict(beside)
    for choice in answered:
        if choice.part != first.part:
            doubtful = results[choice.part].confidence < choice.floor
            why_not[choice.part] = BELOW_FLOOR if doubtful else ANOTHER_ANSWERS
    return Synthesised(results[first.part].prediction, {first.part: 1.0}, why_not)
