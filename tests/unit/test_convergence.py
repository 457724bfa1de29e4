"""The promise of the merge, on random edits: both sides end alike, and no edit that did not clash is lost (DU-6).

Two worlds. In the first the vendors do what their field definitions say; a model beside the product says what
each field pair must become. In the second they also change what they are given, without a word (FM-10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sync.mapping import forward, ways
from shared.sync.model import Action, ActionKind, Bound, Pair, Policy, Record, RecordId, Side, Value
from shared.sync.plan import apply_writes, plan
from shared.sync.values import is_blank, plausible_form, same
from tests.unit.sync_builders import RICH, at, replace

Vendor = Callable[[Side, str, Value], Value]
WRITING = frozenset({ActionKind.CREATE, ActionKind.UPDATE})
QUIET = frozenset({ActionKind.ECHO, ActionKind.UNCHANGED})


def honest(side: Side, name: str, value: Value) -> Value:
    return value


def quirky(side: Side, name: str, value: Value) -> Value:
    """Books keeps three characters of a note and two digits rounded to even; FSM shouts codes; both trim."""
    if isinstance(value, Decimal):
        return value.quantize(Decimal("0.1"), rounding=ROUND_HALF_EVEN) if side is Side.RIGHT else value
    if not isinstance(value, str):
        return value
    value = value.strip()
    if name in ("note", "copy"):
        return value[:3]
    return value.upper() if name == "Code" else value


@dataclass
class World:
    """Both vendors' records of one company, and our binding of them. Each write or edit takes a second."""

    vendor: Vendor
    pair: Pair = RICH
    records: dict[Side, Record] = field(default_factory=dict)
    bound: Bound | None = None
    second: int = 0
    writes: int = 0
    conflicts: set[str] = field(default_factory=set)

    def tick(self) -> datetime:
        self.second += 1
        return at(self.second)

    def edit(self, side: Side, name: str, value: Value) -> None:
        record = self.records[side]
        fields = {**record.fields, name: self.vendor(side, name, value)}
        self.records[side] = replace(record, fields=fields, modified_at=self.tick())

    def sync(self, source: Side) -> Action:
        records = self.records
        action = plan(self.pair, Policy.OVERWRITE, source, records.get(Side.LEFT), records.get(Side.RIGHT), self.bound)
        assert action.kind in WRITING | QUIET | {ActionKind.BIND}, action
        for side, changes in action.writes.items():
            before = records.get(side, Record(RecordId(side), {}))
            after = apply_writes(before, changes)
            stored = {name: self.vendor(side, name, value) for name, value in after.fields.items()}
            records[side] = replace(after, fields=stored, modified_at=self.tick())
            self.writes += 1
        self.bound = self._rebound(action)
        self.conflicts |= {conflict.left_field for conflict in action.conflicts}
        return action

    def _rebound(self, action: Action) -> Bound:
        old = self.bound.written if self.bound else {}
        now = {side: self.records[side].modified_at for side in action.writes}
        return Bound(
            RecordId("left"), RecordId("right"), action.base, written={**old, **now}, unread=frozenset(action.writes)
        )

    def settle(self) -> None:
        """One pass from each side writes all there is; after that nobody writes."""
        for source in (Side.LEFT, Side.RIGHT):
            self.sync(source)
        before = self.writes
        for source in (Side.RIGHT, Side.LEFT, Side.RIGHT):
            assert self.sync(source).kind in QUIET
        assert self.writes == before

    def values(self, left: str, right: str) -> tuple[Value, Value]:
        return self.records[Side.LEFT].get(left), self.records[Side.RIGHT].get(right)


def start(vendor: Vendor) -> World:
    fields: dict[str, Value] = {"Name": "Acme", "Note": "n", "Main": "m", "Kind": "Goods", "Type": "Goods"}
    world = World(vendor)
    world.records[Side.LEFT] = Record(RecordId("left"), fields, world.tick())
    world.settle()
    world.writes = 0
    return world


words = st.sampled_from(["a", "b", "longer than six", "😀 smile", "smile 😀", " spaced ", "É", "x" * 30])
anything = words | st.sampled_from(["", " "]) | st.none()
prices = st.sampled_from([Decimal("1"), Decimal("2.50"), Decimal("3.005"), Decimal("-4.999"), None])
EDITS = st.one_of(
    st.tuples(st.just((Side.LEFT, "Name")), st.sampled_from(["Acme", "Beta", "Gamma"])),
    st.tuples(st.just((Side.RIGHT, "name")), st.sampled_from(["Acme", "Beta", "Delta"])),
    st.tuples(st.sampled_from([(Side.LEFT, "Note"), (Side.RIGHT, "note")]), anything),
    st.tuples(st.sampled_from([(Side.LEFT, "Price"), (Side.RIGHT, "rate")]), prices),
    st.tuples(st.just((Side.LEFT, "Kind")), st.sampled_from(["Service", "Goods", "Part", None])),
    st.tuples(st.just((Side.RIGHT, "kind")), st.sampled_from(["service", "goods", None])),
    st.tuples(st.sampled_from([(Side.LEFT, "Code"), (Side.RIGHT, "code")]), anything),
    st.tuples(st.sampled_from([(Side.LEFT, "Main"), (Side.RIGHT, "main")]), words),
    st.tuples(st.sampled_from([(Side.RIGHT, "copy"), (Side.RIGHT, "trade")]), anything),
    st.tuples(st.just((Side.LEFT, "Trade")), anything),
    st.tuples(st.sampled_from([(Side.LEFT, "Term"), (Side.RIGHT, "term")]), anything),
)
Edit = tuple[tuple[Side, str], Value]
SYNCS = st.sampled_from(Side)
STEPS = st.lists(EDITS | SYNCS, max_size=12)


def agrees(world: World, left: str, right: str) -> bool:
    fp = next(way.pair for way in ways(world.pair) if (way.pair.left, way.pair.right) == (left, right))
    a, b = world.values(left, right)
    there = forward(fp, a, Side.LEFT, world.pair.right_fields[right])
    back = forward(fp, b, Side.RIGHT, world.pair.left_fields[left])
    return (is_blank(a) and is_blank(b)) or same(there.value, b) or (back.reason is None and same(back.value, a))


@pytest.mark.rule("DU-6", "P6")
@settings(max_examples=400)
@given(STEPS)
def test_two_way_fields_agree_in_the_end_and_then_it_is_silent(steps: list[Edit | Side]) -> None:
    world = start(honest)
    for step in steps:
        if isinstance(step, Side):
            world.sync(step)
        else:
            world.edit(*step[0], step[1])
    world.settle()
    for way in ways(world.pair):
        if way.to_left and way.to_right and not way.pair.on_create:
            assert agrees(world, way.pair.left, way.pair.right), way.pair.key


PAIRS = {fp.left: fp.right for fp in RICH.mapping if fp.left in ("Name", "Note", "Code", "Term")}
WHERE = st.sampled_from([(Side.LEFT,), (Side.RIGHT,), (Side.LEFT, Side.RIGHT)])
ROUND = st.dictionaries(st.sampled_from(sorted(PAIRS)), WHERE)


@pytest.mark.rule("DU-6", "P5")
@settings(max_examples=300)
@given(st.lists(st.tuples(ROUND, SYNCS, SYNCS), max_size=4))
def test_no_edit_that_did_not_clash_is_lost(rounds: list[tuple[dict[str, tuple[Side, ...]], Side, Side]]) -> None:
    """A model of each field pair: after a round it holds its one edit, or of two that of the record edited last."""
    world = start(honest)
    for number, (edits, source, last) in enumerate(rounds):
        world.conflicts = set()
        for left, sides in edits.items():
            for side in sides:
                world.edit(side, left if side is Side.LEFT else PAIRS[left], f"{left[0]}{number}{side}"[:6])
        world.edit(last, "not mapped", str(number))
        world.sync(source)
        for left, sides in edits.items():
            survivor = sides[0] if len(sides) == 1 else last
            value = f"{left[0]}{number}{survivor}"[:6]
            assert world.values(left, PAIRS[left]) == (value, value)
        assert world.conflicts == {left for left, sides in edits.items() if len(sides) == 2}
        if number % 2:
            world.settle()


@pytest.mark.rule("FM-10")
@settings(max_examples=300)
@given(st.lists(EDITS, max_size=8))
def test_what_a_vendor_changes_is_never_carried_back(edits: list[Edit]) -> None:
    """Each edit is synced and read back before the next: the side where it was made must keep its very value."""
    world = start(quirky)
    for (side, name), value in edits:
        before = {s: dict(r.fields) for s, r in world.records.items()}
        world.edit(side, name, value)
        mine = world.records[side].get(name)
        world.settle()
        assert same(world.records[side].get(name), mine), (name, value)
        touched = {fp.key for fp in RICH.mapping if name in (fp.left, fp.right)}
        for fp in RICH.mapping:
            if fp.key not in touched and "Main" not in (fp.left, *(k.split("|")[0] for k in touched)):
                assert world.records[Side.LEFT].get(fp.left) == before[Side.LEFT].get(fp.left)
                assert world.records[Side.RIGHT].get(fp.right) == before[Side.RIGHT].get(fp.right)


@pytest.mark.rule("FM-10")
@given(anything)
def test_the_other_side_holds_a_form_of_it(value: Value) -> None:
    world = start(quirky)
    world.edit(Side.LEFT, "Note", value)
    world.settle()
    note, kept = world.values("Note", "note")
    assert plausible_form(note, kept, RICH.right_fields["note"]) or is_blank(kept)


@pytest.mark.rule("P6", "DU-7")
@pytest.mark.parametrize("side", list(Side))
def test_a_to_b_to_a_stops(side: Side) -> None:
    world = start(honest)
    name = "Note" if side is Side.LEFT else "note"
    world.edit(side, name, "edit")
    assert world.sync(side).kind is ActionKind.UPDATE
    assert world.sync(side.other).kind is ActionKind.ECHO
    assert world.sync(side).kind is ActionKind.UNCHANGED
    assert world.writes == 1


@pytest.mark.rule("P5")
@given(st.lists(EDITS, max_size=6), st.permutations([Side.LEFT, Side.RIGHT, Side.LEFT, Side.RIGHT]))
def test_the_order_of_events_does_not_matter(edits: list[Edit], order: list[Side]) -> None:
    one, other = start(honest), start(honest)
    for world in (one, other):
        for (side, name), value in edits:
            world.edit(side, name, value)
    one.sync(Side.LEFT)
    for source in order:
        other.sync(source)
    one.settle()
    assert {s: dict(r.fields) for s, r in one.records.items()} == {s: dict(r.fields) for s, r in other.records.items()}


FIRST = st.lists(EDITS, max_size=10)


@pytest.mark.rule("DU-8", "FM-9", "SU-4")
@settings(max_examples=300)
@given(FIRST, SYNCS, st.booleans())
def test_two_full_records_that_match_agree_and_no_blank_wins(edits: list[Edit], source: Side, fetched: bool) -> None:
    """`fetched`: Fetch bound them, so the base is empty; else this plan binds them."""
    world = World(honest)
    world.records[Side.LEFT] = Record(RecordId("left"), {"Name": "Acme", "Main": "m"}, world.tick())
    world.records[Side.RIGHT] = Record(
        RecordId("right"), {"name": "ACME", "main": "n", "sub_type": "business"}, world.tick()
    )
    for (side, name), value in edits:
        world.edit(side, name, value)
    before = {side: dict(record.fields) for side, record in world.records.items()}
    if fetched:
        world.bound = Bound(RecordId("left"), RecordId("right"), {})
    world.sync(source)
    assert not world.conflicts
    world.settle()
    for way in ways(world.pair):
        fp = way.pair
        if way.to_left and way.to_right and not fp.on_create:
            a, b = world.values(fp.left, fp.right)
            # Of a value may be left nothing in a field that cannot hold it; then each keeps what it had.
            assert agrees(world, fp.left, fp.right) or "😀 smile" in (a, b), fp.key
            for side, name in ((Side.LEFT, fp.left), (Side.RIGHT, fp.right)):
                assert is_blank(before[side].get(name)) or not is_blank(world.records[side].get(name))
