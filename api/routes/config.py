"""An integration's configuration as one YAML file, over REST (SU-6)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import PlainTextResponse, Response

from api.bearer import needs
from api.deps import MOST_ID, Id, TheActor, TheDoors
from shared.services.config import ConfigChange
from shared.sync.access import Permission

router = APIRouter(prefix="/integrations", tags=["integrations"])

YAML = "application/yaml"
Yaml = Annotated[str, Body(media_type=YAML)]
Check = Annotated[bool, Query(description="Say what would change, and change nothing.")]
OrgId = Annotated[int, Query(ge=1, le=MOST_ID)]


@router.get(
    "/{integration_id}/config",
    summary="All that was chosen for it, as one file; no secrets",
    response_class=PlainTextResponse,
    **needs(Permission.CONFIGURE),
)
def export_config(doors: TheDoors, actor: TheActor, integration_id: Id) -> Response:
    return Response(
        doors.config.export(actor, integration_id),
        media_type=YAML,
        headers={"Content-Disposition": f'attachment; filename="integration-{integration_id}.yaml"'},
    )


@router.put("/{integration_id}/config", summary="Make it what the file says", **needs(Permission.CONFIGURE))
def save_config(
    doors: TheDoors, actor: TheActor, integration_id: Id, given: Yaml, check: Check = False
) -> ConfigChange:
    return doors.config.save(actor, integration_id, given, check=check)


@router.post(
    "/config", status_code=201, summary="A draft of two connected orgs, by a file", **needs(Permission.CONFIGURE)
)
def create_by_config(
    doors: TheDoors, actor: TheActor, given: Yaml, left_org_id: OrgId, right_org_id: OrgId, check: Check = False
) -> ConfigChange:
    return doors.config.create(actor, given, left_org_id, right_org_id, check=check)
