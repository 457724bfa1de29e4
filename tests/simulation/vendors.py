"""Two simulated vendors. Left: no unique key, answers of writes show no record. Right: a unique name, thin lists
sorted by time, a field that it cuts without a word. Both keep times in whole seconds by a clock of their own, and
show a new record in lists and searches late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from shared.connectors.base import (
    CallClass,
    Capabilities,
    Draft,
    Edit,
    ListOrder,
    ModuleFacts,
    Page,
    Rejected,
    Unsure,
    VendorFacts,
    WriteResult,
    Written,
)
from shared.errors import RateLimited, RetryableError
from shared.sync.match import fold_key
from shared.sync.model import (
    FieldDef,
    FieldKind,
    FieldPair,
    ModuleName,
    Pair,
    Record,
    RecordId,
    Side,
    Value,
    VendorName,
)
from shared.sync.reasons import Code
from shared.sync.values import same
from tests.simulation.sched import Dead, Sched

LEFT_FIELDS = {
    "Name": FieldDef("Name", required=True),
    "Note": FieldDef("Note"),
    "City": FieldDef("City"),
    "Memo": FieldDef("Memo"),
    "Price": FieldDef("Price", FieldKind.NUMBER),
}
RIGHT_FIELDS = {
    "name": FieldDef("name", required=True),
    "note": FieldDef("note", max_length=6),
    "city": FieldDef("city"),
    "memo": FieldDef("memo"),
    "rate": FieldDef("rate", FieldKind.NUMBER, decimals=2),
}
PAIR = Pair(
    name="things",
    left_module=ModuleName("Lefts"),
    right_module=ModuleName("rights"),
    key_left="Name",
    key_right="name",
    mapping=(
        FieldPair("Name", "name"),
        FieldPair("Note", "note"),
        FieldPair("City", "city"),
        FieldPair("Memo", "memo"),
        FieldPair("Price", "rate"),
    ),
    tie_side=Side.RIGHT,
    left_fields=LEFT_FIELDS,
    right_fields=RIGHT_FIELDS,
)
ALWAYS_SENT = ("name", "rate")
"""Fields that an update of the right vendor must carry, as they were read (docs/decisions.md)."""
CALL_MS = 40
QUOTA_MS = 250_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What the vendors of a history are like. Times are milliseconds; an offset is their clock less ours."""

    left_order: ListOrder = ListOrder.WHOLE
    left_modified: bool = True
    page_size: int = 3
    lag_ms: int = 0
    left_offset_ms: int = 0
    right_offset_ms: int = 0
    late_ms: int = 500
    """How long after its connection broke a request may still be applied."""
    right_tells_time: bool = False
    """Its lists say what time it is there."""
    slow_ms: int = 5_000
    """How long a slow call takes to be applied; it is, whether its caller lives or not."""

    def offset(self, side: Side) -> int:
        return self.left_offset_ms if side is Side.LEFT else self.right_offset_ms


@dataclass(slots=True)
class Row:
    """`ours`: fields whose present value we wrote."""

    id: RecordId
    fields: dict[str, Value]
    modified_ms: int
    visible_ms: int
    ours: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Seen:
    """What a checker may want to know of the calls that were applied."""

    writes: int = 0
    created: dict[tuple[Side, str], set[RecordId]] = field(default_factory=dict)
    """By (side, id of the source record): what was made for it, and not deleted by a person since."""
    raced: set[tuple[Side, RecordId, str]] = field(default_factory=set)
    """Fields where a person wrote between our read and our write: what they wrote is gone, and nobody can tell."""
    stale: list[str] = field(default_factory=list)
    """Writes of ours over a newer write of ours."""


class Vendor:
    """`on_change(side, id, deleted)` is called after each change: that is the webhook."""

    def __init__(
        self, side: Side, shape: Shape, sched: Sched, on_change: Callable[[Side, RecordId, bool], None], seen: Seen
    ) -> None:
        self.side, self.shape, self.sched = side, shape, sched
        self.rows: dict[RecordId, Row] = {}
        self.seen = seen
        self._on_change = on_change
        self._made = 0
        self._key = PAIR.key(side)

    def _stored(self, name: str, value: Value) -> Value:
        if self.side is Side.RIGHT and isinstance(value, str) and name == "memo":
            return value[:4]
        if self.side is Side.RIGHT and isinstance(value, Decimal):
            return value.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
        return value

    def _clock(self) -> int:
        return (self.sched.now + self.shape.offset(self.side)) // 1000 * 1000

    def time(self) -> datetime:
        return self.sched.when(self._clock())

    def taken(self, name: Value, but: RecordId | None = None) -> bool:
        return self.side is Side.RIGHT and self.holds(name, but)

    def holds(self, name: Value, but: RecordId | None = None) -> bool:
        folded = fold_key(name)
        return any(fold_key(row.fields.get(self._key)) == folded for row in self.rows.values() if row.id != but)

    def add(self, fields: Mapping[str, Value], *, ours: bool = False) -> Row:
        self._made += 1
        stored = {name: self._stored(name, value) for name, value in fields.items()}
        row = Row(
            RecordId(f"{self.side[0].upper()}{self._made}"),
            stored,
            self._clock(),
            self.sched.now + self.shape.lag_ms,
            set(stored) if ours else set(),
        )
        self.rows[row.id] = row
        self._on_change(self.side, row.id, False)
        return row

    def change(self, row: Row, fields: Mapping[str, Value], *, ours: bool = False) -> None:
        for name, value in fields.items():
            row.fields[name] = self._stored(name, value)
            (row.ours.add if ours else row.ours.discard)(name)
        row.modified_ms = self._clock()
        self._on_change(self.side, row.id, False)

    def delete(self, record_id: RecordId) -> None:
        del self.rows[record_id]
        for made in self.seen.created.values():
            made.discard(record_id)
        self._on_change(self.side, record_id, True)

    def record(self, row: Row, names: frozenset[str] | None = None, *, listed: bool = False) -> Record:
        fields = dict(row.fields) if names is None else {n: row.fields.get(n) for n in names}
        modified = None if listed and self.side is Side.LEFT and not self.shape.left_modified else self.when(row)
        return Record(row.id, fields, modified, complete=names is None)

    def when(self, row: Row) -> datetime:
        return self.sched.when(row.modified_ms)

    # What our calls do

    def make(self, draft: Draft) -> WriteResult:
        if self.taken(draft.fields.get(self._key)):
            return Rejected(Code.DUPLICATE_NAME, "1", "")
        row = self.add(draft.fields, ours=True)
        self.seen.writes += 1
        self.seen.created.setdefault((self.side, str(draft.stamp)), set()).add(row.id)
        self.sched.note(self.side, "made", row.id, "for", draft.stamp)
        return Written(row.id, self._shown(row), self.when(row))

    def put(self, edit: Edit) -> WriteResult:
        row = self.rows.get(edit.current.id)
        if row is None:
            return Rejected(Code.TARGET_GONE, "2", "")
        values = {change.field: change.new for change in edit.changes}
        if self.side is Side.RIGHT:
            values = {name: edit.current.get(name) for name in ALWAYS_SENT} | values
        if self.taken(values.get(self._key, row.fields.get(self._key)), row.id):
            return Rejected(Code.DUPLICATE_NAME, "1", "")
        for name, value in values.items():
            self._watch(row, edit.current, name, value)
        self.change(row, values, ours=True)
        self.seen.writes += 1
        self.sched.note(self.side, "put", row.id, {c.field: c.new for c in edit.changes})
        return Written(row.id, self._shown(row), self.when(row))

    def _watch(self, row: Row, read: Record, name: str, value: Value) -> None:
        now = row.fields.get(name)
        if same(now, read.get(name)) or same(now, value):
            return
        if name in row.ours:
            self.seen.stale.append(f"{row.id}.{name}: {now!r} by {value!r}, planned from {read.get(name)!r}")
        else:
            self.seen.raced.add((self.side, row.id, name))

    def _shown(self, row: Row) -> Record | None:
        return None if self.side is Side.LEFT else self.record(row)


class Connector:
    """A vendor as the engine calls it. `fault(side)` gives the next fault that was armed for a call there, or ""."""

    def __init__(self, vendor: Vendor, sched: Sched, fault: Callable[[str], str], exclusive: bool) -> None:
        """`exclusive`: the list is cut at `>` instead of `>=` (a mutant)."""
        self._vendor, self._sched, self._fault, self._exclusive = vendor, sched, fault, exclusive
        side, shape = vendor.side, vendor.shape
        right = side is Side.RIGHT
        module = ModuleFacts(
            name=PAIR.module(side),
            label=side.value,
            fields=PAIR.fields(side),
            order=ListOrder.MODIFIED_DESC if right else shape.left_order,
            list_fields=frozenset(("name", "rate")) if right else None,
            list_modified=right or shape.left_modified,
            page_size=shape.page_size,
            unique_key="name" if right else None,
        )
        self.facts = VendorFacts(VendorName(side.value), side.value, {module.name: module})
        self.quota_until_ms = 0
        """Until then every call is refused for quota."""
        self.poison: set[RecordId] = set()
        """Records whose reading kills the process."""

    @property
    def module(self) -> ModuleFacts:
        return self.facts.modules[PAIR.module(self._vendor.side)]

    def _read(self, what: str) -> None:
        self._sched.step(f"{self._vendor.side} {what}")
        fault = self._fault(self._vendor.side)
        self._limit(fault)
        if fault in ("5xx", "refused", "lost", "late"):
            raise RetryableError("away", code=Code.VENDOR_UNAVAILABLE)
        if fault == "slow":
            self._sched.sleep(self._vendor.shape.slow_ms, "slow")

    def _limit(self, fault: str) -> None:
        if fault == "429":
            raise RateLimited("limit", retry_after_s=2.0)
        if fault == "quota":
            self.quota_until_ms = self._sched.now + QUOTA_MS
        if self.quota_until_ms > self._sched.now:
            raise RateLimited("quota", retry_after_s=(self.quota_until_ms - self._sched.now) / 1000)

    def list_page(self, module: ModuleName, *, cursor: str | None, since: datetime | None) -> Page:
        self._read("list")
        vendor, facts = self._vendor, self.module
        rows = [row for row in vendor.rows.values() if row.visible_ms <= self._sched.now]
        if facts.order is ListOrder.MODIFIED_DESC:
            rows.sort(key=lambda row: (-row.modified_ms, row.id))
        elif facts.order is ListOrder.SINCE and since is not None:
            rows = [row for row in rows if self._inside(row, since)]
        start, size = int(cursor or 0), facts.page_size
        shown = tuple(vendor.record(row, facts.list_fields, listed=True) for row in rows[start : start + size])
        at = vendor.time() if vendor.side is Side.RIGHT and vendor.shape.right_tells_time else None
        return Page(shown, str(start + size) if start + size < len(rows) else None, at)

    def _inside(self, row: Row, since: datetime) -> bool:
        modified = self._vendor.when(row)
        return modified > since if self._exclusive else modified >= since.replace(microsecond=0)

    def fetch(self, module: ModuleName, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        self._read(f"fetch {','.join(ids)}")
        if self.poison.intersection(ids):
            if self._sched.current is not None:
                self._sched.current.dead = True
            raise Dead
        rows = self._vendor.rows
        return {one: self._vendor.record(rows[one]) if one in rows else None for one in ids}

    def find(self, module: ModuleName, field: str, value: str) -> tuple[Record, ...]:
        self._read("find")
        wanted = fold_key(value)
        rows = [row for row in self._vendor.rows.values() if row.visible_ms <= self._sched.now]
        return tuple(self._vendor.record(row) for row in rows if fold_key(row.fields.get(field)) == wanted)

    def create(self, module: ModuleName, drafts: Sequence[Draft]) -> tuple[WriteResult, ...]:
        return tuple(self._write(lambda one=draft: self._vendor.make(one)) for draft in drafts)  # type: ignore[misc]

    def update(self, module: ModuleName, edits: Sequence[Edit]) -> tuple[WriteResult, ...]:
        return tuple(
            self._write(lambda one=edit: self._vendor.put(one), again=True)  # type: ignore[misc]
            for edit in edits
        )

    def _write(self, apply: Callable[[], WriteResult], *, again: bool = False) -> WriteResult:
        """`again`: it may be repeated, so it is never late: nothing could keep the old one from the newer's place.

        No step before it: the look at the lease and the sending are one. What was sent is applied, whatever becomes
        of the worker meanwhile."""
        if self._sched.current is not None and self._sched.current.dead:
            raise Dead
        side, shape = self._vendor.side, self._vendor.shape
        fault = self._fault(f"{side} write") or self._fault(side)
        self._limit(fault)
        if fault == "refused":
            raise RetryableError("away", code=Code.VENDOR_UNAVAILABLE)
        if again and fault == "late":
            fault = "lost"
        if fault in ("slow", "late"):
            answers: list[WriteResult] = []
            self._sched.after(shape.slow_ms if fault == "slow" else shape.late_ms, lambda: answers.append(apply()))
            self._sched.note(side, "write", fault)
            if fault == "late":
                self._sched.sleep(CALL_MS, f"{side} cut")
                return Unsure("cut")
            self._sched.sleep(1 << 40, f"{side} slow", lambda: bool(answers))
            return answers[0]
        answer: WriteResult = Unsure("5xx") if fault == "5xx" else apply()
        self._sched.sleep(CALL_MS, f"{side} reply")
        return Unsure("lost") if fault == "lost" else answer

    def with_class(self, cls: CallClass) -> Connector:
        return self

    def probe(self) -> Capabilities:
        return Capabilities()

    def close(self) -> None:
        pass
