"""Invoices of work orders over REST (TR-7). One by hand: sync that work order as a record. The Invoice Mapping (FM-6)
is one of the mappings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from api.routes.integrations import plain
from shared.services.invoicing import MOST_STATUS_CHARS, MOST_STATUSES, MOST_TERMS_DAYS, InvoicingView
from shared.sync.access import Permission

router = APIRouter(prefix="/integrations/{integration_id}/invoicing", tags=["invoicing"])

Status = Annotated[str, Field(min_length=1, max_length=MOST_STATUS_CHARS), AfterValidator(plain)]


class Wanted(BaseModel):
    """What is left out stays as it was. `statuses`: of work orders that are invoiced by themselves; none: by hand."""

    model_config = ConfigDict(extra="forbid")

    on: bool | None = None
    statuses: Annotated[list[Status], Field(max_length=MOST_STATUSES)] | None = None
    terms_days: Annotated[int, Field(ge=0, le=MOST_TERMS_DAYS)] | None = None


@router.get("", summary="Whether invoices are made of work orders, and of which", **needs(Permission.VIEW))
def get_invoicing(doors: TheDoors, actor: TheActor, integration_id: Id) -> InvoicingView:
    return doors.invoicing.get(actor, integration_id)


@router.put("", summary="Switch it on or off; at which statuses, due when", **needs(Permission.CONFIGURE))
def set_invoicing(doors: TheDoors, actor: TheActor, integration_id: Id, wanted: Wanted) -> InvoicingView:
    return doors.invoicing.set(
        actor, integration_id, on=wanted.on, statuses=wanted.statuses, terms_days=wanted.terms_days
    )
