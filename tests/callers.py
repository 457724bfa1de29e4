"""The one place where tests get a token of the REST API, and clients that carry it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from shared.db.session import Database, make_engine
from shared.services.api_tokens import ApiTokenService, MadeToken
from shared.services.workspaces import host_actor
from shared.settings import Settings
from shared.sync.access import Actor, Role


def made(
    database: Database, role: Role = Role.ADMIN, *, logs: bool = True, by: Actor | None = None, **more: Any
) -> MadeToken:
    """By the host's administrator, unless told."""
    maker = by or host_actor(database)
    return ApiTokenService(database).add(maker, more.pop("name", f"tests {role}"), role, read_logs=logs, **more)


def token_of(database: Database, role: Role = Role.ADMIN, *, logs: bool = True, **more: Any) -> str:
    return made(database, role, logs=logs, **more).token.get_secret_value()


def token_at(database_url: str, role: Role = Role.ADMIN, *, logs: bool = True) -> str:
    """For tests that know only where the database is."""
    database = Database(make_engine(Settings(database_url=SecretStr(database_url)), threads=1))
    try:
        return token_of(database, role, logs=logs)
    finally:
        database.close()


_BACK = "http://127.0.0.1:1/callback"
CONNECTING: dict[tuple[str, str], object] = {
    ("POST", "/api/v1/connections/sign-in"): {
        "vendor": "zoho_books", "data_centre": "sandbox", "client_id": "c", "client_secret": "s", "redirect_uri": _BACK,
    },
    ("POST", "/api/v1/connections/sign-in/finish"): {"state": "nobody's", "code": "c"},
    ("POST", "/api/v1/connections/sign-in/choose"): {"state": "nobody's", "org_external_id": "1"},
    ("POST", "/api/v1/connections/{connection_id}/sign-in"): {"redirect_uri": _BACK},
    ("PUT", "/api/v1/connections/{connection_id}/limits"): {"limits": {}},
    ("PUT", "/api/v1/connections/{connection_id}/capabilities"): {"capabilities": {}},
    ("PUT", "/api/v1/connections/{connection_id}/fields/{module}/custom"): {"fields": []},
    ("PUT", "/api/v1/connections/{connection_id}/fields/{module}/private"): {"names": []},
    ("PUT", "/api/v1/integrations/{integration_id}/notifications"): {"addresses": ["ann@example.com"]},
    ("PUT", "/api/v1/integrations/{integration_id}/config"): "kind: fsm_books\n",
    ("POST", "/api/v1/integrations/config"): "kind: fsm_books\n",
    ("POST", "/api/v1/connections/{connection_id}/imports/{kind}"): "contact_name\nZylker & Sons\n",
}  # fmt: skip
"""Good bodies of the routes about connections, and of others that each table of routes asks."""
SWITCHING: dict[tuple[str, str], object] = {
    ("PUT", "/api/v1/integrations/{integration_id}/schedule"): {"interval_s": 3600},
    ("POST", "/api/v1/integrations/{integration_id}/support-enable"): {"note": "why"},
    ("PUT", "/api/v1/integrations/{integration_id}/invoicing"): {"terms_days": 14},
}
"""Good bodies of the routes that say when an integration runs, and whether it may."""
QUERIES: dict[tuple[str, str], str] = {
    ("GET", "/api/v1/integrations/{integration_id}/logs.csv"): "?from=2026-05",
    ("POST", "/api/v1/integrations/config"): "?left_org_id=1&right_org_id=2",
}
"""What a route cannot do without."""


def an_import(database: Database, org_id: int) -> int:
    """One that has ended long ago, of the org's workspace."""
    with database.transaction() as session:
        return int(
            session.execute(
                text(
                    "INSERT INTO import_job (workspace_id, org_id, kind, module, on_match, state, asked_by, ended_at) "
                    "SELECT workspace_id, id, 'items', 'items', 'skip', 'completed', 'tests', clock_timestamp() "
                    "FROM org WHERE id = :org RETURNING id"
                ),
                {"org": org_id},
            ).scalar_one()
        )


def body_of(body: object, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """For a client's `request`: text is sent as CSV, everything else as JSON."""
    if isinstance(body, str):
        return {"content": body, "headers": {**(headers or {}), "Content-Type": "text/csv"}}
    return {"json": body, "headers": headers or {}}


class Carrying(httpx.Auth):
    """Sends the token to the API at `api_url`, and to nobody else: not to vendors, and not to webhooks."""

    def __init__(self, api_url: str, token: str) -> None:
        self._api = httpx.URL(api_url)
        self.token = token

    def __repr__(self) -> str:
        return f"Carrying({self._api!s})"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        own = (request.url.host, request.url.port) == (self._api.host, self._api.port)
        if own and not request.url.path.startswith("/webhooks/"):
            request.headers.setdefault("Authorization", f"Bearer {self.token}")
        yield request
