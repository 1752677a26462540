"""The hash chain: what was changed is named by its number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtower.audit.chain import GENESIS, ChainBroken, link, verify
from medtower.domain.audit_event import AuditEvent, ChainedEvent
from medtower.errors import InvalidInput

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.builds(
    AuditEvent,
    at=st.datetimes(timezones=st.just(UTC)),
    actor=st.sampled_from(["final@example.org", "reconciler"]),
    action=st.sampled_from(["approved", "merged", "loaded"]),
    subject=st.text(max_size=10),
    details=st.dictionaries(st.text(max_size=5), JSON, max_size=3),
)


def chain(events: list[AuditEvent]) -> list[ChainedEvent]:
    kept: list[ChainedEvent] = []
    for number, event in enumerate(events, start=1):
        kept.append(link(kept[-1].digest if kept else GENESIS, number, event))
    return kept


def event(n: int = 0) -> AuditEvent:
    return AuditEvent(
        at=NOON + timedelta(minutes=n), actor="reconciler", action="loaded", subject=f"als_risk {n}"
    )


def test_the_digest_is_sha256_of_the_canonical_form():
    assert (
        link(GENESIS, 1, event()).digest == "25b5e9eb20794fa19f120acc6b8dc348e1ac0579a7fa4e8cdc838987ad8876cf"
    )


@given(st.lists(EVENTS, max_size=8))
def test_a_whole_chain_verifies_also_after_a_trip_through_json(events):
    kept = chain(events)
    again = [ChainedEvent.model_validate_json(e.model_dump_json()) for e in kept]
    assert verify(kept) == verify(again) == len(events)


@given(st.lists(EVENTS, min_size=1, max_size=8), st.data())
def test_an_edited_event_is_named(events, data):
    kept = chain(events)
    at = data.draw(st.integers(0, len(kept) - 1))
    edited = kept[at].event.model_copy(update={"actor": "somebody else"})
    kept[at] = kept[at].model_copy(update={"event": edited})
    with pytest.raises(ChainBroken) as caught:
        verify(kept)
    assert caught.value.sequence == at + 1


@given(st.lists(EVENTS, min_size=2, max_size=8), st.data())
def test_a_deleted_event_is_named(events, data):
    kept = chain(events)
    at = data.draw(st.integers(0, len(kept) - 2))
    del kept[at]
    with pytest.raises(ChainBroken) as caught:
        verify(kept)
    assert caught.value.sequence == at + 1


@given(st.lists(EVENTS, min_size=2, max_size=8), st.data())
def test_two_swapped_events_are_named_by_the_first(events, data):
    kept = chain(events)
    first = data.draw(st.integers(0, len(kept) - 2))
    second = data.draw(st.integers(first + 1, len(kept) - 1))
    kept[first], kept[second] = kept[second], kept[first]
    with pytest.raises(ChainBroken) as caught:
        verify(kept)
    assert caught.value.sequence == first + 1


def test_an_event_edited_with_its_own_digest_made_anew_breaks_the_next_link():
    kept = chain([event(n) for n in range(4)])
    kept[1] = link(kept[1].previous, 2, event(99))
    with pytest.raises(ChainBroken, match="event 3 does not follow"):
        verify(kept)


def test_a_chain_computed_anew_disagrees_with_the_anchored_head():
    anchor = (3, chain([event(n) for n in range(3)])[-1].digest)
    forged = chain([event(n) for n in (0, 99, 2, 3)])
    assert verify(forged) == 4
    with pytest.raises(ChainBroken, match="event 3 differs from the anchored head"):
        verify(forged, anchor=anchor)


def test_a_tail_that_was_cut_disagrees_with_the_anchored_head():
    kept = chain([event(n) for n in range(4)])
    anchor = (4, kept[-1].digest)
    assert verify(kept, anchor=anchor) == 4
    with pytest.raises(ChainBroken, match="event 4 was anchored and is gone"):
        verify(kept[:2], anchor=anchor)


def test_an_anchor_further_back_holds_while_the_chain_grows():
    kept = chain([event(n) for n in range(4)])
    assert verify(kept, anchor=(2, kept[1].digest)) == 4
    assert verify(kept, anchor=(0, GENESIS)) == 4


def test_an_empty_chain_ends_at_zero():
    assert verify([]) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "\ud800", NOON, {1: 2}])
def test_details_that_are_not_json_are_refused(value):
    with pytest.raises(InvalidInput, match="not JSON"):
        link(GENESIS, 1, event().model_copy(update={"details": {"x": value}}))


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(InvalidInput, match="time zone"):
        link(GENESIS, 1, event().model_copy(update={"at": NOON.replace(tzinfo=None)}))


def test_a_zone_other_than_utc_survives_json():
    local = event().model_copy(update={"at": NOON.astimezone(timezone(timedelta(hours=2)))})
    kept = link(GENESIS, 1, local)
    assert verify([ChainedEvent.model_validate_json(kept.model_dump_json())]) == 1
