"""Records that are set aside, and bindings that a person made"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aside",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("left_org_id", sa.BigInteger(), nullable=False),
        sa.Column("right_org_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("other_id", sa.String(), nullable=False),
        sa.Column("by_name", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("side IN ('left', 'right')", name=op.f("ck_aside_side")),
        sa.CheckConstraint("why IN ('unbound', 'kept_by_clone')", name=op.f("ck_aside_why")),
        sa.ForeignKeyConstraint(["left_org_id"], ["org.id"], name=op.f("fk_aside_left_org_id_org")),
        sa.ForeignKeyConstraint(["right_org_id"], ["org.id"], name=op.f("fk_aside_right_org_id_org")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_aside_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aside")),
        sa.UniqueConstraint(
            "left_org_id", "right_org_id", "pair", "side", "record_id",
            name=op.f("uq_aside_left_org_id_right_org_id_pair_side_record_id"),
        ),
    )  # fmt: skip
    op.alter_column("binding", "bound_by_run", existing_type=sa.BigInteger(), nullable=True)


def downgrade() -> None:
    op.execute("UPDATE binding SET bound_by_run = 0 WHERE bound_by_run IS NULL")
    op.alter_column("binding", "bound_by_run", existing_type=sa.BigInteger(), nullable=False)
    op.drop_table("aside")
