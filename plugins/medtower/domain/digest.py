"""A sha256 as 64 hexadecimal digits, the one form in which this project names bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SHA256 = re.compile(r"[0-9a-f]{64}")
