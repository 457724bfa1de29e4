"""A lean HTTP/1.1 client for webhooks: keeps connections, and costs a tenth of a general client's time.

A burst of edits makes as many deliveries, in the process that has to answer the next calls."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

TIMEOUT_S = 10.0
# Well below what servers keep an idle connection, so that none is used while the other side closes it.
IDLE_S = 2.0


@dataclass(slots=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: float

    def fresh(self) -> bool:
        idle = time.monotonic() - self.used
        return idle < IDLE_S and not self.reader.at_eof() and not self.writer.is_closing()


class Poster:
    """Raises OSError, TimeoutError or ValueError when there is no proper answer. Nothing is sent twice."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Connection]] = {}

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """The status of the answer."""
        target = urlsplit(url)
        async with asyncio.timeout(TIMEOUT_S):
            connection = self._take(target) or await _open(target)
            try:
                connection.writer.write(_request(target, body, headers))
                status, keep = await _answer(connection.reader)
            except BaseException:
                connection.writer.close()
                raise
        if keep:
            connection.used = time.monotonic()
            self._kept.setdefault((target.scheme, target.netloc), []).append(connection)
        else:
            connection.writer.close()
        return status

    async def aclose(self) -> None:
        kept = [connection for connections in self._kept.values() for connection in connections]
        self._kept.clear()
        for connection in kept:
            connection.writer.close()
        await asyncio.gather(*(one.writer.wait_closed() for one in kept), return_exceptions=True)

    def _take(self, target: SplitResult) -> Connection | None:
        connections = self._kept.get((target.scheme, target.netloc), [])
        while connections:
            connection = connections.pop()
            if connection.fresh():
                return connection
            connection.writer.close()
        return None


async def _open(target: SplitResult) -> Connection:
    secure = target.scheme == "https"
    if not target.hostname or target.scheme not in ("http", "https"):
        raise ValueError(f"no address for a webhook: {target.geturl()!r}")
    context = ssl.create_default_context() if secure else None
    port = target.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(target.hostname, port, ssl=context)
    return Connection(reader, writer, time.monotonic())


def _request(target: SplitResult, body: bytes, headers: dict[str, str]) -> bytes:
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    lines = [f"POST {path} HTTP/1.1", f"Host: {target.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {"User-Agent": "ZohoSandbox", **headers}.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header or an address")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status, and whether the connection can be used again: only when the end of the body is plain."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.split("\r\n")
    status = int(first.split(" ", 2)[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    if status == 204:
        return status, headers.get("connection", "").lower() != "close"
    if "content-length" not in headers:
        return status, False
    await reader.readexactly(int(headers["content-length"]))
    return status, headers.get("connection", "").lower() != "close"
