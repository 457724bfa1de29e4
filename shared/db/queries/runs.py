"""Sync Overview: runs with their counters (LG-1)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

SHOWN_MONTHS = 2


def list_runs(
    session: Session,
    workspace_id: int,
    integration_id: int | None,
    *,
    since: datetime | None,
    before: tuple[int, int] | None,
    limit: int,
) -> list[RowMapping]:
    """Newest first. `counts`: [{direction, pair, outcome, records, conflicts}]. `before`: microseconds since 1970 and
    id, as in `cursor`. Without `before` and `since`: the last two months."""
    # What is not asked for is left out, for a plan that fits every question fits none.
    wanted = ["r.workspace_id = :workspace"]
    values: dict[str, object] = {"workspace": workspace_id, "limit": limit}
    if integration_id is not None:
        wanted.append("r.integration_id = :integration")
        values["integration"] = integration_id
    if before is not None:
        wanted.append(
            "(r.created_at, r.id) < (timestamptz 'epoch' + :before_us * interval '1 microsecond', :before_id)"
        )
        values |= {"before_us": before[0], "before_id": before[1]}
    if since is not None:
        wanted.append("r.created_at >= :since")
        values["since"] = since
    elif before is None:
        wanted.append(f"r.created_at >= now() - interval '{SHOWN_MONTHS} months'")
    query = text(
        f"""
        SELECT r.id, r.integration_id, r.kind, r.trigger, r.state, r.created_at, r.started_at, r.ended_at,
            r.waiting_for, r.error_code, r.error_detail,
            coalesce((SELECT sum(records) FROM run_count c WHERE c.run_id = r.id), 0)::bigint AS records,
            coalesce((SELECT sum(records) FROM run_count c WHERE c.run_id = r.id AND c.outcome = 'failed'), 0)::bigint
                AS failed,
            coalesce((SELECT jsonb_agg(to_jsonb(k)) FROM (
                SELECT direction, pair, outcome, sum(records)::bigint AS records, sum(conflicts)::bigint AS conflicts
                FROM run_count c WHERE c.run_id = r.id GROUP BY direction, pair, outcome
                ORDER BY direction, pair, outcome) k), '[]') AS counts,
            (extract(epoch FROM r.created_at) * 1000000)::bigint || '.' || r.id AS cursor
        FROM run r WHERE {" AND ".join(wanted)} ORDER BY r.created_at DESC, r.id DESC LIMIT :limit
        """
    )
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


def manual_syncs(session: Session, integration_id: int, since: datetime, before: datetime) -> int:
    """How many were accepted. Fetch does not count (TR-4); single records and retries are no syncs."""
    query = text(
        "SELECT count(*) FROM run WHERE integration_id = :i AND kind = 'sync' AND trigger = 'manual' "
        "AND created_at >= :since AND created_at < :before"
    )
    return int(session.execute(query, {"i": integration_id, "since": since, "before": before}).scalar_one())
