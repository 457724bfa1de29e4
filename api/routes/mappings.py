"""Mappings over REST (FM-1 to FM-4, FM-11)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from api.routes.integrations import Short
from shared.integrations.defaults import Line
from shared.services.mappings import MOST_LINES, MappingView
from shared.sync.access import Permission
from shared.sync.mapping import MappingProblem

router = APIRouter(prefix="/integrations/{integration_id}/mappings/{pair}", tags=["mappings"])


class Lines(BaseModel):
    """The whole mapping, in order: it replaces what is there."""

    model_config = ConfigDict(extra="forbid")

    lines: Annotated[list[Line], Field(max_length=MOST_LINES)]


class Saved(Lines):
    """`last_change_wins`: other integrations write some of these fields too, and that is agreed to (FM-11)."""

    last_change_wins: bool = False


@router.get("", summary="The mapping in force, and the fields that may be mapped", **needs(Permission.VIEW))
def get_mapping(doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short) -> MappingView:
    return doors.mappings.get(actor, integration_id, pair)


@router.post("/check", summary="What is wrong with a mapping; saves nothing", **needs(Permission.CONFIGURE))
def check_mapping(
    doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, given: Lines
) -> list[MappingProblem]:
    return list(doors.mappings.check(actor, integration_id, pair, given.lines))


@router.put("", summary="Save a mapping; its records are due in the next sync", **needs(Permission.CONFIGURE))
def save_mapping(doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, given: Saved) -> MappingView:
    return doors.mappings.save(actor, integration_id, pair, given.lines, last_change_wins=given.last_change_wins)


@router.delete("", summary="Back to the default mapping", **needs(Permission.CONFIGURE))
def reset_mapping(
    doors: TheDoors, actor: TheActor, integration_id: Id, pair: Short, last_change_wins: bool = False
) -> MappingView:
    return doors.mappings.save(actor, integration_id, pair, None, last_change_wins=last_change_wins)
