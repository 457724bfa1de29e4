"""What a person tells of an org over REST: capabilities, custom fields (FM-7), personal fields (FM-2)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from api.bearer import needs
from api.deps import MOST_ID, Id, TheActor, TheDoors
from api.routes.connections import Word
from api.routes.integrations import Short
from shared.connectors.custom_fields import MOST_FIELDS, CustomField
from shared.sync.access import Permission
from shared.sync.model import FieldDef, FieldKind

router = APIRouter(prefix="/connections/{connection_id}", tags=["connections"])

Whole = Annotated[StrictInt, Field(ge=-MOST_ID, le=MOST_ID)]
Text = Annotated[StrictStr, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class Settable(BaseModel):
    """By name; null takes a setting back, what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    capabilities: Annotated[dict[Word, StrictBool | Whole | Text | None], Field(max_length=50)]


class CustomFieldList(BaseModel):
    """All that is told of the module; an empty list takes it back."""

    model_config = ConfigDict(extra="forbid")

    fields: Annotated[list[CustomField], Field(max_length=MOST_FIELDS)]


class Names(BaseModel):
    """All of the module's; an empty list: none but those that the vendor marks."""

    model_config = ConfigDict(extra="forbid")

    names: Annotated[list[Word], Field(max_length=MOST_FIELDS)]


class HelperTold(BaseModel):
    """`name` "": it is not there yet."""

    model_config = ConfigDict(from_attributes=True)

    module: str
    label: str
    why: str
    name: str


class FieldTold(BaseModel):
    """`pii`: personal or health data, offered to nobody."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    label: str
    kind: FieldKind
    required: bool
    read_only: bool
    pii: bool
    custom: bool
    max_length: int | None
    picklist: tuple[str, ...]


@router.put("/capabilities", summary="Set what the vendor does not tell", **needs(Permission.CONNECT))
def set_capabilities(
    doors: TheDoors, actor: TheActor, connection_id: Id, wanted: Settable
) -> dict[str, bool | int | str]:
    return dict(doors.org_settings.set_capabilities(actor, connection_id, wanted.capabilities))


@router.get("/helpers", summary="Fields of ours at the vendor", **needs(Permission.CONNECT))
def get_helpers(doors: TheDoors, actor: TheActor, connection_id: Id) -> list[HelperTold]:
    return [HelperTold.model_validate(one) for one in doors.org_settings.helpers(actor, connection_id)]


@router.post("/helpers", summary="Make those that are missing, and use them", **needs(Permission.CONNECT))
def make_helpers(doors: TheDoors, actor: TheActor, connection_id: Id) -> list[HelperTold]:
    made = doors.org_settings.make_helpers(actor, connection_id)
    doors.org_settings.use_helpers(actor, connection_id)
    return [HelperTold.model_validate(one) for one in made]


@router.get("/fields", summary="All fields of each module", **needs(Permission.VIEW))
def get_fields(doors: TheDoors, actor: TheActor, connection_id: Id) -> dict[str, list[FieldTold]]:
    found = doors.org_settings.fields(actor, connection_id)
    return {module: _told(fields) for module, fields in found.items()}


@router.put("/fields/{module}/custom", summary="Tell the custom fields of a module", **needs(Permission.CONNECT))
def set_custom_fields(
    doors: TheDoors, actor: TheActor, connection_id: Id, module: Short, wanted: CustomFieldList
) -> list[FieldTold]:
    return _told(doors.org_settings.set_custom_fields(actor, connection_id, module, wanted.fields))


@router.put("/fields/{module}/private", summary="Mark fields as personal", **needs(Permission.CONNECT))
def set_private_fields(
    doors: TheDoors, actor: TheActor, connection_id: Id, module: Short, wanted: Names
) -> list[FieldTold]:
    return _told(doors.org_settings.set_private_fields(actor, connection_id, module, wanted.names))


def _told(fields: tuple[FieldDef, ...]) -> list[FieldTold]:
    return [FieldTold.model_validate(one) for one in fields]
