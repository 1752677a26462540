"""One number from a process's /metrics page."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from medtower.errors import Unavailable


def value(url: str, name: str, **labels: str) -> float | None:
    """The value of the sample `name` with exactly these `labels` on the page at `url`; None when it is not there. Raises Unavailable."""
    try:
        page = httpx.get(url, timeout=5, trust_env=False).raise_for_status().text
    except httpx.HTTPError as error:
        raise Unavailable(url, f"its metrics cannot be read ({type(error).__name__})") from None
    samples = (s for family in text_string_to_metric_families(page) for s in family.samples)
    return next((s.value for s in samples if s.name == name and s.labels == labels), None)
