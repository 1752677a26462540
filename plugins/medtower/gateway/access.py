"""Who may ask: an API key, and the machine itself for health and metrics."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyHeader

HEADER = APIKeyHeader(name="X-API-Key", auto_error=False)


async def with_key(request: Request, key: Annotated[str | None, Security(HEADER)]) -> None:
    """Raise 401 unless the header holds the key; compared in constant time. (Async: the framework sends plain functions to a thread.)"""
    if not hmac.compare_digest((key or "").encode(), request.app.state.parts.api_key):
        raise HTTPException(401)


async def from_here(request: Request, key: Annotated[str | None, Security(HEADER)]) -> None:
    """Raise 401 unless the caller is on this machine or has the key."""
    if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
        await with_key(request, key)


WithKey = Depends(with_key)
FromHere = Depends(from_here)
