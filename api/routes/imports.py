"""Data imports over REST (LK-5). A file is read as it comes, and never held whole."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.bearer import needs
from api.deps import MOST_ID, Id, TheActor, TheDoors
from shared.services.imports import ImportView, RowView
from shared.sync.access import Permission
from shared.sync.imports import ImportKind, OnMatch, named_columns

router = APIRouter(tags=["imports"])

UPLOADS = re.compile(r"/api/v1/connections/[0-9]+/imports/[a-z]+")
"""Paths whose bodies are files."""
Outcome = Literal["created", "updated", "skipped", "failed"]


def _takes_csv(said: dict[str, Any]) -> dict[str, Any]:
    """The body is read as a stream, so the description must be told of it."""
    content = {"text/csv": {"schema": {"type": "string", "format": "binary"}}}
    return {
        **said, "openapi_extra": {**said["openapi_extra"], "requestBody": {"required": True, "content": content}},
    }  # fmt: skip


@router.post(
    "/connections/{connection_id}/imports/{kind}",
    status_code=202,
    summary="Import a CSV file (UTF-8, with a header line) into the organisation",
    **_takes_csv(needs(Permission.SYNC)),
)
async def begin_import(
    request: Request,
    doors: TheDoors,
    actor: TheActor,
    connection_id: Id,
    kind: ImportKind,
    on_match: OnMatch = OnMatch.SKIP,
    column: Annotated[list[str] | None, Query(max_length=200, description="Header=Field, for other headers")] = None,
    name: Annotated[str, Query(max_length=200)] = "",
) -> ImportView:
    named = named_columns(column or [])

    def begin() -> Any:
        return doors.imports.begin(actor, connection_id, kind, on_match=on_match, columns=named, name=name)

    upload = await to_thread.run_sync(begin)
    try:
        async for piece in request.stream():
            await to_thread.run_sync(upload.write, piece)
        view: ImportView = await to_thread.run_sync(upload.finish)
    except ClientDisconnect:
        await to_thread.run_sync(upload.drop)
        raise HTTPException(400, "The file did not come whole.") from None
    except BaseException:
        await to_thread.run_sync(upload.drop)
        raise
    return view


@router.get("/imports", summary="The latest imports", **needs(Permission.VIEW))
def list_imports(
    doors: TheDoors,
    actor: TheActor,
    connection_id: Annotated[int | None, Query(ge=1, le=MOST_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[ImportView]:
    return doors.imports.recent(actor, connection_id, limit)


@router.get("/imports/{import_id}", summary="One import with its counts and progress", **needs(Permission.VIEW))
def get_import(doors: TheDoors, actor: TheActor, import_id: Id) -> ImportView:
    return doors.imports.get(actor, import_id)


@router.get("/imports/{import_id}/rows", summary="Rows with their outcomes, a page at a time", **needs(Permission.SYNC))
def list_import_rows(
    doors: TheDoors,
    actor: TheActor,
    import_id: Id,
    outcome: Outcome | None = None,
    after_line: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[RowView]:
    return doors.imports.rows(actor, import_id, outcome=outcome, after_line=after_line, limit=limit)


@router.get(
    "/imports/{import_id}/report.csv",
    summary="The report; what failed in it can be corrected and imported again",
    response_class=StreamingResponse,
    **needs(Permission.SYNC),
)
def import_report(doors: TheDoors, actor: TheActor, import_id: Id, outcome: Outcome | None = None) -> StreamingResponse:
    return StreamingResponse(
        doors.imports.report(actor, import_id, outcome=outcome),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="Import-{import_id}.csv"'},
    )


@router.post("/imports/{import_id}/cancel", status_code=202, summary="Cancel an import", **needs(Permission.SYNC))
def cancel_import(doors: TheDoors, actor: TheActor, import_id: Id) -> ImportView:
    return doors.imports.cancel(actor, import_id)
