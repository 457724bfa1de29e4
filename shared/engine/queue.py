"""Queues what a run has listed: one event per record, onto the bulk lanes, in an order and to where it has come.

What is queued is not marked on each of its rows: the run remembers the last of them, and the order does the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row

from shared.bus import BULK
from shared.db.models.runs import BOUND, UNBOUND
from shared.db.sql import Statements, sql
from shared.engine.classes import bulk_lanes
from shared.engine.context import Context, Ports
from shared.errors import RateLimited
from shared.lease import Lease
from shared.sync.events import ChangeEvent, Hint, Origin, encode
from shared.sync.model import RecordId, Side
from shared.sync.reasons import Code

log = logging.getLogger(__name__)

QUEUE_CHUNK = 2_000
"""At once, so that each lane has enough for the vendors' full batches; never more than the lanes are bound to."""
RESEND_MOST = 5_000
_RANKS = (BOUND, UNBOUND)
"""Bound records first, then what is new; parents before children by the order of the pairs (DU-8)."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the queueing has come: within the rank, the pair and the side the last record by its id."""

    rank: int
    pair: str
    side: str
    record_id: str


class Queue:
    """Of one run, while its lease is held."""

    def __init__(self, ports: Ports, context: Context, run_id: int, lease: Lease) -> None:
        self._ports = ports
        self._context = context
        self._id = run_id
        self._lease = lease
        self._lanes = bulk_lanes(context.id, ports.settings.shards)

    def is_full(self) -> bool:
        """The lanes hold as much as they are bound to."""
        return self._ports.bus.length(self._lanes) >= self._ports.settings.lane_bound

    def look_at_quota(self) -> None:
        """Raises RateLimited where all that is queued waits for quota, and for how long it does."""
        with self._ports.db.reading() as session:
            row = session.execute(
                sql(
                    "SELECT r.pending, count(d.id) AS waiting, "
                    "extract(epoch FROM min(d.due_at) - clock_timestamp())::float8 AS in_s FROM run r "
                    "LEFT JOIN due d ON d.run_id = r.id AND d.reason = :reason AND d.sent_at IS NULL "
                    "WHERE r.id = :run GROUP BY r.pending"
                ),
                {"run": self._id, "reason": Code.RATE_LIMITED},
            ).one()
        left = row.pending - row.waiting - self._ports.bus.length(self._lanes)
        patience_s = self._ports.settings.scaled(self._ports.settings.quota_patience_s)
        if row.waiting and left <= 0 and row.in_s > patience_s:
            raise RateLimited("The quota of this organisation is used up.", retry_after_s=row.in_s)

    def fill(self) -> int:
        """Sends what comes next, and remembers that in the transaction before; returns the records."""
        most = max(1, min(QUEUE_CHUNK, self._ports.settings.lane_bound))
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            rows, place = self._next(session, self._place(session), most)
            if rows:
                session.execute(_QUEUED, {"run": self._id, "n": len(rows), "to": orjson.dumps(place).decode()})
        self._send(rows)
        return len(rows)

    def _place(self, session: Statements) -> _Place | None:
        told = session.execute(sql("SELECT queued_to FROM run WHERE id = :run"), {"run": self._id}).scalar_one()
        return _Place(**told) if told else None

    def _next(self, session: Statements, place: _Place | None, most: int) -> tuple[list[Row[Any]], _Place | None]:
        rows: list[Row[Any]] = []
        for rank, which in enumerate(_RANKS):
            for pair in self._context.names:
                if place is not None and (rank, self._order(pair)) < (place.rank, self._order(place.pair)):
                    continue
                here = place is not None and (rank, pair) == (place.rank, place.pair)
                after = {"side": place.side, "record_id": place.record_id} if here and place else _FIRST
                values = {"run": self._id, "pair": pair, "n": most - len(rows), **after}
                found = session.execute(sql(_NEXT.format(which=which)), values).all()
                if found:
                    place = _Place(rank, pair, found[-1].side, found[-1].record_id)
                rows += found
                if len(rows) == most:
                    return rows, place
        return rows, place

    def _order(self, pair: str) -> int:
        """One that is synced no longer comes after all others."""
        names = self._context.names
        return names.index(pair) if pair in names else len(names)

    def _send(self, rows: Sequence[Row[Any]]) -> None:
        now_ms = int(time.time() * 1000)
        items = []
        wires: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            pair, side, record_id = row.pair, row.side, row.record_id
            wire = wires.get((pair, side)) or wires.setdefault((pair, side), self._wire(pair, side, now_ms))
            # The id tells what it is for: sent twice, it is counted once.
            told = {**wire, "id": f"{self._id}:{pair}:{side}:{record_id}", "rec": record_id}
            items.append((self._context.lane(BULK, pair, Side(side), record_id), orjson.dumps(told).decode()))
        for lane in dict.fromkeys(self._ports.bus.add(items)):
            self._ports.wake.drain(lane)

    def _wire(self, pair: str, side: str, now_ms: int) -> dict[str, str]:
        """The envelope of an event, but for its id and its record's."""
        event = ChangeEvent(
            event_id="",
            correlation_id=f"run:{self._id}",
            integration_id=self._context.id,
            pair=pair,
            side=Side(side),
            record_id=RecordId(""),
            hint=Hint.UPSERT,
            origin=Origin.POLL,
            received_at=now_ms,
            run_id=self._id,
            staged=True,
        )
        return encode(event)

    def resend_lost(self) -> None:
        """Queued, but on no lane, in no due row and without an outcome: the worker died before it could send them."""
        if not self._all_quiet():
            return
        with self._ports.db.reading() as session:
            if self._pending(session) <= 0:
                return
            place = self._place(session) or _Place(0, self._context.names[0], **_FIRST)
            before = self._context.names[: self._order(place.pair)]
            whole = (before, []) if place.rank == 0 else (list(self._context.names), before)
            values = {"bound": list(whole[0]), "unbound": list(whole[1]), "n": RESEND_MOST}
            at = {"pair": place.pair, "side": place.side, "record_id": place.record_id}
            of_run = {"run": self._id, "integration": self._context.id}
            query = sql(_LOST.format(which=_RANKS[place.rank]))
            rows = session.execute(query, {**values, **at, **of_run}).all()
        if rows:
            log.info("run %s: %d events are sent again", self._id, len(rows))
            self._send(rows)

    def may_be_settled(self) -> bool:
        """Each queued record has its outcome by its count, or nothing is on its way that could bring one."""
        with self._ports.db.reading() as session:
            return self._pending(session) <= 0 or self._all_quiet()

    def _all_quiet(self) -> bool:
        return not self._ports.bus.length(self._lanes) and not self._ports.bus.results_waiting()

    def _pending(self, session: Statements) -> int:
        query = sql("SELECT pending FROM run WHERE id = :run")
        return int(session.execute(query, {"run": self._id}).scalar_one())


_FIRST = {"side": "", "record_id": ""}
_QUEUED = sql(
    "UPDATE run SET pending = pending + :n, queued = queued + :n, queued_to = CAST(:to AS jsonb) WHERE id = :run"
)
# By the primary key, from where it has come: what is left is neither read twice nor sorted.
_NEXT = """
    SELECT pair, side, record_id FROM staged
    WHERE run_id = :run AND pair = :pair AND state = 'listed' AND {which}
      AND (side, record_id) > (CAST(:side AS varchar), CAST(:record_id AS varchar))
    ORDER BY side, record_id LIMIT :n
"""
# Runs of before migration 0021 have marked what they had queued by then.
_LOST = f"""
    SELECT s.pair, s.side, s.record_id FROM staged s
    WHERE s.run_id = :run AND (s.state = 'queued' OR s.state = 'listed' AND (
        s.pair = ANY(:bound) AND {BOUND} OR s.pair = ANY(:unbound) AND {UNBOUND}
        OR s.pair = :pair AND {{which}}
          AND (s.side, s.record_id) <= (CAST(:side AS varchar), CAST(:record_id AS varchar))))
      AND NOT EXISTS (
        SELECT 1 FROM due d WHERE d.integration_id = :integration AND d.pair = s.pair
          AND d.side = s.side AND d.record_id = s.record_id AND d.run_id = :run)
    LIMIT :n
"""
