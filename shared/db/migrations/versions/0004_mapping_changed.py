"""When each pair's mapping was last changed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    empty = sa.text("'{}'::jsonb")
    kind = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("integration", sa.Column("mapping_changed", kind, server_default=empty, nullable=False))


def downgrade() -> None:
    op.drop_column("integration", "mapping_changed")
