"""Three-way merge of two bound (or just matched) records, field by field against the base (DU-6, FM-9, FM-10).

The base holds, per field pair, each side's value as last agreed, in that side's own terms. So a value that a
vendor cut or reformatted compares equal to itself on its own side and is never carried back to where it
came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from shared.sync.mapping import Mapped, Way, forward, has_shared_fields, label, ways
from shared.sync.model import Base, BaseValue, Change, Conflict, FieldDef, FieldPair, Pair, Record, Sent, Side, Value
from shared.sync.reasons import Code
from shared.sync.values import is_blank, plausible_form, same

_NOTHING_UNREAD: frozenset[Side] = frozenset()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a record cannot be written: a code of `reasons`, and the target field's label."""

    code: Code
    field: str


@dataclass(frozen=True, slots=True)
class MergeResult:
    """`writes` has a side only where something is to be written. `base` is the whole new base, as if the writes
    were accepted. `adopted` are keys of field pairs whose value at an unread side was taken as the form of
    what we had sent. With any `troubles` nothing may be written."""

    writes: Mapping[Side, tuple[Change, ...]] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    base: Base = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def newer_side(left: Record, right: Record) -> Side | None:
    """The side with the later modified time; None for a tie or where a vendor did not say."""
    if left.modified_at is None or right.modified_at is None or left.modified_at == right.modified_at:
        return None
    return Side.LEFT if left.modified_at > right.modified_at else Side.RIGHT


def apply_writes(record: Record, changes: Iterable[Change]) -> Record:
    """The record as it is expected once the changes are accepted (its modified time is the vendor's to say)."""
    return replace(record, fields={**record.fields, **{change.field: change.new for change in changes}})


def read_back(pair: Pair, base: Base, side: Side, changes: Iterable[Change], shown: Record) -> Base:
    """The base after a write whose answer showed the record: what the vendor made of each written field (FM-10).

    Only of written fields: another field of the answer may hold somebody's edit that was not merged yet. A side
    that was read back so is not `unread`.
    """
    written = {change.field for change in changes}
    after = dict(base)
    for fp in pair.mapping:
        name = fp.field(side)
        if fp.key in after and name in written and is_known(shown, name):
            left, right = after[fp.key]
            got = shown.get(name)
            after[fp.key] = (got, right) if side is Side.LEFT else (left, got)
    return after


def with_pending(pair: Pair, base: Base, pending: Mapping[Side, Sent], records: Mapping[Side, Record]) -> Base:
    """The base, with each write of unknown fate that the record shows to have been applied: its value is our own, in
    the vendor's form, and no edit of anybody's. A side that holds what it held before was not written."""
    after = dict(base)
    for side, sent in pending.items():
        at = 0 if side is Side.LEFT else 1
        for fp in pair.mapping:
            if fp.key not in sent.base or not is_known(records[side], fp.field(side)):
                continue
            value, got = sent.base[fp.key], records[side].get(fp.field(side))
            if not same(value[at], got):
                definition = pair.fields(side)[fp.field(side)]
                if same(sent.old.get(fp.key), got) or not plausible_form(value[at], got, definition):
                    continue
            after[fp.key] = (got, value[1]) if side is Side.LEFT else (value[0], got)
    return after


def pending_of(pair: Pair, base: Base, writes: Mapping[Side, Iterable[Change]]) -> dict[Side, Sent]:
    """What `with_pending` needs to know of the writes; `base` is that after them."""
    found: dict[Side, Sent] = {}
    for side, changes in writes.items():
        old = {change.field: change.old for change in changes}
        keys = [fp for fp in pair.mapping if fp.field(side) in old and fp.key in base]
        if keys:
            sent = {fp.key: base[fp.key] for fp in keys}
            found[side] = Sent(sent, {fp.key: old[fp.field(side)] for fp in keys})
    return found


def merge(
    pair: Pair,
    left: Record,
    right: Record,
    base: Base,
    *,
    unread: frozenset[Side] = _NOTHING_UNREAD,
    newer: Side | None = None,
) -> MergeResult:
    """What each side must be told so that both agree; nothing is told to a side that a pair does not write.

    `newer`: the side that wins where both changed, None = `pair.tie_side`. Merging the result again, with the
    new base, writes nothing.
    """
    result = _Pass(pair, left, right, base, unread, newer or pair.tie_side).run()
    if result.writes and has_shared_fields(pair):
        return _settle(pair, left, right, result, newer)
    return result


def _settle(pair: Pair, left: Record, right: Record, first: MergeResult, newer: Side | None) -> MergeResult:
    """Where two pairs share a field, what one wrote is an edit for the other: merge again until it is quiet."""
    result, step = first, first
    for _ in pair.mapping:
        left = apply_writes(left, step.writes.get(Side.LEFT, ()))
        right = apply_writes(right, step.writes.get(Side.RIGHT, ()))
        step = _Pass(pair, left, right, step.base, _NOTHING_UNREAD, newer or pair.tie_side).run()
        if not step.writes:
            break
        result = _joined(result, step)
    return result


def _joined(first: MergeResult, second: MergeResult) -> MergeResult:
    writes = {side: _joined_changes(first.writes.get(side, ()), second.writes.get(side, ())) for side in Side}
    return MergeResult(
        writes={side: changes for side, changes in writes.items() if changes},
        conflicts=first.conflicts + second.conflicts,
        base=second.base,
        warnings=tuple(dict.fromkeys(first.warnings + second.warnings)),
        adopted=first.adopted,
        troubles=tuple(dict.fromkeys(first.troubles + second.troubles)),
    )


def _joined_changes(first: Sequence[Change], second: Sequence[Change]) -> tuple[Change, ...]:
    changes = {change.field: change for change in first}
    for change in second:
        earlier = changes.get(change.field)
        changes[change.field] = change if earlier is None else replace(change, old=earlier.old)
    return tuple(change for change in changes.values() if not same(change.old, change.new))


class _Pass:
    """One look at every field pair; it collects what comes of it."""

    def __init__(
        self, pair: Pair, left: Record, right: Record, base: Base, unread: frozenset[Side], winner: Side
    ) -> None:
        self.pair = pair
        self.left = left
        self.right = right
        self.old_base = base
        self.unread = unread
        self.winner = winner
        self.base: dict[str, BaseValue] = {}
        self.writes: dict[Side, list[Change]] = {Side.LEFT: [], Side.RIGHT: []}
        self.conflicts: list[Conflict] = []
        self.warnings: list[str] = []
        self.adopted: list[str] = []
        self.troubles: list[Trouble] = []

    def run(self) -> MergeResult:
        for way in ways(self.pair):
            if not way.pair.on_create and (way.to_left or way.to_right):
                self._look(way)
        return MergeResult(
            writes={side: tuple(changes) for side, changes in self.writes.items() if changes},
            conflicts=tuple(self.conflicts),
            base=self.base,
            warnings=tuple(self.warnings),
            adopted=tuple(self.adopted),
            troubles=tuple(dict.fromkeys(self.troubles)),
        )

    def _look(self, way: Way) -> None:
        key = way.pair.key
        old = self.old_base.get(key)
        if not (is_known(self.left, way.pair.left) and is_known(self.right, way.pair.right)):
            if old is not None:
                self.base[key] = old
            return
        now = (self.left.get(way.pair.left), self.right.get(way.pair.right))
        if old is None:
            self._first(way, now)
        else:
            self._again(way, now, old)

    def _again(self, way: Way, now: BaseValue, old: BaseValue) -> None:
        """With a base: what differs from it is an edit, clearing included."""
        if self.unread:
            old = self._read_back(way.pair, now, old)
        left_edited, right_edited = not same(now[0], old[0]), not same(now[1], old[1])
        if not (left_edited or right_edited):
            self.base[way.pair.key] = old
        elif self._agree(way, now):
            self.base[way.pair.key] = now
        elif left_edited and right_edited:
            self._clash(way, now)
        else:
            self._carry(way, now, Side.LEFT if left_edited else Side.RIGHT, otherwise=old)

    def _read_back(self, fp: FieldPair, now: BaseValue, old: BaseValue) -> BaseValue:
        """FM-10: at a side that was written and not read since, the vendor's form of what we sent is the base."""
        values = list(old)
        for at, side in enumerate((Side.LEFT, Side.RIGHT)):
            if side in self.unread and self._is_form(fp, side, old[at], now[at]):
                values[at] = now[at]
                self.adopted.append(fp.key)
        return values[0], values[1]

    def _is_form(self, fp: FieldPair, side: Side, sent: Value, got: Value) -> bool:
        return not same(sent, got) and plausible_form(sent, got, self._definition(fp, side))

    def _first(self, way: Way, now: BaseValue) -> None:
        """Without a base (first match, newly mapped): blanks yield, else the newer record's value (FM-9, DU-3)."""
        if self._agree(way, now):
            self.base[way.pair.key] = now
            return
        if is_blank(now[0]) or is_blank(now[1]):
            winner = Side.RIGHT if is_blank(now[0]) else Side.LEFT
        else:
            winner = self._winner(way)
        self._carry(way, now, winner, otherwise=now, keep_blank=True)

    def _clash(self, way: Way, now: BaseValue) -> None:
        winner = self._winner(way)
        self.conflicts.append(Conflict(way.pair.left, way.pair.right, now[0], now[1], winner))
        self._carry(way, now, winner, otherwise=now)

    def _winner(self, way: Way) -> Side:
        """A pair that carries one way has one master."""
        if way.to_left and way.to_right:
            return self.winner
        return Side.LEFT if way.to_right else Side.RIGHT

    def _carry(self, way: Way, now: BaseValue, source: Side, *, otherwise: BaseValue, keep_blank: bool = False) -> None:
        """Write the source's value to the other side; where the pair does not go there, the base is `otherwise`."""
        target = source.other
        fp = way.pair
        self.base[fp.key] = otherwise
        if not way.into(target):
            return
        definition = self._definition(fp, target)
        value, old = (now[0], now[1]) if source is Side.LEFT else (now[1], now[0])
        mapped = forward(fp, value, source, definition)
        if keep_blank and mapped.reason is None and is_blank(mapped.value):
            return
        if self._in_trouble(mapped, definition, target):
            return
        self.writes[target].append(Change(fp.field(target), old, mapped.value))
        self.base[fp.key] = (value, mapped.value) if source is Side.LEFT else (mapped.value, value)

    def _in_trouble(self, mapped: Mapped, definition: FieldDef, target: Side) -> bool:
        trouble = trouble_of(self.pair, target, definition, mapped)
        if trouble is not None:
            self.troubles.append(trouble)
        elif mapped.cut:
            self.warnings.append(cut_warning(definition))
        return trouble is not None

    def _agree(self, way: Way, now: BaseValue) -> bool:
        """Whether each side already holds what the other's value becomes there, in any way the pair carries."""
        left, right = now
        if is_blank(left) and is_blank(right):
            return True
        if way.to_right and _becomes(way.pair, left, Side.LEFT, right, self._definition(way.pair, Side.RIGHT)):
            return True
        return way.to_left and _becomes(way.pair, right, Side.RIGHT, left, self._definition(way.pair, Side.LEFT))

    def _definition(self, fp: FieldPair, side: Side) -> FieldDef:
        return self.pair.fields(side)[fp.field(side)]


def _becomes(fp: FieldPair, value: Value, source: Side, wanted: Value, definition: FieldDef) -> bool:
    mapped = forward(fp, value, source, definition)
    return mapped.reason is None and same(mapped.value, wanted)


def is_known(record: Record, name: str) -> bool:
    """A thin list row does not say anything of the fields that it lacks."""
    return record.complete or name in record.fields


def trouble_of(pair: Pair, target: Side, definition: FieldDef, mapped: Mapped) -> Trouble | None:
    """What forbids writing this value (FM-10: a cut match key would match other records)."""
    if mapped.reason is not None:
        return Trouble(Code(mapped.reason), mapped.field)
    if mapped.cut and definition.name == pair.key(target):
        return Trouble(Code.KEY_CUT, label(definition))
    if definition.required and is_blank(mapped.value):
        return Trouble(Code.MANDATORY_FIELD_EMPTY, label(definition))
    return None


def cut_warning(definition: FieldDef) -> str:
    """A sentence without the value."""
    return f"{label(definition)} holds less than the source: the value was cut or rounded."
