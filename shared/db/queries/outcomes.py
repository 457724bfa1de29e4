"""Sync details: outcome rows of a run, newest last (LG-2, LG-3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

_COLUMNS = (
    "id, at, run_id, pair, direction, side, record_id, twin_id, outcome, reason, detail, changes, conflicts, "
    "warnings, attempt, origin, received_at, written_at"
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


def iterate_failures(
    session: Session, workspace_id: int, run_id: int, wanted: Mapping[str, str | None]
) -> Iterator[RowMapping]:
    """`wanted` has pair, direction and reason; None: any."""
    query = text(
        f"SELECT {_COLUMNS} FROM outcome WHERE workspace_id = :workspace AND run_id = :run AND outcome = 'failed' "
        "AND (CAST(:pair AS text) IS NULL OR pair = :pair) "
        "AND (CAST(:direction AS text) IS NULL OR direction = :direction) "
        "AND (CAST(:reason AS text) IS NULL OR reason = :reason) ORDER BY pair, id"
    )
    values = {"workspace": workspace_id, "run": run_id, **wanted}
    result = session.execute(query, values, execution_options={"yield_per": 500})
    yield from result.mappings()
