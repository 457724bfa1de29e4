"""Runs: what is read, what is waiting, what came out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key

ACTIVE = "state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"


class Run(Base):
    """One sync; its id is the Sync ID. `pending` counts queued records without an outcome yet.

    Webhook work is one run per integration and hour (`hour`); it has no listings and moves no watermark (LG-1). A sync
    that `compares` lists everything, and looks for what is bound and not there any more (TR-13).
    """

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("kind IN ('fetch', 'sync', 'webhook')", name="kind"),
        UniqueConstraint("integration_id", "hour"),
        # One sync per integration: the constraint has the last word, not a question asked before (LK-1).
        Index(
            "uq_run_active",
            "integration_id",
            unique=True,
            postgresql_where=text(f"kind <> 'webhook' AND {ACTIVE}"),
        ),
        Index("ix_run_integration_started", "integration_id", "created_at", "id"),
        Index("ix_run_workspace", "workspace_id", "created_at", "id"),
        Index("ix_run_ended", "ended_at"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    integration_id: Mapped[int] = mapped_column(ForeignKey("integration.id", ondelete="CASCADE"))
    kind: Mapped[str]
    trigger: Mapped[str]
    compares: Mapped[bool] = mapped_column(server_default=text("false"))
    deletions_confirmed: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(server_default=text("'queued'"))
    hour: Mapped[datetime | None]
    pending: Mapped[int] = mapped_column(server_default=text("0"))
    queued: Mapped[int] = mapped_column(server_default=text("0"))
    queued_to: Mapped[dict[str, Any] | None]
    """How far its staged rows are queued (engine/queue.py)."""
    waiting_for: Mapped[str | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    report: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    claimed_by: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    resume_at: Mapped[datetime | None]
    """Set while it waits for quota so long that it gave its orgs back (LK-4)."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RunCount(Base):
    """Counters of a run, written in the transaction of the outcomes they count (P9)."""

    __tablename__ = "run_count"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    direction: Mapped[str] = mapped_column(primary_key=True)
    pair: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True, server_default=text("''"))
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    records: Mapped[int] = mapped_column(server_default=text("0"))
    conflicts: Mapped[int] = mapped_column(server_default=text("0"))
    listed: Mapped[int] = mapped_column(server_default=text("0"))
    """How many of `records` were settled while listing and have no outcome row."""


class Listing(Base):
    """Checkpoint of one list of a run, saved with the page's rows."""

    __tablename__ = "listing"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    pair: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    since: Mapped[datetime | None]
    cursor: Mapped[str | None]
    done: Mapped[bool] = mapped_column(server_default=text("false"))
    whole: Mapped[bool] = mapped_column(server_default=text("true"))
    """True: every record of the module was listed, so that matching can be a join."""
    rows: Mapped[int] = mapped_column(server_default=text("0"))
    read_at: Mapped[datetime]
    """Postgres' time before the first call of this list."""
    vendor_at: Mapped[datetime | None]
    """The vendor's own time then, where its answers tell it: what the watermark is taken from (P12)."""
    digest: Mapped[str] = mapped_column(server_default=text("''"))
    """Of all ids in the order listed, so that a second list can be held against it."""
    confirm_at: Mapped[datetime | None]
    """When its confirmation (engine/confirm.py) was begun; it is tried once."""


BOUND = "verdict IN ('pair', 'both')"
UNBOUND = "(verdict IS NULL OR verdict NOT IN ('pair', 'both'))"
"""Of work orders there is no verdict: they are not matched."""


class Staged(Base):
    """A listed record, until its run ends (design, Redis: staged pages).

    `verdict`: None = not matched yet; `pair` (bound to `twin_id`), `both` (and its twin was listed too), `twin` (rides
    on the other end's event), `look` (search for a twin), `create` (whole lists lack it: there is none),
    `ambiguous`, `aside` (unbound by a person), `seen` (bound and as it was; kept by a run that compares). The keys are
    those of `match.staged_keys`.
    """

    __tablename__ = "staged"
    __table_args__ = (
        Index("ix_staged_key", "run_id", "pair", "side", "folded_key"),
        # Each row is changed twice, and no index is about that: there is room for it beside the row.
        {"postgresql_with": {"fillfactor": "50"}},
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    pair: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    fields: Mapped[dict[str, Any]]
    complete: Mapped[bool]
    inactive: Mapped[bool]
    modified_at: Mapped[datetime | None]
    folded_key: Mapped[str]
    second_key: Mapped[str] = mapped_column(server_default=text("''"))
    read_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(server_default=text("'listed'"))
    """`listed`, then `done`: it has its outcome, or needs none."""
    verdict: Mapped[str | None]
    twin_id: Mapped[str | None]
    absent_at: Mapped[datetime | None]
    """`create`, by two lists of the other side that were the same: when the first of them was begun."""


class Outcome(Base):
    """How an event ended: the sync log, the record's history, later what Undo reads. Partitioned by month of `at`."""

    __tablename__ = "outcome"
    __table_args__ = (
        Index("ix_outcome_run", "run_id", "id"),
        Index("ix_outcome_run_outcome", "run_id", "outcome", "id"),
        Index("ix_outcome_month", "integration_id", "at", "id"),
        Index("ix_outcome_record", "integration_id", "pair", "record_id"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.clock_timestamp())
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    integration_id: Mapped[int] = mapped_column(BigInteger)
    run_id: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[str]
    events: Mapped[int] = mapped_column(server_default=text("1"))
    origin: Mapped[str]
    pair: Mapped[str]
    direction: Mapped[str]
    """From where the change came to where it was written: a merge may write the side whose event brought it up."""
    side: Mapped[str | None]
    """Of `record_id`. NULL in rows of before migration 0010."""
    record_id: Mapped[str]
    twin_id: Mapped[str | None]
    outcome: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    changes: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    conflicts: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    warnings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    fence: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime | None]
    written_at: Mapped[datetime | None]


class EventDone(Base):
    """Events that have their outcome: a result that comes twice is counted once (P9). Kept for seven days."""

    __tablename__ = "event_done"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    outcome_event: Mapped[str | None]
    """`event_id` of the outcome row into which this event was folded."""
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
