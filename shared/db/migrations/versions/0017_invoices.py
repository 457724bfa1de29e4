"""Invoices made of work orders"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("integration", sa.Column("invoicing", kind, server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.create_table(
        "invoice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("left_org_id", sa.BigInteger(), nullable=False),
        sa.Column("right_org_id", sa.BigInteger(), nullable=False),
        sa.Column("work_order_id", sa.String(), nullable=False),
        sa.Column("accounting_id", sa.String(), nullable=False),
        sa.Column("lines", kind, nullable=False),
        sa.Column("filled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["left_org_id"], ["org.id"], name=op.f("fk_invoice_left_org_id_org")),
        sa.ForeignKeyConstraint(["right_org_id"], ["org.id"], name=op.f("fk_invoice_right_org_id_org")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_invoice_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
        sa.UniqueConstraint(
            "left_org_id", "right_org_id", "accounting_id",
            name=op.f("uq_invoice_left_org_id_right_org_id_accounting_id"),
        ),
    )  # fmt: skip
    op.create_index("ix_invoice_work_order", "invoice", ["left_org_id", "right_org_id", "work_order_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_invoice_work_order", table_name="invoice")
    op.drop_table("invoice")
    op.drop_column("integration", "invoicing")
