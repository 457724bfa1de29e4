"""What would be done to a pair of records: a run applies it, a preview will show it. Values in, a value out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from msgspec.structs import replace

from shared.sync.mapping import Way, forward, label, ways
from shared.sync.match import key_of
from shared.sync.merge import (
    MergeResult,
    Trouble,
    cut_warning,
    is_known,
    merge,
    newer_side,
    trouble_of,
    with_pending,
)
from shared.sync.merge import apply_writes as apply_writes
from shared.sync.model import (
    Action,
    ActionKind,
    Base,
    BaseValue,
    BindingState,
    Bound,
    Change,
    Family,
    FieldDef,
    Pair,
    Policy,
    Presence,
    Record,
    Side,
    Value,
)
from shared.sync.reasons import Code
from shared.sync.values import is_blank

_ORDER = (Code.KEY_CUT, Code.VALUE_NOT_MAPPED, Code.TAX_NOT_MAPPED, Code.MANDATORY_FIELD_EMPTY)
"""Of several troubles the first is told: a value is corrected before what it leaves empty is filled."""


def plan(
    pair: Pair,
    policy: Policy,
    source: Side,
    left: Record | None,
    right: Record | None,
    bound: Bound | None,
    family: Family | None = None,
) -> Action:
    """The action for a record of `source` that may have changed.

    `left`, `right`: the records as read, fresh and complete where anything is written; None at the source: the
    vendor says it is gone; None at the other side: bound and gone, or unbound and without a twin. An unbound
    record with both given is a certain match (`match.resolve`); whether a match is certain is not decided here.
    A side whose record is missing from a thin row's fields is not compared; raises ValueError when such a row
    would be written from, or to (a mistake of the caller). `family`: the bound parents, where the pair has any;
    without them nothing is created.
    """
    mine, theirs = (left, right) if source is Side.LEFT else (right, left)
    stopped = _stopped(pair, source, mine, theirs, bound)
    if stopped is not None:
        return Action(ActionKind.SKIP, base=_base_of(bound), reason=stopped)
    if mine is None:  # `_stopped` has seen to it
        raise AssertionError("a plan without a source record")
    if theirs is None:
        return _create(pair, source, mine, family)
    records = {source: mine, source.other: theirs}
    if bound is None:
        return _meet(pair, policy, source, records, family)
    if (state := _state(pair, source, records, bound)) is not None:
        return state
    return _staying(pair, source, mine, _follow(pair, source, records, bound), family)


def _stopped(pair: Pair, source: Side, mine: Record | None, theirs: Record | None, bound: Bound | None) -> Code | None:
    if mine is None:
        return Code.RECORD_GONE if bound is None else Code.SOURCE_DELETED
    if theirs is None and bound is not None:
        return Code.TWIN_DELETED
    if bound is not None and bound.state is BindingState.MOVED and not _returned(pair, source, mine):
        return Code.MOVED
    sides = [(source, mine)] if theirs is None else [(source, mine), (source.other, theirs)]
    if any(not in_scope(pair, side, record, bound=bound is not None) for side, record in sides):
        return Code.WRONG_TYPE
    if bound is not None and theirs is not None and pair.follows is not None:
        return None  # what is inactive may have to be told
    return Code.INACTIVE if any(record.inactive for _, record in sides) else None


def in_scope(pair: Pair, side: Side, record: Record, *, bound: bool = False) -> bool:
    """Whether the record is of the type that this pair syncs (SU-5). A field that a thin row lacks excludes nothing; a
    bound record stays where it is when it loses its parent."""
    scope = pair.scope.get(side)
    if not scope:
        return True
    parent = pair.parent.field(side) if bound and pair.parent else None
    return all(
        name == parent or not is_known(record, name) or _allows(rule, record.get(name)) for name, rule in scope.items()
    )


def _returned(pair: Pair, source: Side, record: Record) -> bool:
    """It left this pair when it gained a parent, and is without one again."""
    rules = pair.scope.get(source, {}).values()
    return any(isinstance(rule, Presence) for rule in rules) and in_scope(pair, source, record)


def _allows(rule: frozenset[str] | Presence, value: Value) -> bool:
    match rule:
        case Presence.BLANK:
            return is_blank(value)
        case Presence.FILLED:
            return not is_blank(value)
        case _:
            return value in rule


def _base_of(bound: Bound | None) -> Base:
    return {} if bound is None else bound.base


# A twin there is


def _meet(pair: Pair, policy: Policy, source: Side, records: Mapping[Side, Record], family: Family | None) -> Action:
    match policy:
        case Policy.SKIP:
            return Action(ActionKind.SKIP, reason=Code.POLICY_SKIP)
        case Policy.CLONE if pair.parent is None:  # a copy beside itself in one family helps nobody
            return _clone(pair, source, records[source], family)
        case Policy.OVERWRITE | Policy.CLONE:
            return _merged(pair, records, {}, frozenset(), ActionKind.BIND)
    assert_never(policy)


def _clone(pair: Pair, source: Side, record: Record, family: Family | None) -> Action:
    """The accounting side gets a new record for the other's; what was found there stays as it is (DU-3)."""
    if source is pair.tie_side:
        return Action(ActionKind.SKIP, reason=Code.KEPT_BY_CLONE)
    return _create(pair, source, record, family)


def _state(pair: Pair, source: Side, records: Mapping[Side, Record], bound: Bound) -> Action | None:
    """One side is made inactive as the other is, and active again if it was by us (TR-9). None: both are active."""
    if pair.follows is None:
        return None
    off, lead_off = records[pair.follows].inactive, records[pair.follows.other].inactive
    if not off and not lead_off:
        return None
    if off and (lead_off or not bound.deactivated):
        return Action(ActionKind.SKIP, base=bound.base, reason=Code.INACTIVE)
    name = pair.state_fields.get(pair.follows)
    if name is None:
        step = "make the record inactive" if lead_off else "make the record active"
        return Action(ActionKind.FAIL, base=bound.base, reason=Code.MANUAL_STEP_NEEDED, detail=step)
    change = Change(name, off, lead_off)
    if lead_off:
        return Action(ActionKind.DEACTIVATE, bound.base, {pair.follows: (change,)})
    merged = _follow(pair, source, records, bound)
    if merged.kind is ActionKind.FAIL:
        merged = Action(ActionKind.UPDATE, bound.base)
    writes = {**merged.writes, pair.follows: (change, *merged.writes.get(pair.follows, ()))}
    return replace(merged, kind=ActionKind.UPDATE, writes=writes)


def _follow(pair: Pair, source: Side, records: Mapping[Side, Record], bound: Bound) -> Action:
    ours = bound.written.get(source)
    echo = ours is not None and ours == records[source].modified_at
    base = with_pending(pair, bound.base, bound.pending, records)
    return _merged(pair, records, base, bound.unread, ActionKind.ECHO if echo else ActionKind.UNCHANGED)


def _staying(pair: Pair, source: Side, record: Record, action: Action, family: Family | None) -> Action:
    """TR-11: a record that was given another parent, or none, stays with the one it was bound in; its other fields
    follow, and it fails for this one."""
    if pair.parent is None or family is None or action.kind is ActionKind.FAIL:
        return action
    name = pair.parent.field(source)
    if not is_known(record, name) or record.get(name) == family.id(source):
        return action
    kind = ActionKind.UPDATE if action.writes else ActionKind.FAIL
    return replace(action, kind=kind, reason=Code.COMPANY_CANNOT_CHANGE)


def _merged(
    pair: Pair, records: Mapping[Side, Record], base: Base, unread: frozenset[Side], quiet: ActionKind
) -> Action:
    left, right = records[Side.LEFT], records[Side.RIGHT]
    result = merge(pair, left, right, base, unread=unread, newer=newer_side(left, right))
    if result.troubles:
        return _failed(result.troubles, base)
    if result.writes:
        _refuse_thin(pair, records)
    return _done(ActionKind.UPDATE if result.writes else quiet, result)


def _done(kind: ActionKind, result: MergeResult) -> Action:
    return Action(kind, result.base, result.writes, result.conflicts, result.warnings)


def _failed(troubles: Iterable[Trouble], base: Base) -> Action:
    told = min((trouble.code for trouble in troubles), key=_ORDER.index)
    names = dict.fromkeys(trouble.field for trouble in troubles if trouble.code is told)
    return Action(ActionKind.FAIL, base=base, reason=told, detail=", ".join(names))


def _refuse_thin(pair: Pair, records: Mapping[Side, Record]) -> None:
    for side, record in records.items():
        names = [fp.field(side) for fp in pair.mapping if not fp.on_create]
        _refuse_unknown(record, side, names + list(pair.scope.get(side, ())))


def _refuse_unknown(record: Record, side: Side, names: Iterable[str]) -> None:
    if record.complete:
        return
    unknown = sorted({name for name in names if name not in record.fields})
    if unknown:
        raise ValueError(f"a thin {side} record cannot be written from: {', '.join(unknown)} not read")


# No twin


@dataclass(slots=True)
class _Draft:
    """A record to be, and what was learnt on the way."""

    fields: dict[str, Value]
    base: dict[str, BaseValue]
    warnings: list[str]
    troubles: list[Trouble]


def _create(pair: Pair, source: Side, record: Record, family: Family | None = None) -> Action:
    """Every mapped field that is not blank, constants, the parent, and what is written on create alone."""
    target = source.other
    carrying = _carrying(pair, target)
    if not record.complete:
        _refuse_unknown(record, source, [w.pair.field(source) for w in carrying] + list(pair.scope.get(source, ())))
    if not key_of(pair, source, record):
        name = label(pair.fields(source).get(pair.key(source)) or FieldDef(pair.key(source)))
        return Action(ActionKind.FAIL, reason=Code.NO_KEY, detail=name)
    if pair.parent is not None and family is None:
        return Action(ActionKind.FAIL, reason=Code.PARENT_NOT_SYNCED)
    draft = _Draft(dict(pair.constants.get(target, {})), {}, [], [])
    if pair.parent is not None and family is not None:
        draft.fields[pair.parent.field(target)] = family.id(target)
    for way in carrying:
        _fill(draft, pair, way, source, record)
    draft.troubles += _left_empty(pair, target, draft.fields)
    if draft.troubles:
        return _failed(draft.troubles, {})
    changes = tuple(Change(name, None, value) for name, value in draft.fields.items() if not is_blank(value))
    return Action(ActionKind.CREATE, draft.base, {target: changes}, warnings=tuple(draft.warnings))


def _carrying(pair: Pair, target: Side) -> tuple[Way, ...]:
    """What goes to `target` on create: first what is written then alone, which the lasting pairs outdo."""
    found: tuple[Way, ...] | None = pair.memo.get(("carrying", target))
    if found is None:
        found = tuple(sorted((way for way in ways(pair) if way.into(target)), key=lambda way: not way.pair.on_create))
        pair.memo["carrying", target] = found
    return found


def fill(pair: Pair, source: Side, record: Record) -> Action:
    """What the mapping says of the fields of a record that was made otherwise (FM-6): an UPDATE of the target, or a
    FAIL for a value that does not fit. Blanks fill nothing."""
    target = source.other
    draft = _Draft({}, {}, [], [])
    for way in ways(pair):
        if way.into(target):
            _fill(draft, pair, way, source, record)
    if draft.troubles:
        return _failed(draft.troubles, {})
    changes = tuple(Change(name, None, value) for name, value in draft.fields.items())
    return Action(ActionKind.UPDATE, {}, {target: changes} if changes else {}, warnings=tuple(draft.warnings))


def _fill(draft: _Draft, pair: Pair, way: Way, source: Side, record: Record) -> None:
    fp, target = way.pair, source.other
    definition = pair.fields(target)[fp.field(target)]
    value = record.get(fp.field(source))
    mapped = forward(fp, value, source, definition)
    trouble = trouble_of(pair, target, definition, mapped)
    if trouble is not None and trouble.code is not Code.MANDATORY_FIELD_EMPTY:
        draft.troubles.append(trouble)
        return
    if mapped.cut:
        draft.warnings.append(cut_warning(definition))
    if not is_blank(mapped.value):
        draft.fields[definition.name] = mapped.value
    if not fp.on_create:
        draft.base[fp.key] = (value, mapped.value) if source is Side.LEFT else (mapped.value, value)


def _left_empty(pair: Pair, target: Side, fields: Mapping[str, Value]) -> list[Trouble]:
    """Mandatory fields of the target without a value; one that has a trouble of its own is named twice, once told."""
    demanded: tuple[FieldDef, ...] | None = pair.memo.get(("demanded", target))
    if demanded is None:
        demanded = tuple(one for one in pair.fields(target).values() if one.required and not one.read_only)
        pair.memo["demanded", target] = demanded
    return [
        Trouble(Code.MANDATORY_FIELD_EMPTY, label(definition))
        for definition in demanded
        if is_blank(fields.get(definition.name))
    ]
