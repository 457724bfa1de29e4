"""The bench vendor as a process, its control, and how an installation is connected to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from shared.db.session import Database
from shared.services.connections import Connected, ConnectionService
from shared.services.integrations import IntegrationService
from shared.sync.access import Actor
from tests.bench_vendor import plug
from tests.bench_vendor.connector import BOOKS, CONTACTS, FIELD

LEFT, RIGHT = "field", "books"
Json = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """The control of a running bench vendor; `log` rows are those of server.py."""

    url: str
    http: httpx.Client

    def _do(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, f"{self.url}/_bench/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def reset(self) -> None:
        self._do("POST", "reset")

    def limits(self, org: str, **limits: float | None) -> None:
        self._do("POST", f"{org}/limits", limits)

    def no_limits(self, org: str) -> None:
        self.limits(org, minute=None, day=None, concurrent=None, latency_s=0.001)

    def seed(self, org: str, names: Sequence[str]) -> list[str]:
        rows = [{"name": name, "city": "Zürich"} for name in names]
        ids: list[str] = self._do("POST", f"{org}/seed/{CONTACTS}", rows)
        return ids

    def edit(self, org: str, record_id: str, **fields: str) -> None:
        self._do("PUT", f"{org}/{CONTACTS}/{record_id}", fields)

    def rows(self, org: str) -> list[Json]:
        found: list[Json] = self._do("GET", f"{org}/state").get(CONTACTS, [])
        return found

    def whole_log(self) -> Json:
        """{"log": [...], "began", "window_s", "now"}; times are the server's monotonic seconds."""
        found: Json = self._do("GET", "log")
        return found

    def log(self, org: str) -> list[Json]:
        return [row for row in self.whole_log()["log"] if row["org"] == org]

    def forget(self) -> None:
        self._do("DELETE", "log")


@contextmanager
def bench_process(window_s: float = 60.0) -> Iterator[Bench]:
    """The process is ours and ends with the block."""
    command = [sys.executable, "-m", "tests.bench_vendor.server", "--window-s", str(window_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = str(json.loads(process.stdout.readline())["base_url"])
        with httpx.Client(timeout=30, trust_env=False) as http:
            yield Bench(url, http)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def registered() -> Iterator[None]:
    plug.register()
    try:
        yield
    finally:
        plug.unregister()


def connect(
    connections: ConnectionService,
    db: Database,
    integrations: IntegrationService,
    actor: Actor,
    left: Mapping[str, int] | None = None,
    /,
    **flags: int,
) -> tuple[int, Mapping[str, Connected]]:
    """(integration, connections by org). `flags` are the right side's capabilities, `left` the left's, which has no
    limits."""
    made = {}
    for vendor, org in ((FIELD, LEFT), (BOOKS, RIGHT)):
        state, _ = connections.begin(
            actor, vendor.name, "bench", "client", SecretStr("secret"), "http://127.0.0.1:1/",
            org_external_id=org, org_name=vendor.label,
        )  # fmt: skip
        done = connections.finish(actor, state, "code")
        assert isinstance(done, Connected)
        made[org] = done
    connections.set_limits(actor, made[LEFT].connection_id, False)
    with db.transaction() as session:
        for org, told in ((LEFT, left or {}), (RIGHT, flags)):
            session.execute(
                text("UPDATE org SET settings = settings || CAST(:flags AS jsonb) WHERE id = :org"),
                {"flags": json.dumps({"capabilities": told}), "org": made[org].org_id},
            )
        session.execute(text("UPDATE connection SET updated_at = clock_timestamp()"))
    integration = integrations.create(actor, "bench_pair", made[LEFT].org_id, made[RIGHT].org_id)
    return integration, made
