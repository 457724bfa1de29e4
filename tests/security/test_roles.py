"""Every route of the API as every role, with and without the permission for logs, and as nobody.

The routes come from the app, so that one that is added without a permission, or whose service asks for another than it
says, fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from api import bearer
from api.app import create_app
from shared.sync.access import Permission, Role, permissions_of
from tests.callers import CONNECTING, QUERIES, SWITCHING, Carrying, an_import, body_of, made, token_of
from tests.integration.test_doors import Door, serving
from tests.integration.world import BOOKS, World

pytestmark = pytest.mark.rule("PE-1", "LG-6", "P14")

OPEN = {"/healthz", "/readyz"}
"""Of what the description names."""
SHOWN = {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/static-offline-docs"}
"""The description itself, its page, and the page's script."""


BINDINGS = "/api/v1/integrations/{integration_id}/bindings"
MAPPING = "/api/v1/integrations/{integration_id}/mappings/{pair}"
LINES = {"lines": [{"left": "Company_Name", "right": "contact_name"}]}


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    permission: Permission | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations() -> list[Operation]:
    found = []
    for path, methods in create_app().openapi()["paths"].items():
        for method, said in methods.items():
            permission = said.get("x-permission")
            found.append(Operation(method.upper(), path, None if permission is None else Permission(permission)))
    return found


OPERATIONS = operations()


def test_every_route_says_which_permission_it_needs() -> None:
    for one in OPERATIONS:
        assert (one.permission is None) == (one.path in OPEN), f"{one} says no permission"
    assert len(OPERATIONS) >= 18
    used = {one.permission for one in OPERATIONS} - {None}
    assert used == {
        "view",
        "read_logs",
        "sync",
        "connect",
        "configure",
        "manage_tokens",
        "read_audit",
        "support_enable",
    }


def test_no_route_is_hidden_from_this_test() -> None:
    """What the description does not name is the description, or the webhooks, which are signed."""
    app = create_app()
    named = {one.path for one in OPERATIONS}
    hidden = {one.path for one in app.routes if isinstance(one, Route | Mount)} - named
    assert hidden == {*SHOWN, "/webhooks/{vendor}/{token}"}
    closed = {path for path in named | hidden if not bearer.is_open(path.replace("-docs", "-docs/x"))}
    assert closed == named - OPEN


def test_the_description_lets_a_person_authorize() -> None:
    said = create_app().openapi()
    assert said["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, methods in said["paths"].items():
        for method in methods.values():
            assert (method.get("security") == [{"token": []}]) == (path not in OPEN), path
            assert ("401" in method["responses"]) == (path not in OPEN)


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """An integration that may be synced, a run and a token to ask for; nobody works."""
    world.company("Zylker")
    world.fetch()
    world.office.crew.deaf = True
    with serving(world.office.settings, token="") as client:
        yield Door(world, client)


def ask(door: Door, one: Operation, headers: dict[str, str]) -> httpx.Response:
    """With good values everywhere: what is refused is refused for who asks. A second asking may be a conflict."""
    world = door.world
    values = {
        "integration_id": world.integration,
        "sync_id": world.office.value("SELECT max(id) FROM run WHERE kind = 'fetch'"),
        "pair": "companies",
        "side": "left",
        "record_id": "1",
        "event_id": "x",
        "token_id": made(world.office.db, Role.VIEWER).view.id,
        "connection_id": world.orgs[BOOKS].connection_id,
        "module": "contacts",
        "kind": "companies",
        "import_id": an_import(world.office.db, world.orgs[BOOKS].org_id),
    }
    bodies: dict[str, Any] = {
        "POST /api/v1/integrations": {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 2},
        "POST /api/v1/tokens": {"name": "x", "role": "viewer"},
        **{f"{method} {path}": body for (method, path), body in CONNECTING.items()},
        f"PUT {MAPPING}": LINES,
        f"POST {MAPPING}/check": LINES,
        "POST /api/v1/drafts": {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 2},
        "PUT /api/v1/integrations/{integration_id}/setup/policy": {"policy": "overwrite", "sync_type": "I"},
        **{f"{method} {path}": body for (method, path), body in SWITCHING.items()},
        f"POST {BINDINGS}": {"pair": "companies", "left_id": "1", "right_id": "2"},
        f"POST {BINDINGS}.csv": "modules,left_record,right_record\n",
    }
    path = one.path.format(**values) + QUERIES.get((one.method, one.path), "")
    return door.http.request(one.method, path, **body_of(bodies.get(str(one)), headers))


@pytest.mark.parametrize("logs", [False, True], ids=["without logs", "with logs"])
@pytest.mark.parametrize("role", Role)
def test_each_route_as_each_role(door: Door, role: Role, logs: bool) -> None:
    headers = {"Authorization": f"Bearer {token_of(door.world.office.db, role, logs=logs)}"}
    has = permissions_of(role, read_logs=logs)
    for one in OPERATIONS:
        answer = ask(door, one, headers)
        if one.permission is None or one.permission in has:
            assert answer.status_code in (200, 201, 202, 204, 409, 503), (str(one), answer.text)
            assert answer.status_code != 503 or one.path == "/workz", str(one)  # nobody works here
            continue
        assert answer.status_code == 403, (str(one), answer.text)
        told = answer.json()
        assert (told["code"], told["permission"]) == ("NOT_ALLOWED", one.permission.value)
        assert f"'{one.permission}'" in told["message"]
        assert "insufficient_scope" in answer.headers["www-authenticate"]
        assert "Zylker" not in answer.text


def test_a_refusal_does_not_tell_what_is_there(door: Door) -> None:
    """The permission is asked for before anything is looked up."""
    headers = {"Authorization": f"Bearer {token_of(door.world.office.db, Role.VIEWER, logs=False)}"}
    for path in ("/api/v1/runs/1", "/api/v1/runs/999999"):
        assert door.http.get(path, headers=headers).status_code == 403
    for number in (door.world.integration, 999999):
        assert door.http.post(f"/api/v1/integrations/{number}/sync", headers=headers).status_code == 403


def strangers(door: Door) -> dict[str, dict[str, str]]:
    db = door.world.office.db
    good, revoked = made(db), made(db, name="revoked")
    door.world.office.sql("UPDATE api_token SET revoked_at = now() WHERE id = :id", id=revoked.view.id)
    expired = made(db, name="expired")
    door.world.office.sql("UPDATE api_token SET expires_at = now() WHERE id = :id", id=expired.view.id)
    token = good.token.get_secret_value()
    return {
        "NO_TOKEN": {},
        "NO_TOKEN ": {"Authorization": f"Basic {token}"},
        "NO_TOKEN  ": {"Cookie": f"token={token}", "X-Api-Key": token},
        "BAD_TOKEN": {"Authorization": f"Bearer {token[:-1]}x"},
        "TOKEN_REVOKED": {"Authorization": f"Bearer {revoked.token.get_secret_value()}"},
        "TOKEN_EXPIRED": {"Authorization": f"Bearer {expired.token.get_secret_value()}"},
    }


def test_each_route_as_nobody(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.rates.Bucket.take", lambda _bucket: True)
    before = door.world.office.value("SELECT count(*) FROM audit_log")
    for code, headers in strangers(door).items():
        before = door.world.office.value("SELECT count(*) FROM audit_log")
        for one in OPERATIONS:
            if one.permission is None:
                assert door.http.request(one.method, one.path, headers=headers).status_code == 200
                continue
            answer = door.http.request(one.method, one.path, headers=headers, content=b"{no json")
            assert (answer.status_code, answer.json()["code"]) == (401, code.strip()), str(one)
            assert answer.json()["message"].endswith((".", "one."))
            assert answer.headers["www-authenticate"].startswith('Bearer realm="bothways"')
            assert ("invalid_token" in answer.headers["www-authenticate"]) == (code.strip() != "NO_TOKEN")
        assert door.world.office.value("SELECT count(*) FROM audit_log") == before


def test_a_token_in_an_address_is_no_token(door: Door) -> None:
    """Addresses end up in logs."""
    token = token_of(door.world.office.db)
    for query in (f"?token={token}", f"?access_token={token}", f"?authorization=Bearer%20{token}"):
        assert door.http.get(f"/api/v1/runs{query}").status_code == 401


def test_a_stranger_learns_of_no_path_and_no_body_is_read(door: Door) -> None:
    for method, path in (
        ("GET", "/"), ("GET", "/api/v1/nothing"), ("PUT", "/api/v1/runs"), ("GET", "/docs/"), ("GET", "/healthz/"),
        ("OPTIONS", "/api/v1/runs"), ("GET", "/webhooks"), ("GET", "//healthz"), ("GET", "/api/v1/runs/"),
        ("GET", "/static-offline-docs"), ("GET", "/openapi.json/"), ("GET", "/metrics"),
    ):  # fmt: skip
        assert door.http.request(method, path).status_code == 401, path
    big = door.http.post("/api/v1/integrations", content=b" " * 1_100_000)
    assert big.status_code == 401, "not 413: nobody counted"


def test_the_description_and_its_page_are_open(door: Door) -> None:
    for path in ("/openapi.json", "/docs", "/static-offline-docs/swagger-ui-bundle.js"):
        assert door.http.get(path).status_code == 200, path


def test_a_throttled_address_is_told_when_to_come_again(door: Door) -> None:
    token = token_of(door.world.office.db)
    known = Carrying(str(door.http.base_url), token)
    assert door.http.get("/api/v1/runs", auth=known).status_code == 200
    head, secret = token.rsplit("_", 1)
    for number in range(60):
        bad = {"Authorization": f"Bearer {head}_{number:02}{secret[2:]}"}
        answer = door.http.get("/api/v1/runs", headers=bad)
        if answer.status_code == 429:
            break
    assert (answer.status_code, answer.json()["code"]) == (429, "TOO_MANY_TRIES")
    assert answer.headers["retry-after"] == "1"
    assert door.http.get("/api/v1/runs", auth=known).status_code == 200, "who is known is not locked out"


def test_an_admin_makes_and_ends_a_token_over_rest(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    admin = Carrying(str(door.http.base_url), token_of(door.world.office.db))
    answer = door.http.post("/api/v1/tokens", json={"name": "Ann", "role": "viewer", "expires_days": None}, auth=admin)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    told = answer.json()
    assert (told["principal"], told["role"], told["read_logs"], told["expires_at"]) == ("Ann", "viewer", False, None)
    ann = Carrying(str(door.http.base_url), told["token"])
    assert door.http.get("/api/v1/integrations", auth=ann).status_code == 200
    assert told["token"] not in door.http.get("/api/v1/tokens", auth=admin).text
    assert door.http.delete(f"/api/v1/tokens/{told['id']}", auth=admin).json()["revoked_at"]
    refused = door.http.get("/api/v1/integrations", auth=ann)
    assert (refused.status_code, refused.json()["code"]) == (401, "TOKEN_REVOKED")
    log = door.http.get("/api/v1/audit?limit=2", auth=admin).json()
    assert [one["action"] for one in log] == ["token.revoked", "token.made"]
    assert {(one["principal"], one["actor_kind"], one["subject_id"]) for one in log} == {
        ("tests admin", "token", str(told["id"]))
    }
    older = door.http.get("/api/v1/audit", params={"before_id": log[-1]["id"], "limit": 1}, auth=admin).json()
    assert older[0]["id"] < log[-1]["id"]
    assert told["token"] not in door.http.get("/api/v1/audit", auth=admin).text + caplog.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "x", "role": "root"},
        {"name": "", "role": "viewer"},
        {"name": "cli", "role": "viewer"},
        {"name": "a\x00b", "role": "viewer"},
        {"name": "x", "role": "viewer", "expires_days": 0},
        {"name": "x", "role": "viewer", "workspace": 2},
    ],
)
def test_a_token_that_cannot_be_made_is_refused_in_a_sentence(door: Door, body: dict[str, object]) -> None:
    admin = Carrying(str(door.http.base_url), token_of(door.world.office.db))
    answer = door.http.post("/api/v1/tokens", json=body, auth=admin)
    assert answer.status_code == 422
    assert answer.json()["message"]


def test_an_admin_does_not_make_support(door: Door) -> None:
    """ST-4: else whoever it is that an error stopped could give themselves the right to go on."""
    admin = Carrying(str(door.http.base_url), token_of(door.world.office.db))
    answer = door.http.post("/api/v1/tokens", json={"name": "x", "role": "support"}, auth=admin)
    assert (answer.status_code, answer.json()["permission"]) == (403, "support_enable")
