"""What is known after a call went wrong: nothing was sent, refused, or nobody knows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import httpx
import pytest

from shared.connectors.base import CallClass, Draft, Limit, Unsure, Written
from shared.connectors.errors import Answer, Complaint, error_of
from shared.connectors.http import VendorHttp, retry_after_s
from shared.connectors.limits import RedisLimiter, Unlimited, redis_client
from shared.connectors.tokens import FixedToken
from shared.connectors.vendor import AccessToken
from shared.connectors.zoho_books.errors import RULES
from shared.errors import BothwaysError, ConfigError, RateLimited, RecordRejected, RetryableError, UnsureWrite
from shared.sync.model import ModuleName
from tests.connectors.support import TOKEN, canned, each, js
from tests.contract.support import SpyLimiter

CONTACTS = ModuleName("contacts")
NOT_SENT = [httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.PoolTimeout("x")]
UNCLEAR = [httpx.ReadTimeout("x"), httpx.WriteError("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x")]
DRAFT = [Draft({"contact_name": "A"})]


@pytest.mark.rule("P3")
@pytest.mark.parametrize("error", NOT_SENT, ids=lambda e: type(e).__name__)
def test_what_was_not_sent_may_be_repeated(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with canned(monkeypatch, "zoho_books", each(error)) as (connector, sent):
        with pytest.raises(RetryableError):
            connector.create(CONTACTS, DRAFT)
        assert len(sent) == 1, "no hidden retry"


@pytest.mark.rule("P3")
@pytest.mark.parametrize("error", UNCLEAR, ids=lambda e: type(e).__name__)
def test_what_was_sent_without_an_answer_is_unsure(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with canned(monkeypatch, "zoho_books", each(error)) as (connector, sent):
        assert isinstance(connector.create(CONTACTS, DRAFT)[0], Unsure)
        with pytest.raises(RetryableError):
            connector.list_page(CONTACTS, cursor=None, since=None)
        assert len(sent) == 2


@pytest.mark.rule("P3")
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(201, content=b'{"code": 0, "contact'),
        httpx.Response(201, content=b"[]"),
        httpx.Response(201, content=b""),
        js(201, {"code": 0, "message": "ok"}),
        js(201, {"contact_id": "1"}),
        js(201, {"code": 0, "contact": {"contact_name": "no id"}}),
        js(200, {"code": 1000, "message": "internal"}),
        httpx.Response(302, headers={"location": "https://elsewhere.test"}),
    ],
    ids=["cut", "list", "empty", "no-record", "no-code", "no-id", "internal-in-200", "redirect"],
)
def test_a_success_that_cannot_be_read_is_unsure(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response) -> None:
    with canned(monkeypatch, "zoho_books", each(answer)) as (connector, sent):
        assert isinstance(connector.create(CONTACTS, DRAFT)[0], Unsure)
        assert len(sent) == 1, "a redirect is not followed"


@pytest.mark.rule("OP-4")
@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        *((error, False) for error in NOT_SENT),
        *((error, True) for error in UNCLEAR),
        (js(200, {"code": 0, "contacts": [], "page_context": {}}), True),
        (js(500, {}), True),
    ],
    ids=lambda one: one.__class__.__name__,
)
def test_each_call_is_given_back_and_counts_unless_it_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | Exception, sent: bool
) -> None:
    limiter = SpyLimiter()
    with canned(monkeypatch, "zoho_books", each(answer), limiter=limiter) as (connector, _):
        with suppress(RetryableError):
            connector.list_page(CONTACTS, cursor=None, since=None)
        assert limiter.released == [("1", sent)]


@pytest.mark.rule("OP-4")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (js(429, {"code": 44}), ("per_minute", "", None, 60)),
        (js(429, {"code": 44}, **{"X-Rate-Limit-Reset": "12"}), ("per_minute", "", 12, 60)),
        (js(429, {"code": 45}, **{"X-Rate-Limit-Reset": "12"}), ("per_day", "", None, 3600)),
        (js(429, {"code": 1070}, **{"X-Rate-Limit-Reset": "12"}), ("concurrent", "", None, 1)),
        (js(429, {"code": 45}, **{"Retry-After": "7"}), ("per_day", "", 7, 3600)),
        (js(429, {}, **{"Retry-After": "7", "X-Rate-Limit-Problem": "Day"}), ("", "Day", 7, 60)),
    ],
    ids=["minute", "reset", "day", "at-once", "said", "named"],
)
def test_a_429_tells_the_budget_which_limit_and_for_how_long(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response, told: tuple[str, str, float | None, float]
) -> None:
    limiter = SpyLimiter()
    with canned(monkeypatch, "zoho_books", each(answer), limiter=limiter) as (connector, _):
        with pytest.raises(RateLimited) as raised:
            connector.list_page(CONTACTS, cursor=None, since=None)
        assert limiter.told == [told]
        assert raised.value.limit == told[0]
        assert raised.value.retry_after_s == (told[2] or told[3])


@pytest.mark.rule("P3", "OP-4")
def test_an_answer_is_not_lost_because_redis_is_away_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaving(RedisLimiter):
        def acquire(self, cls: CallClass, *, wait_s: float, hold_s: float = 30.0) -> str:
            return "taken while Redis was there"

    limiter = Leaving(redis_client("redis://127.0.0.1:1/0"), "org", [Limit("per_minute", 9, 60)])
    made = js(201, {"code": 0, "contact": {"contact_id": "1", "contact_name": "A"}})
    with canned(monkeypatch, "zoho_books", each(made), limiter=limiter) as (connector, _):
        assert isinstance(connector.create(CONTACTS, DRAFT)[0], Written)


@pytest.mark.rule("P14")
def test_a_token_that_is_refused_again_is_not_fetched_a_third_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(FixedToken):
        invalidated: tuple[int, ...] = ()

        def invalidate(self, version: int) -> None:
            self.invalidated += (version,)

    tokens = Counting(TOKEN)
    refused = js(401, {"code": 14, "message": "Invalid value passed for authtoken"})
    with (
        canned(monkeypatch, "zoho_books", each(refused), tokens=tokens) as (connector, sent),
        pytest.raises(ConfigError),
    ):
        connector.list_page(CONTACTS, cursor=None, since=None)
    assert (tokens.invalidated, len(sent)) == ((1,), 2)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "reason"),
    [
        (429, 44, "", RateLimited, "RATE_LIMITED"),
        (200, 45, "", RateLimited, "RATE_LIMITED"),
        (401, 57, "You are not authorized", ConfigError, "SCOPE_MISSING"),
        (400, 3062, 'The customer "A" already exists', RecordRejected, "DUPLICATE_NAME"),
        (200, 3062, "already exists", RecordRejected, "DUPLICATE_NAME"),
        (400, 1000, "item name already exist", RecordRejected, "DUPLICATE_NAME"),
        (404, 1002, "does not exist", RecordRejected, "TARGET_GONE"),
        (400, 15, "too long", RecordRejected, "FIELD_TOO_LONG"),
        (400, 4, "empty", RecordRejected, "MANDATORY_FIELD_EMPTY"),
        (400, 999_999, "unknown", RecordRejected, "VENDOR_REJECTED"),
        (404, "", "", RecordRejected, "VENDOR_REJECTED"),
        (500, 1000, "", RetryableError, "RETRY_LATER"),
    ],
)
def test_the_table_of_books(status: int, code: object, message: str, kind: type[BothwaysError], reason: str) -> None:
    body: dict[str, object] = {"message": message} | ({"code": code} if code != "" else {})
    error = error_of(RULES, Answer("GET", status, {}, body))
    assert type(error) is kind
    assert error is not None
    assert error.code == reason


def test_a_gateway_s_404_is_not_a_deletion() -> None:
    assert type(error_of(RULES, Answer("GET", 404, {}, None, readable=False))) is RetryableError
    assert type(error_of(RULES, Answer("PUT", 404, {}, None, readable=False))) is UnsureWrite


def test_a_code_of_zero_is_success_and_any_other_is_not() -> None:
    assert RULES.complaint(Answer("GET", 200, {}, {"code": 0})) is None
    assert RULES.complaint(Answer("GET", 201, {}, {"code": 7, "message": "x"})) == Complaint("7", "x")


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.rule("OP-4")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"x-rate-limit-reset": "42"}, 42.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 9)}, 9.0),
        ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 9) * 1000)}, 9.0),
        ({"x-ratelimit-reset": "1000000001"}, 0.0),
        ({"retry-after": "9999999999999999999999"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@contextmanager
def dripping(head: bytes, drip: bytes) -> Iterator[str]:
    """A server that sends `head`, then `drip` again and again, a little every 20 ms."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65_536)
            try:
                peer.sendall(head)
                while not over.wait(0.02):
                    peer.sendall(drip)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        thread.join(5)
        listener.close()


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    ("head", "drip"),
    [(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", b" "), (b"HTTP/1.1 200 OK\r\n", b"x")],
    ids=["body", "headers"],
)
def test_an_answer_that_only_trickles_ends_at_the_deadline(head: bytes, drip: bytes) -> None:
    with dripping(head, drip) as url:
        http = VendorHttp(
            base_url=url,
            tokens=FixedToken(AccessToken(TOKEN.value, TOKEN.expires_at, 1)),
            limiter=Unlimited(),
            rules=RULES,
            auth_scheme="Bearer",
            call_s=0.3,
        )
        began = time.monotonic()
        with pytest.raises(RetryableError):
            http.call("GET", "/x")
        assert time.monotonic() - began < 1
        http.close()
