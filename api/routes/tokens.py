"""API tokens over REST, for admins."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from shared.services.api_tokens import MOST_NAME, ApiTokenView
from shared.sync.access import DEFAULT_DAYS, MOST_DAYS, Permission, Role

router = APIRouter(prefix="/tokens", tags=["tokens"])


class NewToken(BaseModel):
    """`read_logs` grants "two-way sync logs" beside the role; `expires_days` null: it lasts until it is revoked."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=MOST_NAME)]
    role: Role
    read_logs: bool = False
    expires_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = DEFAULT_DAYS


class Made(BaseModel):
    """`token` is shown this once."""

    id: int
    principal: str
    role: Role
    read_logs: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    token: str


@router.get("", summary="All tokens, without their secrets", **needs(Permission.MANAGE_TOKENS))
def list_tokens(doors: TheDoors, actor: TheActor) -> list[ApiTokenView]:
    return list(doors.tokens.list(actor))


@router.post("", status_code=201, summary="Make a token; it is shown once", **needs(Permission.MANAGE_TOKENS))
def make_token(doors: TheDoors, actor: TheActor, new: NewToken, response: Response) -> Made:
    made = doors.tokens.add(actor, new.name, new.role, read_logs=new.read_logs, expires_days=new.expires_days)
    response.headers["Cache-Control"] = "no-store"
    return Made(**asdict(made.view), token=made.token.get_secret_value())


@router.delete("/{token_id}", summary="Revoke a token", **needs(Permission.MANAGE_TOKENS))
def revoke_token(doors: TheDoors, actor: TheActor, token_id: Id) -> ApiTokenView:
    return doors.tokens.revoke(actor, token_id)
