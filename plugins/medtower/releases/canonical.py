"""The one form in which a document is hashed: JSON Canonicalization Scheme (RFC 8785)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import rfc8785
from pydantic import BaseModel

from medtower.errors import Refused


def digest(document: BaseModel) -> str:
    """The sha256 (hex) of the document's RFC 8785 form: independent of key order, spacing and line ends.

    Raises Refused when the document has none (a whole number beyond 2^53, half a Unicode character).
    """
    try:
        form = rfc8785.dumps(document.model_dump(mode="json", by_alias=True))
    except ValueError as error:
        raise Refused("digest", f"a {type(document).__name__.lower()} has no canonical form") from error
    return hashlib.sha256(form).hexdigest()


def sha256(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
