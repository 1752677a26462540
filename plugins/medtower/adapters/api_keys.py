"""The file of API keys: `access.json`, hashed secrets only, replaced whole, and no good when others may write or read it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from medtower import atomic_file
from medtower.domain.api_key import ApiKey, ApiKeys
from medtower.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable

LARGEST = 16 * 2**20
TOO_OPEN = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
"""The group may read: Kubernetes gives a pod its secrets so. Nobody else anything."""


def read(path: Path) -> ApiKeys:
    """The keys at `path`. Raises NotFound when there is no file, Refused when it belongs to somebody else or is open to others, Unavailable when it
    cannot be read, InvalidInput when it is not a file of keys."""
    try:
        with path.open("rb") as file:
            _check(path, os.fstat(file.fileno()))
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise NotFound("the file of API keys", str(path), "make a key with `medtower access new`") from None
    except OSError as error:
        raise Unavailable("access", f"{path} cannot be read ({error.strerror})") from None
    try:
        return ApiKeys.model_validate_json(content)
    except ValidationError as error:  # its text would repeat what stands in the file
        place = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its form"
        raise InvalidInput(f"{path} is not a file of API keys: {place} is wrong") from None


def _check(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise Refused("access", f"{path} belongs to another user; chown it to the gateway's own or to root")
    if stat.S_IMODE(status.st_mode) & TOO_OPEN:
        raise Refused("access", f"{path} is open to others; chmod 600 it")


def new_secret(identity: str) -> str:
    """A key `mt_<id>_<secret>` of 32 random bytes."""
    return f"mt_{identity}_{secrets.token_hex(32)}"


def digest(key: str) -> str:
    """SHA-256, in hexadecimal digits. A slow hash would add nothing: nobody guesses 32 random bytes."""
    return hashlib.sha256(key.encode()).hexdigest()


def add(path: Path, key: ApiKey) -> None:
    """Add `key`. Raises Conflict when its id was ever given out."""

    def added(known: ApiKeys) -> ApiKeys:
        if any(other.id == key.id for other in known.keys):
            raise Conflict(f"the id {key.id} was given out before; choose another, or rotate that key")
        return ApiKeys(keys=(*known.keys, key))

    _change(path, added, anew=True)


def register(path: Path, key: ApiKey) -> None:
    """Have exactly `key` under its id, whatever was there, and write nothing when it is there already but for its date."""

    def registered(known: ApiKeys) -> ApiKeys:
        others = tuple(other for other in known.keys if other.id != key.id)
        same = [
            o for o in known.keys if o.id == key.id and o.model_copy(update={"created": key.created}) == key
        ]
        return known if same else ApiKeys(keys=(*others, key))

    _change(path, registered, anew=True)


def change(path: Path, identity: str, changed: Callable[[ApiKey], ApiKey]) -> ApiKey:
    """Replace the key `identity` by what `changed` makes of it, which is returned. Raises NotFound, and what `changed` raises."""
    after: list[ApiKey] = []

    def one(known: ApiKeys) -> ApiKeys:
        found = next((key for key in known.keys if key.id == identity), None)
        if found is None:
            raise NotFound("the key", str(path), "`medtower access list` shows what there is")
        after.append(changed(found))
        return ApiKeys(keys=tuple(after[0] if key is found else key for key in known.keys))

    _change(path, one, anew=False)
    return after[0]


def _change(path: Path, change: Callable[[ApiKeys], ApiKeys], *, anew: bool) -> None:
    """Replace the file by what `change` makes of it; writers wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            known = read(path)
        except NotFound:
            if not anew:
                raise
            known = ApiKeys()
        if (made := change(known)) != known:
            atomic_file.write(path, made.model_dump_json(indent=2, by_alias=True) + "\n", mode=0o600)
    finally:
        os.close(lock)
