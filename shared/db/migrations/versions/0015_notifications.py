"""Notification e-mail: whom to tell, and what waits to be told"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    listed = postgresql.JSONB(astext_type=sa.Text())
    op.add_column(
        "integration", sa.Column("notify_addresses", listed, server_default=sa.text("'[]'::jsonb"), nullable=False)
    )
    for name in ("notify_manual", "notify_automatic"):
        op.add_column("integration", sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "notification",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("message_key", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("addresses", listed, nullable=False),
        sa.Column("sent", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("refused", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("detail", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('run_ended', 'run_failed', 'integration_disabled')", name=op.f("ck_notification_kind")
        ),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name=op.f("ck_notification_state")),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integration.id"], name=op.f("fk_notification_integration_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_notification_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_notification_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        sa.UniqueConstraint("run_id", "kind", name=op.f("uq_notification_run_id_kind")),
    )
    op.create_index("ix_notification_integration_id", "notification", ["integration_id", "id"], unique=False)
    op.create_index(
        "ix_notification_waiting",
        "notification",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )


def downgrade() -> None:
    op.drop_table("notification")
    for name in ("notify_automatic", "notify_manual", "notify_addresses"):
        op.drop_column("integration", name)
