"""A bound on every request's body, counted while it streams, so that one without a length is bounded too."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLongError(Exception):
    pass


class BoundedBodies:
    """ASGI middleware: 413 beyond `most_bytes`. The webhook door bounds its own."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/webhooks/"):
            await self._app(scope, receive, send)
            return
        size, begun = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise _TooLongError
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLongError:
            if begun:
                raise
            answer = {"code": "TOO_LONG", "message": f"A request may be at most {self._most} bytes."}
            await JSONResponse(answer, status_code=413)(scope, receive, send)
