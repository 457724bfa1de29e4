"""Notification e-mail over REST (LG-8)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from shared.services.notifications import MOST_ADDRESSES, NoticeView, Notifications
from shared.sync.access import Permission

router = APIRouter(prefix="/integrations/{integration_id}/notifications", tags=["notifications"])


class Wanted(BaseModel):
    """Replaces what is there. Failed syncs are told of always, others as `manual` and `automatic` say."""

    model_config = ConfigDict(extra="forbid")

    addresses: Annotated[list[Annotated[str, Field(min_length=3, max_length=254)]], Field(max_length=MOST_ADDRESSES)]
    manual: bool = False
    automatic: bool = False


@router.get("", summary="Who is told of what", **needs(Permission.CONFIGURE))
def get_notifications(doors: TheDoors, actor: TheActor, integration_id: Id) -> Notifications:
    return doors.notifications.get(actor, integration_id)


@router.put("", summary="Tell these addresses; none: nobody", **needs(Permission.CONFIGURE))
def save_notifications(doors: TheDoors, actor: TheActor, integration_id: Id, wanted: Wanted) -> Notifications:
    return doors.notifications.save(
        actor, integration_id, wanted.addresses, manual=wanted.manual, automatic=wanted.automatic
    )


@router.get("/sent", summary="The latest mails: sent, waiting, given up", **needs(Permission.CONFIGURE))
def list_notices(doors: TheDoors, actor: TheActor, integration_id: Id) -> list[NoticeView]:
    return doors.notifications.recent(actor, integration_id)
