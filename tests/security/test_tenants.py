"""Another workspace's things are not there, on whatever route they are asked for."""

from __future__ import annotations

import json

import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from api.routes import (
    audit,
    bindings,
    config,
    connections,
    health,
    imports,
    integrations,
    invoicing,
    logs,
    mappings,
    notifications,
    runs,
    setup,
    tokens,
)
from shared.sync.access import Role
from tests.callers import CONNECTING, QUERIES, SWITCHING, an_import, body_of, made, token_of
from tests.integration.test_doors import Door
from tests.integration.world import BOOKS, World

pytestmark = pytest.mark.rule("PE-6", "P14")

NOBODYS = {"/healthz", "/readyz", "/workz"}
"""Routes that show nothing of anybody."""
LISTS = {"/api/v1/connections", "/api/v1/imports", "/api/v1/integrations", "/api/v1/runs"}
OF_OURS = {"/api/v1/tokens", "/api/v1/audit"}
"""Lists in which the token is that asks afterwards."""


def give_away(world: World) -> int:
    """All there is becomes another workspace's; ours is left empty. Returns the other's number."""
    office = world.office
    other = int(office.value("INSERT INTO workspace (name) VALUES ('other') RETURNING id"))
    tables = [
        row["table_name"]
        for row in office.sql(
            "SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t "
            "USING (table_schema, table_name) WHERE column_name = 'workspace_id' AND table_schema = 'public' "
            "AND t.table_type = 'BASE TABLE' AND c.table_name NOT LIKE 'outcome_%'"
        )
    ]
    assert {"org", "connection", "integration", "run", "outcome", "binding", "due"} <= set(tables)
    assert {"api_token", "audit_log"} <= set(tables)
    office.sql("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
    office.sql("SET session_replication_role = replica; " + "; ".join(  # composite keys would want an order
        f"UPDATE {table} SET workspace_id = {other}" for table in tables
    ) + "; SET session_replication_role = origin")  # fmt: skip
    return other


def routes() -> list[tuple[str, str]]:
    # Starlette keeps included routers as they are; the description is what names every route.
    found = [(m.upper(), path) for path, methods in create_app().openapi()["paths"].items() for m in methods]
    assert len(found) >= 12
    return found


def test_no_route_is_hidden_from_this_test() -> None:
    """All routes come by the description but these, which show nothing of anybody."""
    hidden = {getattr(one, "path", "") for one in create_app().routes if not getattr(one, "include_in_schema", True)}
    assert hidden == {"/openapi.json", "/docs", "/docs/oauth2-redirect"}
    for router in (
        health.router,
        health.open_router,
        *(one.router for one in (connections, config, integrations, invoicing, setup, mappings, notifications)),
        *(one.router for one in (bindings, runs, imports, logs, tokens, audit)),
    ):
        assert all(one.include_in_schema for one in router.routes if isinstance(one, APIRoute))


def test_what_is_another_workspace_s_is_not_found_on_any_route(door: Door) -> None:
    world = door.world
    world.office.crew.deaf = False
    company = world.company("Zylker")
    world.company("=Acme()")
    world.company("=ACME()")
    world.fetch()
    run = world.sync().id
    event = str(world.office.value("SELECT event_id FROM event_done ORDER BY event_id LIMIT 1"))
    values = {
        "integration_id": world.integration,
        "sync_id": run,
        "pair": "companies",
        "side": "left",
        "record_id": company,
        "event_id": event,
        "token_id": made(world.office.db, Role.VIEWER, name="Zylker's").view.id,
        "connection_id": world.orgs[BOOKS].connection_id,
        "module": "contacts",
        "kind": "companies",
        "import_id": an_import(world.office.db, world.orgs[BOOKS].org_id),
    }
    asked = [(method, path) for method, path in routes() if path not in NOBODYS]

    def ask(method: str, path: str) -> tuple[int, str]:
        role = Role.SUPPORT if path.endswith("/support-enable") else Role.ADMIN
        headers = {"Authorization": f"Bearer {bearers[role]}"}
        address = path.format(**values) + QUERIES.get((method, path), "")
        answer = door.http.request(method, address, **body_of(BODIES.get((method, path)), headers))
        return answer.status_code, answer.text

    bearers = {role: token_of(world.office.db, role) for role in (Role.ADMIN, Role.SUPPORT)}

    ours = {one: ask(*one) for one in asked}
    assert {status for status, _ in ours.values()} <= {200, 201, 202, 204, 409}, ours
    give_away(world)
    bearers = {role: token_of(world.office.db, role) for role in bearers}  # those of before are the other's now
    calls = {one: ask(*one) for one in asked}
    for (method, path), (status, text) in calls.items():
        if method == "GET" and path in LISTS:
            assert (status, text) == (200, "[]"), path
        elif path in OF_OURS and method == "GET":
            theirs = json.loads(ours[method, path][1])
            assert len(theirs) > 1
            assert {one["id"] for one in theirs}.isdisjoint(one["id"] for one in json.loads(text)), path
        elif (method, path) in NEW:
            assert status == 201
        elif path in BY_STATE:
            assert (status, json.loads(text)["code"]) == (409, "BAD_STATE")
        else:
            assert status == 404, (method, path, text)
        assert "Zylker" not in text


NEW_TOKEN = ("POST", "/api/v1/tokens")
NEW = {NEW_TOKEN, ("POST", "/api/v1/connections/sign-in")}
BY_STATE = {"/api/v1/connections/sign-in/finish", "/api/v1/connections/sign-in/choose"}
"""A sign-in is found by its state alone, and by whoever has it."""
MAPPING = "/api/v1/integrations/{integration_id}/mappings/{pair}"
LINES = {"lines": [{"left": "Company_Name", "right": "contact_name"}]}
SETUP = "/api/v1/integrations/{integration_id}/setup/policy"
BINDINGS = "/api/v1/integrations/{integration_id}/bindings"
BODIES: dict[tuple[str, str], object] = {
    ("POST", "/api/v1/integrations"): {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 2},
    NEW_TOKEN: {"name": "new", "role": "viewer"},
    **CONNECTING,
    **SWITCHING,
    ("PUT", MAPPING): LINES,
    ("POST", f"{MAPPING}/check"): LINES,
    ("POST", "/api/v1/drafts"): {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 2},
    ("PUT", SETUP): {"policy": "overwrite", "sync_type": "I"},
    ("POST", BINDINGS): {"pair": "companies", "left_id": "1", "right_id": "2"},
    ("POST", f"{BINDINGS}.csv"): "modules,left_record,right_record\n",
}
