"""Sync logs of whole months as CSV, before they are removed (LG-1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from shared.db.queries import outcomes as queries
from shared.db.session import Database
from shared.errors import Refused
from shared.services.integrations import IntegrationService
from shared.services.runs import PAGE, csv_text, explained
from shared.sync.access import Actor, Permission

_HEAD = (
    "at", "sync", "origin", "module", "direction", "side", "record", "twin", "outcome", "reason", "what happened",
    "what to do", "tries", "changes", "conflicts", "warnings", "received at", "written at",
)  # fmt: skip


class LogExportService:
    def __init__(self, database: Database, integrations: IntegrationService) -> None:
        self._db = database
        self._integrations = integrations

    def months_csv(self, actor: Actor, integration_id: int, first: str, last: str | None = None) -> Iterator[str]:
        """Every outcome of the months "2026-05" to `last` (None: of the first alone), in UTC, page by page of RFC 4180.

        Cells cannot be formulas; what was changed is JSON in one. Raises NotFound, Refused (no months), NotAllowed, at
        once; Unavailable also while it is read.
        """
        actor.must(Permission.READ_LOGS)
        self._integrations.get(actor, integration_id)
        begins, ends = span(first, last or first)
        return self._pages(actor, integration_id, begins, ends)

    def _pages(self, actor: Actor, integration_id: int, begins: datetime, ends: datetime) -> Iterator[str]:
        yield csv_text([_HEAD])
        after = (begins, 0)
        while True:
            with self._db.transaction() as session:
                rows = queries.list_span(
                    session, actor.workspace, integration_id, begins=begins, ends=ends, after=after, limit=PAGE
                )
            if rows:
                after = (rows[-1]["at"], rows[-1]["id"])
                yield csv_text(_cells(explained(row)) for row in rows)
            if len(rows) < PAGE:
                return


def export_name(integration_id: int, first: str, last: str | None) -> str:
    months = first if last in (None, first) else f"{first}-to-{last}"
    return f"SyncLog-{integration_id}-{months}.csv"


def span(first: str, last: str) -> tuple[datetime, datetime]:
    """From the first moment of the one month to the first after the other, in UTC. Raises Refused."""
    try:
        begins, end = (datetime.strptime(f"{one}-01", "%Y-%m-%d").replace(tzinfo=UTC) for one in (first, last))
        ends = end.replace(year=end.year + end.month // 12, month=end.month % 12 + 1)
    except ValueError:
        raise Refused("A month is written 2026-05.", code="BAD_MONTH") from None
    if ends <= begins:
        raise Refused("The last month comes before the first.", code="BAD_MONTH")
    return begins, ends


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        row["at"].isoformat(), row["run_id"], row["origin"], row["pair"], row["direction"], row["side"],
        row["record_id"], row["twin_id"], row["outcome"], row["reason"], row["sentence"], row["remedy"], row["attempt"],
        *(_json(row[name]) for name in ("changes", "conflicts", "warnings")),
        *(None if row[name] is None else row[name].isoformat() for name in ("received_at", "written_at")),
    )  # fmt: skip


def _json(found: list[Any]) -> str:
    return json.dumps(found, ensure_ascii=False) if found else ""
