"""Full comparisons: which syncs are one, when the last was, and what vanished and was held back"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    no = sa.text("false")
    op.add_column("run", sa.Column("compares", sa.Boolean(), server_default=no, nullable=False))
    op.add_column("run", sa.Column("deletions_confirmed", sa.Boolean(), server_default=no, nullable=False))
    op.add_column("integration", sa.Column("compared_at", sa.DateTime(timezone=True), nullable=True))
    kind = postgresql.JSONB(astext_type=sa.Text())
    empty = sa.text("'{}'::jsonb")
    op.add_column("integration", sa.Column("held_back", kind, server_default=empty, nullable=False))


def downgrade() -> None:
    op.drop_column("integration", "held_back")
    op.drop_column("integration", "compared_at")
    op.drop_column("run", "deletions_confirmed")
    op.drop_column("run", "compares")
