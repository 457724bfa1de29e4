"""Change events on Redis: streams as lanes, one drainer per lane, coalesced per record, kept until their outcome.

A lane is (integration, class, shard). People and webhooks have lanes of their own (`live`), so that they never stand
behind a backlog (`bulk`). Entries leave a lane only after their outcome is committed in Postgres (P1). Redis is never
the only copy of a decision: losing it loses wake-ups and makes every integration due at once (P2).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from shared.errors import ConfigError, Unavailable
from shared.settings import Settings

GROUP = "bothways"
PREFIX = "bw:"
RESULTS, LIVE_RESULTS = PREFIX + "results", PREFIX + "results:live"
"""Outcomes on their way: those of runs, and those of people and webhooks, which are committed first."""
LANES = PREFIX + "lanes"
MARKER, EPOCH = PREFIX + "marker", PREFIX + "epoch"
LIVE, BULK = "live", "bulk"
ROOT_LEASES = 5
"""A root lock lasts for so many leases: as long as results may wait for Postgres. A worker that is gone loses its own
at once."""
FREE_READS = 30
"""So many webhooks of a record may tell of nothing within a minute before the next ones have to wait."""
_CANARY_S = 86_400

# Deliveries, each whole or not at all: one whose lanes hold more than `bound` in all (-1: no bound) is left out and the
# others go on. The woken flag is set by whoever finds it unset: that one wakes a drainer. It lasts a minute at most, so
# a lost wake-up delays a lane until the sweep and never stops it.
ADD = """
local bound, deliveries, entry = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
local woken, full, seen = {}, {}, {}
for d = 1, deliveries do
  local first, last = entry + 1, entry + tonumber(ARGV[2 + d])
  entry = last
  local waiting, counted = 0, {}
  for i = first, bound < 0 and first - 1 or last do
    if not counted[KEYS[i]] then
      counted[KEYS[i]] = true
      waiting = waiting + redis.call('XLEN', KEYS[i])
    end
  end
  if bound >= 0 and waiting > bound then
    full[#full + 1] = d - 1
  else
    for i = first, last do
      redis.call('XADD', KEYS[i], '*', 'e', ARGV[2 + deliveries + i])
      if not seen[KEYS[i]] then
        seen[KEYS[i]] = true
        redis.call('SADD', 'bw:lanes', KEYS[i])
        if redis.call('SET', KEYS[i] .. ':woken', '1', 'NX', 'PX', 60000) then woken[#woken + 1] = KEYS[i] end
      end
    end
  end
end
return {woken, full}
"""
# `tries` are there only where a drainer died.
_ACK = """
local ids = {unpack(ARGV, 2)}
if #ids > 0 then
  redis.call('XACK', KEYS[1], 'bothways', unpack(ids))
  redis.call('XDEL', KEYS[1], unpack(ids))
  if redis.call('EXISTS', KEYS[1] .. ':tries') == 1 then redis.call('HDEL', KEYS[1] .. ':tries', unpack(ids)) end
end
if ARGV[1] ~= '' then redis.call('HDEL', KEYS[1] .. ':handed', ARGV[1]) end
return redis.call('EXISTS', 'bw:marker')
"""
# Hands a batch over to the result stream: its entries are no longer the drainer's to claim, and its root locks
# belong to the results until they are committed.
_SETTLE = """
local owner, ttl, payload, ids = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('SET', 'bw:settled:' .. owner, '1', 'PX', ttl)
redis.call('DEL', KEYS[1] .. ':begun')
redis.call('HSET', KEYS[1] .. ':handed', owner, ids)
redis.call('XADD', KEYS[2], '*', 'r', payload)
if redis.call('SET', 'bw:results:woken', '1', 'NX', 'PX', 60000) then return 1 end
return 0
"""
# What is begun is one text a batch; what a dead drainer had begun is counted, entry by entry, by who claims it.
_COUNT_TRIES = """
local begun, orphan = redis.call('GET', KEYS[1] .. ':begun'), {}
if not begun then return 0 end
for i = 1, #ARGV do orphan[ARGV[i]] = true end
for id in string.gmatch(begun, '%S+') do
  if orphan[id] then redis.call('HINCRBY', KEYS[1] .. ':tries', id, 1) end
end
return redis.call('DEL', KEYS[1] .. ':begun')
"""
_GIVE_BACK = """
local begun, given, left = redis.call('GET', KEYS[1] .. ':begun'), {}, {}
redis.call('HDEL', KEYS[1] .. ':tries', unpack(ARGV))
if not begun then return 0 end
for i = 1, #ARGV do given[ARGV[i]] = true end
for id in string.gmatch(begun, '%S+') do
  if not given[id] then left[#left + 1] = id end
end
if #left > 0 then redis.call('SET', KEYS[1] .. ':begun', table.concat(left, ' '))
else redis.call('DEL', KEYS[1] .. ':begun') end
return 1
"""
# A root lock of a worker that no longer beats is broken at once, unless its results are on their way; what it did is
# looked up by its intents. ("results:" is how the version before marked those; two may work beside each other.) Whoever
# locks beats by it: after a Redis that lost its data everybody would else be taken for dead.
_LOCK_ROOTS = """
redis.call('SET', 'bw:worker:' .. string.match(ARGV[1], '^([^/]+)/'), '1', 'PX', ARGV[3])
local got = {}
for i = 1, #KEYS do
  if redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) then got[i] = 1
  else
    local owner = redis.call('GET', KEYS[i])
    local mine = owner == ARGV[1]
    if not mine and string.sub(owner, 1, 8) ~= 'results:' then
      local worker = string.match(owner, '^([^/]+)/')
      mine = worker and redis.call('EXISTS', 'bw:worker:' .. worker, 'bw:settled:' .. owner) == 0
    end
    if mine then redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2]); got[i] = 1 else got[i] = 0 end
  end
end
return got
"""
# JUSTID: the delivery counter is not touched, tries are counted by us. (redis-py drops the cursor of that form.)
_CLAIM = """
local reply = redis.call('XAUTOCLAIM', KEYS[1], 'bothways', ARGV[1], 0, ARGV[2], 'COUNT', 500, 'JUSTID')
return {reply[1], reply[2]}
"""
_UNLOCK_ROOTS = """
if ARGV[2] ~= '1' and redis.call('EXISTS', 'bw:settled:' .. ARGV[1]) == 1 then return 0 end
for i = 1, #KEYS do
  local owner = redis.call('GET', KEYS[i])
  if owner == ARGV[1] or owner == 'results:' .. ARGV[1] then redis.call('DEL', KEYS[i]) end
end
return redis.call('DEL', 'bw:settled:' .. ARGV[1])
"""
# Finding one's own id counts as got: the reply of an earlier try may have been lost.
_LOCK_LANE = """
redis.call('SET', 'bw:worker:' .. string.match(ARGV[1], '^([^/]+)/'), '1', 'PX', ARGV[3])
local owner = redis.call('GET', KEYS[1])
local free = not owner or owner == ARGV[1]
if owner and not free then
  local worker = string.match(owner, '^([^/]+)/')
  if worker and redis.call('EXISTS', 'bw:worker:' .. worker) == 0 then free = true end
end
if free then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
redis.call('SET', KEYS[1] .. ':knocked', '1', 'PX', 60000)
return 0
"""
# Whoever found the lane locked knocked: the drainer that leaves must look once more, or that wake-up would be lost.
_UNLOCK_LANE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.call('DEL', KEYS[1] .. ':knocked')
"""


_MIRROR = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], ARGV[2])
end
return 1
"""


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    integration_id: int
    cls: str
    shard: int

    @property
    def key(self) -> str:
        return f"{PREFIX}lane:{self.integration_id}:{self.cls}:{self.shard}"

    def __str__(self) -> str:
        return f"{self.integration_id}:{self.cls}:{self.shard}"

    @classmethod
    def parse(cls, name: str) -> Lane:
        """From "7:live:3" or the lane's key. Raises ValueError on anything else."""
        integration, kind, shard = name.removeprefix(PREFIX + "lane:").split(":")
        if kind not in (LIVE, BULK):
            raise ValueError("not a lane")
        return cls(int(integration), kind, int(shard))


@dataclass(frozen=True, slots=True)
class RedisServer:
    """`run_id` is another after each start. `epoch` and `marker` are what Postgres left there (0, None: not there).
    `syncs_always`: each write is on disk before it is answered."""

    run_id: str
    epoch: int
    marker: str | None
    syncs_always: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it lies on a lane; `tries` counts how often its work began without an end (P8)."""

    id: str
    payload: str
    tries: int


@dataclass(frozen=True, slots=True)
class TakenResult:
    """A batch of outcomes, taken off its stream to be committed."""

    stream: str
    id: str
    payload: str


def make_redis(settings: Settings, *, timeout_s: float = 5.0) -> redis.Redis:
    """No hidden retries: a repeated XADD would double an event (reliability section 5)."""
    return redis.Redis.from_url(_url(settings), retry=Retry(NoBackoff(), 0), **_options(timeout_s))


def make_async_redis(settings: Settings, *, timeout_s: float = 5.0) -> redis.asyncio.Redis:
    """The same for a loop: that of its first call, from then on."""
    return redis.asyncio.Redis.from_url(_url(settings), retry=AsyncRetry(NoBackoff(), 0), **_options(timeout_s))


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise ConfigError("REDIS_URL is not set.", code="NO_REDIS_URL")
    return settings.redis_url.get_secret_value()


def _options(timeout_s: float) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 3.0),
        "health_check_interval": 10,
        "protocol": 2,
    }


_AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turns a Redis that cannot be reached, or refuses (full, loading, read-only), into Unavailable."""
    try:
        yield
    except _AWAY as error:
        raise Unavailable("Redis cannot be reached, or refuses writes; try again in a few seconds.") from error
    except ResponseError as error:
        if str(error).startswith(("MISCONF", "NOREPLICAS", "BUSY ", "LOADING")):
            raise Unavailable("Redis refuses writes; look at its log.") from error
        if str(error).startswith("NOGROUP"):  # the next wake-up makes the group again
            raise Unavailable("Redis lost its data.") from error
        raise


Items = Sequence[tuple[Lane, str]]
"""Envelopes, each with its lane."""


def add_arguments(deliveries: Sequence[Items], bound: int | None) -> tuple[list[str], list[str | int]]:
    """Keys and arguments of ADD. It answers the keys of the lanes whose drainer must be woken, and the numbers (from 0)
    of the deliveries that were left out, because their lanes hold more than `bound` entries in all."""
    keys = [lane.key for items in deliveries for lane, _ in items]
    payloads = [payload for items in deliveries for _, payload in items]
    return keys, [-1 if bound is None else bound, len(deliveries), *map(len, deliveries), *payloads]


class Bus:
    def __init__(self, client: redis.Redis, settings: Settings, worker: str) -> None:
        """`worker` is unique to this process and start; locks and claims carry it."""
        # Any: redis-py types each answer as a union of bytes, text and awaitables, whatever the client decodes to.
        self.redis: Any = client
        self.worker = worker
        self._settings = settings
        self._root_ttl_ms = int(settings.scaled(settings.lease_ttl_s) * 1000 * ROOT_LEASES)
        self._gone_ms = int(settings.scaled(settings.worker_gone_s) * 1000)
        self._add = client.register_script(ADD)
        self._count_tries = client.register_script(_COUNT_TRIES)
        self._give_back = client.register_script(_GIVE_BACK)
        self._ack = client.register_script(_ACK)
        self._claim = client.register_script(_CLAIM)
        self._settle = client.register_script(_SETTLE)
        self._lock_roots = client.register_script(_LOCK_ROOTS)
        self._unlock_roots = client.register_script(_UNLOCK_ROOTS)
        self._lock_lane = client.register_script(_LOCK_LANE)
        self._unlock_lane = client.register_script(_UNLOCK_LANE)
        self._mirror = client.register_script(_MIRROR)

    # Events in

    def add(self, items: Items) -> list[Lane]:
        """Puts envelopes on their lanes, in order; returns the lanes whose drainer must be woken."""
        woken: list[Lane] = []
        with redis_errors():
            for start in range(0, len(items), 500):
                keys, args = add_arguments([items[start : start + 500]], bound=None)
                woken += [Lane.parse(key) for key in self._add(keys=keys, args=args)[0]]
        return woken

    def length(self, lanes: Iterable[Lane]) -> int:
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for lane in lanes:
                pipe.xlen(lane.key)
            return sum(pipe.execute())

    # Draining

    def new_token(self) -> str:
        return f"{self.worker}/{uuid.uuid4().hex[:12]}"

    def lock_lane(self, lane: Lane, token: str, ttl_s: float) -> bool:
        with redis_errors():
            return bool(self._lock_lane(keys=[f"{lane.key}:drainer"], args=[token, int(ttl_s * 1000), self._gone_ms]))

    def unlock_lane(self, lane: Lane, token: str) -> bool:
        """True: somebody came meanwhile and found it locked, so it must be woken again."""
        with redis_errors():
            return bool(self._unlock_lane(keys=[f"{lane.key}:drainer"], args=[token]))

    def clear_woken(self, lane: Lane) -> None:
        """Called before the last look at an empty lane, so that an event added after it wakes again."""
        with redis_errors():
            self.redis.delete(f"{lane.key}:woken")

    def pause(self, lane: Lane, seconds: float) -> None:
        with redis_errors():
            self.redis.set(f"{lane.key}:paused", "1", px=max(1, int(seconds * 1000)))

    def resume(self, lane: Lane) -> None:
        with redis_errors():
            self.redis.delete(f"{lane.key}:paused")

    def paused(self, lane: Lane) -> bool:
        with redis_errors():
            return bool(self.redis.exists(f"{lane.key}:paused"))

    def ensure_group(self, stream: str) -> None:
        with redis_errors():
            try:
                self.redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def claim_orphans(self, lane: Lane) -> list[Entry]:
        """Entries that an earlier drainer of this lane took and did not finish. The lane's lock must be held.

        What lies on the result stream is not an orphan: it is settled there.
        """
        found: list[str] = []
        with redis_errors():
            cursor = "0-0"
            while True:
                cursor, ids = self._autoclaim(lane.key, cursor)
                found += ids
                if cursor == "0-0":
                    break
            if not found:
                return []
            handed = {entry for ids in self.redis.hgetall(f"{lane.key}:handed").values() for entry in ids.split()}
            orphans = [entry for entry in found if entry not in handed]
            for start in range(0, len(orphans), 1000):
                self._count_tries(keys=[lane.key], args=orphans[start : start + 1000])
            return self._load(lane, orphans)

    def _autoclaim(self, stream: str, cursor: str) -> tuple[str, list[str]]:
        cursor, ids = self._claim(keys=[stream], args=[self.worker, cursor])
        return cursor, list(ids)

    def _load(self, lane: Lane, ids: Sequence[str]) -> list[Entry]:
        if not ids:
            return []
        with self.redis.pipeline(transaction=False) as pipe:
            for entry in ids:
                pipe.xrange(lane.key, entry, entry)
            bodies = pipe.execute()
        tries = self.redis.hmget(f"{lane.key}:tries", list(ids))
        return [
            Entry(entry, rows[0][1]["e"], int(count or 0))
            for entry, rows, count in zip(ids, bodies, tries, strict=True)
            if rows
        ]

    def read_new(self, lane: Lane, count: int, block_ms: int | None = None) -> list[Entry]:
        """New entries, taken for this worker; waits up to `block_ms` (None: not at all)."""
        with redis_errors():
            reply = self.redis.xreadgroup(GROUP, self.worker, {lane.key: ">"}, count=count, block=block_ms)
        return [Entry(entry, body["e"], 0) for _, rows in reply or [] for entry, body in rows]

    def begin(self, lane: Lane, entries: Sequence[Entry]) -> None:
        """Notes a batch before its work starts: if that never ends, it was a try (P8)."""
        with redis_errors():
            self.redis.set(f"{lane.key}:begun", " ".join(entry.id for entry in entries))

    def give_back(self, lane: Lane, entries: Sequence[Entry]) -> None:
        """The work did not fail, it only has to wait: the try does not count."""
        if not entries:
            return
        with redis_errors():
            self._give_back(keys=[lane.key], args=[entry.id for entry in entries])

    def ack(self, lane: Lane, ids: Sequence[str], token: str = "") -> bool:
        """`token`: of the batch that was handed over. False: the marker is gone, so Redis lost its data (P2)."""
        parts: list[list[str]] = [list(ids[start : start + 1000]) for start in range(0, len(ids), 1000)] or [[]]
        with redis_errors():
            for part in parts[:-1]:
                self._ack(keys=[lane.key], args=["", *part])
            return bool(self._ack(keys=[lane.key], args=[token, *parts[-1]]))

    def quiet_for(self, records: Sequence[str]) -> list[float]:
        """Seconds until each record may be worked on again (0: now)."""
        if not records:
            return []
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.pttl(f"{PREFIX}worked:{record}")
            return [max(0, left) / 1000 for left in pipe.execute()]

    def note_worked(self, records: Sequence[str], seconds: float) -> None:
        if not records:
            return
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.set(f"{PREFIX}worked:{record}", "1", px=max(1, int(seconds * 1000)))
            pipe.execute()

    def note_for_nothing(self, records: Sequence[str]) -> None:
        """Webhooks that told of no change: after some of them within a minute, the next are put off for longer and
        longer. Somebody who repeats a delivery that they saw costs few reads by that."""
        if not records:
            return
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.incr(f"{PREFIX}for_nothing:{record}")
                pipe.expire(f"{PREFIX}for_nothing:{record}", 60)
            counts = pipe.execute()[::2]
        for record, count in zip(records, counts, strict=True):
            if count > FREE_READS:
                self.note_worked([record], min(2.0 ** (count - FREE_READS), 30.0))

    def forget_lane(self, lane: Lane) -> None:
        with redis_errors(), self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(lane.key, *[f"{lane.key}:{name}" for name in ("woken", "tries", "begun", "handed", "paused")])
            pipe.srem(LANES, lane.key)
            pipe.execute()

    # Root locks

    def lock_roots(self, roots: Sequence[str], token: str) -> list[bool]:
        """One answer per root, in order. Held from the read to the committed outcome."""
        if not roots:
            return []
        with redis_errors():
            got = self._lock_roots(
                keys=[PREFIX + "root:" + r for r in roots], args=[token, self._root_ttl_ms, self._gone_ms]
            )
        return [bool(one) for one in got]

    def unlock_roots(self, roots: Sequence[str], token: str, *, settled: bool = False) -> None:
        """Where the batch was handed over to the results they keep its locks, until they are `settled`."""
        if roots or settled:
            with redis_errors():
                self._unlock_roots(keys=[PREFIX + "root:" + r for r in roots], args=[token, int(settled)])

    # Results

    def ensure_results(self) -> None:
        for stream in (LIVE_RESULTS, RESULTS):
            self.ensure_group(stream)

    def settle(self, lane: Lane, ids: Sequence[str], token: str, payload: str) -> bool:
        """Puts a batch of outcomes on its result stream, and with it the batch's roots; True: the result task must be
        woken."""
        stream = LIVE_RESULTS if lane.cls == LIVE else RESULTS
        with redis_errors():
            args: list[str | int] = [token, self._root_ttl_ms, payload, " ".join(ids)]
            return bool(self._settle(keys=[lane.key, stream], args=args))

    def clear_results_woken(self) -> None:
        """As `clear_woken`, for the result streams."""
        with redis_errors():
            self.redis.delete(f"{RESULTS}:woken")

    def read_results(self, count: int) -> list[TakenResult]:
        """Not taken yet: up to `count` batches of people and webhooks, then one of a run, so that whoever comes next
        waits for no more than that. Where there is none, what a dead worker took and did not finish."""
        with redis_errors():
            fresh = self._read_results(LIVE_RESULTS, ">", count) + self._read_results(RESULTS, ">", 1)
            return fresh or self._stale_results(LIVE_RESULTS, count) or self._stale_results(RESULTS, count)

    def retry_results(self, count: int) -> list[TakenResult]:
        """What this worker took and could not commit (Postgres was away)."""
        with redis_errors():
            return self._read_results(LIVE_RESULTS, "0", count) + self._read_results(RESULTS, "0", count)

    def _read_results(self, stream: str, after: str, count: int) -> list[TakenResult]:
        reply = self.redis.xreadgroup(GROUP, self.worker, {stream: after}, count=count)
        return [TakenResult(stream, entry, body["r"]) for _, rows in reply or [] for entry, body in rows if body]

    def _stale_results(self, stream: str, count: int) -> list[TakenResult]:
        consumers = self.redis.xinfo_consumers(stream, GROUP)
        for name in [one["name"] for one in consumers if one["pending"] and not self.alive(one["name"])]:
            pending = self.redis.xpending_range(stream, GROUP, "-", "+", count, consumername=name)
            ids = [row["message_id"] for row in pending]
            rows = self.redis.xclaim(stream, GROUP, self.worker, 0, ids) if ids else []
            if rows:
                return [TakenResult(stream, entry, body["r"]) for entry, body in rows]
        return []

    def drop_result(self, taken: TakenResult) -> None:
        with redis_errors(), self.redis.pipeline(transaction=True) as pipe:
            pipe.xack(taken.stream, GROUP, taken.id)
            pipe.xdel(taken.stream, taken.id)
            pipe.execute()

    def unsettle(self, lane: Lane, token: str) -> None:
        """The results were refused (lease lost): the events are orphans again and will be looked at afresh."""
        with redis_errors():
            self.redis.hdel(f"{lane.key}:handed", token)

    # Life

    # The server itself (see engine/epoch.py)

    def server(self) -> RedisServer:
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            pipe.get(EPOCH)
            pipe.get(MARKER)
            pipe.info("server")
            epoch, marker, info = pipe.execute()
            try:
                policy = self.redis.config_get("appendfsync", "appendonly")
            except ResponseError:  # not allowed to ask: the worst is taken for true
                policy = {}
        always = policy == {"appendfsync": "always", "appendonly": "yes"}
        return RedisServer(str(info["run_id"]), int(epoch or 0), marker, always)

    def mirrored_epoch(self) -> int:
        with redis_errors():
            return int(self.redis.get(EPOCH) or 0)

    def mirror_epoch(self, epoch: int, marker: str) -> None:
        """Never back: a tick that was frozen here may come late."""
        with redis_errors():
            self._mirror(keys=[EPOCH, MARKER], args=[epoch, marker])

    # Canaries: a task per queue that only says that it was run

    def may_send_canaries(self, every_s: float) -> bool:
        with redis_errors():
            return bool(self.redis.set(f"{PREFIX}canary:sent", "1", nx=True, px=max(1, int(every_s * 1000))))

    def sing(self, queue: str) -> None:
        """Kept for a day: a queue that fell silent tells for how long."""
        with redis_errors():
            self.redis.set(f"{PREFIX}canary:{queue}", "1", ex=_CANARY_S)

    def silent_for(self, queues: Sequence[str]) -> dict[str, float | None]:
        """Seconds since each queue's canary was run, by Redis' clock; None: not within a day."""
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.pttl(f"{PREFIX}canary:{queue}")
            left_ms = pipe.execute()
        return {
            queue: _CANARY_S - left / 1000 if left > 0 else None for queue, left in zip(queues, left_ms, strict=True)
        }

    def backlog(self) -> tuple[int, float]:
        """Events on all lanes, and the age of the oldest in seconds (0.0 where there is none)."""
        count, oldest_ms = 0, None
        with redis_errors():
            now_s, micros = self.redis.time()
            for key in self.redis.smembers(LANES):
                count += self.redis.xlen(key)
                for entry, _ in self.redis.xrange(key, count=1):
                    at_ms = int(entry.split("-")[0])
                    oldest_ms = at_ms if oldest_ms is None else min(oldest_ms, at_ms)
        age_s = 0.0 if oldest_ms is None else max(0.0, now_s + micros / 1e6 - oldest_ms / 1000)
        return count, age_s

    def leave(self) -> None:
        """This process holds nothing any more: what it had may be taken at once."""
        with redis_errors():
            self.redis.delete(f"{PREFIX}worker:{self.worker}")

    def beat(self) -> None:
        with redis_errors():
            self.redis.set(f"{PREFIX}worker:{self.worker}", "1", px=self._gone_ms)

    def alive(self, worker: str) -> bool:
        with redis_errors():
            return bool(self.redis.exists(f"{PREFIX}worker:{worker}"))

    def idle_lanes(self) -> list[Lane]:
        """Lanes that have entries and no live drainer: the sweep wakes them."""
        idle: list[Lane] = []
        with redis_errors():
            for key in self.redis.smembers(LANES):
                if self.redis.xlen(key) == 0:
                    continue
                owner = self.redis.get(f"{key}:drainer")
                if (owner is None or not self.alive(owner.split("/")[0])) and not self.redis.exists(f"{key}:paused"):
                    idle.append(Lane.parse(key))
        return idle

    def results_waiting(self) -> bool:
        with redis_errors():
            return bool(self.redis.xlen(LIVE_RESULTS) or self.redis.xlen(RESULTS))
