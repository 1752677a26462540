"""Where things lie in the repository that a tower serves from."""

from __future__ import annotations

MODELS = "triton_models"
TRUST = "trust"
TRUST_ROOT = f"{TRUST}/allowed_signers"
"""The copy of the trust root, which must match the installed one."""
PROMOTE = "promote/"
PROPOSALS = (f"refs/heads/{PROMOTE}", f"refs/heads/{TRUST}/")
"""Refs that begin so are proposals: nothing serves from them, and they come and go."""
