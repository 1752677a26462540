"""Where things lie in the repository that a tower serves from."""

from __future__ import annotations

MODELS = "triton_models"
TRUST = "trust"
TRUST_ROOT = f"{TRUST}/allowed_signers"
"""The copy of the trust root, which must match the installed one."""
