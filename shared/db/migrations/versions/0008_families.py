"""Records that belong to others: second match keys, bindings that moved, and what waits for its parent"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("staged", sa.Column("second_key", sa.String(), server_default=sa.text("''"), nullable=False))
    for name in ("left_bare_at", "right_bare_at"):
        op.add_column("binding", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("binding", sa.Column("deactivated", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index(
        "ix_binding_inside",
        "binding",
        ["left_org_id", "right_org_id", "pair", sa.text("split_part(right_id, '.', 1)")],
        postgresql_where=sa.text("strpos(right_id, '.') > 0"),
    )
    op.create_index(
        "ix_due_parent",
        "due",
        ["integration_id", "detail"],
        postgresql_where=sa.text("reason = 'PARENT_NOT_SYNCED'"),
    )
    op.drop_constraint("ck_binding_state", "binding")
    op.create_check_constraint("state", "binding", "state IN ('live', 'left_deleted', 'right_deleted', 'moved')")


def downgrade() -> None:
    op.drop_constraint("ck_binding_state", "binding")
    op.create_check_constraint("state", "binding", "state IN ('live', 'left_deleted', 'right_deleted')")
    op.drop_index("ix_due_parent", "due")
    op.drop_index("ix_binding_inside", "binding")
    for name in ("left_bare_at", "right_bare_at"):
        op.drop_column("binding", name)
    op.drop_column("binding", "deactivated")
    op.drop_column("staged", "second_key")
