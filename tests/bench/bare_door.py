"""The ceiling of the webhook door: what a plain author would write, in a process of its own.

`python -m tests.bench.bare_door PORT`: a Starlette route that verifies the HMAC over the raw body and does one XADD, on
the server that BARE_REDIS_URL names. It does not parse, knows no organisation, and bounds nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.folder import free_port
from tests.bench.load import SIGNATURE
from tests.bench.rig import until

STREAM = "bare"


@dataclass(frozen=True)
class BareDoor:
    url: str
    secret: str


def bare_app(client: Redis, secret: bytes) -> Starlette:
    async def receive(request: Request) -> Response:
        body = await request.body()
        wanted = hmac.new(secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(request.headers.get(SIGNATURE, ""), wanted):
            return Response(status_code=401)
        await client.xadd(STREAM, {"e": body})
        return Response(status_code=200)

    return Starlette(routes=[Route("/webhooks", receive, methods=["POST"])])


@contextmanager
def bare_door(redis_url: str, secret: str) -> Iterator[BareDoor]:
    """The process is ours and ends with the block."""
    port = free_port()
    env = {**os.environ, "BARE_REDIS_URL": redis_url, "BARE_SECRET": secret}
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare_door", str(port)], env=env)
    try:
        until(lambda: _listens(port), "the bare door listens", 30)
        yield BareDoor(f"http://127.0.0.1:{port}/webhooks", secret)
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(port: int) -> None:
    app = bare_app(Redis.from_url(os.environ["BARE_REDIS_URL"]), os.environ["BARE_SECRET"].encode())
    # As api/__main__.py runs ours.
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="asyncio", log_config=None, access_log=False, server_header=False
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
