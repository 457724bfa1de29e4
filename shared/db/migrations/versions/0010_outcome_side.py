"""At which side an outcome's record is"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outcome", sa.Column("side", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("outcome", "side")
