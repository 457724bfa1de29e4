"""Keys of bindings begin with the record, and a run finds what is next without sorting what is left

Postgres plans by what it knew of a table at its last ANALYZE. Of bindings that were just made it knew nothing, took the
orgs and the pair for as telling as the record's id, and read all bindings of the org for each batch.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BEFORE = ("left_org_id", "right_org_id", "pair")
_ORDER = ["run_id", "pair", "side", "record_id"]


def upgrade() -> None:
    for side in ("left", "right"):
        op.drop_constraint(op.f(f"uq_binding_left_org_id_right_org_id_pair_{side}_id"), "binding", type_="unique")
        op.create_unique_constraint(
            op.f(f"uq_binding_{side}_id_left_org_id_right_org_id_pair"), "binding", [f"{side}_id", *_BEFORE]
        )
    op.drop_index("ix_staged_state", table_name="staged")
    bound, unbound = "verdict IN ('pair', 'both')", "(verdict IS NULL OR verdict NOT IN ('pair', 'both'))"
    for name, which in (("bound", bound), ("unbound", unbound)):
        where = sa.text(f"state = 'listed' AND {which}")
        op.create_index(f"ix_staged_{name}", "staged", _ORDER, postgresql_where=where)
    op.create_index("ix_staged_queued", "staged", ["run_id"], postgresql_where=sa.text("state = 'queued'"))


def downgrade() -> None:
    op.drop_index("ix_staged_queued", table_name="staged")
    for name in ("bound", "unbound"):
        op.drop_index(f"ix_staged_{name}", table_name="staged")
    op.create_index("ix_staged_state", "staged", ["run_id", "state", "pair"])
    for side in ("left", "right"):
        op.drop_constraint(op.f(f"uq_binding_{side}_id_left_org_id_right_org_id_pair"), "binding", type_="unique")
        op.create_unique_constraint(
            op.f(f"uq_binding_left_org_id_right_org_id_pair_{side}_id"), "binding", [*_BEFORE, f"{side}_id"]
        )
