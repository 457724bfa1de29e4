"""Data imports for people (LK-5): a file into a connected org, its progress, its report row by row."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.connectors.registry import get_vendor
from shared.connectors.vendor import RecordPage
from shared.db.models import ImportJob
from shared.db.queries import imports as queries
from shared.db.repositories import audit
from shared.db.repositories import connections as repository
from shared.db.session import Database
from shared.engine.data_import import PIECE_BYTES
from shared.errors import NotFound, OrgHeld, Refused
from shared.services.connections import capabilities_of
from shared.services.holders import no_sync_nor_import
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.cells import neutral
from shared.sync.csv_rows import MOST_ROW_BYTES, CsvRow, CsvRows, delimiter_of
from shared.sync.imports import ImportKind, OnMatch, columns_as_json, columns_of, match_headers
from shared.sync.model import ModuleName, RecordId
from shared.sync.reasons import REASONS, sentence
from shared.sync.states import ImportState

REPORT = ("line", "outcome", "reason", "what happened", "what to do", "record")
"""The report's own columns, behind those of the file; see `sync.imports.OURS`."""
_PAGE = 1_000
AFTERWARDS = (
    "Integrations of this organisation find what was imported by its webhooks, or with their next sync; "
    "it is synced by their rules then."
)


class WakeImport(Protocol):
    def data_import(self, import_id: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ImportView:
    """`rows` were read so far; `done` of them have their outcome. `columns`: what stands in the file, and the field
    that it goes to. `afterwards`: what becomes of it in the org's integrations."""

    id: int
    connection_id: int | None
    org_name: str
    vendor: str
    kind: str
    module: str
    on_match: str
    name: str
    columns: Mapping[str, str]
    state: str
    rows: int
    created: int
    updated: int
    skipped: int
    failed: int
    waiting_for: str | None
    error_code: str | None
    error_detail: str | None
    asked_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_asked: bool
    afterwards: str = AFTERWARDS

    @property
    def done(self) -> int:
        return self.created + self.updated + self.skipped + self.failed

    @property
    def ended(self) -> bool:
        return ImportState(self.state).terminal


@dataclass(frozen=True, slots=True)
class RowView:
    """`line` counts the file's lines from 1, the header included. `outcome` None: none yet."""

    line: int
    outcome: str | None
    reason: str
    sentence: str
    remedy: str
    record_id: str | None
    record_url: str | None


class ImportService:
    """Everything raises NotFound (connection, import), NotAllowed."""

    def __init__(self, database: Database, settings: Settings, wake: WakeImport) -> None:
        self._db = database
        self._settings = settings
        self._wake = wake

    def begin(
        self,
        actor: Actor,
        connection_id: int,
        kind: ImportKind,
        *,
        on_match: OnMatch = OnMatch.SKIP,
        columns: Mapping[str, str] | None = None,
        name: str = "",
    ) -> Upload:
        """Where the file is written to, piece by piece. `columns`: header -> field, for headers that name none.

        Raises Refused (this vendor takes no such import), OrgHeld (a sync or another import has the org).
        """
        actor.must(Permission.SYNC)
        with self._db.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            org = repository.load_org(session, connection.org_id)
            facts = get_vendor(connection.vendor).facts(capabilities_of(connection, org))
            target = facts.imports.get(kind)
            if target is None:
                raise Refused(f"{facts.label} takes no import of {kind}.", code="KIND_NOT_AVAILABLE")
            no_sync_nor_import(session, org.id)
            job = ImportJob(
                workspace_id=actor.workspace,
                org_id=org.id,
                kind=kind.value,
                module=target.module,
                on_match=on_match.value,
                name=_printable(name),
                asked_by=actor.principal,
            )
            session.add(job)
            session.flush()
            made = job.id
        fields = facts.modules[target.module].fields

        def match(headers: Sequence[str]) -> list[list[str | None]]:
            return columns_as_json(match_headers(target, fields, headers, columns or {}))

        return Upload(self._db, self._settings, self._wake, actor, made, org.id, match)

    def recent(self, actor: Actor, connection_id: int | None = None, limit: int = 50) -> list[ImportView]:
        """Newest first."""
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            org = None
            if connection_id is not None:
                org = repository.load_own(session, actor.workspace, connection_id).org_id
            return [_view(row) for row in queries.list_imports(session, actor.workspace, org, limit)]

    def get(self, actor: Actor, import_id: int) -> ImportView:
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            return _view(_own(session, actor, import_id))

    def rows(
        self, actor: Actor, import_id: int, *, outcome: str | None = None, after_line: int = 0, limit: int = 200
    ) -> list[RowView]:
        """A page of the report, by line."""
        actor.must(Permission.SYNC)
        with self._db.transaction() as session:
            job = _own(session, actor, import_id)
            rows = queries.list_rows(
                session, actor.workspace, import_id, outcome=outcome, after_line=after_line, limit=limit
            )
        return [_row_view(job, row) for row in rows]

    def report(self, actor: Actor, import_id: int, *, outcome: str | None = None) -> Iterator[str]:
        """The report as CSV (RFC 4180), in pieces; cells cannot be formulas. Rows that failed have their own
        columns, so that they can be corrected and imported again as they are."""
        actor.must(Permission.SYNC)
        with self._db.transaction() as session:
            job = _own(session, actor, import_id)
        return self._pieces(actor, job, outcome)

    def _pieces(self, actor: Actor, job: RowMapping, outcome: str | None) -> Iterator[str]:
        columns = columns_of(job["columns"])
        own = [place for place, column in enumerate(columns) if column.field is not None]
        yield _line([*(columns[place].header for place in own), *(f"Bothways {name}" for name in REPORT)])
        after = 0
        while True:
            with self._db.transaction() as session:
                page = queries.list_rows(
                    session, actor.workspace, job["id"], outcome=outcome, after_line=after, limit=_PAGE
                )
            yield "".join(_line([*_cells(row, own), *_told(row)]) for row in page)
            if len(page) < _PAGE:
                return
            after = page[-1]["line"]

    def cancel(self, actor: Actor, import_id: int) -> ImportView:
        """It ends as soon as what it is sending has its outcome. Raises Refused: it has ended."""
        actor.must(Permission.SYNC)
        with self._db.transaction() as session:
            job = _own(session, actor, import_id)
            if ImportState(job["state"]).terminal:
                raise Refused(f"Import {import_id} has ended already.", code="IMPORT_ENDED")
            session.execute(
                text(
                    "UPDATE import_job SET cancel_asked_at = coalesce(cancel_asked_at, clock_timestamp()), "
                    "resume_at = NULL, claimed_until = CASE WHEN claimed_by IS NULL THEN NULL ELSE claimed_until END "
                    "WHERE id = :id"
                ),
                {"id": import_id},
            )
            if job["cancel_asked_at"] is None:
                audit.record(session, actor, Action.IMPORT_CANCELLED, import_id)
        self._wake.data_import(import_id)
        return self.get(actor, import_id)


class Upload:
    """A file on its way in: bounded, never whole in memory. Whoever began it finishes or drops it."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        wake: WakeImport,
        actor: Actor,
        import_id: int,
        org_id: int,
        match: Callable[[Sequence[str]], list[list[str | None]]],
    ) -> None:
        self.id = import_id
        self._db = database
        self._settings = settings
        self._wake = wake
        self._actor = actor
        self._org_id = org_id
        self._match = match
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._buffer = bytearray()
        self._begins = b""
        self._header: CsvRow | None = None
        self._delimiter = ","
        self._columns: list[list[str | None]] = []
        self._bytes = 0
        self._seq = 0

    def write(self, piece: bytes) -> None:
        """Raises Refused: the file is too long, is no UTF-8, or its header will not do."""
        self._check_text(piece)
        self._bytes += len(piece)
        if self._bytes > self._settings.import_max_bytes:
            raise Refused(
                f"The file is longer than {self._settings.import_max_bytes} bytes; split it.", code="TOO_LONG"
            )
        if self._header is None:
            self._begins += piece
            if len(self._begins) > MOST_ROW_BYTES:
                self._read_header()
        self._buffer += piece
        while len(self._buffer) >= PIECE_BYTES:
            self._keep(bytes(self._buffer[:PIECE_BYTES]))
            del self._buffer[:PIECE_BYTES]

    def finish(self) -> ImportView:
        """The import is queued. Raises Refused as `write` does, and OrgHeld: somebody took the org meanwhile."""
        self._check_text(b"", last=True)
        if self._header is None:
            self._read_header()
        if self._buffer:
            self._keep(bytes(self._buffer))
        header = self._header
        with self._db.transaction() as session:
            no_sync_nor_import(session, self._org_id)
            job = session.get_one(ImportJob, self.id)
            job.state = ImportState.QUEUED.value
            job.columns, job.delimiter, job.bytes = self._columns, self._delimiter, self._bytes
            if header is not None:
                job.read_byte, job.read_line = header.after.byte, header.after.line
            try:
                session.flush()
            except IntegrityError:
                raise OrgHeld(
                    "Another import into this organisation has just begun; wait until it ends.",
                    holder="", since=datetime.now().astimezone(),
                ) from None  # fmt: skip
            audit.record(
                session, self._actor, Action.IMPORT_ASKED, self.id,
                after={"org_id": self._org_id, "kind": job.kind, "on_match": job.on_match, "bytes": self._bytes},
            )  # fmt: skip
            view = _view(_own(session, self._actor, self.id))
        self._wake.data_import(self.id)
        return view

    def drop(self) -> None:
        """What came so far is forgotten; nothing where it was finished."""
        with self._db.transaction() as session:
            session.execute(text("DELETE FROM import_job WHERE id = :id AND state = 'uploading'"), {"id": self.id})

    def _check_text(self, piece: bytes, *, last: bool = False) -> None:
        held = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(piece, last)
        except UnicodeDecodeError as error:
            raise Refused(
                f"Byte {self._bytes - held + error.start + 1} of the file is not UTF-8; save it as “CSV UTF-8”.",
                code="BAD_ENCODING",
            ) from None

    def _read_header(self) -> None:
        rows = CsvRows([self._begins], delimiter_of(self._begins[:MOST_ROW_BYTES].decode("utf-8", "replace")))
        self._delimiter = rows.delimiter
        self._header = next(iter(rows), None)
        self._begins = b""
        if self._header is None:
            raise Refused("The file is empty.", code="BAD_CSV")
        if self._header.problem:
            raise Refused(f"The header cannot be read: {self._header.problem}.", code="BAD_CSV")
        if len(self._header.cells) > self._settings.import_max_columns:
            most = self._settings.import_max_columns
            raise Refused(f"The file has more than {most} columns.", code="BAD_CSV")
        self._columns = self._match(self._header.cells)

    def _keep(self, body: bytes) -> None:
        with self._db.transaction() as session:
            session.execute(_KEEP, {"id": self.id, "seq": self._seq, "w": self._actor.workspace, "body": body})
        self._seq += 1


_KEEP = text("INSERT INTO import_chunk (import_id, seq, workspace_id, body) VALUES (:id, :seq, :w, :body)")


def _own(session: Session, actor: Actor, import_id: int) -> RowMapping:
    row = queries.get_import(session, actor.workspace, import_id)
    if row is None:
        raise NotFound(f"There is no import {import_id}. See `bothways imports`.", code="UNKNOWN_IMPORT")
    return row


def _view(row: RowMapping) -> ImportView:
    same = (
        "id", "connection_id", "org_name", "vendor", "kind", "module", "on_match", "name", "state", "rows", "created",
        "updated", "skipped", "failed", "waiting_for", "error_code", "error_detail", "asked_by", "created_at",
        "started_at", "ended_at",
    )  # fmt: skip
    columns = {column.header: column.field or "" for column in columns_of(row["columns"])}
    return ImportView(
        **{name: row[name] for name in same}, columns=columns, cancel_asked=row["cancel_asked_at"] is not None
    )


def _row_view(job: RowMapping, row: RowMapping) -> RowView:
    reason = REASONS.get(row["reason"])
    return RowView(
        line=row["line"],
        outcome=row["outcome"],
        reason=row["reason"],
        sentence=sentence(row["reason"], row["detail"]) if reason else "",
        remedy=reason.remedy if reason else "",
        record_id=row["record_id"],
        record_url=_url(job, row["record_id"]),
    )


def _url(job: RowMapping, record_id: str | None) -> str | None:
    if record_id is None or job["accounts_server"] is None:
        return None
    module, template = ModuleName(job["module"]), job["record_url"] or ""
    page = RecordPage(job["external_id"], job["accounts_server"], module, RecordId(record_id), template=template)
    return get_vendor(job["vendor"]).record_url(page)


def _cells(row: RowMapping, own: Sequence[int]) -> list[str]:
    cells = row["cells"] or []
    return [str(cells[place]) if place < len(cells) else "" for place in own]


def _told(row: RowMapping) -> list[object]:
    reason = REASONS.get(row["reason"])
    return [
        row["line"],
        row["outcome"] or "open",
        row["reason"],
        sentence(row["reason"], row["detail"]) if reason else "",
        reason.remedy if reason else "",
        row["record_id"],
    ]


def _line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(neutral(cells))
    return out.getvalue()


def _printable(name: str) -> str:
    return "".join(char for char in name if char.isprintable())[:200]
