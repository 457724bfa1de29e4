"""Integrations that share an org and must take the same of its companies and contacts (SU-5, ST-1)."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.integrations.registry import integration as declared
from shared.integrations.registry import same_types
from shared.sync.guards import Neighbour


def neighbours(session: Session, kind: str, left_org_id: int, right_org_id: int, *, but: int = 0) -> list[Neighbour]:
    """Those that are at work: a draft has no say yet, what is disabled none any more. `but`: this one is not its own
    neighbour."""
    kinds = same_types(kind)
    if not kinds:
        return []
    rows = session.execute(
        text(
            "SELECT kind, name, sync_type FROM integration WHERE kind = ANY(:kinds) AND id <> :but "
            "AND state IN ('enabled', 'paused') "
            "AND (left_org_id = ANY(:orgs) OR right_org_id = ANY(:orgs)) ORDER BY id"
        ),
        {"kinds": list(kinds), "but": but, "orgs": [left_org_id, right_org_id]},
    )
    return [Neighbour(row.name, declared(row.kind).label, row.sync_type) for row in rows]
