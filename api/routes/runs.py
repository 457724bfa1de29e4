"""Syncs and their outcomes over REST (LG-1 to LG-3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from api.bearer import needs
from api.deps import MOST_ID, Id, TheActor, TheDoors
from shared.services.runs import FailureGroup, Failures, RunView
from shared.sync.access import Permission
from shared.sync.model import OutcomeKind

router = APIRouter(prefix="/runs", tags=["syncs"])

Limit = Annotated[int, Query(ge=1, le=1000)]
Filter = Annotated[int | None, Query(ge=1, le=MOST_ID)]


@router.get("", summary="Sync Overview", **needs(Permission.READ_LOGS))
def list_runs(
    doors: TheDoors,
    actor: TheActor,
    integration_id: Filter = None,
    limit: Limit = 50,
    since: Annotated[AwareDatetime | None, Query(description="With its time zone.")] = None,
    before: Annotated[str | None, Query(max_length=40, description="The cursor of the last row before.")] = None,
) -> list[dict[str, Any]]:
    """Newest first: the last two months; with `before` or `since` as far back as there is any."""
    return [dict(row) for row in doors.runs.recent(actor, integration_id, limit, since=since, before=before)]


@router.get("/{sync_id}", summary="One sync with its counts and progress", **needs(Permission.READ_LOGS))
def get_run(doors: TheDoors, actor: TheActor, sync_id: Id) -> RunView:
    return doors.runs.get(actor, sync_id)


@router.get("/{sync_id}/outcomes", summary="Sync details, a page at a time", **needs(Permission.READ_LOGS))
def list_outcomes(
    doors: TheDoors,
    actor: TheActor,
    sync_id: Id,
    outcome: OutcomeKind | None = None,
    after_id: Annotated[int, Query(ge=0, le=MOST_ID)] = 0,
    limit: Limit = 200,
) -> list[dict[str, Any]]:
    return doors.runs.outcomes(actor, sync_id, outcome=outcome, after_id=after_id, limit=limit)


@router.get("/{sync_id}/failures", summary="Failures by modules, direction and reason", **needs(Permission.READ_LOGS))
def list_failures(doors: TheDoors, actor: TheActor, sync_id: Id) -> list[FailureGroup]:
    return doors.runs.failure_groups(actor, sync_id)


Some = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


@router.get(
    "/{sync_id}/failures.csv",
    summary="Failed records with their reasons: all, or those of a group",
    response_class=StreamingResponse,
    **needs(Permission.READ_LOGS),
)
def failures_csv(
    doors: TheDoors, actor: TheActor, sync_id: Id, pair: Some = None, direction: Some = None, reason: Some = None
) -> StreamingResponse:
    wanted = Failures(pair, direction, reason)
    name = doors.runs.failures_name(actor, sync_id, wanted)
    return csv_stream(doors.runs.failures_csv(actor, sync_id, wanted), name)


def csv_stream(text: Iterator[str], name: str) -> StreamingResponse:
    """Trouble on the way breaks the connection off: a file that ends early does not look whole."""
    return StreamingResponse(
        text,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
