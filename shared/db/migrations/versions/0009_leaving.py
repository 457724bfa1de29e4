"""A lease whose run has ended, kept for its open batches"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("ck_org_lease_kind", "org_lease")
    op.create_check_constraint("kind", "org_lease", "kind IN ('run', 'webhook', 'import', 'leaving')")


def downgrade() -> None:
    op.execute("UPDATE org_lease SET kind = 'webhook' WHERE kind = 'leaving'")
    op.drop_constraint("ck_org_lease_kind", "org_lease")
    op.create_check_constraint("kind", "org_lease", "kind IN ('run', 'webhook', 'import')")
