"""The webhook door: deliveries accepted a second, beside a bare route that verifies and does one XADD.

Both are processes of their own on one durable Valkey (each append on disk before it is answered), and get the same
deliveries, those of Zoho Books, each of another record. No event worker runs: the door alone is measured, and what it
accepted lies on the lanes to be counted. In all it is fewer than the door takes of one webhook (RATE_PER_S, BURST) and
than may wait (webhook_bound), so that neither bound is met: each answer must be a 200.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import redis

from shared.bus import LANES
from tests.bench.bare_door import STREAM, BareDoor, bare_door
from tests.bench.figures import Found, Row, at_least, share
from tests.bench.load import MARK, Answered, Plan, deliver
from tests.bench.zoho import zoho
from tests.e2e.world import BOOKS, World

ROUNDS, ROUND_S = 3, 4.0
MOST_A_ROUND = 6_000
"""Deliveries. A door that is through with them sooner ends its round sooner: three of these, and what is sent besides,
stay below the burst that a webhook may bring."""
OPEN_S, OPEN_PER_S = 10.0, 200.0
LEAST_RATIO = 0.6


class Doors:
    """Both, with the records that have not been told of yet."""

    def __init__(self, world: World, bare: BareDoor, client: Any) -> None:
        self._hook, self._bare, self._redis = world.hooks[BOOKS], bare, client
        self._body = _body(world)
        self._next = 0
        self.accepted = 0

    def ours(self, seconds: float, per_s: float | None = None) -> Answered:
        answered = self._deliver(self._hook["url"], self._hook["secret"], seconds, per_s)
        self.accepted += answered.statuses["200"]
        return answered

    def bare(self, seconds: float) -> Answered:
        """What it kept is counted, and removed: the two are not to slow each other."""
        answered = self._deliver(self._bare.url, self._bare.secret, seconds)
        kept = self._redis.xlen(STREAM)
        assert kept == answered.statuses["200"], f"the bare door accepted {answered.statuses}, and kept {kept}"
        self._redis.unlink(STREAM)
        return answered

    def _deliver(self, url: str, secret: str, seconds: float, per_s: float | None = None) -> Answered:
        count = int(seconds * (per_s or MOST_A_ROUND / ROUND_S))
        plan = Plan(url, secret, self._body, self._next, count, seconds, per_s=per_s)
        self._next += count
        answered = deliver(plan)
        assert set(answered.statuses) == {"200"}, answered.statuses
        return answered


def measure(folder: Path, size: float) -> Found:
    round_s, open_s = ROUND_S * max(size, 0.1), OPEN_S * max(size, 0.1)
    with zoho(folder, workers=(), beat=False) as world, redis.Redis.from_url(world.stack.env["REDIS_URL"]) as client:
        with bare_door(world.stack.env["REDIS_URL"], world.hooks[BOOKS]["secret"]) as bare:
            doors = Doors(world, bare, client)
            for first in (doors.ours, doors.bare):
                first(round_s / 4)  # connections, imports at first use: no result
            rounds = [(doors.ours(round_s), doors.bare(round_s)) for _ in range(ROUNDS)]
            took = doors.ours(open_s, OPEN_PER_S).ms
        kept = sum(client.xlen(lane) for lane in client.smembers(LANES))
    assert kept == doors.accepted, f"{doors.accepted} deliveries were accepted, and {kept} are on the lanes"
    return _found([ours for ours, _ in rounds], [bare for _, bare in rounds], took)


def _body(world: World) -> str:
    """An item's delivery as the vendor sends it, the whole record; its id is left open."""
    (item,) = world.seed(BOOKS, "items", [{"name": "Filter 20 mm", "rate": 12.5, "product_type": "goods"}])
    person = world.people[BOOKS]
    answer = world.http.get(
        f"{person.base}/items/{item}",
        params={"organization_id": person.org},
        headers={"Authorization": f"Zoho-oauthtoken {person.token}"},
    )
    body = {"item": answer.raise_for_status().json()["item"], "organization_id": person.org}
    return json.dumps(body, separators=(",", ":")).replace(item, MARK)


def _found(ours: list[Answered], bare: list[Answered], took_ms: list[float]) -> Found:
    """Of the rounds, and of answer times in the open loop."""
    receiver, ceiling = median(one.per_s for one in ours), median(one.per_s for one in bare)
    p50, p99 = share(took_ms, 0.5), share(took_ms, 0.99)
    ratio = receiver / ceiling
    figures = {
        "receiver": round(receiver),
        "bare": round(ceiling),
        "ratio": round(ratio, 3),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "rounds": {
            "receiver": [round(one.per_s) for one in ours],
            "bare": [round(one.per_s) for one in bare],
            "load_busy": [round(one.busy, 2) for one in (*ours, *bare)],
        },
    }
    rows = (
        at_least("deliveries accepted", ratio, LEAST_RATIO, f"{receiver:.0f}/s, a bare route {ceiling:.0f}/s"),
        Row(f"answer times at {OPEN_PER_S:.0f}/s", f"p50 {p50:.1f} ms", f"p99 {p99:.1f} ms"),
    )
    return Found(figures, rows)
