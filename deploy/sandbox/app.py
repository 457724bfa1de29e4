"""Assembly: every vendor folder of this package behind one ASGI application."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import deploy.sandbox
from deploy.sandbox.control import control
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.pipeline import Served, serve
from deploy.sandbox.vendor import Vendor, World

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def find_vendors(world: World) -> dict[str, Vendor]:
    """Each folder that offers `build` is a vendor: adding one is adding a folder."""
    vendors: dict[str, Vendor] = {}
    for info in pkgutil.iter_modules(deploy.sandbox.__path__):
        if info.ispkg:
            module = importlib.import_module(f"{deploy.sandbox.__name__}.{info.name}")
            if hasattr(module, "build"):
                vendor: Vendor = module.build(world)
                vendors[vendor.name] = vendor
    ledgers = {name: vendor.ledger for name, vendor in vendors.items() if vendor.ledger is not None}
    for vendor in vendors.values():
        vendor.ledgers = ledgers
    return vendors


class Sandbox:
    """A plain ASGI callable: nothing between the server and the vendors, so that a reply can be cut off."""

    def __init__(self, data_centre: str = "us") -> None:
        self.world = World(data_centre)
        self.vendors = find_vendors(self.world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    def describe(self, base_url: str) -> JsonObject:
        """The line that the process prints, also at GET /_sandbox/info."""
        facts: JsonObject = {"base_url": base_url, "control_url": f"{base_url}/_sandbox"}
        facts["data_centre"] = self.world.data_centre
        facts["orgs"], facts["vendors"] = {}, {}
        for vendor in self.vendors.values():
            described = vendor.describe(base_url)
            facts.update(described.pop("top", {}))
            if "org_id" in described:
                facts["orgs"][vendor.name] = described["org_id"]
            facts["vendors"][vendor.name] = described
        return facts

    async def aclose(self) -> None:
        for vendor in self.vendors.values():
            await vendor.webhooks.aclose()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(scope, receive)
        if request is None:
            return
        first, _, rest = request.path.lstrip("/").partition("/")
        vendor = self.vendors.get(first)
        if vendor is not None:
            request.path = f"/{rest}"
            await _reply(await serve(vendor, request), send)
        elif first == "_sandbox":
            await _write(self._control(request, rest), send)
        else:
            await _write(Answer.of({"error": f"no vendor {first!r}; there are {sorted(self.vendors)}"}, 404), send)

    def _control(self, request: Request, rest: str) -> Answer:
        first, _, path = rest.partition("/")
        if first == "health":
            return Answer.of({"ok": True, "vendors": sorted(self.vendors)})
        if first == "info":
            return Answer.of(self.describe(request.base_url))
        vendor = self.vendors.get(first)
        if vendor is None:
            return Answer.of({"error": f"no vendor {first!r}; there are {sorted(self.vendors)}"}, 404)
        return control(vendor, path, request)


async def _reply(served: Served, send: Send) -> None:
    answer = served.answer
    if answer is None:
        served.ended(replied=False)
        await _cut(send)
        return
    await _write(answer, send)
    served.ended(replied=not _gone(send) and answer.sent_bytes is None)
    if answer.sent_bytes is not None:
        await _close(send)


async def _read(scope: Scope, receive: Receive) -> Request | None:
    """None when the caller went away before all of its call was there."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    base_url = f"{scope.get('scheme', 'http')}://{headers.get('host', 'sandbox')}"
    return Request(scope["method"], scope["path"], query, headers, b"".join(parts), base_url)


async def _write(answer: Answer, send: Send) -> None:
    headers = [(b"content-length", str(len(answer.body)).encode())] if answer.status != 204 else []
    if answer.body:
        headers.append((b"content-type", answer.content_type.encode()))
    headers.extend((name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items())
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.sent_bytes is None:
        await send({"type": "http.response.body", "body": answer.body})
    else:
        await send({"type": "http.response.body", "body": answer.body[: answer.sent_bytes], "more_body": True})


def _gone(send: Send) -> bool:
    """Whether the caller has left. The server's `send` is a method of what knows, and of what holds the transport."""
    return bool(getattr(getattr(send, "__self__", None), "disconnected", False))


def _transport(send: Send) -> asyncio.Transport:
    """Mounted in process there is none, and the error itself is what the client gets."""
    transport: asyncio.Transport | None = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("the sandbox dropped the reply")
    return transport


async def _cut(send: Send) -> None:
    """Ends the connection without a byte."""
    _transport(send).abort()
    await _end_seen(send)


async def _close(send: Send) -> None:
    """Ends the connection once what was sent is on its way."""
    _transport(send).close()
    await _end_seen(send)


async def _end_seen(send: Send) -> None:
    """Lets the server see the end of the connection before we return; else it would find fault with a call without an
    answer. A caller that reads nothing more is not waited for longer than half a minute or so."""
    for _ in range(30_000):
        if _gone(send):
            return
        await asyncio.sleep(0.001)
    _transport(send).abort()
    await asyncio.sleep(0.001)


def create_app(data_centre: str = "us") -> Sandbox:
    return Sandbox(data_centre)
