"""A bound on every request's body, counted while it streams, so that one without a length is bounded too."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BoundedBodies:
    """ASGI middleware: 413 beyond `most_bytes`, or what is said for the path. The webhook door bounds its own."""

    def __init__(self, app: ASGIApp, most_bytes: int, longer: Mapping[re.Pattern[str], int]) -> None:
        self._app = app
        self._most = most_bytes
        self._longer = longer

    def _most_of(self, path: str) -> int:
        return next((most for pattern, most in self._longer.items() if pattern.fullmatch(path)), self._most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/webhooks/"):
            await self._app(scope, receive, send)
            return
        size, most = 0, self._most_of(scope["path"])

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, f"A request may be at most {most} bytes.")
            return message

        await self._app(scope, counted, send)
