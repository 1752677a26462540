"""The ledger of one model: what was released when, told by the first parents of main, and what may be released next.

A stack of releases whose bottom is "no model". A release of something deeper in the stack takes back everything above it, for ever; no model
is deeper than everything. Anything else is a promotion. Folding never refuses: what stands on main is a fact. `classify` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from medtower.domain.release import Release
from medtower.domain.rollout import Traffic, stage
from medtower.errors import Refused


@dataclass(frozen=True)
class Entry:
    """A release in force, the commit that promoted it and what main was before that (None: nothing)."""

    release: Release
    commit: str
    before: str | None


@dataclass(frozen=True)
class Ledger:
    """`stack` holds the promotions that nobody took back, oldest first; `taken_back` the digests that may never come back."""

    model: str
    stack: tuple[Entry, ...] = ()
    taken_back: frozenset[str] = frozenset()

    @property
    def current(self) -> Release | None:
        """What is released now; None is no model."""
        return self.stack[-1].release if self.stack else None

    def depth(self, digest: str | None) -> int | None:
        """How many entries stay when `digest` (None: no model) is released again; None when it is not in the stack."""
        if digest is None:
            return 0
        return next((i + 1 for i, e in enumerate(self.stack) if e.release.digest == digest), None)

    def then(self, release: Release, commit: str, before: str | None) -> Ledger:
        """The ledger after `commit` made main say `release`."""
        depth = self.depth(release.digest)
        if depth is None:
            return Ledger(self.model, (*self.stack, Entry(release, commit, before)), self.taken_back)
        gone = {str(entry.release.digest) for entry in self.stack[depth:]}
        return Ledger(self.model, self.stack[:depth], self.taken_back | gone)


@dataclass(frozen=True)
class Nothing:
    """What is released stays released."""


@dataclass(frozen=True)
class Promotion:
    """A version that was never released before takes over."""

    release: Release


@dataclass(frozen=True)
class Rollback:
    """A formerly approved release comes back; `popped` are taken back for ever, oldest first."""

    release: Release
    popped: tuple[Entry, ...]


@dataclass(frozen=True)
class Deactivation:
    """No model is released any more; `popped` are taken back for ever, oldest first."""

    release: Release
    popped: tuple[Entry, ...]


Kind = Nothing | Promotion | Rollback | Deactivation


def classify(state: Ledger, new: Release, traffic: Traffic | None = None) -> Kind:
    """What it means that `new` follows `state`, while `traffic` says how far the current rollout has got.

    Raises Refused by rule taken-back (a digest that was taken back needs a new proposal), base (it replaces something else than what is
    released), version (its number is in use) or rollout (the one under way must end first; an immediate emergency fix need not wait).
    """
    depth = state.depth(new.digest)
    if depth == len(state.stack):
        return Nothing()
    if depth is not None:
        popped = state.stack[depth:]
        return Deactivation(new, popped) if depth == 0 else Rollback(new, popped)
    _check_new(state, new)
    if new.rollout is None or new.rollout.strategy != "immediate":
        _check_no_rollout(state, traffic)
    return Promotion(new)


def _check_new(state: Ledger, new: Release) -> None:
    said = f"{new.model} {new.version}"
    again = f"run: medtower propose {new.model} {new.version}, then it must be approved again"
    if new.digest in state.taken_back:
        raise Refused(
            "taken-back", f"{said} was taken back, and what was taken back does not return as it was; {again}"
        )
    current = state.current.version if state.current else None
    if new.replaces != current:
        raise Refused(
            "base",
            f"{said} replaces {new.replaces or 'no model'}, but {current or 'no model'} is released now; {again}",
        )
    if any(entry.release.version == new.version for entry in state.stack):
        raise Refused("version", f"{said} is released already; a version number is never used twice")


def _check_no_rollout(state: Ledger, traffic: Traffic | None) -> None:
    current = state.current
    if current is None or current.rollout is None or current.digest is None:
        return
    stages = current.rollout.stages
    reached = stage(current.rollout, current.digest, traffic)
    if reached < len(stages) - 1:
        raise Refused(
            "rollout",
            f"{current.model} {current.version} is at {stages[reached]:g} % of patients; wait until it serves all, take it back, "
            f"or propose an emergency fix",
        )
