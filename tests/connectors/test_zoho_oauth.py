"""Zoho's accounts server: refusals that are HTTP 200, and hosts that are let in."""

from __future__ import annotations

import logging

import httpx
import pytest
from pydantic import SecretStr

from shared.connectors._zoho import centres
from shared.connectors._zoho.oauth import ZohoSignIn
from shared.connectors.vendor import Client
from shared.errors import BothwaysError, ConfigError, ConnectionBroken, RateLimited, RetryableError

pytestmark = pytest.mark.rule("SU-1")

US = centres.CENTRES["us"]
CLIENT = Client("id", SecretStr("client-secret"))
OLD = SecretStr("1000.old")


def sign_in(status: int, content: bytes | Exception, seen: list[httpx.Request] | None = None) -> ZohoSignIn:
    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        if isinstance(content, Exception):
            raise content
        return httpx.Response(status, content=content)

    return ZohoSignIn("zoho_books", ("ZohoBooks.contacts.READ", "ZohoBooks.settings.READ"), httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (200, b'{"error":"Access Denied"}', RateLimited),
        (200, b'{"error":"access_denied"}', RateLimited),
        (
            400,
            b'{"error_description":"You have made too many requests continuously.","error":"Access Denied"}',
            RateLimited,
        ),
        (429, b"", RateLimited),
        (200, b'{"error":"invalid_code"}', ConnectionBroken),
        (400, b'{"error":"invalid_grant"}', ConnectionBroken),
        (200, b'{"error":"invalid_client"}', ConfigError),
        (200, b'{"error":"invalid_client_secret"}', ConfigError),
        (500, b'{"error":"invalid_code"}', RetryableError),
        (502, b"<html>", RetryableError),
        (200, b"<html>", RetryableError),
        (200, b"{}", RetryableError),
        (200, b'{"access_token":""}', RetryableError),
        (200, b'{"access_token":"a","expires_in":"soon"}', RetryableError),
        (0, httpx.ReadTimeout("x"), RetryableError),
        (0, httpx.ConnectError("x"), RetryableError),
    ],
)
def test_a_refresh_that_brings_no_token(status: int, content: bytes | Exception, kind: type[BothwaysError]) -> None:
    with pytest.raises(BothwaysError) as raised:
        sign_in(status, content).refresh(US, CLIENT, OLD)
    assert type(raised.value) is kind
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after_s == 600
    assert raised.value.__context__ is None


@pytest.mark.rule("P14")
def test_an_error_that_quotes_a_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        sign_in(200, b'{"error":"bad secret client-secret for you"}').refresh(US, CLIENT, OLD)
    assert "client-secret" not in str(raised.value)


def test_a_grant_is_read_and_its_tokens_do_not_show(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    content = (
        b'{"access_token":"1000.a","refresh_token":"1000.r","api_domain":"https://www.zohoapis.com",'
        b'"token_type":"Bearer","expires_in":3600,"scope":"A.b,C.d","new":1}'
    )
    seen: list[httpx.Request] = []
    grant = sign_in(200, content, seen).exchange(US, CLIENT, code="1000.code", redirect_uri="http://127.0.0.1/cb")
    assert (grant.expires_in_s, grant.api_domain, grant.scopes) == (3600, "https://www.zohoapis.com", ("A.b", "C.d"))
    assert seen[0].url == "https://accounts.zoho.com/oauth/v2/token", "nothing secret in an address"
    text = repr(grant) + caplog.text
    assert [one for one in ("1000.a", "1000.r", "1000.code", "client-secret") if one in text] == []


def test_a_grant_that_does_not_last_is_of_no_use() -> None:
    with pytest.raises(ConfigError):
        sign_in(200, b'{"access_token":"1000.a"}').exchange(US, CLIENT, code="c", redirect_uri="r")


def test_revoking_a_dead_token_is_fine_and_the_token_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sign_in(400, b"{}").revoke(US, OLD)
    with pytest.raises(RetryableError):
        sign_in(503, b"").revoke(US, OLD)
    assert "1000.old" not in caplog.text


def test_a_redirect_of_the_accounts_server_is_not_followed() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(307, headers={"location": "https://evil.test/token"})

    with pytest.raises(RetryableError):
        ZohoSignIn("zoho_books", (), httpx.MockTransport(answer)).refresh(US, CLIENT, OLD)
    assert len(seen) == 1


# Hosts.


def test_the_redirect_decides_the_data_centre() -> None:
    known = centres.centres(None, "zoho_books")
    assert centres.redirected(US, "https://accounts.zohocloud.ca", "ca", known).name == "ca"
    assert centres.redirected(US, "https://accounts.zoho.eu/", None, known).name == "eu"
    assert centres.redirected(US, None, "in", known).name == "in"
    assert centres.redirected(US, None, None, known) == US


@pytest.mark.rule("P14")
@pytest.mark.parametrize(
    ("accounts_server", "location"),
    [
        ("https://accounts.zoho.ca", None),
        ("http://accounts.zoho.com", None),
        ("https://accounts.zoho.com:8443", None),
        ("https://accounts.zoho.com@evil.test", None),
        ("https://accounts.zoho.com/evil", None),
        ("https://accounts.zoho.com", "eu"),
        ("https://accounts.zoho.com", "evil"),
        ("http://127.0.0.1:1/zoho_accounts", "us"),
        (None, "sandbox"),
        ("", None),
    ],
)
def test_a_host_that_is_not_in_the_list_ends_the_sign_in(accounts_server: str | None, location: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        centres.redirected(US, accounts_server, location, centres.centres(None, "zoho_books"))
    assert raised.value.code == "FOREIGN_HOST"


def test_the_sandbox_is_let_in_only_where_it_is_set() -> None:
    base = "http://127.0.0.1:1/"
    with_it = centres.centres(base, "zoho_books")
    assert with_it["sandbox"].api_domains == ("http://127.0.0.1:1/zoho_books",)
    assert centres.redirected(US, "http://127.0.0.1:1/zoho_accounts", "us", with_it).name == "sandbox"
    assert centres.api_domain(with_it["sandbox"], None, with_it) == "http://127.0.0.1:1/zoho_books"
    assert centres.api_domain(US, "https://www.zohoapis.eu", with_it) == "https://www.zohoapis.eu"
    for foreign in ("https://www.zohoapis.com.evil.test", "http://www.zohoapis.com", "https://zohoapis.com"):
        with pytest.raises(ConfigError):
            centres.api_domain(US, foreign, with_it)
