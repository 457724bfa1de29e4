"""Bindings over REST (DU-1, TR-9)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import MOST_ID, Id, TheActor, TheDoors
from api.routes.integrations import Short, plain
from shared.services.bindings import AsideView, BindingView, Imported
from shared.sync.access import Permission
from shared.sync.model import BindingState, Side

router = APIRouter(prefix="/integrations/{integration_id}", tags=["bindings"])

RecordId = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain)]
Filter = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class NewBinding(BaseModel):
    """`pair` is a pair of modules such as companies; the ids are the vendors'."""

    model_config = ConfigDict(extra="forbid")

    pair: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(plain)]
    left_id: RecordId
    right_id: RecordId


class Unbound(BaseModel):
    twin_id: str


@router.get("/bindings", summary="Bindings, a page at a time", **needs(Permission.READ_LOGS))
def list_bindings(
    doors: TheDoors,
    actor: TheActor,
    integration_id: Id,
    pair: Filter = None,
    state: BindingState | None = None,
    search: Filter = None,
    after_id: Annotated[int, Query(ge=0, le=MOST_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[BindingView]:
    return doors.bindings.search(
        actor, integration_id, pair=pair, state=state, search=search, after_id=after_id, limit=limit
    )


@router.post("/bindings", status_code=204, summary="These two records are the same", **needs(Permission.CONFIGURE))
def bind(doors: TheDoors, actor: TheActor, integration_id: Id, new: NewBinding) -> None:
    doors.bindings.bind(actor, integration_id, new.pair, new.left_id, new.right_id)


@router.get("/bindings.csv", summary="All bindings", response_class=StreamingResponse, **needs(Permission.READ_LOGS))
def bindings_csv(doors: TheDoors, actor: TheActor, integration_id: Id, pair: Filter = None) -> StreamingResponse:
    return StreamingResponse(
        doors.bindings.csv(actor, integration_id, pair),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="Bindings-{integration_id}.csv"'},
    )


@router.post(
    "/bindings.csv",
    summary="Bind by a file with the columns modules, left_record and right_record",
    **needs(Permission.CONFIGURE),
)
def import_bindings(
    doors: TheDoors, actor: TheActor, integration_id: Id, given: Annotated[str, Body(media_type="text/csv")]
) -> Imported:
    return doors.bindings.import_csv(actor, integration_id, given)


@router.get("/aside", summary="Records that are set aside: unbound, or kept by Clone", **needs(Permission.READ_LOGS))
def list_aside(doors: TheDoors, actor: TheActor, integration_id: Id) -> list[AsideView]:
    return doors.bindings.aside(actor, integration_id)


@router.delete(
    "/records/{pair}/{side}/{record_id}/binding",
    summary="Unbind: neither record is matched or made anew until it is bound or released",
    **needs(Permission.CONFIGURE),
)
def unbind(doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, side: Side, record_id: Short) -> Unbound:
    return Unbound(twin_id=doors.bindings.unbind(actor, integration_id, pair, side, record_id))


@router.post(
    "/records/{pair}/{side}/{record_id}/release",
    status_code=204,
    summary="A record that was unbound may be matched and made again",
    **needs(Permission.CONFIGURE),
)
def release(doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, side: Side, record_id: Short) -> None:
    doors.bindings.release(actor, integration_id, pair, side, record_id)


@router.post(
    "/records/{pair}/{side}/{record_id}/create-again",
    status_code=204,
    summary="Make the deleted twin of this record again",
    **needs(Permission.SYNC),
)
def create_again(
    doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, side: Side, record_id: Short
) -> None:
    doors.bindings.create_again(actor, integration_id, pair, side, record_id)
