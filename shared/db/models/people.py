"""Who may call the API, and what was done by whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key


class ApiToken(Base):
    """A token of the REST API; of its secret only the hash is kept. It belongs to a principal, in one workspace.

    `expires_at` None: it was made to last. Rows stay when they end: the audit log names them.
    """

    __tablename__ = "api_token"
    __table_args__ = (
        UniqueConstraint("secret_hash"),
        CheckConstraint("role IN ('viewer', 'operator', 'admin', 'support')", name="role"),
        Index(None, "workspace_id"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    principal: Mapped[str]
    role: Mapped[str]
    read_logs: Mapped[bool] = mapped_column(server_default=text("false"))
    secret_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """Within a minute."""
    revoked_at: Mapped[datetime | None]


class AuditLog(Base):
    """Who did what, when; secrets as "changed". A trigger refuses UPDATE, DELETE and TRUNCATE.

    No foreign keys: it outlives what it tells of.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_workspace", "workspace_id", "id"),)

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    principal: Mapped[str]
    actor_kind: Mapped[str]
    token_id: Mapped[int | None] = mapped_column(BigInteger)
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    before: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    after: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
