"""Notices that a store went back in time: a Redis that lost data, a Postgres restored from a backup (P2).

Postgres counts an epoch, raised by each tick, and keeps which Redis it last saw. Redis and a file mirror the count. The
mirrors are raised before the commit, so they are at the count or one ahead of it; anything else is a store that lost
its newest writes. Who sees it first repairs it, in the transaction that saw it.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from shared.bus import Bus, RedisServer
from shared.db.queries import imports
from shared.db.session import Database
from shared.db.sql import Statements, sql
from shared.engine.notices import note_end
from shared.errors import Unavailable

log = logging.getLogger(__name__)

FENCE_JUMP = 1_000_000
RUN_JUMP = 100_000
"""Past every fence and Sync ID that was given out after the backup was made."""
RESTORED = "DATABASE_RESTORED"


class Epoch:
    """One per process. `mirror`: a file of this machine that outlives Redis and Postgres; None: Redis alone."""

    def __init__(self, db: Database, bus: Bus, mirror: Path | None) -> None:
        self._db = db
        self._bus = bus
        self._file = mirror
        self._lock = threading.Lock()
        self._seen = 0

    def tick(self) -> None:
        """Compares, repairs, and raises the count. Raises Unavailable where a store is away."""
        with self._db.writing() as session:
            session.execute(sql("INSERT INTO installation (id) VALUES (1) ON CONFLICT DO NOTHING"))
            row = session.execute(sql("SELECT * FROM installation WHERE id = 1 FOR UPDATE")).one()
            there = self._bus.server()
            epoch, mirrored = row.epoch, max(there.epoch, self._of_file())
            if mirrored > epoch + 1:
                log.error("Postgres went back in time: everything is fetched again before anything is created")
                _after_restore(session)
                epoch = mirrored
            marker = row.redis_marker
            if marker is not None and (there.marker != marker or there.epoch < row.epoch or _torn(row, there)):
                log.error("Redis lost data: every enabled integration is due at once")
                _all_due(session)
                marker = None
            marker = marker or uuid.uuid4().hex
            self._mirror(epoch + 1, marker)
            session.execute(
                sql("UPDATE installation SET epoch = :epoch, redis_marker = :marker, redis_server = :server"),
                {"epoch": epoch + 1, "marker": marker, "server": there.run_id},
            )
        self._note(epoch + 1)

    def note(self) -> None:
        """What Redis mirrors, for `check`: called with the process' heartbeat."""
        self._note(self._bus.mirrored_epoch() - 1)

    def check(self, session: Statements) -> None:
        """Before a lease is taken: raises Unavailable where this process has seen a later Postgres than this one."""
        found = session.execute(sql("SELECT epoch FROM installation WHERE id = 1")).scalar() or 0
        if found < self._seen:
            raise Unavailable("The database went back in time; work goes on as soon as that is repaired.")
        self._note(found)

    def _note(self, epoch: int) -> None:
        with self._lock:
            self._seen = max(self._seen, epoch)

    def _mirror(self, epoch: int, marker: str) -> None:
        self._bus.mirror_epoch(epoch, marker)
        if self._file is not None and epoch > self._of_file():
            fresh = self._file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            with suppress(OSError):  # a disk that is full must not stop the ticks
                fresh.write_text(f"{epoch}\n")
                fresh.replace(self._file)

    def _of_file(self) -> int:
        if self._file is None:
            return 0
        try:
            return int(self._file.read_text())
        except (OSError, ValueError):
            return 0


def _torn(row: Row[Any], server: RedisServer) -> bool:
    """A Redis that was started anew and does not sync each write may have lost its last second, marker or not."""
    return row.redis_server not in (None, server.run_id) and not server.syncs_always


def _all_due(session: Statements) -> None:
    """A watermark with its overlap finds creates and changes again, a full comparison deletions (TR-13)."""
    session.execute(sql("UPDATE integration SET compared_at = NULL"))
    session.execute(
        sql("UPDATE integration SET next_run_at = clock_timestamp() WHERE state = 'enabled' AND fetched_at IS NOT NULL")
    )


def _after_restore(session: Statements) -> None:
    """Reliability section 3: fences jump, all leases end, and every integration must bind what was made since, by a
    fetch, before it may create. Intents of the backup's time stay, in doubt: they are looked up first."""
    jump = "SELECT setval(CAST(:name AS regclass), nextval(CAST(:name AS regclass)) + :by)"
    session.execute(sql(jump), {"name": "fence_seq", "by": FENCE_JUMP})
    runs = session.execute(sql("SELECT pg_get_serial_sequence('run', 'id')")).scalar_one()
    session.execute(sql(jump), {"name": runs, "by": RUN_JUMP})
    session.execute(sql("SELECT 1 FROM org_lease ORDER BY org_id FOR UPDATE"))
    session.execute(
        sql(
            "UPDATE org_lease SET holder = NULL, kind = NULL, integration_id = NULL, expires_at = NULL, "
            "wanted_by = NULL, wanted_at = NULL"
        )
    )
    session.execute(sql("UPDATE lease_log SET released_at = clock_timestamp() WHERE released_at IS NULL"))
    session.execute(sql("DELETE FROM open_batch"))
    session.execute(sql("UPDATE intent SET state = 'in_doubt'"))
    session.execute(sql("UPDATE due SET run_id = NULL"))
    session.execute(sql("DELETE FROM staged"))
    ended = session.scalars(
        sql(
            "UPDATE run SET state = 'failed', ended_at = clock_timestamp(), pending = 0, waiting_for = NULL, "
            "error_code = :code, error_detail = 'The database was restored from a backup while this sync was on.' "
            "WHERE kind <> 'webhook' AND ended_at IS NULL RETURNING id"
        ),
        {"code": RESTORED},
    ).all()
    for run_id in ended:
        note_end(session, run_id)
    # What it wrote since the backup is not known any more: whoever imports the rest again finds it by its match key.
    imports.end_all(session, RESTORED, "The database was restored from a backup while this import was on.")
    session.execute(sql("UPDATE integration SET next_run_at = clock_timestamp() WHERE fetched_at IS NOT NULL"))
    session.execute(sql("UPDATE integration SET fetched_at = NULL, compared_at = NULL WHERE fetched_at IS NOT NULL"))
    session.execute(
        sql(
            """
            INSERT INTO run (workspace_id, integration_id, kind, trigger, state, pending, queued, report)
            SELECT workspace_id, id, 'fetch', 'restored', 'queued', 0, 0, '{}' FROM integration
            WHERE state = 'enabled' AND next_run_at IS NOT NULL ON CONFLICT DO NOTHING
            """
        )
    )
