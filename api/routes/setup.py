"""Set-up of an integration over REST, step by step (SU-2)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from api.routes.integrations import NewDraft, Short, plain
from shared.services.setup import SetupView
from shared.sync.access import Permission
from shared.sync.model import Policy

router = APIRouter(tags=["set-up"])


class Choice(BaseModel):
    """`sync_type`: I to IV, as far as they are offered."""

    model_config = ConfigDict(extra="forbid")

    policy: Policy
    sync_type: Annotated[str, Field(min_length=1, max_length=20), AfterValidator(plain)]


@router.post("/drafts", status_code=201, summary="Begin set-up of two orgs", **needs(Permission.CONFIGURE))
def begin_setup(doors: TheDoors, actor: TheActor, new: NewDraft) -> SetupView:
    made = doors.setup.begin(actor, new.kind, new.left_org_id, new.right_org_id, new.name)
    return doors.setup.get(actor, made)


@router.delete("/drafts/{integration_id}", status_code=204, summary="Discard a draft", **needs(Permission.CONFIGURE))
def discard_draft(doors: TheDoors, actor: TheActor, integration_id: Id) -> None:
    doors.setup.discard(actor, integration_id)


@router.get(
    "/integrations/{integration_id}/setup", summary="What is done and what comes next", **needs(Permission.VIEW)
)
def get_setup(doors: TheDoors, actor: TheActor, integration_id: Id) -> SetupView:
    return doors.setup.get(actor, integration_id)


@router.put(
    "/integrations/{integration_id}/setup/policy",
    summary="Choose the duplicates policy and the sync type",
    **needs(Permission.CONFIGURE),
)
def choose_policy(doors: TheDoors, actor: TheActor, integration_id: Id, chosen: Choice) -> SetupView:
    return doors.setup.choose(actor, integration_id, chosen.policy, chosen.sync_type)


@router.post(
    "/integrations/{integration_id}/setup/mappings/{pair}",
    summary="The mapping of this pair is right as it stands",
    **needs(Permission.CONFIGURE),
)
def confirm_mapping(
    doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, last_change_wins: bool = False
) -> SetupView:
    return doors.setup.confirm_mapping(actor, integration_id, pair, last_change_wins=last_change_wins)


@router.post(
    "/integrations/{integration_id}/setup/enable", summary="Save and Enable, once", **needs(Permission.CONFIGURE)
)
def enable(doors: TheDoors, actor: TheActor, integration_id: Id) -> SetupView:
    return doors.setup.enable(actor, integration_id)
