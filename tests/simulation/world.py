"""All of it together, and what may happen to it: people, webhooks, workers, faults, time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import shared.engine.agreed
import shared.engine.batch
import shared.engine.drain
import shared.engine.pusher
import shared.engine.reader
import shared.engine.results
import shared.lease
from shared.bus import LIVE, Lane
from shared.engine.classes import lane_for
from shared.engine.context import Context, Ports
from shared.engine.drain import drain
from shared.engine.outcome import ResultBatch
from shared.engine.results import record_results
from shared.engine.watchdog import Watchdog
from shared.errors import BothwaysError
from shared.settings import Settings
from shared.sync.events import ChangeEvent, Hint, Origin, decode, encode
from shared.sync.model import (
    Action,
    ActionKind,
    Bound,
    Change,
    Family,
    FieldPair,
    Pair,
    Policy,
    Record,
    RecordId,
    Side,
    Value,
)
from shared.sync.plan import plan
from shared.sync.values import decode_base, same
from tests.simulation import postgres, runs
from tests.simulation.bus import SimBus, Store, idle_lanes, results_waiting
from tests.simulation.faults import OPEN, Faults, Flaw, Mutant
from tests.simulation.keeper import SimKeeper
from tests.simulation.postgres import SimKnown, SimLeases, Tables
from tests.simulation.runs import INTEGRATION
from tests.simulation.sched import Process, Sched
from tests.simulation.vendors import PAIR, Connector, Row, Seen, Shape, Vendor

SETTINGS = Settings(shards=2)
WORKERS = (("drain",), ("drain",), ("run", "results"), ("run", "results"))
"""What each of them takes up: who waits for a locked record must not keep results waiting (docs/operations.md)."""
RESPAWN_MS = 1_000
RESEND_MS = 60_000


@dataclass(frozen=True, slots=True)
class Hook:
    """A delivery that the vendor still has to make."""

    number: int
    side: Side
    record_id: RecordId
    deleted: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """`value` as the vendor stored it. `settled`: before it both sides agreed on this field, and we knew."""

    number: int
    at_ms: int
    side: Side
    value: Value
    settled: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    event_id: str
    side: Side
    record_id: RecordId
    at_ms: int


@dataclass(slots=True)
class Slot:
    """A place for a worker: its process, and the next one after that died."""

    number: int
    process: Process
    ports: Ports
    keeper: SimKeeper
    starts: int = 1


class SimWake:
    def __init__(self, world: World) -> None:
        self._world = world

    def _put(self, wake: tuple[str, Any]) -> None:
        current = self._world.sched.current
        if current is None or not current.dead:
            self._world.wakes.append(wake)

    def drain(self, lane: Lane) -> None:
        self._put(("drain", lane))

    def run(self, run_id: int) -> None:
        self._put(("run", run_id))

    def results(self) -> None:
        self._put(("results", None))


class SimEpoch:
    """Postgres is never restored here; that Redis lost its data is noticed by the marker that is missing."""

    def __init__(self, world: World) -> None:
        self._world = world

    def tick(self) -> None:
        with self._world.tables.transaction("look at the stores"):
            self._world.look_at_redis()


class World:
    """`chance` decides which worker goes next where no choice is given. `avoid`: what is known to go wrong,
    and so is not done here, or not held against us."""

    def __init__(
        self, shape: Shape, chance: Random, *, mutant: Mutant | None = None, avoid: frozenset[Flaw] = OPEN
    ) -> None:
        self.shape, self.chance, self.mutant, self.avoid = shape, chance, mutant, avoid
        self.settings = SETTINGS
        if mutant is Mutant.NO_LOOKS:
            self.settings = SETTINGS.model_copy(update={"doubt_looks": 1, "doubt_span_s": 0.0})
        self.sched, self.faults, self.seen = Sched(), Faults(), Seen()
        self.breaches: list[tuple[str, str]] = []
        self.store = Store(self.sched, self.faults)
        self.tables = Tables(self.sched, self.faults, self.settings, self.breach)
        self.leases = SimLeases(self.tables, self.settings, mutant)
        self.vendors = {side: Vendor(side, shape, self.sched, self._changed, self.seen) for side in Side}
        connectors = {
            side: Connector(vendor, self.sched, self.faults.take, mutant is Mutant.EXCLUSIVE)
            for side, vendor in self.vendors.items()
        }
        self.connectors = connectors
        self.context = Context(
            id=INTEGRATION,
            workspace_id=1,
            kind="simulated",
            name="simulated",
            state="enabled",
            policy=Policy.OVERWRITE,
            fetched=True,
            orgs={Side.LEFT: 1, Side.RIGHT: 2},
            connections={Side.LEFT: 1, Side.RIGHT: 2},
            pairs={PAIR.name: PAIR},
            facts={(PAIR.name, side): connector.module for side, connector in connectors.items()},
            connectors=cast(Any, connectors),
            shards=self.settings.shards,
        )
        self.hooks: list[Hook] = []
        self.wakes: list[tuple[str, Any]] = []
        self.accepted: list[Accepted] = []
        self.edits: dict[tuple[Side, RecordId, str], list[Edit]] = {}
        self.flushes = 0
        self._hooks_made = self._edits_made = 0
        self._values_made = 0
        self.slots = [self._slot(number) for number in range(len(WORKERS))]
        self.store.set("marker", "1")
        self.tables.marker = "1"
        self._every(int(self.settings.worker_heartbeat_s * 1000), self._beat)
        self._every(int(self.settings.tick_s * 1000), self.tick)

    def breach(self, promise: str, text: str) -> None:
        self.sched.note("BREACH", promise, text)
        self.breaches.append((promise, text))

    def _every(self, ms: int, job: Any) -> None:
        def again() -> None:
            job()
            self.sched.after(ms, again)

        self.sched.after(ms, again)

    # Workers

    def _slot(self, number: int, starts: int = 1) -> Slot:
        process = Process(f"w{number}.{starts}")
        bus = SimBus(self.store, self.settings, process.name, self.mutant)
        # Not `Ports`, which asks for things that are not simulated.
        ports = SimpleNamespace(
            settings=self.settings,
            db=self.tables,
            bus=bus,
            leases=self.leases,
            wake=SimWake(self),
            connectors=self,
            epoch=SimEpoch(self),
            watchdog=Watchdog(1e9),
        )
        keeper = SimKeeper(bus, self.tables, self.leases, self.settings)
        keeper.beat()
        return Slot(number, process, cast(Ports, ports), keeper, starts)

    def _beat(self) -> None:
        for slot in self.slots:
            if not (slot.process.dead or slot.process.frozen):
                slot.keeper.beat()

    def ready(self) -> list[Slot]:
        found = []
        for slot in self.slots:
            process = slot.process
            if process.strand is None:
                if process.frozen or process.dead:
                    continue
                if slot.keeper.stopping.is_set() or self._wake_for(slot) is not None:
                    found.append(slot)
            elif self.sched.runnable(process):
                found.append(slot)
        return found

    def _wake_for(self, slot: Slot) -> tuple[str, Any] | None:
        kinds = WORKERS[slot.number]
        return next((wake for wake in self.wakes if wake[0] in kinds), None)

    def work(self, slot: Slot) -> None:
        """One step of one worker, which takes up a wake-up if it has nothing in hand."""
        self.sched.advance(0)
        process = slot.process
        if process.strand is None:
            if slot.keeper.stopping.is_set():
                self._leave(slot)
                return
            wake = self._wake_for(slot)
            if wake is None:
                return
            self.wakes.remove(wake)
            kind, key = wake
            self.sched.begin(process, f"{kind} {key}", lambda: self._task(slot, kind, key))
        error = self.sched.resume(process)
        if error is not None and not isinstance(error, BothwaysError):
            self.breach("crash", f"{process.task}: {error!r}")
            if self.sched.trace is not None:
                raise error
        if process.dead:
            self._gone(slot)

    def _task(self, slot: Slot, kind: str, key: Any) -> None:
        if kind == "drain":
            drain(slot.ports, cast(Any, slot.keeper), key)
        elif kind == "run":
            runs.advance(slot.ports, slot.keeper, self.context, key, self.mutant)
        else:
            record_results(slot.ports, slot.keeper.stopping.is_set)

    def _gone(self, slot: Slot) -> None:
        def start() -> None:
            self.slots[slot.number] = self._slot(slot.number, slot.starts + 1)

        self.sched.after(RESPAWN_MS, start)

    def kill(self, number: int) -> None:
        slot = self.slots[number % len(self.slots)]
        if slot.process.dead:
            return
        self.sched.note("kill", slot.process, "at", slot.process.at)
        self.sched.kill(slot.process)
        self._gone(slot)

    def term(self, number: int) -> None:
        """It is asked to stop: what it has in hand it ends, or puts away."""
        slot = self.slots[number % len(self.slots)]
        if not slot.process.dead:
            self.sched.note("term", slot.process, "at", slot.process.at)
            slot.keeper.stopping.set()

    def _leave(self, slot: Slot) -> None:
        slot.process.dead = True
        cast(SimBus, slot.ports.bus).leave()
        self._gone(slot)

    def oversleep(self, ms: int) -> None:
        """Who has a batch in hand sleeps longer than its lease lives; the others go on."""
        busy = [slot for slot in self.slots if slot.process.strand is not None]
        if busy:
            self.freeze(self.chance.choice(busy).number, ms)
            self.pass_time(ms - 5_000)

    def freeze(self, number: int, ms: int) -> None:
        slot = self.slots[number % len(self.slots)]
        process = slot.process
        if process.dead or process.frozen:
            return
        self.sched.note("freeze", process, "at", process.at, "for", ms)
        process.frozen = True
        self.sched.after(ms, lambda: self._thaw(slot))

    def _thaw(self, slot: Slot) -> None:
        if slot.process.frozen:
            self.sched.note("thaw", slot.process)
            slot.process.frozen = False

    def pass_time(self, ms: int) -> None:
        """Everybody works until so much time has gone by."""
        end = self.sched.now + ms
        while self.sched.now < end:
            ready = self.ready()
            if ready:
                self.work(ready[0] if len(ready) == 1 else self.chance.choice(ready))
                continue
            times = [slot.process.wake_at for slot in self.slots if slot.process.strand and not slot.process.frozen]
            timer = self.sched.next_timer()
            if timer is not None:
                times.append(timer)
            times = [one for one in times if one > self.sched.now] or [self.sched.now]
            self.sched.advance(max(0, min(end, *times) - self.sched.now))

    def work_some(self, steps: int) -> None:
        for _ in range(steps):
            ready = self.ready()
            if ready:
                self.work(self.chance.choice(ready))
            else:
                self.pass_time(50)

    # Housekeeping (`engine.housekeeping.tick`)

    def tick(self) -> None:
        fault = self.faults.take("tick")
        if fault == "dead":
            return
        now, tables = self.sched.now, self.tables
        self.look_at_redis()
        self._send_due(now, cut=fault == "cut")
        if tables.next_run_ms is not None and tables.next_run_ms <= now:
            self.run()
        open_run = tables.open_run()
        if open_run is not None and max(open_run.claimed_until, open_run.resume_ms or 0) <= now:
            self._wake_once(("run", open_run.id))
        for lane in idle_lanes(self.store):
            self._wake_once(("drain", lane))
        if results_waiting(self.store):
            self._wake_once(("results", None))

    def look_at_redis(self) -> None:
        if self.store.get("marker") != self.tables.marker:
            self.tables.marker = f"m{self.tables.number()}"
            self.store.set("marker", self.tables.marker)
            self.tables.next_run_ms = self.sched.now
            self.sched.note("redis lost its data: due at once")

    def _wake_once(self, wake: tuple[str, Any]) -> None:
        if wake not in self.wakes:
            self.wakes.append(wake)

    def _send_due(self, now: int, *, cut: bool) -> None:
        rows = [
            row
            for row in self.tables.due.values()
            if row.why != "failed"
            and row.due_ms <= now
            and (row.sent_ms is None or row.sent_ms < now - RESEND_MS)
            and not self._parked(row.run_id)
        ]
        for row in rows:
            again, row.sent_ms = row.sent_ms is not None, now
            event = decode(row.event)
            lane = lane_for(event, self.settings.shards)
            if not cut and not (again and self.store.length(lane.key)):
                self._add(lane, json.dumps(row.event))

    def _parked(self, run_id: int | None) -> bool:
        run = self.tables.runs.get(run_id or 0)
        return run is not None and run.resume_ms is not None

    def _add(self, lane: Lane, payload: str) -> None:
        self.store.add(lane.key, payload)
        if self.store.set_new(f"{lane.key}:woken", 60_000):
            self.wakes.append(("drain", lane))

    def run(self) -> None:
        run_id = self.tables.new_run()
        if run_id is not None:
            self.sched.note("run", run_id, "asked for")
            self.wakes.append(("run", run_id))

    def flush(self) -> None:
        self.sched.note("redis loses its data")
        self.flushes += 1
        self.store.flush()

    # Webhooks

    def _changed(self, side: Side, record_id: RecordId, deleted: bool) -> None:
        self._hooks_made += 1
        self.hooks.append(Hook(self._hooks_made, side, record_id, deleted))

    def deliver(self, which: int, *, keep: bool = False) -> None:
        """`keep`: the vendor will send it once more."""
        if not self.hooks:
            return
        at = which % len(self.hooks)
        hook = self.hooks[at]
        fault = self.faults.take("redis")
        if fault == "before":
            return
        event = ChangeEvent(
            event_id=f"h{hook.number}.{self.tables.number()}",
            correlation_id="",
            integration_id=INTEGRATION,
            pair=PAIR.name,
            side=hook.side,
            record_id=hook.record_id,
            hint=Hint.DELETE if hook.deleted else Hint.UPSERT,
            origin=Origin.WEBHOOK,
            received_at=int(self.sched.time() * 1000),
        )
        lane = self.context.lane(LIVE, PAIR.name, hook.side, hook.record_id)
        self.sched.note("webhook", event.event_id, hook.side, hook.record_id, event.hint, lane)
        self._add(lane, json.dumps(encode(event)))
        if fault == "after":
            return
        self.accepted.append(Accepted(event.event_id, hook.side, hook.record_id, self.sched.now))
        if not keep:
            del self.hooks[at]

    def lose_hook(self, which: int) -> None:
        if self.hooks:
            hook = self.hooks.pop(which % len(self.hooks))
            self.sched.note("webhook lost", hook.side, hook.record_id)

    def lose_wake(self, which: int) -> None:
        if self.wakes:
            del self.wakes[which % len(self.wakes)]

    def double_wake(self, which: int) -> None:
        if self.wakes:
            self.wakes.append(self.wakes[which % len(self.wakes)])

    # People

    def word(self, kind: int) -> str:
        self._values_made += 1
        return ("", f"v{self._values_made}", f"v{self._values_made}-and-more")[kind % 3]

    @staticmethod
    def price(cents: int) -> Decimal:
        return Decimal(cents) / 1000

    def create(self, side: Side, name: str) -> None:
        vendor = self.vendors[side]
        if vendor.taken(name):
            return
        left: dict[str, Value] = {"Name": name, "Note": self.word(1), "City": self.word(1)}
        fields = {fp.field(side): left.get(fp.left) for fp in PAIR.mapping}
        row = vendor.add(fields)
        self.sched.note("person makes", side, row.id, name)
        for fp in PAIR.mapping:
            self._keep(side, row, fp, settled=False)

    def pick(self, side: Side, which: int) -> Row | None:
        rows = list(self.vendors[side].rows.values())
        return rows[which % len(rows)] if rows else None

    def edit(self, side: Side, which: int, field_at: int, value: Value) -> None:
        row = self.pick(side, which)
        if row is None:
            return
        fp = PAIR.mapping[field_at % len(PAIR.mapping)]
        vendor = self.vendors[side]
        if fp.field(side) == PAIR.key(side) and (not value or vendor.taken(value, row.id)):
            return
        settled = self._settled(side, row, fp)
        vendor.change(row, {fp.field(side): value})
        self.sched.note("person edits", side, row.id, fp.left, repr(value), "settled" if settled else "")
        self._keep(side, row, fp, settled=settled)

    def rename(self, side: Side, which: int, name: str) -> None:
        row = self.pick(side, which)
        if row is None:
            return
        made = any(row.id in ids for key, ids in self.seen.created.items() if key[0] is side)
        if Flaw.RENAMED_IN_DOUBT in self.avoid and made and self.tables.binding(side, row.id) is None:
            return
        self.edit(side, which, 0, name)

    def _keep(self, side: Side, row: Row, fp: FieldPair, *, settled: bool) -> None:
        self._edits_made += 1
        edit = Edit(self._edits_made, self.sched.now, side, row.fields.get(fp.field(side)), settled)
        self.edits.setdefault((side, row.id, fp.key), []).append(edit)

    def _settled(self, side: Side, row: Row, fp: FieldPair) -> bool:
        raw = self.tables.binding(side, row.id)
        twin = self.vendors[side.other].rows.get(raw[f"{side.other}_id"]) if raw else None
        base = decode_base(raw["base"]).get(fp.key) if raw else None
        if twin is None or base is None:
            return False
        left, right = (row, twin) if side is Side.LEFT else (twin, row)
        return same(base[0], left.fields.get(fp.left)) and same(base[1], right.fields.get(fp.right))

    def delete(self, side: Side, which: int) -> None:
        row = self.pick(side, which)
        if row is not None:
            self.sched.note("person deletes", side, row.id)
            self.vendors[side].delete(row.id)

    def poison(self, side: Side, which: int) -> None:
        """Whoever reads it by id dies, until all is well again."""
        row = self.pick(side, which)
        if row is not None:
            self.connectors[side].poison.add(row.id)

    # The end

    def quiet(self) -> bool:
        return (
            not self.wakes
            and all(slot.process.strand is None and not slot.process.dead for slot in self.slots)
            and all(not stream.entries for stream in self.store.streams.values())
            and all(row.why == "failed" for row in self.tables.due.values())
            and self.tables.open_run() is None
            and self.tables.next_run_ms is None
        )

    def end_faults(self) -> None:
        self.sched.note("faults end")
        self.faults.clear()
        for side in Side:
            self.connectors[side].poison.clear()
            self.connectors[side].quota_until_ms = 0
        for slot in self.slots:
            self._thaw(slot)

    def settle(self, most_s: int = 900, most_steps: int = 12_000) -> bool:
        """Until all is quiet. False: it was not, in so long."""
        end, last = self.sched.now + most_s * 1000, self.sched.steps + most_steps
        while True:
            while self.hooks:
                self.deliver(0)
            if self.quiet():
                return True
            if self.sched.now > end or self.sched.steps > last:
                return False
            timer = self.sched.next_timer() or self.sched.now
            self.pass_time(max(10, timer - self.sched.now))

    def close(self) -> None:
        for slot in self.slots:
            self.sched.kill(slot.process)


# What the product asks of the machine it runs on


class _Clock:
    def __init__(self) -> None:
        self.sched = Sched()

    def monotonic(self) -> float:
        return self.sched.monotonic()

    def time(self) -> float:
        return self.sched.time()

    def now(self, zone: object = None) -> datetime:
        return self.sched.when()


def _save(session: Any, batch: ResultBatch, low: int) -> set[int]:
    """The run of a simulation queues all that it has at once."""
    return postgres.save(session, batch)


def _run_settled(ports: Ports, run_id: int) -> bool:
    tables = cast(Tables, ports.db)
    with tables.transaction("settled?"):
        run = tables.runs[run_id]
        return run.state == "draining" and run.pending == 0


def _load_context(ports: Ports, integration_id: int) -> Context:
    tables, world = cast(Tables, ports.db), cast(World, ports.connectors)
    with tables.transaction("load context"):
        return world.context


def _answering(
    pair: Pair,
    policy: Policy,
    source: Side,
    left: Record | None,
    right: Record | None,
    bound: Bound | None,
    family: Family | None,
) -> Action:
    """The mutant that takes an echo for a change: the other side is told again what it told us."""
    action = plan(pair, policy, source, left, right, bound, family)
    if action.kind is not ActionKind.ECHO or left is None or right is None:
        return action
    name = pair.mapping[1].field(source.other)
    value = (right if source is Side.LEFT else left).get(name)
    return Action(ActionKind.UPDATE, action.base, {source.other: (Change(name, value, value),)})


@contextmanager
def simulated(world: World) -> Iterator[World]:
    """While it lasts, the engine's clock and its ways to Postgres are the world's."""
    clock = _Clock()
    clock.sched = world.sched
    answer = _answering if world.mutant is Mutant.ECHO_ANSWERED else plan
    engine = shared.engine
    swaps: Sequence[tuple[Any, str, Any]] = (
        (engine.drain, "time", clock),
        (engine.drain, "load_context", _load_context),
        (engine.drain, "open_batch", postgres.open_batch),
        (engine.drain, "close_batch", postgres.close_batch),
        (engine.pusher, "time", clock),
        (engine.pusher, "datetime", clock),
        (engine.reader, "datetime", clock),
        (engine.agreed, "datetime", clock),
        (engine.batch, "Known", SimKnown),
        (engine.batch, "plan", answer),
        (engine.results, "save", _save),
        (engine.results, "_settled", _run_settled),
        (shared.lease, "time", clock),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in swaps]
    for module, name, value in swaps:
        setattr(module, name, value)
    try:
        yield world
    finally:
        world.close()
        for module, name, value in before:
            setattr(module, name, value)
