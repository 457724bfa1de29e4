"""The audit log over REST, for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from api.bearer import needs
from api.deps import MOST_ID, TheActor, TheDoors
from shared.services.audit import AuditEntry
from shared.sync.access import Permission

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("", summary="Who did what, newest first, a page at a time", **needs(Permission.READ_AUDIT))
def list_audit(
    doors: TheDoors,
    actor: TheActor,
    before_id: Annotated[int | None, Query(ge=1, le=MOST_ID, description="The last id of the page before.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="With its time zone.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditEntry]:
    return doors.audit.recent(actor, before_id=before_id, since=since, limit=limit)
