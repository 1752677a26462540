"""Check digits of the numbers that people carry."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

Check = Callable[[str], bool]

PENSION_WEIGHTS = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)


def luhn(text: str) -> bool:
    """Payment cards: ISO/IEC 7812-1, annex B."""
    digits = [int(c) for c in reversed(text) if c.isdecimal()]
    doubled = (d * f for d, f in zip(digits, cycle((1, 2)), strict=False))
    return len(digits) > 1 and sum(map(_cross_sum, doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Bank accounts: ISO 13616-1, remainder 1 modulo 97."""
    account = "".join(c for c in text.upper() if c.isalnum())
    if not account.isascii() or len(account) < 15:
        return False
    return int("".join(str(int(c, 36)) for c in account[4:] + account[:4])) % 97 == 1


def kvnr(text: str) -> bool:
    """German health insurance number (§ 290 SGB V): a letter as two digits and eight more, weighted 1 and 2, cross sums modulo 10."""
    digits = _spelt(text)
    if len(digits) != 11:
        return False
    weighted = (d * w for d, w in zip(digits, cycle((1, 2)), strict=False))
    return sum(_cross_sum(value) for value in list(weighted)[:-1]) % 10 == digits[-1]


def rvnr(text: str) -> bool:
    """German pension insurance number (VKVV § 4): twelve digits with the letter as two, weighted, cross sums modulo 10."""
    digits = _spelt(text)
    if len(digits) != 13:
        return False
    weighted = (d * w for d, w in zip(digits, PENSION_WEIGHTS, strict=False))
    return sum(map(_cross_sum, weighted)) % 10 == digits[-1]


def _spelt(text: str) -> list[int]:
    """The digits, a letter A to Z as its place 01 to 26."""
    found: list[int] = []
    for c in text.upper():
        if c.isdecimal():
            found.append(int(c))
        elif "A" <= c <= "Z":
            found += divmod(ord(c) - ord("A") + 1, 10)
    return found


def _cross_sum(value: int) -> int:
    return value // 10 + value % 10
