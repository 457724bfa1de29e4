"""Connecting, webhooks and budgets over REST (SU-1, SU-8, OP-4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("SU-1")

PATH = "/api/v1/connections"
SECRET = "sandbox-client-secret"
BACK = "http://127.0.0.1:9/callback"


@pytest.fixture
def http(world: World) -> Iterator[httpx.Client]:
    with serving(world.office.settings) as client:
        yield client


def consent(world: World, url: str) -> dict[str, str]:
    """What the vendor's redirect brings to the caller's own address."""
    location = world.sandbox.http.get(url).headers["location"]
    assert location.startswith(BACK)
    brought = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    return {"accounts_server": brought.pop("accounts-server"), **brought}


def signing_in(world: World, vendor: str, **more: str) -> dict[str, Any]:
    client = world.sandbox.client
    return {
        "vendor": vendor,
        "data_centre": "sandbox",
        "client_id": client.id,
        "client_secret": client.secret.get_secret_value(),
        "redirect_uri": BACK,
        **more,
    }


def test_an_org_is_connected_by_two_calls_with_a_browser_between(world: World, http: httpx.Client) -> None:
    begun = http.post(f"{PATH}/sign-in", json=signing_in(world, BOOKS))
    assert (begun.status_code, begun.headers["cache-control"]) == (201, "no-store")
    told = begun.json()
    brought = consent(world, told["authorize_url"])
    assert brought["state"] == told["state"]
    done = http.post(f"{PATH}/sign-in/finish", json=brought).json()
    assert done == {
        "connection_id": world.orgs[BOOKS].connection_id,
        "org_id": world.orgs[BOOKS].org_id,
        "vendor": BOOKS,
        "org_name": "Zylker Books",
    }, "the org was connected before: it keeps its connection"
    used = http.post(f"{PATH}/sign-in/finish", json=brought)
    assert (used.status_code, used.json()["code"]) == (409, "BAD_STATE")
    listed = {one["id"]: one for one in http.get(PATH).json()}
    assert {one["vendor"] for one in listed.values()} == {FSM, BOOKS}
    one = http.get(f"{PATH}/{done['connection_id']}").json()
    assert one == listed[done["connection_id"]]
    assert (one["status"], one["org_name"]) == ("live", "Zylker Books")
    secret = world.sandbox.client.secret.get_secret_value()
    assert secret not in begun.text + str(listed)


def test_signing_in_again_keeps_the_connection(world: World, http: httpx.Client) -> None:
    number = world.orgs[FSM].connection_id
    world.office.sql("UPDATE connection SET status = 'broken', broken_reason = 'x' WHERE id = :id", id=number)
    begun = http.post(f"{PATH}/{number}/sign-in", json={"redirect_uri": BACK}).json()
    done = http.post(f"{PATH}/sign-in/finish", json=consent(world, begun["authorize_url"])).json()
    assert done["connection_id"] == number
    assert http.get(f"{PATH}/{number}").json()["status"] == "live"
    assert http.post(f"{PATH}/{number}/probe").json()["capabilities"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"vendor": "nobody"},
        {"data_centre": "mars"},
        {"redirect_uri": "javascript:alert(1)"},
        {"client_id": ""},
        {"client_secret": ""},
        {"surprise": "x"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_bad_sign_in_is_refused_without_repeating_the_secret(
    world: World, http: httpx.Client, wrong: dict[str, str]
) -> None:
    body = {**signing_in(world, BOOKS), **wrong}
    answer = http.post(f"{PATH}/sign-in", json=body)
    assert answer.status_code in (404, 422), answer.text
    assert answer.json()["message"]
    assert world.sandbox.client.secret.get_secret_value() not in answer.text


@pytest.mark.rule("SU-8")
def test_what_to_enter_at_the_vendor_and_a_new_secret(world: World, http: httpx.Client) -> None:
    number = world.orgs[BOOKS].connection_id
    answer = http.post(f"{PATH}/{number}/webhook")
    assert answer.headers["cache-control"] == "no-store"
    shown = answer.json()
    assert shown["url"].startswith(f"{world.office.settings.public_base}/webhooks/{BOOKS}/")
    assert shown["steps"]
    assert shown["secret"] in shown["values"].values()
    renewed = http.post(f"{PATH}/{number}/webhook/renew").json()
    assert (renewed["url"], renewed["secret"] == shown["secret"]) == (shown["url"], False)
    assert http.post(f"{PATH}/{number}/webhook").json()["secret"] == renewed["secret"]


@pytest.mark.rule("OP-4")
def test_budgets_are_told_and_set(world: World, http: httpx.Client) -> None:
    path = f"{PATH}/{world.orgs[BOOKS].connection_id}/limits"

    def put(limits: object) -> dict[str, int]:
        answer = http.put(path, json={"limits": limits})
        assert answer.status_code == 200, answer.text
        assert answer.json() == http.get(path).json()
        return {one["name"]: one["calls"] for one in answer.json()}

    published = put({})
    assert published["per_minute"] == 100
    assert put({"per_day": {"calls": 900, "window_s": 86_400}}) == {**published, "per_day": 900}
    assert "per_minute" not in put({"per_minute": False})
    assert put(False) == {}
    for bad in (True, {"per_day": {"calls": 0, "window_s": 1}}, {"per_day": 5}, None):
        assert http.put(path, json={"limits": bad}).status_code == 422
