"""No call without a token: ASGI middleware before routes and bodies, so that a new route is closed until it is listed.

A stranger's body is not read, and a stranger learns of no path whether it is there.
"""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.ports import Doors
from api.refusals import known
from shared.errors import BothwaysError
from shared.sync.access import Actor, Permission

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
"""What a load balancer asks, and the description of the API, which is the same in every installation."""
OPEN_BELOW = ("/webhooks/", "/static-offline-docs/")
"""Webhooks have signatures of their own; the others are the script and style of the docs page."""

scheme = HTTPBearer(
    auto_error=False, scheme_name="token", bearerFormat="bw_…", description="`bothways tokens add NAME --role …`"
)
"""For the description alone (the page's "Authorize"); what is let in is decided below."""


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_BELOW)


def needs(permission: Permission) -> dict[str, Any]:
    """What a route says of the permission that its service asks for; a test compares the two for every role."""
    said = {401: "No token, or none that is good", 403: f"The token lacks the permission {permission.value}"}
    return {
        "openapi_extra": {"x-permission": permission.value},
        "responses": {status: {"description": text} for status, text in said.items()},
    }


class TokenNeeded:
    """Puts the Actor into the request's state, or answers 401."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            actor = await to_thread.run_sync(_whose, scope)
        except BothwaysError as error:
            await known(error, scope.get("method", ""), scope["path"])(scope, receive, send)
            return
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)


def _whose(scope: Scope) -> Actor:
    doors: Doors = scope["app"].state.doors
    client = scope.get("client")
    return doors.tokens.authenticate(Headers(scope=scope).get("authorization"), client[0] if client else "")
