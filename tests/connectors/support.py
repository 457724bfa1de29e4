"""A connector over canned answers: what is tested is what it sends and how it reads, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from shared.connectors.base import Capabilities, Connector
from shared.connectors.limits import Unlimited
from shared.connectors.registry import get_vendor
from shared.connectors.tokens import FixedToken
from shared.connectors.transport import DeadlineTransport
from shared.connectors.vendor import AccessToken, Limiter, Link, TokenSource

Answers = Callable[[httpx.Request], httpx.Response]
TOKEN = AccessToken(SecretStr("1000.access"), datetime.now(UTC) + timedelta(hours=1), 1)


@contextmanager
def canned(
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
    answers: Answers,
    *,
    tokens: TokenSource | None = None,
    flags: Mapping[str, bool | int | str] | None = None,
    limiter: Limiter | None = None,
) -> Iterator[tuple[Connector, list[httpx.Request]]]:
    """The connector, and the requests that it sent."""
    sent: list[httpx.Request] = []

    def answer(_self: DeadlineTransport, request: httpx.Request) -> httpx.Response:
        request.read()
        sent.append(request)
        return answers(request)

    monkeypatch.setattr(DeadlineTransport, "handle_request", answer)
    link = Link(
        "org-1", "https://api.test", tokens or FixedToken(TOKEN), limiter or Unlimited(), Capabilities(flags or {})
    )
    connector = get_vendor(vendor).connect(link)
    yield connector, sent
    connector.close()


def each(*answers: httpx.Response | Exception) -> Answers:
    """Answers in turn; the last one again and again."""
    left = list(answers)

    def next_one(_: httpx.Request) -> httpx.Response:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is read once only.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    return next_one


def js(status: int, body: Any, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=body, headers=headers)
