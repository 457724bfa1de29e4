"""Sync details: outcome rows of a run, newest last (LG-2, LG-3)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

_COLUMNS = (
    "id, at, run_id, pair, direction, record_id, twin_id, outcome, reason, detail, changes, conflicts, warnings, "
    "attempt, origin, received_at, written_at"
)


def list_outcomes(
    session: Session, workspace_id: int, run_id: int, *, outcome: str | None, after_id: int, limit: int
) -> list[RowMapping]:
    query = text(
        f"SELECT {_COLUMNS} FROM outcome WHERE workspace_id = :workspace AND run_id = :run AND id > :after "
        "AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome) ORDER BY id LIMIT :limit"
    )
    values = {"workspace": workspace_id, "run": run_id, "outcome": outcome, "after": after_id, "limit": limit}
    return list(session.execute(query, values).mappings())


def iterate_failures(session: Session, workspace_id: int, run_id: int) -> Iterator[RowMapping]:
    query = text(
        f"SELECT {_COLUMNS} FROM outcome WHERE workspace_id = :workspace AND run_id = :run AND outcome = 'failed' "
        "ORDER BY pair, id"
    )
    result = session.execute(query, {"workspace": workspace_id, "run": run_id}, execution_options={"yield_per": 500})
    yield from result.mappings()
