"""P2, P3, P5 and P12: both sides agree, nothing is there twice, nothing was passed unread."""

from __future__ import annotations

from collections import defaultdict

from tests.auditor import edits
from tests.auditor.fields import LEFT, PAIRS, RIGHT, SIDES, VENDORS, Pair, agree, folded, holds
from tests.auditor.seen import Binding, Call, Record
from tests.auditor.view import Key, View, name_of


def check(view: View) -> None:
    if view.evidence.dropped:
        view.unchecked(f"P3, P4, P6: {view.evidence.dropped} calls that the vendors' logs no longer hold")
    if view.expect.stopped:
        return
    _marker(view)
    _doubles(view)
    if not view.expect.quiet:
        return
    for binding in view.tables.bindings:
        if binding.pair in PAIRS:
            _bound(view, PAIRS[binding.pair], binding)
    if view.expect.synced:
        _unbound(view)
    _left_in_doubt(view)
    edits.check(view)


# P2


def _marker(view: View) -> None:
    known, found = view.tables.redis_marker, view.evidence.streams.marker
    if known is None:
        view.unchecked("P2: no marker was ever written")
    elif known != found:
        view.find("P2", "Redis does not hold the marker that Postgres remembers: a loss is not noticed", "marker")


# P2, P5, P12: agreement


def _bound(view: View, pair: Pair, binding: Binding) -> None:
    left, right = view.ends(binding)
    keys = [(VENDORS[side], binding.id_at(side)) for side in (LEFT, RIGHT)]
    if view.may_differ(keys):
        return
    subject = f"{pair.name} {binding.left_id}/{binding.right_id}"
    if left is None or right is None:
        if binding.state == "live" and not view.expect.deletions_pending and (left or right):
            view.find("P5", "a record is gone and its binding does not know it", subject)
        return
    if not all(one.pair == binding.pair for one in (left, right)):
        return  # of another type by now
    if binding.state != "live":
        view.find("P5", f"{binding.state}, but both records are there", subject, "lost")
        return
    if not all(view.is_synced(one) for one in (left, right)):
        return
    differ = [one.name for one in pair.fields if not agree(one, left.values[one.name], right.values[one.name])]
    if differ:
        view.find(_promise(view, pair, binding), f"the sides differ in {', '.join(differ)}", subject, "lost")
    elif view.expect.synced and (stale := _passed(view, pair, binding)):
        what = f"both sides hold the same, but the binding still has older values of {', '.join(stale)}"
        view.find("P12", what, subject)


def _promise(view: View, pair: Pair, binding: Binding) -> str:
    """Which promise a disagreement breaks: that nothing is passed unread, that a loss is repaired, or freshness."""
    if view.expect.synced and _passed(view, pair, binding):
        return "P12"
    return _fresh(view)


def _fresh(view: View) -> str:
    return "P2" if view.lost_spans else "P5"


def _passed(view: View, pair: Pair, binding: Binding) -> list[str]:
    """Fields that hold something else than was last agreed, in a record that the watermark has passed: no later run
    would look at them if its lists began there, and nobody is told."""
    found: list[str] = []
    for side, at in ((LEFT, 0), (RIGHT, 1)):
        record = view.records[VENDORS[side], binding.id_at(side)]
        if not view.passed(pair.name, record):
            continue
        for one in pair.fields:
            base = binding.base.get(f"{one.left}|{one.right}")
            if base is not None and not holds(one, side, base[at], record.values[one.name]):
                found.append(f"{one.name} ({side})")
    return found


def _unbound(view: View) -> None:
    """A record that is in scope has a twin, unless its name does not say which it would be."""
    names = _by_name(view)
    for key, record in view.records.items():
        pair = PAIRS[record.pair]
        name = folded(record.values[pair.key])
        if key in view.bindings or not (view.is_synced(record) and name):
            continue
        if view.may_differ([key]) or len(names[pair.name, record.vendor, name]) > 1:
            continue
        other = VENDORS[RIGHT if SIDES[record.vendor] == LEFT else LEFT]
        if len(names[pair.name, other, name]) > 1:
            continue
        view.find(
            _why_unbound(view, pair, record), "a record has no twin, and no reason says why", name_of(key), "lost"
        )


def _why_unbound(view: View, pair: Pair, record: Record) -> str:
    return "P12" if view.passed(pair.name, record) else _fresh(view)


def _by_name(view: View) -> dict[tuple[str, str, str], list[Record]]:
    """Records in scope that share a folded key, per pair and vendor."""
    found: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in view.records.values():
        if view.is_synced(record):
            found[record.pair, record.vendor, _key(record)].append(record)
    return found


def _key(record: Record) -> str:
    return folded(record.values[PAIRS[record.pair].key])


# P3


def _doubles(view: View) -> None:
    """Never more than one target for a source: by what was made and is bound to nothing, by names, by the log."""
    if view.expect.quiet:
        for key in view.made_by_product:
            if key in view.records and key not in view.bindings and not view.expect.excused([key[1]]):
                view.find("P3", "the product made a record that belongs to nothing", name_of(key), "doubled")
    _made_twice(view)
    _named_twice(view)


def _made_twice(view: View) -> None:
    made: dict[tuple[str, str], list[str]] = defaultdict(list)
    targets: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in view.tables.outcomes:
        if one.outcome == "created":
            made[one.pair, one.record_id].append(str(one.twin_id))
            targets[one.pair, str(one.twin_id)].append(one.record_id)
    for (pair, record), twins in made.items():
        if len(twins) > 1:
            view.find("P3", "a record's twin was made more than once", f"{pair} {record}", "doubled")
    for (pair, twin), sources in targets.items():
        if len(sources) > 1:
            view.find("P3", "one record was made as the twin of several", f"{pair} {twin}", "doubled")


def _named_twice(view: View) -> None:
    """A bound record and an unbound one of the same name: one of them should not be there, or should be the twin.

    People may make as many of a name as the vendor takes.
    """
    for (_pair, vendor, name), records in _by_name(view).items():
        bound = [one for one in records if one.key in view.bindings]
        loose = [one for one in records if one.key not in view.bindings]
        if not name or not bound or not loose or view.expect.excused(one.id for one in records):
            continue
        extra = [one for one in loose if one.key not in view.made_by_product and not _peoples(view, one, bound)]
        for one in extra:
            view.find("P3", "a second record has the name of a bound one", f"{vendor} {one.id}", "doubled")


def _peoples(view: View, loose: Record, bound: list[Record]) -> bool:
    """Whether people alone brought it about: they made it, or named it so, beside one that was not made later by the
    product although it could see this one."""
    if not (loose.key in view.made_by_people or _renamed(view, loose.key) or any(_renamed(view, b.key) for b in bound)):
        first = view.first.get(loose.key)
        return first is not None and first.pair == loose.pair and _key(first) == _key(loose)
    return all(_could_not_see(view, loose, view.made_by_product.get(one.key)) for one in bound)


def _renamed(view: View, key: Key) -> bool:
    name = PAIRS[view.records[key].pair].key
    return any(one.kind == "edit" and name in one.values() for one in view.edits.get(key, []))


def _could_not_see(view: View, loose: Record, made: Call | None) -> bool:
    """True where the product did not make the bound one in this cell, or looked before the other one was there."""
    if made is None or _renamed(view, loose.key):
        return True
    visible_ms = loose.created_ms - view.evidence.offsets_ms.get(loose.vendor, 0.0) + view.expect.hidden_ms
    looks = [
        one.at_ms
        for one in view.calls(loose.vendor)
        if one.by_product and one.method == "GET" and one.record is None and one.module == made.module
        if one.end_ms <= made.at_ms
    ]
    return visible_ms >= max(looks, default=made.end_ms)


def _left_in_doubt(view: View) -> None:
    for one in view.tables.intents:
        if not view.expect.excused([one.record_id]):
            subject = f"{VENDORS[one.side]} {one.record_id}"
            view.find("P3", f"a create is still {one.state}: nobody knows whether it was made", subject)
