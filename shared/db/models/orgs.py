"""Workspaces, orgs and connections: who is connected to what, and with which sealed secrets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, identity_key


class Workspace(Base):
    """What everything belongs to (PE-6): one is made at first start, a consultancy has one per client."""

    __tablename__ = "workspace"

    id: Mapped[int] = identity_key()
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Org(Base):
    """One tenant of a vendor. `settings` are the connector's: capabilities, limits (see each vendor's settings.py)."""

    __tablename__ = "org"
    __table_args__ = (
        UniqueConstraint("workspace_id", "vendor", "external_id"),
        # For composite foreign keys that carry the workspace and the vendor (reliability section 7, tenants).
        UniqueConstraint("id", "workspace_id", "vendor"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    vendor: Mapped[str]
    external_id: Mapped[str]
    name: Mapped[str]
    data_centre: Mapped[str]
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Connection(Base):
    """A grant of one org. Texts that begin with `sealed_` are the vault's; `version` rises with each new grant.

    `refresh_started_at` is the claim of the one refresher, `refresh_not_before` the vendor's refusal to grant more.
    A webhook is found by the hash of its path token; the token itself is sealed, to be shown in set-up.
    """

    __tablename__ = "connection"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "workspace_id", "vendor"], ["org.id", "org.workspace_id", "org.vendor"]),
        UniqueConstraint("org_id"),
        UniqueConstraint("webhook_path_hash"),
        CheckConstraint("status IN ('live', 'broken')", name="status"),
        CheckConstraint("(status = 'broken') = (broken_reason IS NOT NULL)", name="broken_reason"),
        CheckConstraint("version >= 1", name="version"),
        Index(None, "workspace_id"),
    )

    id: Mapped[int] = identity_key()
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    org_id: Mapped[int]
    vendor: Mapped[str]
    data_centre: Mapped[str]
    accounts_server: Mapped[str]
    api_domain: Mapped[str]
    client_id: Mapped[str]
    sealed_client_secret: Mapped[str | None]
    sealed_refresh_token: Mapped[str | None]
    sealed_previous_refresh_token: Mapped[str | None]
    sealed_access_token: Mapped[str | None]
    access_expires_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(server_default=text("1"))
    refresh_started_at: Mapped[datetime | None]
    refresh_not_before: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(server_default=text("'live'"))
    broken_reason: Mapped[str | None]
    scopes: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    capabilities: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    sealed_webhook_secret: Mapped[str | None]
    sealed_previous_webhook_secret: Mapped[str | None]
    sealed_webhook_path_token: Mapped[str | None]
    webhook_path_hash: Mapped[str | None]
    webhook_live_at: Mapped[datetime | None]
    """When the first delivery came that was signed with the secret in force (SU-8)."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), onupdate=func.clock_timestamp())


class PendingSignIn(Base):
    """Between the authorise redirect and the stored connection: one use, ten minutes.

    Only the hash of the state is kept. `sealed_grant` is set where the grant reaches several orgs and a person must
    choose one; `connection_id` where an existing connection is connected again.
    """

    __tablename__ = "pending_sign_in"
    __table_args__ = (UniqueConstraint("state_hash"), Index(None, "expires_at"))

    id: Mapped[int] = identity_key()
    state_hash: Mapped[str]
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    vendor: Mapped[str]
    data_centre: Mapped[str]
    client_id: Mapped[str]
    sealed_client_secret: Mapped[str]
    redirect_uri: Mapped[str]
    org_external_id: Mapped[str | None]
    org_name: Mapped[str | None]
    connection_id: Mapped[int | None] = mapped_column(ForeignKey("connection.id"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    sealed_grant: Mapped[str | None]
