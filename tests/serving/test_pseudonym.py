from __future__ import annotations

import pytest

from medtower.serving.pseudonym import pseudonym


def test_a_pseudonym_is_the_hmac_of_rfc_4231_case_2() -> None:
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert pseudonym(b"Jefe", "what do ya want for nothing?") == expected


def test_another_key_makes_another_pseudonym() -> None:
    assert pseudonym(b"one", "subject-1") != pseudonym(b"two", "subject-1")


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="MEDTOWER_SUBJECT_KEY"):
        pseudonym(b"", "subject-1")
