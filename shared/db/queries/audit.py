"""The audit log of a workspace, newest first, a page at a time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session


def list_audit(
    session: Session, workspace_id: int, *, before_id: int | None, since: datetime | None, limit: int
) -> list[RowMapping]:
    query = text(
        """
        SELECT id, at, principal, actor_kind, token_id, action, subject_kind, subject_id, before, after FROM audit_log
        WHERE workspace_id = :workspace AND (CAST(:before AS bigint) IS NULL OR id < :before)
          AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)
        ORDER BY id DESC LIMIT :limit
        """
    )
    values = {"workspace": workspace_id, "before": before_id, "since": since, "limit": limit}
    return list(session.execute(query, values).mappings())
