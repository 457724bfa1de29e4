"""P5: what a person wrote and nobody else changed is on both sides at the end; older never follows newer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.auditor.fields import LEFT, PAIRS, RIGHT, VENDORS, Field, Pair, holds, parent_key
from tests.auditor.seen import Binding, Outcome
from tests.auditor.view import Key, View


@dataclass(frozen=True, slots=True)
class _Value:
    """A value that somebody gave a field at a side; `first`: it was there before anybody wrote in this cell."""

    side: str
    value: str | None
    begin_ms: float
    end_ms: float
    sure: bool = True
    first: bool = False


def check(view: View) -> None:
    if view.mark is None:
        view.unchecked("P5: values that nobody changed, for no mark tells what they were")
    raced = 0
    for binding in view.tables.bindings:
        pair = PAIRS.get(binding.pair)
        keys = [(VENDORS[side], binding.id_at(side)) for side in (LEFT, RIGHT)]
        left, right = view.ends(binding)
        if pair is None or left is None or right is None or binding.state != "live" or view.may_differ(keys):
            continue
        if not all(one.pair == binding.pair and view.is_synced(one) for one in (left, right)):
            continue
        subject = f"{pair.name} {binding.left_id}/{binding.right_id}"
        if _forgotten(view, keys):
            continue
        for field in pair.fields:
            shown = (left.values[field.name], right.values[field.name])
            raced += _field(view, binding, field, shown, subject)
        _order(view, pair, binding, subject)
    if raced:
        view.report.notes.append(f"{raced} fields were written by a person between the product's read and its write")


def _forgotten(view: View, keys: list[Key]) -> bool:
    """Postgres forgot what was written to these two: what they then had in common is not known any more, so edits of
    different fields are a clash of two records. That they agree in the end is looked at elsewhere."""
    spans = view.expect.database_lost_ms
    return any(
        start <= call.at_ms <= end and key in keys
        for call in view.writes
        for key in view.changed_by(call)
        for start, end in spans
    )


# The newest unclashed value


def _field(view: View, binding: Binding, field: Field, shown: tuple[str | None, str | None], subject: str) -> bool:
    """True: judged leniently, since a person's edit fell between the product's read and its write."""
    given = _given(view, binding, field)
    edited = [one for one in given if not one.first]
    if not edited and (not given or not view.expect.journal_complete):
        return False
    wanted = _wanted(view, binding, field, given)
    if _is_one_of(field, wanted, shown):
        return False
    if _raced(view, binding, field, edited) and _is_one_of(field, given, shown):
        return True
    if not edited:
        view.find("P5", f"{field.name} changed, and nobody had edited it", subject, "lost")
    elif len({one.side for one in wanted}) == 1:
        view.find("P5", f"an unclashed edit of {field.name} is lost", subject, "lost")
    else:
        view.find("P5", f"{field.name} holds none of the values that clashed", subject, "lost")
    return False


def _is_one_of(field: Field, given: list[_Value], shown: tuple[str | None, str | None]) -> bool:
    """Whether both sides hold one of these values, as far as they can."""
    return any(holds(field, LEFT, one.value, shown[0]) and holds(field, RIGHT, one.value, shown[1]) for one in given)


def _given(view: View, binding: Binding, field: Field) -> list[_Value]:
    """All values that the field was given, at either side: those of the mark first, then people's.

    A blank of a new record, or of the beginning, yields to whatever anybody writes.
    """
    edited: list[_Value] = []
    for side in (LEFT, RIGHT):
        for edit in view.edits.get((VENDORS[side], binding.id_at(side)), []):
            values = edit.values()
            if field.name in values and not (edit.kind == "create" and values[field.name] is None):
                edited.append(_Value(side, values[field.name], edit.begin_ms, edit.end_ms, edit.sure))
    first = _first_values(view, binding, field)
    agreed = len(first) == 2 and _is_one_of(field, first, (first[0].value, first[1].value))
    if not agreed and (edited or len(first) == 2):
        first = [one for one in first if one.value is not None]
    return [*first, *edited]


def _first_values(view: View, binding: Binding, field: Field) -> list[_Value]:
    """What was there at the mark."""
    return [
        _Value(side, record.values[field.name], 0.0, 0.0, first=True)
        for side in (LEFT, RIGHT)
        if (record := view.first.get((VENDORS[side], binding.id_at(side)))) is not None and record.pair == binding.pair
    ]


def _wanted(view: View, binding: Binding, field: Field, given: list[_Value]) -> list[_Value]:
    """Those that nothing later replaced: of one side alone if no edits clashed."""
    first = [one for one in given if one.first]
    agreed = len(first) == 2 and _is_one_of(field, first, (first[0].value, first[1].value))
    wanted = []
    for one in given:
        seen_ms = 0.0 if one.first and agreed else _seen_ms(view, binding, field, one)
        if not any(_replaces(later, one, seen_ms) for later in given if later is not one):
            wanted.append(one)
    return wanted


def _replaces(later: _Value, one: _Value, seen_ms: float | None) -> bool:
    """Made by somebody who could have it before his eyes: at the same side after it, or at the other after it came."""
    if not later.sure or later.first:
        return False
    if later.side == one.side and later.begin_ms >= one.end_ms:
        return True
    return seen_ms is not None and later.begin_ms >= seen_ms


def _seen_ms(view: View, binding: Binding, field: Field, value: _Value) -> float | None:
    """When both sides had been told of it: the product wrote it to the other side, or wrote over it at its own, by the
    log. None: not known, so what comes later may clash with it."""
    other = RIGHT if value.side == LEFT else LEFT
    times: list[float] = []
    for outcome in _outcomes_of(view, binding):
        written_ms = outcome.written_ms
        if written_ms is None or written_ms < value.end_ms:
            continue
        for change in outcome.changes:
            arrived = change.side == other and change.field == field.at(other)
            replaced = change.side == value.side and change.field == field.at(value.side)
            if (arrived and holds(field, other, value.value, change.new)) or replaced:
                times.append(written_ms)
    return min(times, default=None)


def _outcomes_of(view: View, binding: Binding) -> list[Outcome]:
    keys: list[Key] = [(VENDORS[side], binding.id_at(side)) for side in (LEFT, RIGHT)]
    return [one for key in keys for one in view.outcomes.get(key, [])]


def _raced(view: View, binding: Binding, field: Field, edited: list[_Value]) -> bool:
    """A known limit: an update carries some fields as they were read, and no vendor's write is conditional. What a
    person writes to those between our read and our write is undone, and nobody can see it."""
    return any(
        _between(view, (VENDORS[one.side], binding.id_at(one.side)), one) for one in edited if field.carried(one.side)
    )


def _between(view: View, key: Key, edit: _Value) -> bool:
    read_ms: float | None = None
    family = (key, parent_key(key))  # one read of a customer tells of its people
    calls = (one for one in view.calls(key[0]) if one.by_product and (one.vendor, one.record or "") in family)
    for call in sorted(calls, key=lambda one: one.at_ms):
        if call.method == "GET":
            read_ms = call.at_ms
        elif (
            call.write
            and key in view.changed_by(call)
            and read_ms is not None
            and read_ms <= edit.end_ms
            and edit.begin_ms <= call.end_ms
        ):
            return True
    return False


# Order


def _order(view: View, pair: Pair, binding: Binding, subject: str) -> None:
    """What was pushed to a side follows the order in which people wrote it at the other."""
    written = sorted(
        (one for one in _outcomes_of(view, binding) if one.written_ms is not None and one.at_ms >= view.since_ms),
        key=lambda one: one.written_ms or 0.0,
    )
    for side in (LEFT, RIGHT):
        source = RIGHT if side == LEFT else LEFT
        for field in pair.fields:
            rank = _ranks(view, binding, field, source)
            last = -1
            for outcome in written:
                for change in outcome.changes:
                    if change.side != side or change.field != field.at(side) or change.new not in rank:
                        continue
                    if rank[change.new] < last:
                        view.find("P5", f"an older value of {field.name} was written over a newer one", subject)
                    last = max(last, rank[change.new])


def _ranks(view: View, binding: Binding, field: Field, side: str) -> dict[str | None, int]:
    """The place of each value in the order in which people wrote them there; values written twice say nothing."""
    values = [
        edit.values()[field.name]
        for edit in view.edits.get((VENDORS[side], binding.id_at(side)), [])
        if field.name in edit.values()
    ]
    once = {value for value, count in Counter(values).items() if count == 1 and value is not None}
    return {value: place for place, value in enumerate(values) if value in once}
