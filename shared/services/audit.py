"""The audit log for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.db.queries.audit import list_audit
from shared.db.session import Database
from shared.sync.access import Actor, Permission


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which subject, when (aware UTC). `token_id` tells the tokens of one principal apart."""

    id: int
    at: datetime
    principal: str
    actor_kind: str
    token_id: int | None
    action: str
    subject_kind: str
    subject_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class AuditService:
    def __init__(self, database: Database) -> None:
        self._db = database

    def recent(
        self, actor: Actor, *, before_id: int | None = None, since: datetime | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Newest first; the next page is that before the last id of this one."""
        actor.must(Permission.READ_AUDIT)
        with self._db.transaction() as session:
            rows = list_audit(session, actor.workspace, before_id=before_id, since=since, limit=limit)
        return [AuditEntry(**row) for row in rows]
