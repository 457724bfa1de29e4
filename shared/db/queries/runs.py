"""Sync Overview: runs with their counters (LG-1)."""

from __future__ import annotations

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session


def list_runs(session: Session, workspace_id: int, integration_id: int | None, limit: int) -> list[RowMapping]:
    query = text(
        """
        SELECT r.id, r.integration_id, r.kind, r.trigger, r.state, r.created_at, r.started_at, r.ended_at,
            r.waiting_for, r.error_code, r.error_detail,
            coalesce((SELECT sum(records) FROM run_count c WHERE c.run_id = r.id), 0)::bigint AS records,
            coalesce((SELECT sum(records) FROM run_count c WHERE c.run_id = r.id AND c.outcome = 'failed'), 0)::bigint
                AS failed
        FROM run r
        WHERE r.workspace_id = :workspace AND (CAST(:integration AS bigint) IS NULL OR r.integration_id = :integration)
        ORDER BY r.id DESC LIMIT :limit
        """
    )
    values = {"workspace": workspace_id, "integration": integration_id, "limit": limit}
    return list(session.execute(query, values).mappings())


def get_run(session: Session, workspace_id: int, run_id: int) -> RowMapping | None:
    query = text("SELECT * FROM run WHERE id = :run AND workspace_id = :workspace")
    return session.execute(query, {"run": run_id, "workspace": workspace_id}).mappings().first()


def counts(session: Session, run_id: int) -> list[RowMapping]:
    query = text(
        "SELECT direction, pair, outcome, reason, records, conflicts, listed FROM run_count WHERE run_id = :run "
        "ORDER BY direction, pair, outcome, reason"
    )
    return list(session.execute(query, {"run": run_id}).mappings())


def progress(session: Session, run_id: int) -> RowMapping:
    """Rows listed so far, and of those that need work: how many there are, how many are settled."""
    query = text(
        """
        SELECT coalesce((SELECT sum(rows) FROM listing WHERE run_id = :run), 0)::bigint AS listed,
            count(*) AS total, count(*) FILTER (WHERE state = 'done') AS settled
        FROM staged WHERE run_id = :run AND coalesce(verdict, '') NOT IN ('twin', 'seen')
        """
    )
    return session.execute(query, {"run": run_id}).mappings().one()
