"""Redis as `shared.bus.Bus` uses it: streams with a group, locks that end, and what is lost when it loses its data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from shared.bus import FREE_READS, LIVE, LIVE_RESULTS, RESULTS, ROOT_LEASES, Entry, Lane, TakenResult
from shared.errors import Unavailable
from shared.settings import Settings
from tests.simulation.faults import Faults, Mutant
from tests.simulation.sched import Sched

WOKEN_MS = 60_000


@dataclass(slots=True)
class Stream:
    entries: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    """Entry -> the worker that took it."""
    last: int = 0
    """Number of the newest entry that the group gave out."""
    group: bool = False
    tries: dict[str, int] = field(default_factory=dict)
    begun: tuple[str, ...] = ()
    handed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Token of a batch that was handed over -> its entries."""


class Store:
    """The server. `keys` are text values with the time they end at; None: never."""

    def __init__(self, sched: Sched, faults: Faults) -> None:
        self.sched, self.faults = sched, faults
        self.streams: dict[str, Stream] = {}
        self.keys: dict[str, tuple[str, int | None]] = {}
        self._made = 0

    def flush(self) -> None:
        self.streams.clear()
        self.keys.clear()

    def stream(self, key: str) -> Stream:
        return self.streams.setdefault(key, Stream())

    def add(self, key: str, payload: str) -> None:
        self._made += 1
        self.stream(key).entries[f"{self._made}-0"] = payload

    def get(self, key: str) -> str | None:
        found = self.keys.get(key)
        return None if found is None or (found[1] is not None and found[1] <= self.sched.now) else found[0]

    def set(self, key: str, value: str, ms: float | None = None) -> None:
        self.keys[key] = (value, None if ms is None else self.sched.now + max(1, int(ms)))

    def set_new(self, key: str, ms: int) -> bool:
        if self.get(key) is not None:
            return False
        self.set(key, "1", ms)
        return True

    def left_ms(self, key: str) -> int:
        found = self.keys.get(key)
        return 0 if found is None or found[1] is None else max(0, found[1] - self.sched.now)

    def alive(self, owner: str) -> bool:
        return self.get("worker:" + owner.split("/")[0]) is not None

    def length(self, key: str) -> int:
        return len(self.streams[key].entries) if key in self.streams else 0

    @contextmanager
    def call(self, what: str) -> Iterator[None]:
        """A step; the fault "before" keeps the call from the server, "after" only its answer from us."""
        self.sched.step(f"redis {what}")
        fault = self.faults.take("redis")
        if fault == "before":
            raise Unavailable("redis")
        yield
        if fault == "after":
            raise Unavailable("redis")


class SimBus:
    """One process' client."""

    def __init__(self, store: Store, settings: Settings, worker: str, mutant: Mutant | None) -> None:
        self.worker = worker
        self._store, self._mutant = store, mutant
        self._root_ttl_ms = int(settings.lease_ttl_s * 1000 * ROOT_LEASES)
        self._gone_ms = int(settings.worker_gone_s * 1000)
        self._tokens = 0

    # Events in

    def add(self, items: Sequence[tuple[Lane, str]]) -> list[Lane]:
        with self._store.call("add"):
            for lane, payload in items:
                self._store.add(lane.key, payload)
            lanes = [lane for lane, _ in items]
            return [lane for lane in lanes if self._store.set_new(f"{lane.key}:woken", WOKEN_MS)]

    def length(self, lanes: Iterable[Lane]) -> int:
        with self._store.call("length"):
            return sum(self._store.length(lane.key) for lane in lanes)

    # Draining

    def new_token(self) -> str:
        self._tokens += 1
        return f"{self.worker}/{self._tokens}"

    def lock_lane(self, lane: Lane, token: str, ttl_s: float) -> bool:
        with self._store.call(f"lock {lane}"):
            return self.relock_lane(lane, token, ttl_s)

    def relock_lane(self, lane: Lane, token: str, ttl_s: float) -> bool:
        self.beat()
        key = f"{lane.key}:drainer"
        owner = self._store.get(key)
        if owner is None or owner == token or not self._store.alive(owner):
            self._store.set(key, token, ttl_s * 1000)
            return True
        self._store.set(f"{key}:knocked", "1", WOKEN_MS)
        return False

    def unlock_lane(self, lane: Lane, token: str) -> bool:
        with self._store.call(f"unlock {lane}"):
            key = f"{lane.key}:drainer"
            if self._store.get(key) == token:
                del self._store.keys[key]
            knocked = self._store.get(f"{key}:knocked") is not None
            self._store.keys.pop(f"{key}:knocked", None)
            return knocked

    def clear_woken(self, lane: Lane) -> None:
        with self._store.call("clear woken"):
            self._store.keys.pop(f"{lane.key}:woken", None)

    def pause(self, lane: Lane, seconds: float) -> None:
        with self._store.call("pause"):
            self._store.set(f"{lane.key}:paused", "1", seconds * 1000)

    def resume(self, lane: Lane) -> None:
        with self._store.call("resume"):
            self._store.keys.pop(f"{lane.key}:paused", None)

    def paused(self, lane: Lane) -> bool:
        with self._store.call("paused"):
            return self._store.get(f"{lane.key}:paused") is not None

    def ensure_group(self, stream: str) -> None:
        with self._store.call("group"):
            self._store.stream(stream).group = True

    def claim_orphans(self, lane: Lane) -> list[Entry]:
        with self._store.call(f"claim {lane}"):
            stream = self._group(lane.key)
            handed = {one for ids in stream.handed.values() for one in ids}
            orphans = [one for one in stream.pending if one in stream.entries and one not in handed]
            for one in stream.pending:
                stream.pending[one] = self.worker
            for one in set(stream.begun).intersection(orphans):
                stream.tries[one] = stream.tries.get(one, 0) + 1
            stream.begun = stream.begun if not orphans else ()
            return [Entry(one, stream.entries[one], stream.tries.get(one, 0)) for one in orphans]

    def read_new(self, lane: Lane, count: int, block_ms: int | None = None) -> list[Entry]:
        if block_ms is not None:
            store = self._store
            store.sched.sleep(block_ms, "wait", lambda: self._has_new(lane.key))
        with self._store.call(f"read {lane}"):
            return [Entry(one, payload, 0) for one, payload in self._read(lane.key, count)]

    def _has_new(self, key: str) -> bool:
        stream = self._store.streams.get(key)
        return stream is not None and any(_number(one) > stream.last for one in stream.entries)

    def _read(self, key: str, count: int) -> list[tuple[str, str]]:
        stream = self._group(key)
        fresh = [(one, payload) for one, payload in stream.entries.items() if _number(one) > stream.last][:count]
        for one, _ in fresh:
            stream.last = _number(one)
            stream.pending[one] = self.worker
        return fresh

    def _group(self, key: str) -> Stream:
        stream = self._store.streams.get(key)
        if stream is None or not stream.group:
            raise Unavailable("Redis lost its data.")
        return stream

    def begin(self, lane: Lane, entries: Sequence[Entry]) -> None:
        with self._store.call("begin"):
            self._store.stream(lane.key).begun = tuple(entry.id for entry in entries)

    def give_back(self, lane: Lane, entries: Sequence[Entry]) -> None:
        if entries:
            with self._store.call("give back"):
                stream = self._store.stream(lane.key)
                given = {entry.id for entry in entries}
                stream.begun = tuple(one for one in stream.begun if one not in given)
                for one in given:
                    stream.tries.pop(one, None)

    def ack(self, lane: Lane, ids: Sequence[str], token: str = "") -> bool:
        """False: the marker is gone, so Redis lost its data."""
        with self._store.call(f"ack {lane} {','.join(ids)}"):
            self._ack(lane, ids)
            self._store.stream(lane.key).handed.pop(token, None)
            return self._store.get("marker") is not None

    def _ack(self, lane: Lane, ids: Sequence[str]) -> None:
        stream = self._store.stream(lane.key)
        for one in ids:
            stream.entries.pop(one, None)
            stream.pending.pop(one, None)
            stream.tries.pop(one, None)

    def quiet_for(self, records: Sequence[str]) -> list[float]:
        if not records:
            return []
        with self._store.call("quiet for"):
            return [self._store.left_ms(f"worked:{record}") / 1000 for record in records]

    def note_worked(self, records: Sequence[str], seconds: float) -> None:
        if records:
            with self._store.call("note worked"):
                for record in records:
                    self._store.set(f"worked:{record}", "1", seconds * 1000)

    def note_for_nothing(self, records: Sequence[str]) -> None:
        if not records:
            return
        with self._store.call("note for nothing"):
            counts = [self._one_more(f"for_nothing:{record}") for record in records]
        for record, count in zip(records, counts, strict=True):
            if count > FREE_READS:
                self.note_worked([record], min(2.0 ** (count - FREE_READS), 30.0))

    def _one_more(self, key: str) -> int:
        count = int(self._store.get(key) or 0) + 1
        self._store.set(key, str(count), 60_000)
        return count

    # Root locks

    def lock_roots(self, roots: Sequence[str], token: str) -> list[bool]:
        if not roots:
            return []
        with self._store.call("lock roots"):
            self.beat()
            if self._mutant is Mutant.NO_ROOT_LOCK:
                return [True] * len(roots)
            return [self._lock_root("root:" + root, token) for root in roots]

    def _lock_root(self, key: str, token: str) -> bool:
        owner = self._store.get(key)
        free = owner is None or owner == token
        if owner is not None and not free and self._store.get(f"settled:{owner}") is None:
            free = not self._store.alive(owner)
        if free:
            self._store.set(key, token, self._root_ttl_ms)
        return free

    def unlock_roots(self, roots: Sequence[str], token: str, *, settled: bool = False) -> None:
        if roots or settled:
            with self._store.call("unlock roots"):
                marker = f"settled:{token}"
                if not settled and self._store.get(marker) is not None:
                    return
                for root in roots:
                    if self._store.get("root:" + root) == token:
                        del self._store.keys["root:" + root]
                self._store.keys.pop(marker, None)

    # Results

    def settle(self, lane: Lane, ids: Sequence[str], token: str, payload: str) -> bool:
        with self._store.call(f"settle {lane} {','.join(ids)}"):
            self._store.set(f"settled:{token}", "1", self._root_ttl_ms)
            stream = self._store.stream(lane.key)
            stream.begun = ()
            stream.handed[token] = tuple(ids)
            self._store.add(LIVE_RESULTS if lane.cls == LIVE else RESULTS, payload)
            if self._mutant is Mutant.ACK_FIRST:
                self._ack(lane, ids)
            return self._store.set_new(f"{RESULTS}:woken", WOKEN_MS)

    def clear_results_woken(self) -> None:
        with self._store.call("clear results woken"):
            self._store.keys.pop(f"{RESULTS}:woken", None)

    def ensure_results(self) -> None:
        for stream in (LIVE_RESULTS, RESULTS):
            self.ensure_group(stream)

    def read_results(self, count: int) -> list[TakenResult]:
        with self._store.call("read results"):
            fresh = self._fresh(LIVE_RESULTS, count) + self._fresh(RESULTS, 1)
            if self._mutant is Mutant.ACK_FIRST:
                for taken in fresh:
                    self._drop(taken)
            return fresh or self._stale(LIVE_RESULTS, count) or self._stale(RESULTS, count)

    def _fresh(self, key: str, count: int) -> list[TakenResult]:
        return [TakenResult(key, one, payload) for one, payload in self._read(key, count)]

    def _stale(self, key: str, count: int) -> list[TakenResult]:
        stream = self._group(key)
        dead = sorted({owner for owner in stream.pending.values() if not self._store.alive(owner)})
        for owner in dead:
            rows = [one for one, who in stream.pending.items() if who == owner][:count]
            for one in rows:
                stream.pending[one] = self.worker
            if rows:
                return [TakenResult(key, one, stream.entries[one]) for one in rows]
        return []

    def retry_results(self, count: int) -> list[TakenResult]:
        with self._store.call("retry results"):
            return self._mine(LIVE_RESULTS, count) + self._mine(RESULTS, count)

    def _mine(self, key: str, count: int) -> list[TakenResult]:
        stream = self._group(key)
        mine = [one for one, who in stream.pending.items() if who == self.worker][:count]
        return [TakenResult(key, one, stream.entries[one]) for one in mine]

    def drop_result(self, taken: TakenResult) -> None:
        with self._store.call("drop result"):
            self._drop(taken)

    def _drop(self, taken: TakenResult) -> None:
        stream = self._store.stream(taken.stream)
        stream.entries.pop(taken.id, None)
        stream.pending.pop(taken.id, None)

    def unsettle(self, lane: Lane, token: str) -> None:
        with self._store.call("unsettle"):
            self._store.stream(lane.key).handed.pop(token, None)

    # Life; called by the keeper and the sweep, which are no steps of a task

    def beat(self) -> None:
        self._store.set(f"worker:{self.worker}", "1", self._gone_ms)

    def leave(self) -> None:
        self._store.keys.pop(f"worker:{self.worker}", None)

    def forget_lane(self, lane: Lane) -> None:
        raise AssertionError("the integration is never gone here")

    def idle_lanes(self) -> list[Lane]:
        return idle_lanes(self._store)

    def results_waiting(self) -> bool:
        return results_waiting(self._store)


def results_waiting(store: Store) -> bool:
    return any(store.length(key) for key in (LIVE_RESULTS, RESULTS))


def idle_lanes(store: Store) -> list[Lane]:
    """Lanes with entries and no live drainer."""
    idle = []
    for key, stream in store.streams.items():
        if key in (RESULTS, LIVE_RESULTS) or not stream.entries or store.get(f"{key}:paused") is not None:
            continue
        owner = store.get(f"{key}:drainer")
        if owner is None or not store.alive(owner):
            idle.append(Lane.parse(key))
    return sorted(idle)


def _number(entry: str) -> int:
    return int(entry.partition("-")[0])
