"""A short soak on the real parts: nothing that a caller saw acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import pytest
from benchmarks import gateway_soak
from benchmarks.gateway_peers.process import ROOT

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-triton").is_dir(), reason="the Triton environment is missing: make setup"
)


def test_no_acknowledged_answer_is_lost_or_stored_twice_while_everything_around_it_fails() -> None:
    counts = gateway_soak.soak(seconds=20, kills=3, restarts=1)
    assert (counts["lost"], counts["duplicates"]) == (0, 0)
    assert counts["stored"] == counts["acknowledged"] > 20 * gateway_soak.RATE / 4
    assert counts["asked_again_after_a_broken_connection"] > 0
