"""Data imports (LK-5): what is on, what there was, and the report of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from shared.db.models.imports import ACTIVE, ENDED
from shared.db.sql import Statements

UPLOAD_STALE_H = 24.0
"""An upload that has not ended by then was broken off together with its process."""


class Busy(NamedTuple):
    """A run or an import, and since when (aware UTC)."""

    id: int
    since: datetime


def lock_orgs(session: Session, org_ids: Sequence[int]) -> None:
    """Until the transaction ends: of a sync and an import that are asked for at the same moment one sees the other."""
    query = text("SELECT id FROM org WHERE id = ANY(:orgs) ORDER BY id FOR NO KEY UPDATE")
    session.execute(query, {"orgs": list(org_ids)})


def import_on(session: Session, org_ids: Sequence[int], *, parked: bool) -> Busy | None:
    """The import that is on for one of the orgs. `parked`: also one that gave its org back while it waits."""
    row = session.execute(
        text(
            f"""
            SELECT id, since FROM (
                SELECT CAST(split_part(holder, ':', 2) AS bigint) AS id, taken_at AS since FROM org_lease
                WHERE org_id = ANY(:orgs) AND kind = 'import' AND holder IS NOT NULL
                  AND coalesce(expires_at > clock_timestamp(), true)
                UNION ALL
                SELECT id, created_at FROM import_job
                WHERE org_id = ANY(:orgs) AND {ACTIVE} AND (:parked OR resume_at IS NULL)) AS busy
            ORDER BY since NULLS LAST LIMIT 1
            """
        ),
        {"orgs": list(org_ids), "parked": parked},
    ).first()
    return None if row is None else Busy(row.id, row.since)


def run_on(session: Session, org_id: int) -> Busy | None:
    """The sync or Fetch that has the org, or waits for it. One that waits for quota gave it back."""
    row = session.execute(
        text(
            """
            SELECT r.id, coalesce(r.started_at, r.created_at) AS since FROM run r
            JOIN integration i ON i.id = r.integration_id
            WHERE :org IN (i.left_org_id, i.right_org_id) AND r.kind <> 'webhook' AND r.ended_at IS NULL
              AND r.resume_at IS NULL
            ORDER BY r.id LIMIT 1
            """
        ),
        {"org": org_id},
    ).first()
    return None if row is None else Busy(row.id, row.since)


def waiting(session: Session) -> list[int]:
    """Imports that somebody should go on with."""
    query = text(
        f"""
        SELECT id FROM import_job WHERE {ACTIVE} AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
          AND (resume_at IS NULL OR resume_at <= clock_timestamp()) ORDER BY id
        """
    )
    return list(session.scalars(query))


def list_imports(session: Session, workspace_id: int, org_id: int | None, limit: int) -> list[RowMapping]:
    query = text(
        f"""
        {_JOB} WHERE j.workspace_id = :workspace AND j.state <> 'uploading'
          AND (CAST(:org AS bigint) IS NULL OR j.org_id = :org)
        ORDER BY j.id DESC LIMIT :limit
        """
    )
    return list(session.execute(query, {"workspace": workspace_id, "org": org_id, "limit": limit}).mappings())


def get_import(session: Session, workspace_id: int, import_id: int) -> RowMapping | None:
    query = text(f"{_JOB} WHERE j.workspace_id = :workspace AND j.id = :id AND j.state <> 'uploading'")
    return session.execute(query, {"workspace": workspace_id, "id": import_id}).mappings().first()


def list_rows(
    session: Session, workspace_id: int, import_id: int, *, outcome: str | None, after_line: int, limit: int
) -> list[RowMapping]:
    """By line, with the cells of those that failed."""
    query = text(
        """
        SELECT line, outcome, reason, detail, record_id, cells FROM import_row
        WHERE import_id = :id AND workspace_id = :workspace AND line > :after
          AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
        ORDER BY line LIMIT :limit
        """
    )
    values = {"id": import_id, "workspace": workspace_id, "after": after_line, "outcome": outcome, "limit": limit}
    return list(session.execute(query, values).mappings())


def end_all(session: Statements, code: str, why: str) -> None:
    """Each import that is on ends as failed, and each row that is open with it."""
    session.execute(text(_END_ROWS.format(f"IN (SELECT id FROM import_job WHERE {ACTIVE})")))
    session.execute(
        text(
            f"UPDATE import_job j SET {_COUNTED}, state = 'failed', ended_at = clock_timestamp(), waiting_for = NULL, "
            f"resume_at = NULL, error_code = :code, error_detail = :why WHERE {ACTIVE}"
        ),
        {"code": code, "why": why},
    )
    session.execute(text(f"DELETE FROM import_chunk WHERE import_id IN (SELECT id FROM import_job WHERE {ENDED})"))
    session.execute(text(f"DELETE FROM import_known WHERE import_id IN (SELECT id FROM import_job WHERE {ENDED})"))


def end_one(session: Session, import_id: int, owner: str, state: str, code: str | None, why: str | None) -> bool:
    """False: `owner` has not claimed it, or it has ended; nothing is changed then. Rows that are open end with it."""
    ended = session.execute(
        text(
            "UPDATE import_job SET state = :state, ended_at = clock_timestamp(), waiting_for = NULL, resume_at = NULL, "
            f"error_code = :code, error_detail = :why WHERE id = :id AND claimed_by = :owner AND {ACTIVE} RETURNING id"
        ),
        {"id": import_id, "owner": owner, "state": state, "code": code, "why": (why or "")[:500] or None},
    ).first()
    if ended is None:
        return False
    session.execute(text(_END_ROWS.format("= :id")), {"id": import_id})
    session.execute(text(f"UPDATE import_job j SET {_COUNTED} WHERE id = :id"), {"id": import_id})
    session.execute(text("DELETE FROM import_chunk WHERE import_id = :id"), {"id": import_id})
    session.execute(text("DELETE FROM import_known WHERE import_id = :id"), {"id": import_id})
    return True


def count(session: Session, import_id: int) -> None:
    """The counters, from the rows."""
    session.execute(text(f"UPDATE import_job j SET {_COUNTED} WHERE id = :id"), {"id": import_id})


def forget_old(session: Session, cells_days: float, months: int) -> None:
    """Uploads that were broken off, cells that nobody corrected, imports that ended long ago."""
    session.execute(
        text(
            "DELETE FROM import_job WHERE state = 'uploading' "
            "AND created_at < clock_timestamp() - make_interval(secs => :s)"
        ),
        {"s": UPLOAD_STALE_H * 3600},
    )
    session.execute(
        text(
            "UPDATE import_row SET cells = NULL, key = '' WHERE cells IS NOT NULL AND import_id IN ("
            "SELECT id FROM import_job WHERE ended_at < clock_timestamp() - make_interval(secs => :s))"
        ),
        {"s": cells_days * 86_400},
    )
    session.execute(
        text("DELETE FROM import_job WHERE ended_at < clock_timestamp() - make_interval(months => :months)"),
        {"months": months},
    )


_JOB = """
    SELECT j.*, o.vendor, o.name AS org_name, o.external_id, c.id AS connection_id, c.accounts_server,
        o.settings->'capabilities'->>'record_url' AS record_url
    FROM import_job j JOIN org o ON o.id = j.org_id LEFT JOIN connection c ON c.org_id = o.id"""
# What may have been sent is told apart from what never was.
_END_ROWS = """
    UPDATE import_row SET state = 'done', outcome = 'failed', due_at = NULL,
        reason = CASE WHEN state = 'open' THEN 'IMPORT_ENDED' ELSE 'IN_DOUBT_UNRESOLVED' END
    WHERE state <> 'done' AND import_id {}"""
_COUNTED = ", ".join(
    f"{name} = (SELECT count(*) FROM import_row r WHERE r.import_id = j.id AND r.outcome = '{name}')"
    for name in ("created", "updated", "skipped", "failed")
)
