"""POST /webhooks/{vendor}/{token}: raw body -> the connector verifies and parses -> lanes; 2xx only after Redis has it.

The signature is over the raw bytes, and each delivery is answered when its own events are on disk.
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.ports import Doors
from shared.connectors.base import WebhookRequest
from shared.errors import Unavailable, WebhookRefused

ANSWER_S = 4.5


async def receive(request: Request) -> Response:
    doors: Doors = request.app.state.doors
    try:
        body = await _body(request, doors.settings.webhook_max_bytes)
        delivery = WebhookRequest(
            headers={name.lower(): value for name, value in request.headers.items()},
            query=list(request.query_params.multi_items()),
            body=body,
        )
        # In time for a sender that waits five seconds. What is kept after that is sent again: it folds away.
        async with asyncio.timeout(ANSWER_S):
            vendor, token = request.path_params["vendor"], request.path_params["token"]
            await doors.events.accept_webhook(vendor, token, delivery)
    except ClientDisconnect:  # in the middle of its body: no mistake of ours, and nobody hears the answer
        return Response(status_code=400)
    except WebhookRefused as refusal:
        # A stranger learns nothing from the body of a 401.
        return Response(status_code=refusal.status) if refusal.status == 401 else _sentence(refusal)
    except (Unavailable, TimeoutError) as trouble:
        error = trouble if isinstance(trouble, Unavailable) else Unavailable("A server does not answer; send it again.")
        return JSONResponse(
            {"code": error.code, "message": str(error)},
            status_code=503,
            headers={"Retry-After": str(error.retry_after_s)},
        )
    return Response(status_code=200)


def _sentence(refusal: WebhookRefused) -> JSONResponse:
    return JSONResponse({"code": refusal.code, "message": str(refusal)}, status_code=refusal.status)


async def _body(request: Request, most: int) -> bytes:
    """Counted while it streams, so that a chunked body without a length is bounded too."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise WebhookRefused(f"A delivery may be at most {most} bytes.", status=413)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise WebhookRefused(f"A delivery may be at most {most} bytes.", status=413)
        chunks.append(chunk)
    return b"".join(chunks)


route = Route("/webhooks/{vendor}/{token}", receive, methods=["POST"])
_PATH = re.compile(r"/webhooks/(?P<vendor>[^/]+)/(?P<token>[^/]+)")


class Shortcut:
    """ASGI middleware: a delivery goes to `receive` before routers, tokens and what else it does not need, which cost
    as much as the rest of it. What is no POST finds the route, and its 405."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive_: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (found := _PATH.fullmatch(scope["path"])):
            scope["path_params"] = found.groupdict()
            answer = await receive(Request(scope, receive_))
            await answer(scope, receive_, send)
        else:
            await self._app(scope, receive_, send)
