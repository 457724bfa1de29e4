"""Where the two orgs of an integration show their records (LG-2, LG-5)."""

from __future__ import annotations

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session


def get_orgs(session: Session, workspace_id: int, integration_id: int) -> list[RowMapping]:
    """One row a side: kind, side, vendor, external_id, accounts_server, record_url ("" where nobody set one)."""
    query = text(
        """
        SELECT i.kind, s.side, o.vendor, o.external_id, c.accounts_server,
            coalesce(o.settings->'capabilities'->>'record_url', '') AS record_url
        FROM integration i
        CROSS JOIN LATERAL (VALUES ('left', i.left_org_id), ('right', i.right_org_id)) AS s(side, org_id)
        JOIN org o ON o.id = s.org_id
        JOIN connection c ON c.org_id = o.id
        WHERE i.id = :integration AND i.workspace_id = :workspace
        """
    )
    return list(session.execute(query, {"integration": integration_id, "workspace": workspace_id}).mappings())
