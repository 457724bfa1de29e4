"""A listener on this machine for the one redirect that ends a sign-in.

Any page in the person's browser can call it, so a redirect counts only with the state of this sign-in; others are
refused and change nothing.
"""

from __future__ import annotations

import hmac
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from shared.errors import ConfigError, Refused

HOST, PATH = "127.0.0.1", "/callback"
WAIT_S = 600.0
_CLIENT_S = 10.0
"""Browsers open connections ahead and say nothing on them."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """What the vendor's redirect brought; `code` is worth a grant for some minutes."""

    code: str
    accounts_server: str | None
    location: str | None


class Listener(ThreadingHTTPServer):
    """Use `listening`. No redirect is taken before `state` is set."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.state = ""
        self.arrived: queue.Queue[dict[str, str]] = queue.Queue()
        super().__init__((HOST, port), _Handler)

    @property
    def redirect_uri(self) -> str:
        return f"http://{HOST}:{self.server_port}{PATH}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle is no news."""

    def accepts(self, query: dict[str, str]) -> bool:
        return bool(self.state) and hmac.compare_digest(query.get("state", "").encode(), self.state.encode())

    def wait(self, seconds: float = WAIT_S) -> Redirect:
        """Raises Refused: the person or the vendor said no, or nobody came in time."""
        try:
            query = self.arrived.get(timeout=seconds)
        except queue.Empty:
            minutes = round(seconds / 60)
            raise Refused(
                f"Nobody signed in within {minutes} minutes. Run it again, and open the address it prints.",
                code="SIGN_IN_LATE",
            ) from None
        if "code" not in query:
            raise _refusal(query.get("error", ""))
        return Redirect(query["code"], query.get("accounts-server"), query.get("location"))


def _refusal(said: str) -> Refused:
    word = said if said.replace("_", "").isalnum() and said.isascii() and len(said) <= 60 else "no reason given"
    if word == "access_denied":
        return Refused("The sign-in was declined. Run it again and accept what it asks for.", code="ACCESS_DENIED")
    return Refused(
        f"The vendor refused the sign-in ({word}). Check client id, redirect address and data centre.",
        code="SIGN_IN_REFUSED",
    )


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_S
    server: Listener

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        query = dict(parse_qsl(target.query, max_num_fields=50))
        if target.path != PATH:
            self._answer(404, "There is nothing here.")
        elif not self.server.accepts(query):
            self._answer(400, "This is not the sign-in that Bothways waits for. Open the address that it printed.")
        else:
            self._answer(200, "Bothways goes on in the terminal. You can close this page.")
            self.server.arrived.put(query)

    def _answer(self, status: int, sentence: str) -> None:
        body = f"<!doctype html><meta charset=utf-8><title>Bothways</title><p>{sentence}".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "Bothways"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the address holds the code."""


@contextmanager
def listening(port: int) -> Iterator[Listener]:
    """Listens until the block ends; port 0 takes a free one. Raises ConfigError where the port is taken."""
    try:
        listener = Listener(port)
    except OSError as error:
        raise ConfigError(
            f"Port {port} cannot be listened on ({error.strerror}). Choose another with --port, and enter the "
            "redirect address that belongs to it at the vendor.",
            code="PORT_TAKEN",
        ) from None
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
