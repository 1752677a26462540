"""The sentence that stands in every answer and every report."""

DISCLAIMER = (
    "Administrative and documentation support only. "
    "Not medical advice, not a diagnosis and not a treatment recommendation."
)
