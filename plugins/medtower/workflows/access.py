"""Giving out, changing and taking back API keys of the gateway, each noted in the log and in the audit trail with who did it."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from medtower.adapters import api_keys
from medtower.adapters.postgres.database import Database
from medtower.domain.access import CallerRole
from medtower.domain.api_key import ApiKey, HashedSecret
from medtower.errors import Conflict, InvalidInput, MedtowerError, NotFound
from medtower.settings import Settings
from medtower.workflows import trail

log = logging.getLogger(__name__)
RULES = {
    "id": "use 2 to 40 characters a-z, 0-9 and -, starting with a letter",
    "models": "write names of models, such as als_risk",
    "rate": "write requests a second, above 0 and up to 1000000",
    "burst": "write a number of requests, 1 to 1000000",
}


def new(
    settings: Settings,
    identity: str,
    role: CallerRole,
    *,
    models: Sequence[str] = (),
    days: int,
    rate: float | None = None,
    burst: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key for `days`, and its secret, which is kept nowhere; without `models` it is for all of them. There is no key that the audit trail does not have.

    Raises InvalidInput, Conflict when the id was given out before, Unavailable when the trail cannot be written.
    """
    now, secret = datetime.now(UTC), api_keys.new_secret(identity)
    try:
        key = ApiKey(
            id=identity,
            role=role,
            models=tuple(models) or None,
            created=now,
            expires=now + timedelta(days=days),
            rate=rate,
            burst=burst,
            secrets=(HashedSecret(sha256=api_keys.digest(secret)),),
        )
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise InvalidInput(f"{field}: {RULES.get(field, 'is not a value that a key takes')}") from None
    if any(known.id == identity for known in listed(settings)):
        raise Conflict(f"the id {identity} was given out before; choose another, or rotate that key")
    _note(settings, "creates", identity, role=role, models=list(models), expires=f"{key.expires:%Y-%m-%d}")
    api_keys.add(settings.path("access"), key)
    return key, secret


def rotate(settings: Settings, identity: str, *, grace: timedelta) -> tuple[ApiKey, str]:
    """The key with another secret, and that secret; the one before counts for `grace` more.

    Raises NotFound, Conflict when the key is over, Unavailable when the trail cannot be written: then nothing was changed.
    """
    now, secret = datetime.now(UTC), api_keys.new_secret(identity)

    def rotated(key: ApiKey) -> ApiKey:
        return key.rotated(api_keys.digest(secret), grace=grace, now=now)

    rotated(_known(settings, identity))  # whether it can be, before the trail says that it was
    _note(settings, "rotates", identity, grace_seconds=int(grace.total_seconds()))
    return api_keys.change(settings.path("access"), identity, rotated), secret


def revoke(settings: Settings, identity: str) -> ApiKey:
    """The key, which counts no more. That waits for nothing: when the audit trail cannot be written, it is revoked all the same, and the error
    raised afterwards says so. Raises NotFound."""
    now = datetime.now(UTC)
    key = api_keys.change(settings.path("access"), identity, lambda key: key.taken_back(now))
    try:
        _note(settings, "revokes", identity)
    except MedtowerError as error:
        error.args = (f"{identity} is revoked, but that is not in the audit trail: {error}",)
        raise
    return key


def listed(settings: Settings) -> tuple[ApiKey, ...]:
    """Every key that was ever given out; none where there is no file of keys yet."""
    try:
        return api_keys.read(settings.path("access")).keys
    except NotFound:
        return ()


def _known(settings: Settings, identity: str) -> ApiKey:
    found = next((known for known in listed(settings) if known.id == identity), None)
    if found is None:
        raise NotFound("the key", str(settings.path("access")), "`medtower access list` shows what there is")
    return found


def _note(settings: Settings, action: str, identity: str, **details: Any) -> None:
    """One line in the log, and one event in the audit trail where a database is set. Raises what the database does."""
    user = pwd.getpwuid(os.getuid()).pw_name  # of the process itself: the environment says what one likes
    log.info(f"{user} {action} an API key", extra={"caller": identity})
    if dsn := settings.dsn.get_secret_value():
        trail.note(Database(dsn), f"user:{user}", action, f"API key {identity}", **details)
