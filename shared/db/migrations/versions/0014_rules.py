"""What stops an integration, and the time zone of its days"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("integration", sa.Column("time_zone", sa.String(), nullable=True))
    op.add_column("integration", sa.Column("disabled_code", sa.String(), nullable=True))
    op.add_column("integration", sa.Column("disabled_detail", sa.String(), nullable=True))
    op.add_column("integration", sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_integration_disabled_code"), "integration", "disabled_code IS NULL OR state = 'disabled'"
    )
    op.add_column("watermark", sa.Column("rows_most", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("watermark", "rows_most")
    op.drop_constraint(op.f("ck_integration_disabled_code"), "integration")
    for name in ("disabled_at", "disabled_detail", "disabled_code", "time_zone"):
        op.drop_column("integration", name)
