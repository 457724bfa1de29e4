"""what the fault matrix asked for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("installation", sa.Column("redis_server", sa.String(), nullable=True))
    op.add_column("installation", sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("listing", sa.Column("vendor_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("lease_log", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("event_done", sa.Column("outcome_event", sa.String(), nullable=True))
    op.add_column("intent", sa.Column("name", sa.String(), server_default=sa.text("''"), nullable=False))
    empty = sa.text("'{}'::jsonb")
    op.add_column("intent", sa.Column("draft", postgresql.JSONB(), server_default=empty, nullable=False))
    op.add_column("binding", sa.Column("pending", postgresql.JSONB(), nullable=True))
    op.add_column("binding", sa.Column("left_seen_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("binding", sa.Column("right_seen_at", sa.DateTime(timezone=True), nullable=True))
    now = sa.text("clock_timestamp()")
    op.add_column("due", sa.Column("parked_at", sa.DateTime(timezone=True), server_default=now, nullable=False))
    op.add_column("run", sa.Column("resume_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "resume_at")
    op.drop_column("due", "parked_at")
    op.drop_column("binding", "right_seen_at")
    op.drop_column("binding", "left_seen_at")
    op.drop_column("binding", "pending")
    op.drop_column("intent", "draft")
    op.drop_column("intent", "name")
    op.drop_column("event_done", "outcome_event")
    op.drop_column("lease_log", "expires_at")
    op.drop_column("listing", "vendor_at")
    op.drop_column("installation", "epoch")
    op.drop_column("installation", "redis_server")
