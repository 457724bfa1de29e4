"""What is agreed after an action: the binding to save, with base, versions and the hashes that a poll compares."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from shared.connectors.base import Written
from shared.engine.context import Context
from shared.engine.known import BindingRow
from shared.engine.outcome import BindingSave
from shared.engine.work import Work, new_values
from shared.sync.mapping import lasting
from shared.sync.merge import read_back
from shared.sync.model import (
    Action,
    ActionKind,
    Base,
    BaseValue,
    BindingState,
    Change,
    Pair,
    Record,
    RecordId,
    Side,
)
from shared.sync.plan import apply_writes
from shared.sync.reasons import Code
from shared.sync.values import encode_base, row_hash, same

SETTLED_AFTER = timedelta(seconds=2)
"""Vendors' times have a resolution of one second: a version first seen less long ago may still change without a new
time, so a poll must not take an equal time for an equal record."""
CLOCKS_APART = timedelta(minutes=5)
"""How far a vendor's clock may be off: a version that is older than this by our clock was settled when it was read."""


def binding_after(context: Context, work: Work, action: Action) -> BindingSave | None:
    """None: nothing is bound, or nothing moved."""
    if work.twin_id is None or action.kind is ActionKind.FAIL:
        return None
    if action.kind is ActionKind.SKIP:
        return _marked(context, work, action)
    row = work.binding
    left_id, right_id = (work.id, work.twin_id) if work.side is Side.LEFT else (work.twin_id, work.id)
    base = _taken_base(work, action)
    if work.refused.intersection(action.writes) and action.kind is ActionKind.DEACTIVATE:
        return None
    unread = set(row.bound.unread if row else ())
    save = BindingSave(left_id, right_id, {}, row.version if row else 0)
    for side in Side:
        written, record = work.written.get(side), work.record(side)
        if written is not None:
            unread = (unread - {side}) | ({side} if written.record is None else set())
            _note_written(context, work, action, side, written, save, base)
        elif record is not None:
            unread -= {side}
            _note(work, save, side, _digest(context, work.pair, side, record), record.modified_at)
            setattr(save, f"{side}_written", row.bound.written.get(side) if row else None)
        elif row is not None:
            _keep(save, side, row)
    save.has_children = context.awaited(work.pair.name)
    if save.has_children and action.kind is ActionKind.CREATE:
        setattr(save, f"{work.side.other}_bare", True)
    follows = work.pair.follows
    if follows is not None:
        save.deactivated = _state_after(context, work.pair, follows, action.writes.get(follows, ())) is True
    save.base = encode_base(base)
    save.unread = sorted(unread)
    return save


def _seen_inactive(context: Context, work: Work, row: BindingRow) -> BindingSave:
    """A poll need not bring it again before something changes. What was agreed stays, and a side that holds something
    else by now is not taken for it: from there they are merged once the record is active."""
    save = row.save()
    for side in Side:
        if (record := work.record(side)) is not None:
            as_agreed = _agrees(work.pair, row.bound.base, side, record)
            digest = _digest(context, work.pair, side, record) if as_agreed else None
            _note(work, save, side, digest, record.modified_at)
    return save


def _agrees(pair: Pair, base: Base, side: Side, record: Record) -> bool:
    at = 0 if side is Side.LEFT else 1
    return all(line.key in base and same(record.get(line.field(side)), base[line.key][at]) for line in lasting(pair))


def _marked(context: Context, work: Work, action: Action) -> BindingSave | None:
    row = work.binding
    if row is not None and action.reason == Code.MOVED and row.state == BindingState.LIVE:
        save = row.save()
        save.state = BindingState.MOVED.value
        return save
    if row is not None and action.reason == Code.INACTIVE and not row.bound.pending:
        return _seen_inactive(context, work, row)
    if row is None or action.reason not in (Code.SOURCE_DELETED, Code.TWIN_DELETED):
        return None
    gone = work.side if action.reason == Code.SOURCE_DELETED else work.side.other
    save = row.save()
    save.state = f"{gone}_deleted"
    return save


def _taken_base(work: Work, action: Action) -> dict[str, BaseValue]:
    """The plan's base, less what a side refused to take."""
    base = dict(action.base)
    if not work.refused:
        return base
    old = work.binding.bound.base if work.binding else {}
    lost = {(side, change.field) for side in work.refused for change in action.writes.get(side, ())}
    for line in work.pair.mapping:
        if any((side, line.field(side)) in lost for side in Side):
            base.pop(line.key, None)
            if line.key in old:
                base[line.key] = old[line.key]
    return base


def _note_written(
    context: Context,
    work: Work,
    action: Action,
    side: Side,
    written: Written,
    save: BindingSave,
    base: dict[str, BaseValue],
) -> None:
    """What this side now holds: as the answer shows it, for the fields that we wrote (FM-10).

    A field that we did not write and that differs from what was read before is somebody's edit in between: it must stay
    a difference from the base, and the poll must not take the row for known.
    """
    before, changes = work.record(side), action.writes[side]
    expected = apply_writes(before, changes) if before else Record(written.id, new_values(changes))
    if (state := _state_after(context, work.pair, side, changes)) is not None:
        expected = replace(expected, inactive=state)
    surprise = False
    if written.record is not None:
        base.update(read_back(work.pair, base, side, changes, written.record))
        surprise = _surprised(work.pair, side, changes, expected, written.record)
        expected = written.record
    digest = None if surprise else _digest(context, work.pair, side, expected)
    _note(work, save, side, digest, written.modified_at)
    setattr(save, f"{side}_written", written.modified_at)


def _state_after(context: Context, pair: Pair, side: Side, changes: Iterable[Change]) -> bool | None:
    """Whether these make the record inactive, or active; None: neither."""
    name = context.facts[pair.name, side].state_field
    return next((one.new is True for one in changes if name is not None and one.field == name), None)


def _surprised(pair: Pair, side: Side, changes: Iterable[Change], expected: Record, shown: Record) -> bool:
    """Whether the answer shows a mapped field, not written by us, that is not as it was read before."""
    wrote = {change.field for change in changes}
    names = (line.field(side) for line in lasting(pair))
    return any(name not in wrote and not same(expected.get(name), shown.get(name)) for name in names)


def _note(work: Work, save: BindingSave, side: Side, digest: str | None, modified: datetime | None) -> None:
    read_at = work.read_at.get(side)
    setattr(save, f"{side}_hash", digest)
    setattr(save, f"{side}_modified", modified)
    setattr(save, f"{side}_seen_at", _unsettled_since(work.binding, side, modified, read_at))


def _unsettled_since(
    row: BindingRow | None, side: Side, modified: datetime | None, read_at: datetime | None
) -> datetime | None:
    """When this version was first seen; None where it was read so long after that no edit hides behind its time.

    `read_at` None: by an earlier try, nobody knows when.
    """
    if modified is None:
        return None
    if read_at is None:
        return datetime.now(UTC)
    if read_at - modified > CLOCKS_APART + SETTLED_AFTER:
        return None
    if row is None or row.modified(side) != modified:
        return read_at
    first = row.seen_at(side)
    return None if first is None or read_at - first > SETTLED_AFTER else first


def _keep(save: BindingSave, side: Side, row: BindingRow) -> None:
    setattr(save, f"{side}_hash", row.hash(side))
    setattr(save, f"{side}_modified", row.modified(side))
    setattr(save, f"{side}_seen_at", row.seen_at(side))
    setattr(save, f"{side}_written", row.bound.written.get(side))


def _digest(context: Context, pair: Pair, side: Side, record: Record) -> str:
    return listed_hash(pair, side, record, context.facts[pair.name, side].list_fields)


def listed_hash(pair: Pair, side: Side, record: Record, list_fields: frozenset[str] | None) -> str:
    """Hash over the mapped fields that a list row shows: equal for the row and for the record read by id."""
    shown: frozenset[str] | None = pair.memo.get(("shown", side, list_fields))
    if shown is None:
        shown = frozenset(line.field(side) for line in lasting(pair))
        shown = shown if list_fields is None else shown & list_fields
        pair.memo["shown", side, list_fields] = shown
    return row_hash({name: record.get(name) for name in shown} | {"": record.inactive})


def all_agreed(pair: Pair, base: Base) -> bool:
    """False: Fetch bound them without a sync, or a field was mapped since: the other side must be read (FM-9)."""
    return all(line.key in base for line in lasting(pair))


def from_base(pair: Pair, base: Base, side: Side, record_id: RecordId) -> Record:
    """The other side as it was last agreed."""
    index = 0 if side is Side.LEFT else 1
    fields = {line.field(side): base[line.key][index] for line in pair.mapping if line.key in base}
    for name, rule in pair.scope.get(side, {}).items():
        if isinstance(rule, frozenset):
            fields.setdefault(name, min(rule))
    return Record(record_id, fields)
