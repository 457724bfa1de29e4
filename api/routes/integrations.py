"""Integrations over REST."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import MOST_ID, Id, TheActor, TheDoors
from shared.services.events import RecordSync
from shared.services.integrations import IntegrationView
from shared.services.records import RecordView
from shared.sync.access import Permission
from shared.sync.model import Policy, Side

router = APIRouter(prefix="/integrations", tags=["integrations"])


def plain(value: str) -> str:
    """Without what neither a database nor a terminal takes. Raises ValueError."""
    if any(not char.isprintable() or "\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("no control characters, and nothing that is half a character")
    return value


OrgId = Annotated[int, Field(ge=1, le=MOST_ID)]


class NewDraft(BaseModel):
    """`kind` is an integration's key, such as fsm_books; the orgs are those of connections."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(plain)]
    left_org_id: OrgId
    right_org_id: OrgId
    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain)] | None = None


class NewIntegration(NewDraft):
    """Enabled at once, without the steps of set-up. `policy`: what happens where a match is found (DU-3). `sync_type`:
    which companies and contacts are synced (SU-5), by default the kind's own."""

    policy: Policy = Policy.OVERWRITE
    sync_type: Annotated[str, Field(min_length=1, max_length=20), AfterValidator(plain)] | None = None


Short = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
"""Names and ids in a path: whatever a vendor's look like."""


class Started(BaseModel):
    sync_id: int


@router.get("", **needs(Permission.VIEW))
def list_integrations(doors: TheDoors, actor: TheActor) -> list[IntegrationView]:
    return doors.integrations.of_workspace(actor)


@router.post("", status_code=201, **needs(Permission.CONFIGURE))
def create_integration(doors: TheDoors, actor: TheActor, new: NewIntegration) -> IntegrationView:
    made = doors.integrations.create(
        actor, new.kind, new.left_org_id, new.right_org_id, new.name, new.policy, sync_type=new.sync_type
    )
    return doors.integrations.get(actor, made)


@router.get("/{integration_id}", **needs(Permission.VIEW))
def get_integration(doors: TheDoors, actor: TheActor, integration_id: Id) -> IntegrationView:
    return doors.integrations.get(actor, integration_id)


class Schedule(BaseModel):
    """What is left out stays as it was. `time_zone`: as IANA names it; "": the accounting organisation's own."""

    model_config = ConfigDict(extra="forbid")

    on: bool | None = None
    interval_s: Annotated[int, Field(ge=1, le=MOST_ID)] | None = None
    time_zone: Annotated[str, Field(max_length=100), AfterValidator(plain)] | None = None


class Note(BaseModel):
    """Why, for the audit log."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(plain)]


@router.put(
    "/{integration_id}/schedule",
    summary="When it syncs by itself, and in which time zone",
    **needs(Permission.CONFIGURE),
)
def set_schedule(doors: TheDoors, actor: TheActor, integration_id: Id, wanted: Schedule) -> IntegrationView:
    return doors.integrations.set_schedule(actor, integration_id, **wanted.model_dump())


@router.post(
    "/{integration_id}/pause", summary="Keep events, write nothing, until it is enabled", **needs(Permission.CONFIGURE)
)
def pause(doors: TheDoors, actor: TheActor, integration_id: Id) -> IntegrationView:
    return doors.integrations.pause(actor, integration_id)


@router.post("/{integration_id}/disable", summary="No syncs, and no events taken", **needs(Permission.CONFIGURE))
def disable(doors: TheDoors, actor: TheActor, integration_id: Id) -> IntegrationView:
    return doors.integrations.disable(actor, integration_id)


@router.post(
    "/{integration_id}/enable", summary="What a person paused or disabled goes on", **needs(Permission.CONFIGURE)
)
def enable(doors: TheDoors, actor: TheActor, integration_id: Id) -> IntegrationView:
    return doors.integrations.enable(actor, integration_id)


@router.post(
    "/{integration_id}/support-enable",
    summary="Support lets go on what a rule disabled",
    **needs(Permission.SUPPORT_ENABLE),
)
def support_enable(doors: TheDoors, actor: TheActor, integration_id: Id, why: Note) -> IntegrationView:
    return doors.integrations.enable_again(actor, integration_id, why.note)


@router.post(
    "/{integration_id}/fetch", status_code=202, summary="Bind what is the same; write nothing", **needs(Permission.SYNC)
)
def fetch(doors: TheDoors, actor: TheActor, integration_id: Id) -> Started:
    return Started(sync_id=doors.runs.fetch(actor, integration_id))


@router.post(
    "/{integration_id}/sync",
    status_code=202,
    summary="Sync Now; with compare, also what was deleted without a word is found",
    **needs(Permission.SYNC),
)
def sync_now(
    doors: TheDoors, actor: TheActor, integration_id: Id, compare: bool = False, confirm_deletions: bool = False
) -> Started:
    return Started(
        sync_id=doors.runs.sync_now(actor, integration_id, compare=compare, confirm_deletions=confirm_deletions)
    )


@router.get(
    "/{integration_id}/records/{pair}/{side}/{record_id}",
    summary="A record's page: to what it is bound, what it waits for, what was done to it",
    **needs(Permission.READ_LOGS),
)
def get_record(
    doors: TheDoors,
    actor: TheActor,
    integration_id: Id,
    pair: Short,
    side: Side,
    record_id: Short,
    before_id: Annotated[int | None, Query(ge=1, le=MOST_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RecordView:
    return doors.records.get(actor, integration_id, pair, side, record_id, before_id=before_id, limit=limit)


@router.post(
    "/{integration_id}/records/{pair}/{side}/{record_id}/sync",
    status_code=202,
    summary="Sync this record now",
    **needs(Permission.SYNC),
)
def sync_record(
    doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, side: Side, record_id: Short
) -> RecordSync:
    return doors.events.sync_record(actor, integration_id, pair, side, record_id)


@router.get(
    "/{integration_id}/records/{pair}/{side}/{record_id}/sync/{event_id}",
    summary="How syncing this record stands",
    **needs(Permission.READ_LOGS),
)
def get_record_sync(
    doors: TheDoors,
    actor: TheActor,
    integration_id: Id,
    pair: Short,
    side: Side,
    record_id: Short,
    event_id: Short,
) -> RecordSync:
    return doors.events.record_sync(actor, integration_id, pair, side, record_id, event_id)
