from __future__ import annotations

import pytest

from medtower.gateway.privacy.check_digits import Check, iban, kvnr, luhn, rvnr


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (luhn, "4111 1111 1111 1111"),
        (iban, "DE89 3704 0044 0532 0130 00"),
        (iban, "gb82west12345698765432"),
        (kvnr, "A123456780"),
        (rvnr, "15 070649 C 103"),
    ],
)
def test_a_changed_digit_is_noticed(check: Check, right: str) -> None:
    assert check(right)
    last = len(right) - 1
    assert not check(right[:last] + str((int(right[last]) + 1) % 10))
    assert not check("")
