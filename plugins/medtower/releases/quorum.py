"""A quorum: one signed statement a role, by different people with different keys, over exactly what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from medtower.domain.contract import Role
from medtower.domain.release import Statement
from medtower.domain.trust import TrustStatement
from medtower.errors import ApprovalInvalid, SignatureInvalid
from medtower.releases import allowed_signers as trust

S = TypeVar("S", Statement, TrustStatement)


def text(signed: BaseModel) -> bytes:
    """The bytes that are signed: indented JSON, one statement a line, readable as it stands."""
    return (signed.model_dump_json(indent=2, by_alias=True) + "\n").encode()


def absent(place: Path, roles: Sequence[Role]) -> list[Role]:
    """The roles that have no statement or no signature in the folder `place`, in the order of `roles`; what is there is not judged."""
    return [r for r in roles if not all((place / f"{r}{end}").is_file() for end in (".json", ".sig"))]


def judge(
    place: Path,
    roles: Sequence[Role],
    kind: type[S],
    wanted: Mapping[str, object],
    root: trust.TrustRoot,
    at: datetime,
) -> dict[Role, S | ApprovalInvalid]:
    """Each signed statement of `kind` in `place`, in the order of `roles`: the statement when it counts at `at` (aware), else the error that
    says why not. `wanted` are the values that a statement must have, by field."""
    people: dict[str, Role] = {}
    keys: dict[str, Role] = {}
    judged: dict[Role, S | ApprovalInvalid] = {}
    missing = absent(place, roles)
    for role in (r for r in roles if r not in missing):
        try:
            signed, key = _verify_one(place, role, kind, {"role": role, **wanted}, root, at)
        except ApprovalInvalid as error:
            judged[role] = error
            continue
        person = signed.approver.casefold()
        other = people.get(person) or keys.get(key)
        judged[role] = signed
        if other:
            why = f"the same person or key already approved as {other}; another person must"
            judged[role] = ApprovalInvalid(role, why)
        people[person] = keys[key] = role
    return judged


def _verify_one(
    place: Path, role: Role, kind: type[S], wanted: Mapping[str, object], root: trust.TrustRoot, at: datetime
) -> tuple[S, str]:
    """Return the statement and the fingerprint of the key that signed it."""
    content = (place / f"{role}.json").read_bytes()
    try:
        signed = kind.model_validate_json(content)
    except ValidationError:
        raise ApprovalInvalid(role, f"{role}.json is not a statement") from None
    for name, value in wanted.items():
        if getattr(signed, name) != value:
            raise ApprovalInvalid(role, f"it was given for another {name}; it must be approved again")
    person = signed.approver
    if not root.lines(role, person):
        raise ApprovalInvalid(role, f"{person} is not allowed to sign as {role} by the trust root")
    try:
        key = root.key_of(role, content, (place / f"{role}.sig").read_bytes(), person)
    except SignatureInvalid as error:
        raise ApprovalInvalid(role, f"the signature of {person} does not verify: {error.why}") from None
    if why := root.why_not(role, key, at, person):
        raise ApprovalInvalid(role, f"{why}; approve again with a key that counts")
    _check_is_no_bot(role, person, key, root)
    return signed, key


def _check_is_no_bot(role: Role, person: str, key: str, root: trust.TrustRoot) -> None:
    for bot in root.lines(trust.ROLLOUT):
        if bot.fingerprint == key or bot.person.casefold() == person.casefold():
            raise ApprovalInvalid(
                role, f"{person} or the key is the bot's that steps rollouts; a person must approve"
            )
