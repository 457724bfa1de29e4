"""Integrations over REST."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.deps import MOST_ID, Id, TheDoors, TheWorkspace
from shared.services.integrations import IntegrationView

router = APIRouter(prefix="/integrations", tags=["integrations"])


OrgId = Annotated[int, Field(ge=1, le=MOST_ID)]


class NewIntegration(BaseModel):
    """`kind` is an integration's key, such as fsm_books; the orgs are those of connections."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    left_org_id: OrgId
    right_org_id: OrgId
    name: str | None = None


class Started(BaseModel):
    sync_id: int


@router.get("")
def list_integrations(doors: TheDoors, workspace: TheWorkspace) -> list[IntegrationView]:
    return doors.integrations.of_workspace(workspace)


@router.post("", status_code=201)
def create_integration(doors: TheDoors, workspace: TheWorkspace, new: NewIntegration) -> IntegrationView:
    made = doors.integrations.create(workspace, new.kind, new.left_org_id, new.right_org_id, new.name)
    return doors.integrations.get(workspace, made)


@router.get("/{integration_id}")
def get_integration(doors: TheDoors, workspace: TheWorkspace, integration_id: Id) -> IntegrationView:
    return doors.integrations.get(workspace, integration_id)


@router.post("/{integration_id}/fetch", status_code=202, summary="Bind what is the same; write nothing")
def fetch(doors: TheDoors, workspace: TheWorkspace, integration_id: Id) -> Started:
    return Started(sync_id=doors.runs.fetch(workspace, integration_id))


@router.post("/{integration_id}/sync", status_code=202, summary="Sync Now")
def sync_now(doors: TheDoors, workspace: TheWorkspace, integration_id: Id) -> Started:
    return Started(sync_id=doors.runs.sync_now(workspace, integration_id))
