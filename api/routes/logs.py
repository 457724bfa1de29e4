"""Sync logs of whole months over REST (LG-1)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from api.routes.runs import csv_stream
from shared.services.log_export import export_name
from shared.sync.access import Permission

router = APIRouter(prefix="/integrations", tags=["syncs"])

Month = r"^[0-9]{4}-[0-9]{2}$"


@router.get(
    "/{integration_id}/logs.csv",
    summary="Every outcome of whole months, in UTC: what is to be kept longer than here",
    response_class=StreamingResponse,
    **needs(Permission.READ_LOGS),
)
def export_logs(
    doors: TheDoors,
    actor: TheActor,
    integration_id: Id,
    first: Annotated[str, Query(alias="from", pattern=Month, description="Such as 2026-05.")],
    last: Annotated[str | None, Query(alias="to", pattern=Month, description="With it; else the first alone.")] = None,
) -> StreamingResponse:
    text = doors.log_export.months_csv(actor, integration_id, first, last)
    return csv_stream(text, export_name(integration_id, first, last))
