"""A run remembers how far it has queued; what is listed is changed in place; hot rows do not ask for their workspace

The workspace of a binding, an intent and a staged row is that of its org, integration and run, which do ask: three
checks a record less.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_HOT = ("binding", "intent", "staged")
_QUEUED_BY = ["run_id", "pair", "side", "record_id"]
_BOUND = "verdict IN ('pair', 'both')"
_UNBOUND = "(verdict IS NULL OR verdict NOT IN ('pair', 'both'))"


def upgrade() -> None:
    op.add_column("run", sa.Column("queued_to", postgresql.JSONB(), nullable=True))
    for name in ("ix_staged_bound", "ix_staged_unbound", "ix_staged_queued"):
        op.drop_index(name, "staged")
    op.execute("ALTER TABLE staged SET (fillfactor = 50)")
    for table in _HOT:
        op.drop_constraint(f"fk_{table}_workspace_id", table, type_="foreignkey")


def downgrade() -> None:
    for table in _HOT:
        op.create_foreign_key(f"fk_{table}_workspace_id", table, "workspace", ["workspace_id"], ["id"])
    op.execute("ALTER TABLE staged RESET (fillfactor)")
    op.create_index("ix_staged_bound", "staged", _QUEUED_BY, postgresql_where=sa.text(f"state = 'listed' AND {_BOUND}"))
    op.create_index(
        "ix_staged_unbound", "staged", _QUEUED_BY, postgresql_where=sa.text(f"state = 'listed' AND {_UNBOUND}")
    )
    op.create_index("ix_staged_queued", "staged", ["run_id"], postgresql_where=sa.text("state = 'queued'"))
    op.drop_column("run", "queued_to")
