"""Data imports (LK-5): the file as it came, its rows, and what the org holds already."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key

ENDED = "state IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"
ACTIVE = f"state <> 'uploading' AND NOT {ENDED}"


class ImportJob(Base):
    """One file into one org. `columns` are [header, field] in the order of the file.

    Checkpoints: `read_byte`, `read_line` where the next row of the file begins; `list_module` (which of the modules),
    `list_cursor` where the list goes on; `list_fence` the lease under which it was begun.
    """

    __tablename__ = "import_job"
    __table_args__ = (
        CheckConstraint("kind IN ('companies', 'contacts', 'items')", name="kind"),
        CheckConstraint("on_match IN ('skip', 'overwrite')", name="on_match"),
        # One import per org: the constraint has the last word.
        Index("uq_import_job_active", "org_id", unique=True, postgresql_where=text(ACTIVE)),
        Index("ix_import_job_workspace", "workspace_id", "id"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    org_id: Mapped[int] = mapped_column(ForeignKey("org.id", ondelete="CASCADE"))
    kind: Mapped[str]
    module: Mapped[str]
    on_match: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    columns: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    delimiter: Mapped[str] = mapped_column(server_default=text("','"))
    state: Mapped[str] = mapped_column(server_default=text("'uploading'"))
    bytes: Mapped[int] = mapped_column(server_default=text("0"))
    read_byte: Mapped[int] = mapped_column(server_default=text("0"))
    read_line: Mapped[int] = mapped_column(server_default=text("1"))
    list_module: Mapped[int] = mapped_column(server_default=text("0"))
    list_cursor: Mapped[str | None]
    list_fence: Mapped[int | None] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(server_default=text("0"))
    created: Mapped[int] = mapped_column(server_default=text("0"))
    updated: Mapped[int] = mapped_column(server_default=text("0"))
    skipped: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    asked_by: Mapped[str]
    waiting_for: Mapped[str | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    claimed_by: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    resume_at: Mapped[datetime | None]
    """Set while it waits so long that it gave its org back (LK-4)."""
    cancel_asked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ImportChunk(Base):
    """A piece of the file, of one size but for the last; gone once it is read."""

    __tablename__ = "import_chunk"

    import_id: Mapped[int] = mapped_column(ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    body: Mapped[bytes]


class ImportRow(Base):
    """A row of the file; `line` is the one on which it begins.

    `state`: open, writing (may have been sent), doubt (was sent, and nobody knows whether it was applied), done.
    `action` "": not matched yet. `key`, `lookup_key` are folded. `tries` counts how often it was sent, or was about to
    be. `cells` and `key` are personal data: kept while the row is open, and of failed rows for the report.
    """

    __tablename__ = "import_row"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'writing', 'doubt', 'done')", name="state"),
        CheckConstraint("(state = 'done') = (outcome IS NOT NULL)", name="outcome"),
        Index("ix_import_row_state", "import_id", "state", "line"),
        Index("ix_import_row_outcome", "import_id", "outcome", "line"),
        Index("ix_import_row_key", "import_id", "key"),
    )

    import_id: Mapped[int] = mapped_column(ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    action: Mapped[str] = mapped_column(server_default=text("''"))
    key: Mapped[str] = mapped_column(server_default=text("''"))
    lookup_key: Mapped[str] = mapped_column(server_default=text("''"))
    lookup_id: Mapped[str | None]
    record_id: Mapped[str | None]
    outcome: Mapped[str | None]
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    cells: Mapped[list[Any] | None] = mapped_column(JSONB)
    batch: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    crashes: Mapped[int] = mapped_column(server_default=text("0"))
    """Of `tries`, those whose worker came to no end."""
    looks: Mapped[int] = mapped_column(server_default=text("0"))
    looked_since: Mapped[datetime | None]
    due_at: Mapped[datetime | None]


class ImportKnown(Base):
    """A record that the org held when it was listed: matching is a join. Gone when the import ends."""

    __tablename__ = "import_known"
    __table_args__ = (Index("ix_import_known_key", "import_id", "module", "key"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True)
    module: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    key: Mapped[str]
    parent_id: Mapped[str | None]
    """What it belongs to, where the target has a lookup."""
    inactive: Mapped[bool] = mapped_column(server_default=text("false"))
