"""Integrations of a workspace, one at a time."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.models import Integration
from shared.errors import NotFound


def load_own(session: Session, workspace_id: int, integration_id: int, *, lock: bool = False) -> Integration:
    """Raises NotFound; another workspace's integration is not found either. `lock`: others wait who change it too."""
    query = select(Integration).where(Integration.workspace_id == workspace_id, Integration.id == integration_id)
    row = session.scalars(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(
            f"There is no integration {integration_id}. See `bothways integrations`.", code="UNKNOWN_INTEGRATION"
        )
    return row
