from __future__ import annotations

import pytest
from tests.gateway.conftest import DIGESTS, contracts

from medtower.domain.routing import Arm
from medtower.gateway.answering.breaker import Breakers


def candidate(digest: str = DIGESTS[2]) -> Arm:
    return Arm(name="candidate", version=2, digest=digest, weight=5, contract=contracts()[0])


def opened_at(attempts: str) -> int | None:
    """The number of the attempt (x failed, . answered) that opened the breaker."""
    breakers = Breakers()
    for number, attempt in enumerate(attempts, 1):
        if attempt == ".":
            breakers.answered("demo_risk", candidate())
        elif breakers.failed("demo_risk", candidate()):
            return number
    return None


@pytest.mark.parametrize(
    ("attempts", "opened"),
    [
        ("xxx", 3),
        ("xx.xx.", None),
        ("....xx.x...x..x", 15),
        ("x...x...x...x...x", 17),
        # the fifth is within twenty of the first, or just not
        ("x....x....x....x...x", 20),
        ("x....x....x....x....x", None),
        (".x" * 5, 10),
    ],
)
def test_it_opens_at_three_in_a_row_or_five_of_the_last_twenty(attempts: str, opened: int | None) -> None:
    assert opened_at(attempts) == opened


def test_it_opens_once_and_never_closes() -> None:
    breakers = Breakers()
    assert [breakers.failed("demo_risk", candidate()) for _ in range(5)] == [False, False, True, False, False]
    for _ in range(100):
        breakers.answered("demo_risk", candidate())
    assert breakers.is_open("demo_risk", candidate())


def test_another_digest_or_another_model_is_another_breaker() -> None:
    breakers = Breakers([("demo_risk", 2, DIGESTS[2])])
    assert breakers.is_open("demo_risk", candidate())
    assert not breakers.is_open("demo_risk", candidate(DIGESTS[3]))
    assert not breakers.is_open("demo_score", candidate())
