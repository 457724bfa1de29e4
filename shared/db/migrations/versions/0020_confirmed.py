"""A list can be held against a second one, and says since when a record is known not to be in it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("listing", sa.Column("digest", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("listing", sa.Column("confirm_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("staged", sa.Column("absent_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("staged", "absent_at")
    op.drop_column("listing", "confirm_at")
    op.drop_column("listing", "digest")
