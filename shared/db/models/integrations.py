"""Integrations, their watermarks and their leases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Sequence, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key

FENCE_SEQUENCE = Sequence("fence_seq", metadata=Base.metadata)
"""Every taking of a lease draws a higher number; after a restore of the database it jumps (reliability section 3)."""


class Integration(Base):
    """Two orgs kept in step. `mapping` is {pair: [field pairs]}; a pair that is missing uses the defaults.

    `mapping_changed` is {pair: when}: a sync that began before then has not brought all records under it (FM-4).
    """

    __tablename__ = "integration"
    __table_args__ = (
        UniqueConstraint("workspace_id", "kind", "left_org_id", "right_org_id"),
        CheckConstraint("state IN ('draft', 'enabled', 'paused', 'disabled')", name="state"),
        CheckConstraint("policy IN ('overwrite', 'clone', 'skip')", name="policy"),
        CheckConstraint("left_org_id <> right_org_id", name="two_orgs"),
        CheckConstraint("disabled_code IS NULL OR state = 'disabled'", name="disabled_code"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    kind: Mapped[str]
    name: Mapped[str]
    left_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"))
    right_org_id: Mapped[int] = mapped_column(ForeignKey("org.id"), index=True)
    state: Mapped[str] = mapped_column(server_default=text("'draft'"))
    sync_type: Mapped[str] = mapped_column(server_default=text("'I'"))
    policy: Mapped[str] = mapped_column(server_default=text("'overwrite'"))
    mapping: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    mapping_changed: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    contested_agreed: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """{pair: ["right:website", …]}: other integrations write these too, and the last change wins (FM-11)."""
    setup_done: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    """Of a draft: which steps of set-up are done (sync.setup)."""
    invoicing: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Of work orders (TR-7): {"on": true, "statuses": ["Completed"], "since": "2026-11-27T…", "terms_days": 0}."""
    fetched_at: Mapped[datetime | None]
    schedule_on: Mapped[bool] = mapped_column(server_default=text("true"))
    schedule_interval_s: Mapped[int] = mapped_column(server_default=text("10800"))
    next_run_at: Mapped[datetime | None] = mapped_column(index=True)
    time_zone: Mapped[str | None]
    """Of its days (TR-4), as IANA names it; null: the accounting org's own, else UTC."""
    disabled_code: Mapped[str | None]
    """The rule that disabled it, which support alone can undo (ST-4); null: no rule did."""
    disabled_detail: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    notify_addresses: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    """Who is told how syncs end (LG-8): of failed ones always, of others by the two below. Personal data."""
    notify_manual: Mapped[bool] = mapped_column(server_default=text("false"))
    notify_automatic: Mapped[bool] = mapped_column(server_default=text("false"))
    compared_at: Mapped[datetime | None]
    """When the last full comparison began; null: the next sync is one (TR-13)."""
    held_back: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """{"companies/left": {"missing": 12, "of": 40}}: so many vanished at once that a person must say if it is so."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Watermark(Base):
    """`read_from`: the start of the last successful run; the next one reads from there, minus the overlap (TR-5)."""

    __tablename__ = "watermark"

    integration_id: Mapped[int] = mapped_column(ForeignKey("integration.id", ondelete="CASCADE"), primary_key=True)
    pair: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    read_from: Mapped[datetime]
    run_id: Mapped[int] = mapped_column(BigInteger)
    rows_most: Mapped[int | None] = mapped_column(BigInteger)
    """So many records at most the side's list held then: counted whole once, and each row listed since (ST-2)."""


class OrgLease(Base):
    """Who holds an org (LK-1). One row per org; times are of Postgres' clock only (reliability section 4)."""

    __tablename__ = "org_lease"
    __table_args__ = (CheckConstraint("kind IN ('run', 'webhook', 'import', 'leaving')", name="kind"),)

    org_id: Mapped[int] = mapped_column(ForeignKey("org.id", ondelete="CASCADE"), primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    holder: Mapped[str | None]
    kind: Mapped[str | None]
    integration_id: Mapped[int | None] = mapped_column(BigInteger)
    fence: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    taken_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    wanted_by: Mapped[str | None]
    wanted_at: Mapped[datetime | None]
    ending_at: Mapped[datetime | None]
    """The run that holds it has settled all its records, and ends as soon as no batch is open: none joins any more."""


class LeaseLog(Base):
    """Every lease that ever was, for people and for the auditor (P4)."""

    __tablename__ = "lease_log"
    __table_args__ = (Index("ix_lease_log_taken", "taken_at"),)

    org_id: Mapped[int] = mapped_column(ForeignKey("org.id", ondelete="CASCADE"), primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    holder: Mapped[str]
    kind: Mapped[str]
    taken_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    """To when it was last renewed; set as it ends."""
    released_at: Mapped[datetime | None]


class OpenBatch(Base):
    """A batch that a drainer works on under a webhook lease: while one is open, the lease is not handed over."""

    __tablename__ = "open_batch"

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    integration_id: Mapped[int] = mapped_column(ForeignKey("integration.id", ondelete="CASCADE"))
    fence: Mapped[int] = mapped_column(BigInteger, index=True)
    lane: Mapped[str]
    until: Mapped[datetime]


class Installation(Base):
    """One row: what must agree with Redis (engine/epoch.py). `redis_marker` is lost when Redis loses its data (P2),
    `redis_server` is another when it was started anew; `epoch` is mirrored there and never goes back."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    redis_marker: Mapped[str | None]
    redis_server: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
