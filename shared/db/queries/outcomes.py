"""The sync logs: outcome rows of a run, oldest first (LG-2, LG-3), and of months (LG-1).

All of them a page at a time, by the last id of the page before: a page costs the same wherever it is, no transaction
stays open while somebody reads, and nothing is kept in memory but a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

_COLUMNS = (
    "id, at, run_id, pair, direction, side, record_id, twin_id, outcome, reason, detail, changes, conflicts, "
    "warnings, attempt, origin, received_at, written_at"
)
_OF_RUN = f"SELECT {_COLUMNS} FROM outcome WHERE workspace_id = :workspace AND run_id = :run AND id > :after"


def list_outcomes(
    session: Session, workspace_id: int, run_id: int, *, outcome: str | None, after_id: int, limit: int
) -> list[RowMapping]:
    """`outcome` None: any."""
    # Two statements, for a plan that fits both reads a run's rows to the end.
    wanted = "" if outcome is None else "AND outcome = :outcome"
    query = text(f"{_OF_RUN} {wanted} ORDER BY id LIMIT :limit")
    values: dict[str, object] = {"workspace": workspace_id, "run": run_id, "after": after_id, "limit": limit}
    if outcome is not None:
        values["outcome"] = outcome
    return list(session.execute(query, values).mappings())


def list_failures(
    session: Session, workspace_id: int, run_id: int, wanted: Mapping[str, str | None], *, after_id: int, limit: int
) -> list[RowMapping]:
    """`wanted` has pair, direction and reason; None: any."""
    query = text(
        f"{_OF_RUN} AND outcome = 'failed' "
        "AND (CAST(:pair AS text) IS NULL OR pair = :pair) "
        "AND (CAST(:direction AS text) IS NULL OR direction = :direction) "
        "AND (CAST(:reason AS text) IS NULL OR reason = :reason) ORDER BY id LIMIT :limit"
    )
    values = {"workspace": workspace_id, "run": run_id, "after": after_id, "limit": limit, **wanted}
    return list(session.execute(query, values).mappings())


def list_span(
    session: Session,
    workspace_id: int,
    integration_id: int,
    *,
    begins: datetime,
    ends: datetime,
    after: tuple[datetime, int],
    limit: int,
) -> list[RowMapping]:
    """From `begins` to before `ends`; `after`: time and id of the last row of the page before."""
    query = text(
        f"SELECT {_COLUMNS} FROM outcome WHERE workspace_id = :workspace AND integration_id = :integration "
        "AND at >= :begins AND at < :ends AND (at, id) > (:after_at, :after_id) ORDER BY at, id LIMIT :limit"
    )
    values = {
        "workspace": workspace_id, "integration": integration_id, "begins": begins, "ends": ends,
        "after_at": after[0], "after_id": after[1], "limit": limit,
    }  # fmt: skip
    return list(session.execute(query, values).mappings())
