"""A data import (LK-5): take the org, read the file into rows, list the org, match, write.

Every step saves its checkpoint in the transaction that does it, so that any worker goes on where another was cut off.
An import is claimed for a short time by whoever advances it; its lease belongs to the import, not to a worker.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from shared.connectors.base import CallClass, ModuleFacts
from shared.db.models.imports import ACTIVE
from shared.db.queries import imports as queries
from shared.db.sql import MANY_ROWS
from shared.engine.context import Ports, live_connection
from shared.engine.import_writer import ImportWriter, Later, Site
from shared.engine.keeper import Keeper
from shared.errors import (
    BothwaysError,
    ConfigError,
    LeaseLost,
    RateLimited,
    RetryableError,
    RunStopped,
    Unavailable,
)
from shared.lease import Held, Lease, import_holder
from shared.points import at
from shared.sync.cells import plain
from shared.sync.csv_rows import CsvRow, CsvRows, Place
from shared.sync.imports import LOOKED_UP, ImportKind, OnMatch, Unfit, columns_of, draft_of, index_key
from shared.sync.model import FieldDef, ModuleName, Record
from shared.sync.reasons import Code
from shared.sync.states import ImportState
from shared.sync.values import is_unreadable

log = logging.getLogger(__name__)

PIECE_BYTES = 262_144
"""How the file is kept: pieces of this size, so that each is found by its place."""
READ_ROWS = 1_000
READ_BYTES = 4_000_000
SLICE_S = 20.0
CONFIG_PAUSE_S = 60.0

_CLAIM = text(
    f"""
    UPDATE import_job SET claimed_by = :owner, claimed_until = clock_timestamp() + make_interval(secs => :s)
    WHERE id = :id AND {ACTIVE} AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
      AND (resume_at IS NULL OR resume_at <= clock_timestamp())
    RETURNING id
    """
)
_UNCLAIM = text(
    "UPDATE import_job SET claimed_by = NULL, claimed_until = clock_timestamp() + make_interval(secs => :s) "
    "WHERE id = :id AND claimed_by = :owner"
)
_PARK = text(
    f"""
    UPDATE import_job SET resume_at = p.at, waiting_for = CAST(:what AS text) || ' until '
        || to_char(p.at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC; its organisation is free meanwhile'
    FROM (SELECT clock_timestamp() + make_interval(secs => :s) AS at) AS p
    WHERE id = :id AND claimed_by = :owner AND {ACTIVE} RETURNING id
    """
)


def advance(ports: Ports, keeper: Keeper, import_id: int) -> None:
    """Goes on with an import as far as it can now. Doubled and late calls are harmless; the sweep repeats lost ones."""
    if keeper.stopping.is_set():
        return  # the sweep finds another worker
    owner = f"{ports.bus.worker}/{uuid.uuid4().hex[:8]}"
    with ports.db.transaction() as session:
        claimed = session.execute(_CLAIM, {"id": import_id, "owner": owner, "s": keeper.claim_s}).first()
    if claimed is None:
        return
    again, not_before_s = False, 0.0
    patience_s = ports.settings.scaled(ports.settings.quota_patience_s)
    try:
        with keeper.claim_import(import_id, owner):
            again = _ImportWork(ports, keeper, import_id, owner).go()
    except Later as later:
        not_before_s = later.in_s
        _note_waiting(ports, import_id, str(later))
    except RetryableError as error:
        not_before_s = error.retry_after_s or ports.settings.scaled(10.0)
        _note_waiting(ports, import_id, str(error))
        if isinstance(error, RateLimited) and not_before_s > patience_s:
            _park(ports, import_id, owner, not_before_s, "quota")
    except ConfigError as error:
        # Nothing is lost: it goes on once somebody has mended the connection, and others get the org meanwhile.
        _park(ports, import_id, owner, ports.settings.scaled(CONFIG_PAUSE_S), f"the connection ({error.code})")
    except LeaseLost:
        again = True
    except Unavailable:
        log.warning("import %s: a server is away, the sweep goes on with it", import_id)
        raise
    except BothwaysError as error:
        _fail(ports, import_id, owner, error)
    except Exception:
        log.exception("import %s: a mistake of ours", import_id)
        said = "An internal error stopped the import; the log has the details."
        _fail(ports, import_id, owner, BothwaysError(said, code=Code.INTERNAL))
    finally:
        with ports.db.transaction() as session:
            session.execute(_UNCLAIM, {"id": import_id, "owner": owner, "s": not_before_s})
    if again:
        ports.wake.data_import(import_id)


def _note_waiting(ports: Ports, import_id: int, why: str) -> None:
    with ports.db.transaction() as session:
        session.execute(
            text("UPDATE import_job SET waiting_for = :why WHERE id = :id"), {"id": import_id, "why": why[:200]}
        )


def _park(ports: Ports, import_id: int, owner: str, seconds: float, what: str) -> None:
    """LK-4: it waits long, so others get the org; it goes on from its checkpoint."""
    name = f"import:{import_id}"
    with ports.db.transaction() as session:
        held = ports.leases.held(session, name)  # before the import's row, as who saves for it does
        values = {"id": import_id, "owner": owner, "s": seconds, "what": what}
        parked = session.execute(_PARK, values).first()
        if parked is None:
            return
        ports.leases.leave(session, name, held)
    _wake_idle(ports)


def _fail(ports: Ports, import_id: int, owner: str, error: BothwaysError) -> None:
    """Only of the claim's owner: who was frozen meanwhile does not end an import that another goes on with."""
    _end(ports, import_id, owner, ImportState.FAILED, error.code, str(error))


def _end(
    ports: Ports, import_id: int, owner: str, state: ImportState, code: str | None = None, why: str | None = None
) -> None:
    """Ends it before its time: rows that are open end with it, and the org is free."""
    name = f"import:{import_id}"
    with ports.db.transaction() as session:
        held = ports.leases.held(session, name)
        if not queries.end_one(session, import_id, owner, state.value, code, why):
            return
        ports.leases.leave(session, name, held)
    _wake_idle(ports)


def _wake_idle(ports: Ports) -> None:
    for lane in ports.bus.idle_lanes():
        ports.wake.drain(lane)


class _ImportWork:
    """One claimed stretch of work on an import."""

    def __init__(self, ports: Ports, keeper: Keeper, import_id: int, owner: str) -> None:
        self._ports = ports
        self._keeper = keeper
        self._id = import_id
        self._owner = owner
        self._ends = time.monotonic() + SLICE_S

    def go(self) -> bool:
        """True: call again soon. Raises Later."""
        job = self._job()
        if job.cancel_asked_at is not None and not self._unsettled():
            _end(self._ports, self._id, self._owner, ImportState.CANCELLED)
            return False
        self._site = self._load_site(job)
        lease = self._take(job)
        if lease is None:
            return False
        self._keeper.keep(lease)
        self._lease = lease
        at("lease.taken")
        state = ImportState(self._job().state)
        if state is ImportState.READING:
            if not self._read():
                return True
            state = ImportState.LISTING
        if state is ImportState.LISTING:
            if not self._list():
                return True
            state = ImportState.MATCHING
        if state is ImportState.MATCHING:
            self._match(overwrites=job.on_match == OnMatch.OVERWRITE)
            at("import.matched")
        writer = ImportWriter(self._ports, self._keeper, self._site, self._id, self._owner, lease, self._ends)
        if not writer.write():
            return True
        return self._finish()

    def _job(self) -> Row[Any]:
        """Raises LeaseLost where it is not ours any more."""
        with self._ports.db.transaction() as session:
            query = text(f"SELECT * FROM import_job WHERE id = :id AND claimed_by = :owner AND {ACTIVE}")
            row = session.execute(query, {"id": self._id, "owner": self._owner}).first()
        if row is None:
            raise LeaseLost(f"Import {self._id} goes on elsewhere, or has ended.")
        return row

    def _unsettled(self) -> bool:
        with self._ports.db.transaction() as session:
            query = text("SELECT 1 FROM import_row WHERE import_id = :id AND state IN ('writing', 'doubt') LIMIT 1")
            return session.execute(query, {"id": self._id}).first() is not None

    def _load_site(self, job: Row[Any]) -> Site:
        """Raises ConfigError, RunStopped (a column's field is gone, or is private by now). Calls no vendor."""
        with self._ports.db.transaction() as session:
            connection = live_connection(session, job.org_id)
        connector = self._ports.connectors.get(connection.id, connection.updated_at).with_class(CallClass.RUN)
        target = connector.facts.imports.get(ImportKind(job.kind))
        if target is None:
            raise RunStopped(f"{connector.facts.label} takes no import of {job.kind}.", code="KIND_NOT_AVAILABLE")
        facts = connector.facts.modules[target.module]
        columns = columns_of(job.columns)
        for column in columns:
            if column.field not in (None, LOOKED_UP) and not _writable(facts, column.field):
                raise RunStopped(
                    f"Column {column.header!r} cannot be written any more: its field is gone, or is private by now.",
                    code="BAD_COLUMNS",
                )
        modules = [target.module]
        if target.lookup is not None and any(column.field == LOOKED_UP for column in columns):
            modules.append(target.lookup.module)
        return Site(
            job.org_id, job.workspace_id, connector, facts, target, columns, tuple(modules),
            self._ports.settings.import_max_cell_chars,
        )  # fmt: skip

    def _take(self, job: Row[Any]) -> Lease | None:
        """The org, joined or taken; else the import waits and says for whom (LK-1)."""
        holder = import_holder(self._id, job.workspace_id)
        with self._ports.db.transaction() as session:
            self._ports.epoch.check(session)
            got = self._ports.leases.take(session, [job.org_id], holder)
            if isinstance(got, Held):
                session.execute(
                    text("UPDATE import_job SET waiting_for = :who WHERE id = :id"),
                    {"id": self._id, "who": str(got.error())},
                )
                return None
            self._ours(session)  # or the lease is not taken
            session.execute(
                text(
                    "UPDATE import_job SET waiting_for = NULL, resume_at = NULL, "
                    "started_at = coalesce(started_at, clock_timestamp()), "
                    "state = CASE state WHEN 'queued' THEN 'reading' ELSE state END WHERE id = :id"
                ),
                {"id": self._id},
            )
            # Whoever had it before is dead, or has lost it: what they sent may have arrived. An update may be repeated.
            session.execute(_IN_DOUBT, {"id": self._id})
            if job.list_fence is not None and self._others_came(session, job):
                session.execute(_LIST_AGAIN, {"id": self._id})
        return got

    def _others_came(self, session: Session, job: Row[Any]) -> bool:
        query = text("SELECT 1 FROM lease_log WHERE org_id = :org AND fence > :fence AND holder <> :holder LIMIT 1")
        values = {"org": job.org_id, "fence": job.list_fence, "holder": f"import:{self._id}"}
        return session.execute(query, values).first() is not None

    def _ours(self, session: Session) -> None:
        """Of each transaction: a process that was frozen saves nothing once another goes on. Raises LeaseLost."""
        query = text(f"SELECT 1 FROM import_job WHERE id = :id AND claimed_by = :owner AND {ACTIVE} FOR KEY SHARE")
        if session.execute(query, {"id": self._id, "owner": self._owner}).first() is None:
            raise LeaseLost(f"Import {self._id} goes on elsewhere, or has ended.")

    def _over(self) -> bool:
        return time.monotonic() > self._ends or self._keeper.stopping.is_set()

    # The file

    def _read(self) -> bool:
        """False: the time slice is over."""
        job = self._job()
        start = Place(job.read_byte, job.read_line)
        rows = iter(CsvRows(self._pieces(start.byte), job.delimiter, start))
        while chunk := list(_some(rows)):
            self._save_rows(chunk)
            at("import.read")
            if self._over():
                return False
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            self._ours(session)
            session.execute(text("UPDATE import_job SET state = 'listing' WHERE id = :id"), {"id": self._id})
            session.execute(text("DELETE FROM import_chunk WHERE import_id = :id"), {"id": self._id})
        return True

    def _pieces(self, start: int) -> Iterator[bytes]:
        """The file from `start` on, one piece in hand at a time."""
        seq, skip = divmod(start, PIECE_BYTES)
        query = text("SELECT body FROM import_chunk WHERE import_id = :id AND seq = :seq")
        while True:
            with self._ports.db.transaction() as session:
                body = session.execute(query, {"id": self._id, "seq": seq}).scalar()
            if body is None:
                return
            yield bytes(body)[skip:]
            seq, skip = seq + 1, 0

    def _save_rows(self, chunk: list[CsvRow]) -> None:
        read = [self._read_row(row) for row in chunk]
        after = chunk[-1].after
        most = self._ports.settings.import_max_rows
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            self._ours(session)
            session.execute(_ADD_ROWS, {"id": self._id, "workspace": self._site.workspace_id, "rows": json.dumps(read)})
            told = session.execute(
                text(
                    "UPDATE import_job SET rows = rows + :n, failed = failed + :failed, read_byte = :byte, "
                    "read_line = :line WHERE id = :id RETURNING rows"
                ),
                {
                    "id": self._id,
                    "n": len(read),
                    "failed": sum(one["outcome"] is not None for one in read),
                    "byte": after.byte,
                    "line": after.line,
                },
            ).scalar_one()
            if told > most:
                raise RunStopped(
                    f"The file has more than {most} rows; split it. Nothing was written.", code="TOO_MANY_ROWS"
                )
            session.execute(
                text("DELETE FROM import_chunk WHERE import_id = :id AND seq < :seq"),
                {"id": self._id, "seq": after.byte // PIECE_BYTES},
            )

    def _read_row(self, row: CsvRow) -> dict[str, Any]:
        site, cells = self._site, [plain(cell) for cell in row.cells]
        drafted = (
            Unfit(Code.UNREADABLE_ROW, row.problem)
            if row.problem
            else draft_of(site.target, site.columns, site.facts.fields, cells, site.most_cell_chars)
        )
        wrong = drafted if isinstance(drafted, Unfit) else None
        return {
            "line": row.line,
            "key": "" if isinstance(drafted, Unfit) else drafted.key,
            "lookup": "" if isinstance(drafted, Unfit) else drafted.lookup,
            "outcome": "failed" if wrong else None,
            "reason": wrong.code if wrong else "",
            "detail": wrong.detail[:500] if wrong else "",
            "cells": [_keepable(cell) for cell in cells],
        }

    # What the org holds

    def _list(self) -> bool:
        """False: the time slice is over; the next call goes on from the checkpoint."""
        job = self._job()
        number, cursor = job.list_module, job.list_cursor
        while number < len(self._site.modules):
            if self._over():
                return False
            module = self._site.modules[number]
            page = self._site.connector.list_page(module, cursor=cursor, since=None)
            cursor = page.next_cursor
            number += cursor is None
            known = [self._known(module, record) for record in page.rows if self._counts(module, record)]
            with self._ports.db.transaction() as session:
                self._ports.leases.check(session, self._lease)
                self._ours(session)
                if known:
                    session.execute(
                        _ADD_KNOWN, {"id": self._id, "workspace": self._site.workspace_id, "rows": json.dumps(known)}
                    )
                session.execute(
                    text(
                        "UPDATE import_job SET list_module = :number, list_cursor = :cursor, "
                        "list_fence = coalesce(list_fence, :fence), "
                        "state = CASE WHEN :done THEN 'matching' ELSE state END WHERE id = :id"
                    ),
                    {
                        "id": self._id,
                        "number": number,
                        "cursor": cursor,
                        "fence": self._lease.fence,
                        "done": number == len(self._site.modules),
                    },
                )
            at("import.listed")
        return True

    def _counts(self, module: ModuleName, record: Record) -> bool:
        return module != self._site.target.module or self._site.target.covers(record)

    def _known(self, module: ModuleName, record: Record) -> dict[str, Any]:
        target = self._site.target
        of_lookup = target.lookup is not None and module == target.lookup.module and module != target.module
        name = target.lookup.name if of_lookup and target.lookup is not None else target.key
        value = record.get(name)
        key = "" if is_unreadable(value) else index_key(value) or ""
        parent = record.get(target.lookup.field) if target.lookup is not None and module == target.module else None
        return {"module": module, "record": record.id, "key": key, "parent": parent, "inactive": record.inactive}

    # Matching

    def _match(self, *, overwrites: bool) -> None:
        """Open rows against the org's records: what is to be made, what to be changed, what ends here."""
        site = self._site
        with self._ports.db.transaction() as session:
            if self._count_rows(session) >= MANY_ROWS:
                session.execute(text("ANALYZE import_row"))
                session.execute(text("ANALYZE import_known"))
        values = {"id": self._id, "module": site.target.module, "overwrites": overwrites}
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            self._ours(session)
            session.execute(_FIRST_OF_KEY, values)
            if len(site.modules) > 1 and site.target.lookup is not None:
                session.execute(
                    _LOOK_UP, {**values, "module": site.target.lookup.module, "header": site.target.lookup.header}
                )
            session.execute(_MATCH, values)
            session.execute(text("UPDATE import_job SET state = 'writing' WHERE id = :id"), {"id": self._id})
            queries.count(session, self._id)

    def _count_rows(self, session: Session) -> int:
        query = text("SELECT rows FROM import_job WHERE id = :id")
        return int(session.execute(query, {"id": self._id}).scalar_one())

    # The end

    def _finish(self) -> bool:
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            self._ours(session)
            queries.count(session, self._id)
            ended = session.execute(
                text(
                    "UPDATE import_job SET ended_at = clock_timestamp(), waiting_for = NULL, state = "
                    "CASE WHEN failed > 0 THEN 'completed_with_failures' ELSE 'completed' END "
                    "WHERE id = :id AND claimed_by = :owner AND NOT EXISTS ("
                    "SELECT 1 FROM import_row r WHERE r.import_id = :id AND r.state <> 'done') RETURNING id"
                ),
                {"id": self._id, "owner": self._owner},
            ).first()
            if ended is None:
                return True
            session.execute(text("DELETE FROM import_known WHERE import_id = :id"), {"id": self._id})
            self._ports.leases.release(session, self._lease)
        at("lease.released")
        _wake_idle(self._ports)
        return False


def _writable(facts: ModuleFacts, name: str | None) -> bool:
    found: FieldDef | None = facts.fields.get(name or "")
    return found is not None and not found.read_only and not found.pii


def _some(rows: Iterator[CsvRow]) -> Iterator[CsvRow]:
    """So many rows as are saved at once: memory does not grow with what is in them."""
    size = 0
    for row in islice(rows, READ_ROWS):
        yield row
        size += sum(map(len, row.cells))
        if size > READ_BYTES:
            return


def _keepable(cell: str) -> str:
    """JSON in Postgres holds no NUL."""
    return cell.replace("\0", "�")


# COPY would be a little cheaper, but what it raises would be the driver's own, past the one place that maps it.
_ADD_ROWS = text(
    """
    INSERT INTO import_row (import_id, line, workspace_id, state, key, lookup_key, outcome, reason, detail, cells)
    SELECT CAST(:id AS bigint), r.line, CAST(:workspace AS bigint),
        CASE WHEN r.outcome IS NULL THEN 'open' ELSE 'done' END, r.key, r.lookup, r.outcome, r.reason, r.detail, r.cells
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS r(line integer, key text, lookup text, outcome text, reason text, detail text, cells jsonb)
    """
)
_ADD_KNOWN = text(
    """
    INSERT INTO import_known (import_id, module, record_id, workspace_id, key, parent_id, inactive)
    SELECT DISTINCT ON (r.module, r.record) CAST(:id AS bigint), r.module, r.record, CAST(:workspace AS bigint), r.key,
        r.parent, r.inactive
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS r(module text, record text, key text, parent text, inactive boolean)
    ON CONFLICT (import_id, module, record_id) DO UPDATE SET key = excluded.key, parent_id = excluded.parent_id,
        inactive = excluded.inactive
    """
)
_IN_DOUBT = text(
    """
    UPDATE import_row SET state = CASE action WHEN 'create' THEN 'doubt' ELSE 'open' END, looks = 0,
        looked_since = NULL, due_at = clock_timestamp(), batch = NULL, crashes = crashes + 1
    WHERE import_id = :id AND state = 'writing'
    """
)
# Others may have made what was missing, or changed what was there: matched by what the org holds now.
_LIST_AGAIN = text(
    """
    WITH unmatched AS (
        UPDATE import_row SET action = '', record_id = NULL, lookup_id = NULL WHERE import_id = :id AND state = 'open'),
    forgotten AS (DELETE FROM import_known WHERE import_id = :id)
    UPDATE import_job SET state = 'listing', list_module = 0, list_cursor = NULL, list_fence = NULL WHERE id = :id
    """
)
_FIRST_OF_KEY = text(
    """
    UPDATE import_row r SET state = 'done', outcome = 'failed', reason = 'DUPLICATE_IN_FILE',
        detail = 'line ' || f.first, due_at = NULL
    FROM (SELECT line, min(line) OVER (PARTITION BY key) AS first FROM import_row
          WHERE import_id = :id AND state = 'open') AS f
    WHERE r.import_id = :id AND r.line = f.line AND f.first <> f.line
    """
)
_LOOK_UP = text(
    """
    UPDATE import_row r SET lookup_id = CASE WHEN f.n = 1 THEN f.one END,
        state = CASE WHEN f.n = 1 THEN 'open' ELSE 'done' END,
        outcome = CASE WHEN f.n = 1 THEN NULL ELSE 'failed' END,
        reason = CASE f.n WHEN 1 THEN '' WHEN 0 THEN 'LINK_UNKNOWN' ELSE 'LINK_AMBIGUOUS' END,
        detail = CASE WHEN f.n = 1 THEN '' ELSE :header END
    FROM (SELECT o.line, count(k.record_id) AS n, min(k.record_id) AS one
          FROM import_row o LEFT JOIN import_known k
            ON k.import_id = o.import_id AND k.module = :module AND k.key = o.lookup_key
          WHERE o.import_id = :id AND o.state = 'open' AND o.lookup_key <> '' GROUP BY o.line) AS f
    WHERE r.import_id = :id AND r.line = f.line
    """
)
# Of several records of a key the one that belongs to the same parent is meant, where the row names one (DU-2).
_MATCH = text(
    """
    UPDATE import_row r SET
        action = CASE WHEN f.n = 0 THEN 'create' WHEN f.ends THEN '' ELSE 'update' END,
        record_id = CASE WHEN f.n = 1 THEN f.one END,
        state = CASE WHEN f.ends THEN 'done' ELSE 'open' END,
        outcome = CASE WHEN NOT f.ends THEN NULL WHEN f.n > 1 THEN 'failed' ELSE 'skipped' END,
        reason = CASE WHEN NOT f.ends THEN '' WHEN f.n > 1 THEN 'AMBIGUOUS_MATCH' WHEN f.inactive THEN 'INACTIVE'
            ELSE 'EXISTS_ALREADY' END,
        cells = CASE WHEN f.ends AND f.n = 1 THEN NULL ELSE r.cells END,
        key = CASE WHEN f.ends THEN '' ELSE r.key END,
        due_at = NULL
    FROM (SELECT line, n, one, inactive, n > 1 OR (n = 1 AND (inactive OR NOT :overwrites)) AS ends
          FROM (SELECT o.line, count(k.record_id) AS n, min(k.record_id) AS one,
                    coalesce(bool_or(k.inactive), false) AS inactive
                FROM import_row o LEFT JOIN import_known k
                  ON k.import_id = o.import_id AND k.module = :module AND k.key = o.key
                  AND (k.parent_id IS NOT DISTINCT FROM o.lookup_id OR o.lookup_id IS NULL OR NOT EXISTS (
                      SELECT 1 FROM import_known s WHERE s.import_id = o.import_id AND s.module = :module
                        AND s.key = o.key AND s.parent_id = o.lookup_id))
                WHERE o.import_id = :id AND o.state = 'open' GROUP BY o.line) AS m) AS f
    WHERE r.import_id = :id AND r.line = f.line
    """
)
