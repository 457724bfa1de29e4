"""What an import writes: rows that are marked as about to be sent, the vendor's batch calls, their outcomes.

Nothing is made twice: a row is marked before its call (`writing`), and one whose answer did not come (`doubt`) is
looked up before it is sent again (reliability section 4).
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from shared.connectors.base import Connector, Draft, Edit, ModuleFacts, Rejected, Unsure, WriteResult, Written
from shared.correlation import calls_of
from shared.db.models.imports import ACTIVE
from shared.engine.context import Ports
from shared.engine.keeper import Keeper
from shared.engine.work import chunks
from shared.errors import BothwaysError, LeaseLost, RecordRejected
from shared.lease import Lease
from shared.points import at
from shared.sync.imports import Column, Drafted, ImportTarget, Unfit, draft_of, to_change, to_create
from shared.sync.match import fold_key
from shared.sync.model import Fields, ModuleName, RecordId
from shared.sync.reasons import REASONS, Code
from shared.sync.values import is_unreadable

CHUNK_ROWS = 10
"""Rows that are marked at once where the vendor takes one a call: after a crash each of them is in doubt."""
DOUBTS_AT_ONCE = 20
SOON_S = 1.0
MOST_WAIT_S = 10.0
"""Scaled, as is the one above. Longer waits are cut into such, so that the lease is renewed."""


class Later(Exception):
    """No error: rows wait for another look, and there is nothing to do before."""

    def __init__(self, message: str, in_s: float) -> None:
        super().__init__(message)
        self.in_s = in_s


@dataclass(frozen=True, slots=True)
class Site:
    """Where an import goes: the org, its module, and what the file's columns are there. `modules` are listed before."""

    org_id: int
    workspace_id: int
    connector: Connector
    facts: ModuleFacts
    target: ImportTarget
    columns: tuple[Column, ...]
    modules: tuple[ModuleName, ...]
    most_cell_chars: int


@dataclass(slots=True)
class _Outcome:
    """How a row is left: done with its outcome, open again (it was not sent), or in doubt."""

    line: int
    state: str = "done"
    outcome: str | None = None
    reason: str = ""
    detail: str = ""
    record_id: str | None = None
    due_s: float | None = None
    sent: bool = True
    looked: bool = False


@dataclass(slots=True)
class _Chunk:
    """Rows of one action that are marked; `settled` by line."""

    id: str
    action: str
    rows: Sequence[Row[Any]]
    settled: dict[int, _Outcome] = field(default_factory=dict)

    def settle(self, outcome: _Outcome) -> None:
        self.settled[outcome.line] = outcome


class ImportWriter:
    """Of one claimed stretch of work on an import, which ends at `ends` (monotonic seconds)."""

    def __init__(
        self, ports: Ports, keeper: Keeper, site: Site, import_id: int, owner: str, lease: Lease, ends: float
    ) -> None:
        self._ports = ports
        self._keeper = keeper
        self._site = site
        self._id = import_id
        self._owner = owner
        self._lease = lease
        self._ends = ends
        self._soon_s = ports.settings.scaled(SOON_S)
        self._cancelled = False
        self._standing = 0

    def write(self) -> bool:
        """True: every row has its outcome. False: the time slice is over, or a person cancelled it and no row is in
        doubt. Raises Later, RetryableError."""
        while True:
            if time.monotonic() > self._ends or self._keeper.stopping.is_set():
                return False
            chunk = self._mark()
            if chunk is not None:
                at("import.intended")
                self._send(chunk)
            elif self._settle_doubts() == 0:
                wait = self._wait()
                if self._cancelled and wait is None:
                    return False
                if wait is None:
                    return True
                if wait[1] > 0:
                    raise Later(
                        f"another look at {wait[0]} row(s)", min(wait[1], self._ports.settings.scaled(MOST_WAIT_S))
                    )

    def _wait(self) -> tuple[int, float] | None:
        """(rows, seconds to the first of them); None: none is left, or none that may be sent."""
        query = text(
            "SELECT count(*) AS n, extract(epoch FROM min(coalesce(due_at, clock_timestamp())) - clock_timestamp())"
            "::float8 AS in_s FROM import_row WHERE import_id = :id AND state <> 'done' AND (state <> 'open' OR :open)"
        )
        with self._ports.db.transaction() as session:
            row = session.execute(query, {"id": self._id, "open": not self._cancelled}).one()
        return (row.n, row.in_s) if row.n else None

    # Marking

    def _mark(self) -> _Chunk | None:
        """Commits which rows are about to be sent. One that was sent before is sent alone: it may be what ends
        processes."""
        batch = uuid.uuid4().hex
        # Before the mark: a process that stands still between the two must not send what another has sent since.
        self._standing = self._keeper.standing()
        with self._ports.db.transaction() as session:
            self._cancelled = self._hold(session)
            if self._cancelled:
                return None
            query = {"id": self._id, "n": max(CHUNK_ROWS, self._site.facts.create_batch)}
            found = session.execute(_NEXT, query).all()
            if not found:
                return None
            first = found[0]
            together = [row for row in found if row.action == first.action and not row.tries]
            rows = [first] if first.tries else together
            session.execute(_MARK, {"id": self._id, "lines": [row.line for row in rows], "batch": batch})
        return _Chunk(batch, first.action, rows)

    def _hold(self, session: Session) -> bool:
        """First statement of each transaction; True: a person cancelled the import. Raises LeaseLost."""
        self._ports.leases.check(session, self._lease)
        query = text(
            f"SELECT cancel_asked_at FROM import_job WHERE id = :id AND claimed_by = :owner AND {ACTIVE} FOR KEY SHARE"
        )
        row = session.execute(query, {"id": self._id, "owner": self._owner}).first()
        if row is None:
            raise LeaseLost(f"Import {self._id} goes on elsewhere, or has ended.")
        return row.cancel_asked_at is not None

    # Sending

    def _send(self, chunk: _Chunk) -> None:
        send = self._create if chunk.action == "create" else self._update
        try:
            with calls_of(self._lease.fence, chunk.id):
                send(chunk)
        except BothwaysError as error:
            if not isinstance(error, LeaseLost):
                self._save(chunk)  # the rest was not sent
            raise
        self._save(chunk)

    def _create(self, chunk: _Chunk) -> None:
        site = self._site
        drafts = [(row, self._draft(chunk, row)) for row in chunk.rows]
        good = [(row, fields) for row, fields in drafts if fields is not None]
        for part in chunks(good, site.facts.create_batch):
            if self._keeper.stopping.is_set():
                return
            answers = self._call(partial(site.connector.create, site.target.module, [Draft(one) for _, one in part]))
            if len(part) > 1 and all(isinstance(answer, Rejected) for answer in answers):
                self._create_each(chunk, part)
                continue
            for (row, _), answer in zip(part, answers, strict=False):
                chunk.settle(self._created(row, answer))

    def _create_each(self, chunk: _Chunk, part: Sequence[tuple[Row[Any], Fields]]) -> None:
        """A batch that was refused as a whole may have been so for one of its rows."""
        for row, fields in part:
            if self._keeper.stopping.is_set():
                return
            (answer,) = self._call(partial(self._site.connector.create, self._site.target.module, [Draft(fields)]))
            chunk.settle(self._created(row, answer))

    def _draft(self, chunk: _Chunk, row: Row[Any]) -> Fields | None:
        """None: the row has its outcome."""
        if self._is_poison(row):
            chunk.settle(_failed(row, Code.POISON))
            return None
        drafted = self._drafted(row)
        fields = (
            drafted
            if isinstance(drafted, Unfit)
            else to_create(self._site.target, self._site.facts.fields, drafted, row.lookup_id)
        )
        if isinstance(fields, Unfit):
            chunk.settle(_failed(row, fields.code, fields.detail))
            return None
        return fields

    def _is_poison(self, row: Row[Any]) -> bool:
        return bool(row.crashes >= self._ports.settings.attempts_by_crash)

    def _drafted(self, row: Row[Any]) -> Drafted | Unfit:
        site = self._site
        return draft_of(site.target, site.columns, site.facts.fields, row.cells, site.most_cell_chars)

    def _created(self, row: Row[Any], answer: WriteResult) -> _Outcome:
        match answer:
            case Written():
                return _Outcome(row.line, "done", "created", record_id=answer.id)
            case Unsure():
                return _Outcome(row.line, "doubt", due_s=self._soon_s)
            case Rejected() if answer.code == Code.DUPLICATE_NAME and row.tries:
                # Most likely an earlier try made it, and the vendor's search does not show it yet.
                return _Outcome(row.line, "doubt", reason=answer.code, detail=_said(answer), due_s=self._soon_s)
            case Rejected():
                return _failed(row, answer.code, _said(answer))

    def _update(self, chunk: _Chunk) -> None:
        """Read just before it is written: the vendors' updates take whole groups, and none is conditional."""
        for row in chunk.rows:
            if self._keeper.stopping.is_set():
                return
            chunk.settle(self._updated(row))

    def _updated(self, row: Row[Any]) -> _Outcome:
        site, record_id = self._site, RecordId(row.record_id)
        if self._is_poison(row):
            return _failed(row, Code.POISON)
        drafted = self._drafted(row)
        if isinstance(drafted, Unfit):
            return _failed(row, drafted.code, drafted.detail)
        try:
            current = site.connector.fetch(site.target.module, [record_id]).get(record_id)
        except RecordRejected as error:
            return _failed(row, error.code, error.vendor_message or "")
        if current is None:
            return _failed(row, Code.RECORD_GONE)
        changes = to_change(site.target, drafted, current, row.lookup_id)
        if isinstance(changes, Unfit):
            return _failed(row, changes.code, changes.detail)
        if not changes and row.tries:  # by an earlier try of ours
            return _Outcome(row.line, "done", "updated", record_id=record_id)
        if not changes:
            return _Outcome(row.line, "done", "skipped", Code.NOTHING_TO_CHANGE, record_id=record_id)
        (answer,) = self._call(partial(site.connector.update, site.target.module, [Edit(current, changes)]))
        match answer:
            case Written():
                return _Outcome(row.line, "done", "updated", record_id=record_id)
            case Unsure() if row.tries + 1 < self._ports.settings.attempts_by_error:
                return _Outcome(row.line, "open", due_s=self._soon_s)
            case Unsure():
                return _failed(row, Code.VENDOR_UNAVAILABLE)
            case Rejected():
                return _failed(row, answer.code, _said(answer))

    def _call(self, call: Callable[[], Sequence[WriteResult]]) -> Sequence[WriteResult]:
        """Under a lease that covers it. Raises LeaseLost, RetryableError (nothing was sent), ConfigError."""
        self._keeper.check_standing(self._standing)
        if not self._ports.leases.covers_push(self._lease):
            with self._ports.db.transaction() as session:
                self._lease = self._ports.leases.renew(session, self._lease)
        with self._ports.watchdog.over():
            answers = call()
        at("reply.lost" if any(isinstance(answer, Unsure) for answer in answers) else "reply.read")
        return answers

    # In doubt

    def _settle_doubts(self) -> int:
        """Looks up rows in doubt whose time has come; how many."""
        with self._ports.db.transaction() as session:
            self._hold(session)
            rows = session.execute(_DOUBTS, {"id": self._id, "n": DOUBTS_AT_ONCE}).all()
        if not rows:
            return 0
        chunk = _Chunk("", "doubt", rows)
        try:
            for row in rows:
                if self._keeper.stopping.is_set():
                    break
                chunk.settle(self._looked_up(row))
        finally:
            self._save(chunk)
        return len(rows)

    def _looked_up(self, row: Row[Any]) -> _Outcome:
        """Absence is believed after enough looks over enough time; at once where the vendor refuses doubles, for then
        trying again is the surest look."""
        site, target = self._site, self._site.target
        drafted = self._drafted(row)
        if isinstance(drafted, Unfit):
            return _failed(row, drafted.code, drafted.detail)
        key = str({**drafted.made, **drafted.fields}[target.key])
        try:
            found = site.connector.find(target.module, target.key, key)
        except RecordRejected as error:
            return _failed(row, error.code, error.vendor_message or "")
        unreadable = any(is_unreadable(record.get(target.key)) for record in found)
        ours = [one for one in found if fold_key(one.get(target.key)) == row.key and target.covers(one)]
        if len(ours) == 1:
            return _Outcome(row.line, "done", "created", record_id=ours[0].id)
        if ours:
            return _failed(row, Code.AMBIGUOUS_MATCH)
        again_is_safe = site.facts.unique_key == target.key and row.reason != Code.DUPLICATE_NAME
        if not unreadable and (again_is_safe or self._looked_enough(row)):
            return self._absent(row)
        settings = self._ports.settings
        wait_s = settings.scaled(settings.doubt_span_s) / max(settings.doubt_looks - 1, 1)
        return _Outcome(row.line, "doubt", reason=row.reason, detail=row.detail, due_s=wait_s, looked=True)

    def _looked_enough(self, row: Row[Any]) -> bool:
        settings = self._ports.settings
        span_s = settings.scaled(settings.doubt_span_s)
        return bool(row.looks + 1 >= settings.doubt_looks and row.looked_for_s >= span_s)

    def _absent(self, row: Row[Any]) -> _Outcome:
        if row.reason == Code.DUPLICATE_NAME:  # and still the vendor has one of the name: not ours
            return _failed(row, row.reason, row.detail)
        if row.tries >= self._ports.settings.attempts_by_error:
            return _failed(row, Code.VENDOR_UNAVAILABLE)
        return _Outcome(row.line, "open")

    # Saving

    def _save(self, chunk: _Chunk) -> None:
        """Of one transaction with the counters. Rows without an outcome were not sent: they are open again."""
        rest = () if chunk.action == "doubt" else chunk.rows
        unsent = [_Outcome(row.line, "open", sent=False) for row in rest if row.line not in chunk.settled]
        outcomes = [*chunk.settled.values(), *unsent]
        if not outcomes:
            return
        told = Counter(one.outcome for one in outcomes if one.outcome is not None)
        with self._ports.db.transaction() as session:
            self._hold(session)
            saved = session.execute(
                _SAVE,
                {"id": self._id, "rows": json.dumps([_plain(one) for one in outcomes]), "batch": chunk.id or None},
            )
            if saved.rowcount != len(outcomes):  # type: ignore[attr-defined]
                raise LeaseLost(f"Rows of import {self._id} were taken over.")
            session.execute(
                text(
                    "UPDATE import_job SET created = created + :created, updated = updated + :updated, "
                    "skipped = skipped + :skipped, failed = failed + :failed WHERE id = :id"
                ),
                {"id": self._id, **{name: told[name] for name in ("created", "updated", "skipped", "failed")}},
            )
        at("import.saved")


def _failed(row: Row[Any], code: str, detail: str = "") -> _Outcome:
    return _Outcome(row.line, "done", "failed", code if code in REASONS else Code.INTERNAL, detail[:500])


def _said(answer: Rejected) -> str:
    named = f" ({answer.vendor_code})" if answer.vendor_code else ""
    return f"{answer.vendor_message}{named}" if answer.vendor_message else answer.vendor_code


def _plain(one: _Outcome) -> dict[str, Any]:
    return {
        "line": one.line,
        "state": one.state,
        "outcome": one.outcome,
        "reason": str(one.reason),
        "detail": one.detail,
        "record": one.record_id,
        "due_s": one.due_s,
        "sent": one.sent,
        "looked": one.looked,
    }


_NEXT = text(
    """
    SELECT line, action, cells, key, lookup_id, record_id, tries, crashes FROM import_row
    WHERE import_id = :id AND state = 'open' AND (due_at IS NULL OR due_at <= clock_timestamp())
    ORDER BY line LIMIT :n
    """
)
_MARK = text(
    """
    UPDATE import_row SET state = 'writing', batch = :batch, tries = tries + 1, due_at = NULL
    WHERE import_id = :id AND line = ANY(:lines) AND state = 'open'
    """
)
_DOUBTS = text(
    """
    SELECT line, action, cells, key, lookup_id, record_id, tries, looks, reason, detail,
        coalesce(extract(epoch FROM clock_timestamp() - looked_since)::float8, 0) AS looked_for_s
    FROM import_row WHERE import_id = :id AND state = 'doubt' AND due_at <= clock_timestamp()
    ORDER BY due_at LIMIT :n
    """
)
_SAVE = text(
    """
    UPDATE import_row r SET state = n.state, outcome = n.outcome, reason = n.reason, detail = n.detail,
        record_id = coalesce(n.record, r.record_id), batch = NULL,
        tries = CASE WHEN n.sent THEN r.tries ELSE r.tries - 1 END,
        looks = CASE WHEN n.looked THEN r.looks + 1 WHEN r.state = 'writing' AND n.reason = '' THEN 0 ELSE r.looks END,
        looked_since = CASE WHEN n.looked THEN coalesce(r.looked_since, clock_timestamp())
            WHEN r.state = 'writing' AND n.reason = '' THEN NULL ELSE r.looked_since END,
        due_at = CASE WHEN n.due_s IS NOT NULL THEN clock_timestamp() + make_interval(secs => n.due_s) END,
        cells = CASE WHEN n.state = 'done' AND n.outcome <> 'failed' THEN NULL ELSE r.cells END,
        key = CASE WHEN n.state = 'done' THEN '' ELSE r.key END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n(line integer, state text, outcome text, reason text, detail text,
        record text, due_s float8, sent boolean, looked boolean)
    WHERE r.import_id = :id AND r.line = n.line AND r.state IN ('writing', 'doubt')
      AND r.batch IS NOT DISTINCT FROM CAST(:batch AS text)
    """
)
