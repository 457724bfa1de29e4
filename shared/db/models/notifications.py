"""Notification e-mail that waits to be sent, or was (LG-8)."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key


class Notification(Base):
    """A transactional outbox: the row is written in the transaction that ends the run, once per run and kind.

    `addresses` are those who are still to be told, taken from the integration as its run ended; each leaves the list
    as it is told (`sent`), or as its server refuses it for good (`refused`). `message_key`: of the Message-ID, so that
    a mail that is sent again after a crash is the same one to whoever gets it. `due_at` is pushed out by whoever is at
    it. `detail`: what kept it from somebody, without an address.
    """

    __tablename__ = "notification"
    __table_args__ = (
        CheckConstraint("kind IN ('run_ended', 'run_failed', 'integration_disabled')", name="kind"),
        CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="state"),
        UniqueConstraint("run_id", "kind"),
        Index("ix_notification_integration_id", "integration_id", "id"),
        Index("ix_notification_waiting", "due_at", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    integration_id: Mapped[int] = mapped_column(ForeignKey("integration.id", ondelete="CASCADE"))
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    message_key: Mapped[uuid.UUID] = mapped_column(server_default=func.gen_random_uuid())
    addresses: Mapped[list[Any]]
    sent: Mapped[int] = mapped_column(server_default=text("0"))
    refused: Mapped[int] = mapped_column(server_default=text("0"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    due_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    sent_at: Mapped[datetime | None]
