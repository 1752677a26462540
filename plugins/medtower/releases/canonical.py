"""The one form in which a document is hashed: JSON Canonicalization Scheme (RFC 8785)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import rfc8785
from pydantic import BaseModel


def digest(document: BaseModel) -> str:
    """The sha256 (hex) of the document's RFC 8785 form: independent of key order, spacing and line ends."""
    return hashlib.sha256(rfc8785.dumps(document.model_dump(mode="json", by_alias=True))).hexdigest()


def sha256(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
