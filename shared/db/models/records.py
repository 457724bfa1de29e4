"""What is known of records: bindings, intents, and what is due later."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key


class Binding(Base):
    """Two records that are the same (DU-1): unique both ways, of the two orgs, not of a token.

    `base` is {field pair key: [left value, right value]} as last agreed, empty when Fetch bound them. `*_written` is
    the modified time that our last write there produced; `unread` names sides whose base is what we sent, not yet
    read back (FM-10). `*_hash` and `*_modified` are those of the list row, so that a poll can drop it; `*_seen_at` is
    when that version was first read, null once no edit can hide behind its time any more. `version` grows with each
    commit: an older plan never overwrites a newer one (P5). `pending` tells what was sent to which side and is not
    committed yet: where the side holds it, it is ours and nobody's edit. `bound_by_run` is null where a person bound
    the two. `deactivated`: the side that follows the other's state is inactive by us (TR-9). `*_bare_at`: when we made
    that one, which others may belong to: nothing did yet.
    """

    __tablename__ = "binding"
    __table_args__ = (
        # The record first: it alone tells, and Postgres does not know that of a table that grew since it last looked.
        UniqueConstraint("left_id", "left_org_id", "right_org_id", "pair"),
        UniqueConstraint("right_id", "left_org_id", "right_org_id", "pair"),
        CheckConstraint("state IN ('live', 'left_deleted', 'right_deleted', 'moved')", name="state"),
        # Records that live inside others (shared/sync/inside.py), by their parent.
        Index(
            "ix_binding_inside",
            "left_org_id",
            "right_org_id",
            "pair",
            text("split_part(right_id, '.', 1)"),
            postgresql_where=text("strpos(right_id, '.') > 0"),
        ),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    left_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    right_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    pair: Mapped[str]
    left_id: Mapped[str]
    right_id: Mapped[str]
    base: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    state: Mapped[str] = mapped_column(server_default=text("'live'"))
    left_written: Mapped[datetime | None]
    right_written: Mapped[datetime | None]
    unread: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    left_hash: Mapped[str | None]
    right_hash: Mapped[str | None]
    left_modified: Mapped[datetime | None]
    right_modified: Mapped[datetime | None]
    left_seen_at: Mapped[datetime | None]
    right_seen_at: Mapped[datetime | None]
    pending: Mapped[dict[str, Any] | None]
    deactivated: Mapped[bool] = mapped_column(server_default=text("false"))
    left_bare_at: Mapped[datetime | None]
    right_bare_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(server_default=text("1"))
    fence: Mapped[int] = mapped_column(BigInteger)
    bound_by_run: Mapped[int | None] = mapped_column(BigInteger)
    bound_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Aside(Base):
    """A record that is neither matched nor made anew until it is bound or released.

    `why`: `unbound` by a person (DU-1), named in `by_name`; `kept_by_clone` (DU-3). `other_id`: the record at the other
    side that it is not the same as, or that got a record of its own.
    """

    __tablename__ = "aside"
    __table_args__ = (
        UniqueConstraint("left_org_id", "right_org_id", "pair", "side", "record_id"),
        CheckConstraint("side IN ('left', 'right')", name="side"),
        CheckConstraint("why IN ('unbound', 'kept_by_clone')", name="why"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    left_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    right_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    pair: Mapped[str]
    side: Mapped[str]
    record_id: Mapped[str]
    why: Mapped[str]
    other_id: Mapped[str]
    by_name: Mapped[str] = mapped_column(server_default=text("''"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Invoice(Base):
    """An invoice that we made of a work order (TR-7). `lines`: ids of the work order's lines that are on it. `filled`:
    what is mapped was written to it; nothing is from then on."""

    __tablename__ = "invoice"
    __table_args__ = (
        UniqueConstraint("left_org_id", "right_org_id", "accounting_id"),
        Index("ix_invoice_work_order", "left_org_id", "right_org_id", "work_order_id"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    left_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    right_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    work_order_id: Mapped[str]
    accounting_id: Mapped[str]
    lines: Mapped[list[Any]]
    filled: Mapped[bool] = mapped_column(server_default=text("false"))
    fence: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Intent(Base):
    """ "We are about to create the twin of this record", committed before the call (reliability section 4).

    `name` is the match key it is made with, `draft` what both sides would agree on then (as `binding.base`).

    A row that is still here after its worker is gone is in doubt. `looks` counts looks that found nothing since
    `first_look_at`.
    """

    __tablename__ = "intent"
    __table_args__ = (
        UniqueConstraint("integration_id", "pair", "side", "record_id"),
        CheckConstraint("state IN ('open', 'in_doubt')", name="state"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    integration_id: Mapped[int] = mapped_column(ForeignKey("integration.id", ondelete="CASCADE"))
    pair: Mapped[str]
    side: Mapped[str]
    record_id: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    draft: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    folded_key: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    batch_id: Mapped[str]
    fence: Mapped[int] = mapped_column(BigInteger)
    looks: Mapped[int] = mapped_column(server_default=text("0"))
    first_look_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Due(Base):
    """A record that waits: its event was acknowledged into this row, and later events wait behind it.

    `why`: `retry` (a passing fault), `in_doubt`, `blocked` (its parent), `failed` (has its outcome; tried again by the
    next run). `event` is the envelope to send when `due_at` comes; `attempts` counts tries by error. `parked_at`: an
    outcome that was read before it does not answer it.
    """

    __tablename__ = "due"
    __table_args__ = (
        UniqueConstraint("integration_id", "pair", "side", "record_id"),
        CheckConstraint("why IN ('retry', 'in_doubt', 'blocked', 'failed')", name="why"),
        Index("ix_due_at", "due_at"),
        Index("ix_due_parent", "integration_id", "detail", postgresql_where=text("reason = 'PARENT_NOT_SYNCED'")),
        Index("ix_due_run", "run_id"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    integration_id: Mapped[int] = mapped_column(ForeignKey("integration.id", ondelete="CASCADE"))
    pair: Mapped[str]
    side: Mapped[str]
    record_id: Mapped[str]
    why: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    attempts: Mapped[int] = mapped_column(server_default=text("1"))
    due_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    event: Mapped[dict[str, Any]]
    run_id: Mapped[int | None] = mapped_column(BigInteger)
    parked_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
