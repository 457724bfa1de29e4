"""What the views of the sync logs are read by, and what old ones are removed by"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_outcome_run", table_name="outcome")
    op.create_index("ix_outcome_run", "outcome", ["run_id", "id"], unique=False)
    op.create_index("ix_outcome_run_outcome", "outcome", ["run_id", "outcome", "id"], unique=False)
    op.create_index("ix_outcome_month", "outcome", ["integration_id", "at", "id"], unique=False)
    op.create_index("ix_run_workspace", "run", ["workspace_id", "created_at", "id"], unique=False)
    op.drop_index("ix_run_integration_started", table_name="run")
    op.create_index("ix_run_integration_started", "run", ["integration_id", "created_at", "id"], unique=False)
    op.create_index("ix_run_ended", "run", ["ended_at"], unique=False)
    op.create_index("ix_lease_log_taken", "lease_log", ["taken_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_lease_log_taken", table_name="lease_log")
    op.drop_index("ix_run_ended", table_name="run")
    op.drop_index("ix_run_integration_started", table_name="run")
    op.create_index("ix_run_integration_started", "run", ["integration_id", "created_at"], unique=False)
    op.drop_index("ix_run_workspace", table_name="run")
    op.drop_index("ix_outcome_month", table_name="outcome")
    op.drop_index("ix_outcome_run_outcome", table_name="outcome")
    op.drop_index("ix_outcome_run", table_name="outcome")
    op.create_index("ix_outcome_run", "outcome", ["run_id", "outcome"], unique=False)
