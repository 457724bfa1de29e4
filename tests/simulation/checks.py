"""What must be true in the end. Each breach names the promise of the requirements that it breaks."""

from __future__ import annotations

from collections import Counter

from shared.sync.mapping import forward
from shared.sync.model import FieldPair, RecordId, Side, Value
from shared.sync.values import decode_base, is_blank, plausible_form, same
from tests.simulation.vendors import PAIR, Row
from tests.simulation.world import Edit, World


def quiesce(world: World) -> None:
    """Faults end; all that is on its way arrives; then two runs, after which a third writes nothing."""
    world.end_faults()
    settled = _settle(world, "after the faults")
    _accepted(world)
    if not settled:
        return
    world.pass_time(world.shape.lag_ms)  # whatever was made is in the vendors' lists by now
    before = 0
    for number in ("first", "second", "third"):
        before = world.seen.writes
        world.run()
        if not _settle(world, f"the {number} run"):
            return
    if world.seen.writes != before:
        world.breach("P6", f"{world.seen.writes - before} writes after everybody had stopped")
    check(world)


def _settle(world: World, when: str) -> bool:
    if world.settle():
        return True
    due = [f"{key[1]} {row.why} {row.reason}" for key, row in world.tables.due.items()]
    world.breach("P7", f"not quiet {when}: due {due}, wakes {world.wakes}")
    return False


def check(world: World) -> None:
    _doubles(world)
    _counters(world)
    _attempts(world)
    _agreement(world)
    _left_alone(world)


def _accepted(world: World) -> None:
    """P1: an event that was accepted ends in an outcome that came after it. What Redis lost is P2's."""
    if world.flushes:
        return
    saved = {row.event_id: row.saved_ms for row in world.tables.outcomes}
    for event in world.accepted:
        if saved.get(world.tables.done.get(event.event_id) or "", -1) < event.at_ms:
            world.breach("P1", f"{event.event_id} of {event.record_id} has no outcome")


def _doubles(world: World) -> None:
    for (side, source), made in world.seen.created.items():
        if len(made) > 1:
            world.breach("P3", f"{', '.join(sorted(made))} were made on the {side} for {source}")
    for text in world.seen.stale:
        world.breach("P5", f"a stale write: {text}")


def _counters(world: World) -> None:
    """P9: an event has one outcome; a run's counters are its rows and what it dropped."""
    ended = Counter(event for row in world.tables.outcomes for event in row.fresh)
    for event, count in ended.items():
        if count > 1:
            world.breach("P9", f"{event} has {count} outcomes")
    rows = Counter(row.run_id for row in world.tables.outcomes)
    counted: Counter[int] = Counter()
    for (run_id, _, _), count in world.tables.counts.items():
        counted[run_id] += count
    for run_id in set(rows) | set(counted):
        if rows[run_id] + world.tables.listed[run_id] != counted[run_id]:
            world.breach("P9", f"run {run_id} counts {counted[run_id]}, has {rows[run_id]} rows")


def _attempts(world: World) -> None:
    settings = world.settings
    for row in world.tables.outcomes:
        # One that slept and the one that took its lane over may both have counted a try.
        most = settings.attempts_by_crash + 1 if row.reason == "POISON" else settings.attempts_by_error
        if row.attempt > most:
            world.breach("P8", f"{row.record_id} was tried {row.attempt} times")


def _agreement(world: World) -> None:
    """P5: bound records that both live agree with each other and with the base, and hold what people last wrote."""
    for left_id, raw in world.tables.bindings[Side.LEFT].items():
        left = world.vendors[Side.LEFT].rows.get(left_id)
        right = world.vendors[Side.RIGHT].rows.get(raw["right_id"])
        if left is None or right is None or _failing(world, left_id, raw["right_id"]):
            continue
        base = decode_base(raw["base"])
        for fp in PAIR.mapping:
            _field_agrees(world, fp, left, right, base.get(fp.key))


def _failing(world: World, left_id: RecordId, right_id: RecordId) -> bool:
    return (Side.LEFT, left_id) in world.tables.due or (Side.RIGHT, right_id) in world.tables.due


def _field_agrees(world: World, fp: FieldPair, left: Row, right: Row, base: tuple[Value, Value] | None) -> None:
    now = left.fields.get(fp.left), right.fields.get(fp.right)
    where = f"{left.id}/{right.id} {fp.left}"
    if base is None or not (same(base[0], now[0]) and same(base[1], now[1])):
        world.breach("P5", f"{where}: {now} is not the base {base}")
    elif not _alike(fp, *now):
        world.breach("P5", f"{where}: {now} do not agree")
    survivors = _survivors(world, fp, left, right)
    raced = {(Side.LEFT, left.id, fp.left), (Side.RIGHT, right.id, fp.right)} & world.seen.raced
    mine = {Side.LEFT: now[0], Side.RIGHT: now[1]}
    if survivors and not raced and not any(same(mine[edit.side], edit.value) for edit in survivors):
        wanted = " or ".join(f"{edit.value!r} of the {edit.side} at {edit.at_ms / 1000}" for edit in survivors)
        world.breach("lost edit", f"{where}: {now}, not {wanted}")


def _alike(fp: FieldPair, left: Value, right: Value) -> bool:
    if is_blank(left) and is_blank(right):
        return True
    there = forward(fp, left, Side.LEFT, PAIR.right_fields[fp.right]).value
    back = forward(fp, right, Side.RIGHT, PAIR.left_fields[fp.left]).value
    return (
        same(there, right)
        or same(back, left)
        or plausible_form(there, right, PAIR.right_fields[fp.right])
        or plausible_form(back, left, PAIR.left_fields[fp.left])
    )


def _survivors(world: World, fp: FieldPair, left: Row, right: Row) -> list[Edit]:
    """The edits that may have won: the last one, and the last of the other side where that had not been carried over
    when the last one was made (then the two clash, and either may win)."""
    made = world.edits.get((Side.LEFT, left.id, fp.key), []) + world.edits.get((Side.RIGHT, right.id, fp.key), [])
    alive: list[Edit] = []
    for edit in sorted(made, key=lambda one: one.number):
        alive = [edit] if edit.settled else [one for one in alive if one.side is not edit.side] + [edit]
    return alive


def _left_alone(world: World) -> None:
    """Each record is bound, or its last outcome says why not."""
    for side in Side:
        for record_id in world.vendors[side].rows:
            if world.tables.binding(side, record_id) is not None:
                continue
            rows = [row for row in world.tables.outcomes if (row.side, row.record_id) == (side, record_id)]
            if not rows or rows[-1].outcome not in ("failed", "skipped"):
                world.breach("P2", f"{side} {record_id} is not bound, and nothing says why")
