"""`python -m deploy.sandbox`: one process with every vendor; prints one JSON line once it is listening."""

from __future__ import annotations

import argparse
import socket
import sys

import uvicorn

from deploy.sandbox import jsonio
from deploy.sandbox.app import Sandbox, create_app


class Server(uvicorn.Server):
    """Tells its address only when it can be called."""

    def __init__(self, config: uvicorn.Config, sandbox: Sandbox, base_url: str) -> None:
        super().__init__(config)
        self._sandbox = sandbox
        self._base_url = base_url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(jsonio.dumps(self._sandbox.describe(self._base_url)).decode() + "\n")
            sys.stdout.flush()


def listening_socket(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def server_config(sandbox: Sandbox) -> uvicorn.Config:
    """No proxy headers: a wrapper round `send` would hide the transport that a lost reply must cut. No date header:
    each vendor sends the one of its own clock."""
    return uvicorn.Config(
        sandbox, log_level="warning", access_log=False, proxy_headers=False, server_header=False, date_header=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=1, backlog=2048,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--data-centre", default="us", help="what the sign-in answers as location")
    given = parser.parse_args()
    sandbox = create_app(given.data_centre)
    listener = listening_socket(given.host, given.port)
    base_url = f"http://{given.host}:{listener.getsockname()[1]}"
    Server(server_config(sandbox), sandbox, base_url).run(sockets=[listener])


if __name__ == "__main__":
    main()
