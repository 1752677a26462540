"""The name of one request: chosen by the caller, who may then ask again without being counted twice, or made here."""

from __future__ import annotations

import re
import secrets
import time

CHOSEN = re.compile(r"[A-Za-z0-9._:-]{1,100}")
MADE = re.compile(r"m([0-7][0-9a-f]{31})(\.\d+)?")
"""An id of `new`, or that of a row of such a request. Nobody may choose one: mostly the spool does not remember them."""


def new() -> str:
    """`m` and 32 hexadecimal digits: 48 bits of Unix time in milliseconds, then 80 random bits (the layout of a UUID of version 7, RFC 9562,
    section 5.7, without its version and variant). Ids that are made one after the other sort in that order."""
    return f"m{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
