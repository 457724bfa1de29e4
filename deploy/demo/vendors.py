"""The sandbox vendors by HTTP: its control for seeds and for looking, and the vendors' own API for people."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import orjson

from deploy.demo.errors import DemoError, StopAsked
from deploy.demo.shapes import BOOKS, FSM, VENDORS, Json, Kind

_TIMEOUT_S = 30.0
_BUSY = 429
_SEQ_MARGIN = 200
"""Calls are logged when they end, numbered when they begin: how far behind one may come late."""


def dumps(value: object) -> bytes:
    """Prices as plain JSON numbers, exact."""
    return orjson.dumps(value, default=_number)


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(type(value).__name__)


class Sandbox:
    """`told` is the line that the sandbox prints when it listens."""

    def __init__(self, told: Json) -> None:
        self.told = told
        self._http = httpx.Client(base_url=told["base_url"], timeout=_TIMEOUT_S)

    def close(self) -> None:
        self._http.close()

    def control(self, method: str, vendor: str, what: str, body: object | None = None) -> Any:
        content = None if body is None else dumps(body)
        try:
            answer = self._http.request(method, f"/_sandbox/{vendor}/{what}", content=content)
        except httpx.HTTPError as error:
            raise DemoError(f"The sandbox vendors do not answer ({type(error).__name__}).") from error
        if answer.status_code != 200:
            raise DemoError(f"The sandbox refused {method} {vendor}/{what}: {answer.text[:200]}")
        return json.loads(answer.content, parse_float=Decimal)

    def seed(self, vendor: str, records: Mapping[str, list[Json]]) -> None:
        self.control("POST", vendor, "seed", records)

    def rows(self, vendor: str, kind: Kind) -> list[Json]:
        module = kind.module(vendor)
        found: list[Json] = self.control("GET", vendor, f"state?module={module}")["modules"][module]
        return found

    def send_webhooks_to(self, vendor: str, url: str, secret: str) -> None:
        if vendor == FSM:
            hook = {"url": url, "header_name": "X-Bothways-Secret", "header_value": secret}
        else:
            hook = {"url": url, "secret": secret}
        self.control("POST", vendor, "webhooks", hook)

    def publish_limits(self) -> None:
        for vendor in VENDORS:
            self.control("POST", vendor, "limits", {"published": True})

    def idle(self) -> bool:
        """Every webhook has been delivered."""
        return all(self.control("GET", vendor, "deliveries?since=999999999")["idle"] for vendor in VENDORS)

    def sign_in(self, authorize_url: str) -> None:
        """What a browser does: opens the page, where the person agrees, and follows the way back."""
        try:
            answer = httpx.get(authorize_url, follow_redirects=True, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise DemoError(f"The sign-in page led nowhere ({type(error).__name__}).") from error
        if answer.status_code != 200:
            raise DemoError(f"The sign-in did not end well: {answer.text[:200]}")


class CallReader:
    """Each call of a vendor's log once, soon after it ended."""

    def __init__(self, sandbox: Sandbox, vendor: str) -> None:
        self._sandbox, self._vendor = sandbox, vendor
        self._last = 0
        self._seen: set[int] = set()

    def new(self) -> list[Json]:
        since = max(0, self._last - _SEQ_MARGIN)
        calls = self._sandbox.control("GET", self._vendor, f"calls?since={since}")["calls"]
        fresh = [call for call in calls if call["seq"] not in self._seen]
        self._seen.update(call["seq"] for call in fresh)
        self._last = max((call["seq"] for call in calls), default=self._last)
        return fresh


class Person:
    """Somebody who works at one vendor, through its real API, signed in with a token of their own."""

    def __init__(self, told: Json, vendor: str, stop: threading.Event) -> None:
        self.vendor = vendor
        self._about = told["vendors"][vendor]
        self._stop = stop
        self._http = httpx.Client(base_url=self._about["url"], timeout=_TIMEOUT_S)
        self._http.headers["Authorization"] = f"Zoho-oauthtoken {self._token(told)}"
        if vendor == BOOKS:
            self._http.params = httpx.QueryParams(organization_id=self._about["org_id"])

    def close(self) -> None:
        self._http.close()

    def _token(self, told: Json) -> str:
        form = {
            "grant_type": "refresh_token",
            "client_id": told["client_id"],
            "client_secret": told["client_secret"],
            "refresh_token": self._about["refresh_tokens"]["person"],
        }
        answer = self._http.post(f"{told['accounts_url']}/oauth/v2/token", data=form).json()
        if "access_token" not in answer:
            raise DemoError(f"The sandbox gave no access token: {answer.get('error')}")
        return str(answer["access_token"])

    def update(self, module: str, record_id: str, fields: Json, request_id: str) -> None:
        self._send("PUT", f"/{module}/{record_id}", fields, request_id)

    def create(self, kind: Kind, fields: Json, request_id: str) -> str:
        """The new record's id."""
        module = kind.module(self.vendor)
        answer = self._send("POST", f"/{module}", fields, request_id)
        if self.vendor == FSM:
            return str(answer["data"][module][0]["id"])
        return str(answer[kind.books_one][kind.id_key(self.vendor)])

    def _send(self, method: str, path: str, fields: Json, request_id: str) -> Json:
        """A person told to wait waits. Raises DemoError where the vendor refuses the change."""
        body = dumps({"data": [fields]} if self.vendor == FSM else fields)
        headers = {"X-Request-Id": request_id, "Content-Type": "application/json"}
        while True:
            answer = self._http.request(method, path, content=body, headers=headers)
            if answer.status_code != _BUSY:
                break
            if self._stop.wait(float(answer.headers.get("X-Rate-Limit-Reset", 5)) + 1):
                raise StopAsked
        if answer.status_code not in (200, 201):
            raise DemoError(f"{self.vendor} refused a person's change ({answer.status_code}): {answer.text[:200]}")
        found: Json = answer.json()
        return found


@contextmanager
def people(sandbox: Sandbox, stop: threading.Event) -> Iterator[dict[str, Person]]:
    """One at each vendor."""
    found: dict[str, Person] = {}
    try:
        for vendor in VENDORS:
            found[vendor] = Person(sandbox.told, vendor, stop)
        yield found
    finally:
        for person in found.values():
            person.close()
