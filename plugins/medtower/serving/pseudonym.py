"""Who a patient is, without saying so: keyed pseudonyms."""

from __future__ import annotations

import hmac


def pseudonym(key: bytes, subject_id: str) -> str:
    """HMAC-SHA256 (RFC 2104) of `subject_id` under `key`, as 64 hexadecimal digits.

    Keyed, because a plain hash of a medical record number is undone by hashing every number there is. Raises ValueError for an empty key.
    """
    if not key:
        raise ValueError("the key of the pseudonyms is empty; set MEDTOWER_SUBJECT_KEY")
    return hmac.digest(key, subject_id.encode(), "sha256").hex()
