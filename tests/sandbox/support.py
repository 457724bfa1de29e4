"""A sandbox in a thread, clients of it, and a receiver of its webhooks."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import uvicorn

from deploy.sandbox.__main__ import listening_socket, server_config
from deploy.sandbox.app import create_app

FSM = "zoho_fsm"
BOOKS = "zoho_books"
ACCOUNTS = "zoho_accounts"


@contextmanager
def running_sandbox() -> Iterator[str]:
    """Its base address."""
    listener = listening_socket("127.0.0.1", 0)
    server = uvicorn.Server(server_config(create_app()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()


def wait_until(true: Callable[[], Any], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


@dataclass
class Box:
    """The sandbox as a test sees it: the control, the accounts server, and both vendors with a token."""

    base_url: str
    http: httpx.Client
    info: dict[str, Any]
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def control(self, vendor: str, method: str, path: str, body: Any = None) -> Any:
        response = self.http.request(method, f"/_sandbox/{vendor}/{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def token_answer(self, **fields: str) -> dict[str, Any]:
        form = {"client_id": self.info["client_id"], "client_secret": self.info["client_secret"], **fields}
        response = self.http.post(f"/{ACCOUNTS}/oauth/v2/token", data=form)
        assert response.status_code == 200  # also when it refuses
        answer: dict[str, Any] = response.json()
        return answer

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        return self.token_answer(grant_type="refresh_token", refresh_token=refresh_token)

    def granted(self, scope: str, **more: str) -> dict[str, Any]:
        """The token answer of a whole authorisation."""
        redirect = "http://127.0.0.1:9/callback"
        query = {
            "response_type": "code",
            "client_id": self.info["client_id"],
            "redirect_uri": redirect,
            "scope": scope,
            "access_type": "offline",
            "prompt": "consent",
            **more,
        }
        response = self.http.get(f"/{ACCOUNTS}/oauth/v2/auth", params=query)
        assert response.status_code == 302, response.text
        code = httpx.URL(response.headers["location"]).params["code"]
        return self.token_answer(grant_type="authorization_code", code=code, redirect_uri=redirect)

    def token(self, vendor: str, user: str = "person") -> str:
        key = (vendor, user)
        if key not in self._tokens:
            answer = self.refresh(self.info["vendors"][vendor]["refresh_tokens"][user])
            self._tokens[key] = answer["access_token"]
        return self._tokens[key]

    def call(self, vendor: str, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """`path` after the API's root, e.g. /Companies or /contacts."""
        token = more.pop("token", None) or self.token(vendor)
        headers = {"Authorization": f"Zoho-oauthtoken {token}", **more.pop("headers", {})}
        url = self.info["vendors"][vendor]["url"].removeprefix(self.base_url) + path
        return self.http.request(method, url, json=body, headers=headers, **more)

    def fsm(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.call(FSM, method, path, body, **more)

    def books(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        params = {"organization_id": self.info["vendors"][BOOKS]["org"]["organization_id"], **more.pop("params", {})}
        return self.call(BOOKS, method, path, body, params=params, **more)

    def leave(self, vendor: str, method: str, path: str, body: str, headers: Mapping[str, str]) -> None:
        """A call whose caller goes away as soon as the faults set for it have struck. `path` is the whole path."""
        connection = http.client.HTTPConnection(self.base_url.removeprefix("http://"))
        try:
            connection.request(method, path, body, dict(headers))
            wait_until(lambda: not self.control(vendor, "GET", "faults")["faults"])
        finally:
            connection.close()

    def make(self, module: str, **fields: Any) -> str:
        """Creates an FSM record and answers its id."""
        response = self.fsm("POST", f"/{module}", {"data": [fields]})
        assert response.status_code == 201, response.text
        made: str = response.json()["data"][module][0]["id"]
        return made

    def capable(self, vendor: str, **values: Any) -> None:
        self.control(vendor, "POST", "capabilities", values)

    def seed(self, vendor: str, **modules: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Ids by module."""
        ids: dict[str, list[str]] = self.control(vendor, "POST", "seed", modules)["seeded"]
        return ids

    def in_books(self, plural: str, record_id: str) -> dict[str, Any]:
        """One contact or item as a single read shows it."""
        response = self.books("GET", f"/{plural}/{record_id}")
        assert response.status_code == 200, response.text
        shown: dict[str, Any] = response.json()[plural.removesuffix("s")]
        return shown

    def in_fsm(self, module: str, record_id: str) -> dict[str, Any]:
        """One record as a single read shows it."""
        response = self.fsm("GET", f"/{module}/{record_id}")
        assert response.status_code == 200, response.text
        row: dict[str, Any] = response.json()["data"][0]
        return row

    def change(self, module: str, record_id: str, **fields: Any) -> httpx.Response:
        return self.fsm("PUT", f"/{module}/{record_id}", {"data": [fields]})

    def make_in_books(self, plural: str, **fields: Any) -> str:
        response = self.books("POST", f"/{plural}", fields)
        assert response.status_code == 201, response.text
        singular = plural.removesuffix("s")
        made: str = response.json()[singular][f"{singular}_id"]
        return made


def refusal(response: httpx.Response) -> tuple[int, int]:
    """Status and code of a Books answer."""
    return response.status_code, response.json()["code"]


def fault_of(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and field of an FSM refusal."""
    answer = response.json()
    return response.status_code, answer["code"], answer["details"].get("api_name")


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps every webhook that reaches it; `statuses` are answered in turn, then 200. Nothing is answered while the
    gate is closed."""

    url: str
    received: list[Received] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def wait_for(self, count: int) -> list[Received]:
        wait_until(lambda: len(self.received) >= count)
        return self.received


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    receiver = Receiver("")
    receiver.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            receiver.gate.wait()
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
