"""Change events: the wire form, folding, and lanes."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.sync.events import BadEnvelope, ChangeEvent, Folded, Hint, Origin, decode, encode, fold, root_of, shard_of
from shared.sync.model import RecordId, Side

EVENT = ChangeEvent(
    event_id="e1",
    correlation_id="c1",
    integration_id=7,
    pair="companies",
    side=Side.LEFT,
    record_id=RecordId("L1"),
    hint=Hint.UPSERT,
    origin=Origin.WEBHOOK,
    received_at=1_790_000_000_000,
)
FROZEN = {
    "v": "1",
    "id": "e1",
    "cor": "c1",
    "int": "7",
    "pair": "companies",
    "side": "left",
    "rec": "L1",
    "hint": "upsert",
    "org": "webhook",
    "at": "1790000000000",
    "try": "0",
    "stg": "0",
}
"""What a lane may hold from an older release: never edit this, only add fields with a default."""

names = st.text(min_size=1, max_size=8)
events = st.builds(
    ChangeEvent,
    event_id=st.integers(0, 8).map(lambda n: f"e{n}"),
    correlation_id=st.text(max_size=4),
    integration_id=st.just(7),
    pair=st.sampled_from(["companies", "items"]),
    side=st.sampled_from(Side),
    record_id=st.sampled_from([RecordId("1"), RecordId("2")]),
    hint=st.sampled_from(Hint),
    origin=st.sampled_from(Origin),
    received_at=st.integers(0, 5),
    run_id=st.none() | st.integers(1, 2),
    staged=st.booleans(),
    attempt=st.integers(0, 2),
)


@pytest.mark.rule("P1")
@given(events, names, names)
def test_the_wire_form_keeps_everything(event: ChangeEvent, event_id: str, record: str) -> None:
    event = replace(event, event_id=event_id, record_id=RecordId(record))
    wire = encode(event)
    assert decode(wire) == event
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in wire.items())


@pytest.mark.rule("P10")
def test_an_older_and_a_newer_release_are_read() -> None:
    assert encode(EVENT) == FROZEN
    assert decode(FROZEN) == EVENT
    assert decode({**FROZEN, "v": "1.4", "new": "field"}) == EVENT
    assert decode({k: v for k, v in FROZEN.items() if k not in ("cor", "try", "stg", "hint")}) == replace(
        EVENT, correlation_id=""
    )


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "change",
    [
        {"v": "2"},
        {"v": "2.0"},
        {"v": ""},
        {"v": "11"},
        {"side": "up"},
        {"int": "x"},
        {"at": ""},
        {"rec": ""},
        {"pair": ""},
        {"id": ""},
        {"hint": "maybe"},
        {"org": "moon"},
        {"run": "x"},
        {"try": "many"},
    ],
)
def test_what_is_no_event_of_ours_is_a_typed_error(change: dict[str, str]) -> None:
    with pytest.raises(BadEnvelope):
        decode({**FROZEN, **change})


@pytest.mark.rule("P8")
@given(st.dictionaries(st.sampled_from([*FROZEN, "run", "x"]), st.text(max_size=6)))
def test_no_entry_makes_the_reader_crash(wire: dict[str, str]) -> None:
    for entry in (wire, {**FROZEN, **wire}, {**wire, "v": "1"}):
        with suppress(BadEnvelope):
            assert isinstance(decode(entry), ChangeEvent)


# Folding


@pytest.mark.rule("P5")
def test_many_events_of_a_record_are_one() -> None:
    group = [
        replace(EVENT, event_id="e2", received_at=20, correlation_id="late", origin=Origin.MANUAL, attempt=2),
        replace(EVENT, event_id="e1", received_at=10),
        replace(EVENT, event_id="e3", received_at=15, record_id=RecordId("L2")),
    ]
    first, second = fold(group)
    assert first.event_ids == ("e1", "e2")
    assert (first.received_at, first.correlation_id, first.origin, first.attempt) == (10, "late", Origin.MANUAL, 2)
    assert (first.hint, first.staged, first.run_id) == (Hint.UPSERT, False, None)
    assert second.record_id == RecordId("L2")


@pytest.mark.rule("P5")
def test_one_per_pair_side_record_and_integration() -> None:
    others = [
        replace(EVENT, event_id="e2", side=Side.RIGHT),
        replace(EVENT, event_id="e3", pair="items"),
        replace(EVENT, event_id="e4", integration_id=8),
    ]
    assert len(fold([EVENT, *others])) == 4


@pytest.mark.rule("P5")
def test_a_deletion_is_sticky() -> None:
    gone = replace(EVENT, event_id="e0", hint=Hint.DELETE, received_at=1)
    assert fold([gone, replace(EVENT, received_at=2)])[0].hint is Hint.DELETE
    assert fold([EVENT, replace(gone, received_at=EVENT.received_at + 1)])[0].hint is Hint.DELETE


@pytest.mark.rule("P5")
@pytest.mark.parametrize(
    ("marks", "staged", "run_id"),
    [
        ([(True, 1)], True, 1),
        ([(True, 1), (True, 1)], True, 1),
        ([(True, 1), (True, 2)], False, 2),
        ([(True, 1), (False, 1)], False, 1),
        ([(True, 1), (False, None)], False, 1),
        ([(False, 1)], False, 1),
        ([(True, None)], False, None),
    ],
)
def test_staged_only_if_one_run_staged_them_all(
    marks: list[tuple[bool, int | None]], staged: bool, run_id: int | None
) -> None:
    group = [replace(EVENT, event_id=f"e{n}", staged=s, run_id=r) for n, (s, r) in enumerate(marks)]
    folded = fold(group)[0]
    assert (folded.staged, folded.run_id) == (staged, run_id)


@pytest.mark.rule("P5", "P1")
@given(st.lists(events, max_size=12), st.randoms(use_true_random=False))
def test_disorder_and_doubles_fold_alike(group: list[ChangeEvent], chance: random.Random) -> None:
    shuffled = group + [event for event in group if chance.random() < 0.5]
    chance.shuffle(shuffled)
    assert fold(shuffled) == fold(group)


def _key(event: ChangeEvent | Folded) -> tuple[str, Side, RecordId]:
    return event.pair, event.side, event.record_id


@pytest.mark.rule("P1", "P9")
@given(st.lists(events, max_size=12))
def test_folding_loses_no_event(group: list[ChangeEvent]) -> None:
    folded = fold(group)
    assert {(_key(f), i) for f in folded for i in f.event_ids} == {(_key(e), e.event_id) for e in group}
    assert len({_key(f) for f in folded}) == len(folded)
    for one in folded:
        mine = [event for event in group if _key(event) == _key(one)]
        assert one.attempt == max(event.attempt for event in mine)
        assert len(one.event_ids) == len(set(one.event_ids))


# Lanes


@pytest.mark.rule("P5")
@given(st.text(st.characters()), st.integers(1, 64))
def test_a_shard_is_one_of_them(key: str, shards: int) -> None:
    assert 0 <= shard_of(key, shards) < shards
    assert shard_of(key, 1) == 0


@pytest.mark.rule("P5", "P10")
def test_a_shard_is_the_same_in_every_process() -> None:
    code = "from shared.sync.events import shard_of; print(shard_of('companies/b/L1', 64), shard_of('ö', 64))"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.split() for run in runs] == [["25", "26"]] * 2


@pytest.mark.rule("P5")
def test_shards_are_filled_evenly() -> None:
    counts = [0] * 8
    for number in range(4000):
        counts[shard_of(f"companies/b/{number}", 8)] += 1
    assert min(counts) > 400


def test_no_shard_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        shard_of("x", 0)


@pytest.mark.rule("P5", "DU-1")
def test_roots() -> None:
    left, right = RecordId("1"), RecordId("9")
    assert root_of("p", Side.LEFT, left, bound_left=left) == root_of("p", Side.RIGHT, right, bound_left=left)
    assert root_of("p", Side.LEFT, left, folded_key="acme") == root_of("p", Side.RIGHT, right, folded_key="acme")
    assert root_of("p", Side.LEFT, left) != root_of("p", Side.RIGHT, left)
    assert root_of("p", Side.LEFT, left) != root_of("q", Side.LEFT, left)
    assert root_of("p", Side.LEFT, left) != root_of("p", Side.LEFT, left, folded_key="1")
    # A record that is about to be bound and one that is bound meet, whichever end was read before.
    assert root_of("p", Side.LEFT, left) == root_of("p", Side.RIGHT, right, bound_left=left)
