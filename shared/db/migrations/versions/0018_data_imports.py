"""Data imports: the file, its rows, what the org holds already"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "import_job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("module", sa.String(), nullable=False),
        sa.Column("on_match", sa.String(), nullable=False),
        sa.Column("name", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column(
            "columns", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("delimiter", sa.String(), server_default=sa.text("','"), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'uploading'"), nullable=False),
        sa.Column("bytes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_byte", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_line", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("list_module", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("list_cursor", sa.String(), nullable=True),
        sa.Column("list_fence", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("skipped", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_detail", sa.String(), nullable=True),
        sa.Column("claimed_by", sa.String(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resume_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('companies', 'contacts', 'items')", name=op.f("ck_import_job_kind")),
        sa.CheckConstraint("on_match IN ('skip', 'overwrite')", name=op.f("ck_import_job_on_match")),
        sa.ForeignKeyConstraint(["org_id"], ["org.id"], name=op.f("fk_import_job_org_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_import_job_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_job")),
    )
    op.create_index("ix_import_job_workspace", "import_job", ["workspace_id", "id"], unique=False)
    op.create_index(
        "uq_import_job_active",
        "import_job",
        ["org_id"],
        unique=True,
        postgresql_where=sa.text(
            "state <> 'uploading' AND NOT state IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"
        ),
    )
    op.create_table(
        "import_chunk",
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import_job.id"], name=op.f("fk_import_chunk_import_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_import_chunk_workspace_id")),
        sa.PrimaryKeyConstraint("import_id", "seq", name=op.f("pk_import_chunk")),
    )
    op.create_table(
        "import_known",
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("module", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("inactive", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import_job.id"], name=op.f("fk_import_known_import_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_import_known_workspace_id")),
        sa.PrimaryKeyConstraint("import_id", "module", "record_id", name=op.f("pk_import_known")),
    )
    op.create_index("ix_import_known_key", "import_known", ["import_id", "module", "key"], unique=False)
    op.create_table(
        "import_row",
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("action", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("key", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("lookup_key", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("lookup_id", sa.String(), nullable=True),
        sa.Column("record_id", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("cells", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("batch", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("looks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("looked_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'done') = (outcome IS NOT NULL)", name=op.f("ck_import_row_outcome")),
        sa.CheckConstraint("state IN ('open', 'writing', 'doubt', 'done')", name=op.f("ck_import_row_state")),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import_job.id"], name=op.f("fk_import_row_import_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_import_row_workspace_id")),
        sa.PrimaryKeyConstraint("import_id", "line", name=op.f("pk_import_row")),
    )
    op.create_index("ix_import_row_key", "import_row", ["import_id", "key"], unique=False)
    op.create_index("ix_import_row_outcome", "import_row", ["import_id", "outcome", "line"], unique=False)
    op.create_index("ix_import_row_state", "import_row", ["import_id", "state", "line"], unique=False)


def downgrade() -> None:
    op.drop_table("import_row")
    op.drop_table("import_known")
    op.drop_table("import_chunk")
    op.drop_table("import_job")
