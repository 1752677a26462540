"""A text as a fixed number of columns: signed feature hashing of its words and pairs of words. Standard library only.

Weinberger, Dasgupta, Langford, Smola, Attenberg (2009), "Feature hashing for large scale multitask learning", ICML, doi:10.1145/1553374.1553516:
one hash chooses the bucket, another the sign, so that collisions cancel in expectation.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator

from medtower.domain.free_text import normalised

WORD = re.compile(r"\w+")


class Buckets(tuple[float, ...]):
    """A text that its caller has hashed already: one number a bucket, each in [-1, 1]. No JSON value becomes one."""

    __slots__ = ()


def hashed(text: str, buckets: int) -> list[float]:
    """`text` as `buckets` numbers of Euclidean length 1 (all 0 for a text without words), the same on every machine."""
    counts = [0] * buckets
    for term in terms(text):
        place, sign = bucket(term, buckets)
        counts[place] += sign
    norm = math.sqrt(sum(count * count for count in counts))
    return [count / norm for count in counts] if norm else [0.0] * buckets


def terms(text: str) -> Iterator[str]:
    """The lower-cased words of `text` (letters, digits and underscores) and its pairs of neighbouring words."""
    before = ""
    for word in WORD.findall(normalised(text).lower()):
        yield word
        if before:
            yield f"{before} {word}"
        before = word


def bucket(term: str, buckets: int) -> tuple[int, int]:
    """Where a term counts, and whether for or against: 63 bits of its BLAKE2b modulo `buckets`, and the last bit."""
    number = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")
    return (number >> 1) % buckets, 1 if number & 1 else -1
