"""Connections over REST (SU-1, SU-8): signing in to a vendor, webhooks, budgets of calls.

A sign-in takes two calls with a browser between them: `sign-in` tells where to send the person, and what the vendor's
redirect brings to the caller's own address goes to `sign-in/finish`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr

from api.bearer import needs
from api.deps import Id, TheActor, TheDoors
from api.ports import Doors
from api.routes.integrations import plain
from shared.services.connections import ChooseOrg, Connected, ConnectionView, WebhookSetup
from shared.services.webhook_steps import webhook_steps
from shared.sync.access import Actor, Permission

router = APIRouter(prefix="/connections", tags=["connections"])

Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain)]
Long = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(plain)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=2000)]


class SignIn(BaseModel):
    """`redirect_uri` must be entered at the vendor's OAuth client. `org_*` name the org where the vendor does not."""

    model_config = ConfigDict(extra="forbid")

    vendor: Word
    data_centre: Word
    client_id: Word
    client_secret: Secret
    redirect_uri: AnyHttpUrl
    org_external_id: Word | None = None
    org_name: Word | None = None


class SignInAgain(BaseModel):
    """Without `client_secret` the stored one is used."""

    model_config = ConfigDict(extra="forbid")

    redirect_uri: AnyHttpUrl
    client_secret: Secret | None = None


class Begun(BaseModel):
    """The redirect must bring this `state` back, within ten minutes."""

    state: str
    authorize_url: str


class Redirected(BaseModel):
    """What the vendor's redirect brought; the last two as `accounts-server` and `location`, where they were there."""

    model_config = ConfigDict(extra="forbid")

    state: Word
    code: Long
    accounts_server: Long | None = None
    location: Word | None = None


class Chosen(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: Word
    org_external_id: Word


class Budget(BaseModel):
    """So many calls in a window of so many seconds; 0: at the same time."""

    model_config = ConfigDict(extra="forbid")

    calls: Annotated[int, Field(ge=1, le=10**9)]
    window_s: Annotated[int, Field(ge=0, le=10**7)]


class Budgets(BaseModel):
    """By name (per_minute, per_day, concurrent); false: that one, or all, are not held; {}: as the vendor publishes."""

    model_config = ConfigDict(extra="forbid")

    limits: Annotated[dict[Word, Budget | Literal[False]], Field(max_length=20)] | Literal[False]


class Held(BaseModel):
    """`window_s` 0: at the same time."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    calls: int
    window_s: int


class Webhook(BaseModel):
    """What to enter at the vendor, step by step. The secret is shown whenever somebody asks; the audit log has who."""

    url: str
    secret: str
    steps: list[str]
    values: dict[str, str]
    bodies: dict[str, str]
    notes: list[str]


@router.get("", summary="Connected orgs", **needs(Permission.VIEW))
def list_connections(doors: TheDoors, actor: TheActor) -> list[ConnectionView]:
    return list(doors.connections.list(actor))


@router.get("/{connection_id}", **needs(Permission.VIEW))
def get_connection(doors: TheDoors, actor: TheActor, connection_id: Id) -> ConnectionView:
    return doors.connections.describe(actor, connection_id)


@router.post("/sign-in", status_code=201, summary="Begin a sign-in", **needs(Permission.CONNECT))
def begin_sign_in(doors: TheDoors, actor: TheActor, new: SignIn, response: Response) -> Begun:
    response.headers["Cache-Control"] = "no-store"
    state, url = doors.connections.begin(
        actor,
        new.vendor,
        new.data_centre,
        new.client_id,
        new.client_secret,
        str(new.redirect_uri),
        org_external_id=new.org_external_id,
        org_name=new.org_name,
    )
    return Begun(state=state, authorize_url=url)


@router.post("/sign-in/finish", summary="End a sign-in with what the redirect brought", **needs(Permission.CONNECT))
def finish_sign_in(doors: TheDoors, actor: TheActor, given: Redirected) -> Connected | ChooseOrg:
    return doors.connections.finish(
        actor, given.state, given.code, accounts_server=given.accounts_server, location=given.location
    )


@router.post("/sign-in/choose", summary="Choose one of the orgs that a sign-in reached", **needs(Permission.CONNECT))
def choose_org(doors: TheDoors, actor: TheActor, given: Chosen) -> Connected:
    return doors.connections.choose(actor, given.state, given.org_external_id)


@router.post("/{connection_id}/sign-in", status_code=201, summary="Sign in again", **needs(Permission.CONNECT))
def sign_in_again(doors: TheDoors, actor: TheActor, connection_id: Id, given: SignInAgain, response: Response) -> Begun:
    response.headers["Cache-Control"] = "no-store"
    state, url = doors.connections.reconnect(
        actor, connection_id, str(given.redirect_uri), client_secret=given.client_secret
    )
    return Begun(state=state, authorize_url=url)


@router.post("/{connection_id}/probe", summary="Ask the vendor what this org can do", **needs(Permission.CONNECT))
def probe(doors: TheDoors, actor: TheActor, connection_id: Id) -> ConnectionView:
    doors.connections.probe(actor, connection_id)
    return doors.connections.describe(actor, connection_id)


@router.get("/{connection_id}/limits", summary="Budgets of calls in force", **needs(Permission.VIEW))
def get_limits(doors: TheDoors, actor: TheActor, connection_id: Id) -> list[Held]:
    return [Held.model_validate(one) for one in doors.connections.limits(actor, connection_id)]


@router.put("/{connection_id}/limits", summary="Set the budgets of calls", **needs(Permission.CONNECT))
def set_limits(doors: TheDoors, actor: TheActor, connection_id: Id, wanted: Budgets) -> list[Held]:
    chosen = wanted.model_dump()["limits"]
    return [Held.model_validate(one) for one in doors.connections.set_limits(actor, connection_id, chosen)]


@router.post(
    "/{connection_id}/webhook",
    summary="What to enter at the vendor so that its changes come at once; shows the secret",
    **needs(Permission.CONNECT),
)
def show_webhook(doors: TheDoors, actor: TheActor, connection_id: Id, response: Response) -> Webhook:
    response.headers["Cache-Control"] = "no-store"
    return _webhook(doors, actor, connection_id, doors.connections.webhook_setup(actor, connection_id))


@router.post(
    "/{connection_id}/webhook/renew",
    summary="A new webhook secret; the one before is good until the next is made",
    **needs(Permission.CONNECT),
)
def renew_webhook(doors: TheDoors, actor: TheActor, connection_id: Id, response: Response) -> Webhook:
    response.headers["Cache-Control"] = "no-store"
    return _webhook(doors, actor, connection_id, doors.connections.rotate_webhook_secret(actor, connection_id))


@router.post(
    "/{connection_id}/webhook/create",
    summary="Make the webhooks at the vendor, where it lets that be done by API; webhook_live_at tells when they come",
    **needs(Permission.CONNECT),
)
def create_webhooks(doors: TheDoors, actor: TheActor, connection_id: Id) -> ConnectionView:
    doors.connections.make_webhooks(actor, connection_id, doors.settings.public_base)
    return doors.connections.describe(actor, connection_id)


def _webhook(doors: Doors, actor: Actor, connection_id: int, setup: WebhookSetup) -> Webhook:
    vendor = doors.connections.describe(actor, connection_id).vendor
    url = doors.settings.public_base + setup.path
    told = webhook_steps(vendor, url, setup.secret)
    return Webhook(
        url=url,
        secret=setup.secret.get_secret_value(),
        steps=list(told.steps),
        values=dict(told.values),
        bodies=dict(told.bodies),
        notes=list(told.notes),
    )
