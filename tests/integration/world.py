"""An installation in one process: real Postgres, real Redis, the sandbox over HTTP, and a crew of worker threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
from sqlalchemy import text

from shared.bus import Bus, make_async_redis, make_redis
from shared.connectors.base import Connector, WebhookRequest
from shared.db.session import Database, make_engine
from shared.engine import housekeeping
from shared.engine.context import ConnectorPool, Ports
from shared.engine.epoch import Epoch
from shared.engine.keeper import Keeper
from shared.engine.watchdog import Watchdog
from shared.intake import Intake
from shared.lease import Leases
from shared.services.connections import Connected, ConnectionService
from shared.services.events import EventService
from shared.services.imports import ImportService, ImportView
from shared.services.integrations import IntegrationService
from shared.services.runs import RunService, RunView
from shared.services.workspaces import host_actor
from shared.settings import Settings
from shared.sync.access import Actor
from shared.sync.imports import ImportKind
from shared.vault import load_vault
from tests.contract.support import Sandbox
from tests.integration.crew import Crew

FSM, BOOKS = "zoho_fsm", "zoho_books"
REDIRECT = "http://127.0.0.1:9/callback"
Json = dict[str, Any]

ADDRESS = {
    "Street_1": "address",
    "Street_2": "street2",
    "City": "city",
    "State": "state",
    "Zip_Code": "zip",
    "Country": "country",
}


@dataclass
class Office:
    """One process: what workers/lifecycle.py opens, with a crew in the place of Celery."""

    settings: Settings
    ports: Ports
    keeper: Keeper
    crew: Crew
    connections: ConnectionService

    @property
    def db(self) -> Database:
        return self.ports.db

    @property
    def bus(self) -> Bus:
        return self.ports.bus

    def intake(self) -> Intake:
        return Intake(make_async_redis(self.settings), self.crew, self.settings.webhook_bound)

    def events(self, intake: Intake | None = None) -> EventService:
        """Without an intake, one that is never used: it has opened nothing."""
        used = intake or self.intake()
        return EventService(self.db, self.bus, self.crew, self.connections, self.settings, used)

    def sql(self, statement: str, **values: Any) -> list[Json]:
        with self.db.transaction() as session:
            result = session.execute(text(statement), values)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []  # type: ignore[attr-defined]

    def value(self, statement: str, **values: Any) -> Any:
        return next(iter(self.sql(statement, **values)[0].values()))


_workers = iter(range(1_000_000))
_workers_lock = threading.Lock()


@contextmanager
def opened(settings: Settings, *, threads: int = 3, beat: bool = True, keeper: bool = True) -> Iterator[Office]:
    """`threads` 0: nobody works; the test calls the engine itself."""
    with _workers_lock:
        name = f"crew-{next(_workers)}"
    database = Database(make_engine(settings, threads=threads + 10))
    client = make_redis(settings)
    bus = Bus(client, settings, name)
    bus.ensure_results()
    leases = Leases(settings)
    service = ConnectionService(database, load_vault(settings.key_file), settings, client)
    crew = Crew()

    def open_connector(connection_id: int) -> Connector:
        return service.open_connector(connection_id)

    watchdog = Watchdog(settings.push_hard_deadline_s)
    epoch = Epoch(database, bus, settings.epoch_file)
    ports = Ports(settings, database, bus, leases, crew, ConnectorPool(open_connector), epoch, watchdog)
    if beat:
        crew.beat = partial(housekeeping.tick, ports)
    holder = Keeper(bus, database, leases, settings, epoch, watchdog)
    if keeper:
        holder.start()
    else:
        bus.beat()
    crew.start(ports, holder, events=threads, control=2 if threads else 0)
    try:
        yield Office(settings, ports, holder, crew, service)
    finally:
        crew.stop()
        holder.stop()
        ports.connectors.close()
        database.close()
        client.close()
    assert not crew.mistakes, crew.mistakes


@dataclass
class World:
    """Two connected orgs, an integration of them, and people who work at the vendors."""

    office: Office
    sandbox: Sandbox
    actor: Actor
    orgs: Mapping[str, Connected]
    integration: int
    right: str = BOOKS
    """The accounting vendor."""

    @property
    def workspace(self) -> int:
        return self.actor.workspace

    @property
    def runs(self) -> RunService:
        return RunService(
            self.office.db,
            self.office.crew,
            IntegrationService(self.office.db, self.office.settings),
            self.office.settings,
        )

    @property
    def imports(self) -> ImportService:
        return ImportService(self.office.db, self.office.settings, self.office.crew)

    @property
    def events(self) -> EventService:
        return self.office.events()

    def accept_webhook(self, vendor: str, path_token: str, request: WebhookRequest) -> int:
        """As the door does with a delivery, on a loop of its own; whom it wakes has been woken when it returns."""

        async def accepted() -> int:
            intake = self.office.intake()
            try:
                return await self.office.events(intake).accept_webhook(vendor, path_token, request)
            finally:
                await intake.close()

        return asyncio.run(accepted())

    # Runs.

    def fetch(self) -> RunView:
        return self.ended(self.runs.fetch(self.actor, self.integration))

    def sync(self) -> RunView:
        return self.ended(self.runs.sync_now(self.actor, self.integration))

    def ended(self, run_id: int) -> RunView:
        self.office.crew.until(lambda: self.runs.get(self.actor, run_id).ended, f"run {run_id} ends")
        view = self.runs.get(self.actor, run_id)
        assert view.state.startswith("completed"), (view.state, view.error_code, view.error_detail)
        check_counters(self.office)
        return view

    def begin_import(self, vendor: str, kind: str, file: str | bytes, **more: Any) -> int:
        """The import's number; it is queued."""
        connection = self.orgs[vendor].connection_id
        upload = self.imports.begin(self.actor, connection, ImportKind(kind), **more)
        try:
            upload.write(file.encode() if isinstance(file, str) else file)
            return upload.finish().id
        except BaseException:
            upload.drop()
            raise

    def import_ended(self, import_id: int) -> ImportView:
        self.office.crew.until(lambda: self.imports.get(self.actor, import_id).ended, f"import {import_id} ends")
        view = self.imports.get(self.actor, import_id)
        assert view.state.startswith("completed"), (view.state, view.error_code, view.error_detail)
        check_import(self.office, import_id)
        return view

    def imported(self, vendor: str, kind: str, file: str | bytes, **more: Any) -> ImportView:
        return self.import_ended(self.begin_import(vendor, kind, file, **more))

    def hurry(self) -> None:
        """The vendors' own times are not scaled: whenever nothing goes on, what they said to wait for is over."""
        office = self.office

        def beat() -> None:
            office.sql("UPDATE due SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()")
            office.sql("UPDATE run SET claimed_until = NULL WHERE claimed_by IS NULL")
            office.sql("UPDATE run SET resume_at = clock_timestamp() WHERE resume_at > clock_timestamp()")
            office.sql("UPDATE import_job SET claimed_until = NULL WHERE claimed_by IS NULL")
            office.sql("UPDATE import_job SET resume_at = clock_timestamp() WHERE resume_at > clock_timestamp()")
            for key in [*office.bus.redis.keys("bw:limit*"), *office.bus.redis.keys("bw:lane:*:paused")]:
                office.bus.redis.delete(key)
            housekeeping.tick(office.ports)

        office.crew.beat = beat

    def outcomes(self, run_id: int, outcome: str | None = None) -> list[Json]:
        return self.runs.outcomes(self.actor, run_id, outcome=outcome, limit=1000)

    def quiet(self) -> None:
        """Until no event waits anywhere, and then the counters must be right."""
        office = self.office

        def nothing_left() -> bool:
            lanes = sum(office.bus.redis.xlen(key) for key in office.bus.redis.smembers("bw:lanes"))
            due = office.value("SELECT count(*) FROM due WHERE why <> 'failed'")
            return not lanes and not due and not office.bus.results_waiting() and office.crew.idle

        office.crew.until(nothing_left, "no event waits")
        check_counters(office)

    # People at the vendors.

    def seed(self, vendor: str, module: str, *rows: Json) -> list[str]:
        made = self.sandbox.control(vendor, "POST", "seed", {module: list(rows)})["seeded"][module]
        return [str(one) for one in made]

    def company(self, name: str, **fields: object) -> str:
        return self.seed(FSM, "Companies", {"Company_Name": name, **fields})[0]

    def customer(self, name: str, **fields: object) -> str:
        row = {"contact_name": name, "contact_type": "customer", "customer_sub_type": "business", **fields}
        return self.seed(self.right, "contacts", row)[0]

    def service(self, name: str, **fields: object) -> str:
        row = {"Name": name, "Unit_Price": 10.5, "Type": "Service", **fields}
        return self.seed(FSM, "Service_And_Parts", row)[0]

    def item(self, name: str, **fields: object) -> str:
        return self.seed(self.right, "items", {"name": name, "rate": 10.5, "product_type": "service", **fields})[0]

    def fsm(self, record_id: str, module: str = "Companies") -> Json:
        return next(row for row in self.sandbox.rows(FSM, module) if str(row["id"]) == record_id)

    def books(self, record_id: str, module: str = "contacts") -> Json:
        own = "contact_id" if module == "contacts" else "item_id"
        return next(row for row in self.sandbox.rows(self.right, module) if str(row[own]) == record_id)

    def seed_of(self, name: str) -> str:
        """The id of the FSM company of this name."""
        return next(str(row["id"]) for row in self.sandbox.rows(FSM, "Companies") if row["Company_Name"] == name)

    def twin(self, record_id: str) -> str | None:
        """The other end of the record's binding."""
        rows = self.office.sql("SELECT left_id, right_id FROM binding WHERE :id IN (left_id, right_id)", id=record_id)
        return next((str(r["right_id"] if r["left_id"] == record_id else r["left_id"]) for r in rows), None)

    # What was seen of us.

    def forget_calls(self) -> None:
        for vendor in (FSM, self.right):
            self.sandbox.control(vendor, "DELETE", "calls")

    def calls(self, *, write: bool | None = None) -> list[Json]:
        found = [{**call, "vendor": vendor} for vendor in (FSM, self.right) for call in self.sandbox.calls(vendor)]
        return [call for call in found if write is None or call["write"] is write]

    def writes(self) -> list[str]:
        return [f"{call['vendor']} {call['method']} {call['path']} {call['status']}" for call in self.calls(write=True)]

    # What must hold.

    def check_agree(self) -> None:
        """Both sides hold the same companies and items, each once. Compared by our own reading of the two forms."""
        left = Counter(_company(row) for row in self.sandbox.rows(FSM, "Companies"))
        right = Counter(
            _customer(row)
            for row in self.sandbox.rows(self.right, "contacts")
            if row.get("customer_sub_type", "business") == "business"
        )
        assert left == right, (left - right, right - left)
        left = Counter(_service(row) for row in self.sandbox.rows(FSM, "Service_And_Parts"))
        right = Counter(_item(row) for row in self.sandbox.rows(self.right, "items"))
        assert left == right, (left - right, right - left)
        self.check_single()

    def check_single(self) -> None:
        """No name twice on either side, no intent left open, one binding per record."""
        for vendor, module, name in (
            (FSM, "Companies", "Company_Name"),
            (FSM, "Service_And_Parts", "Name"),
            (self.right, "contacts", "contact_name"),
            (self.right, "items", "name"),
        ):
            names = Counter(str(row[name]).casefold() for row in self.sandbox.rows(vendor, module))
            assert not [one for one, count in names.items() if count > 1], (vendor, module, names)
        assert self.office.sql("SELECT pair, record_id, state FROM intent") == []


def check_counters(office: Office) -> None:
    """P9: counters = rows + listed, of every run and reason; no event has two outcomes, none is unknown."""
    keys = "run_id, direction, pair, outcome, reason"
    rows = {_key(r): r["n"] for r in office.sql(f"SELECT {keys}, count(*) AS n FROM outcome GROUP BY {keys}")}
    counted = {_key(r): (r["records"], r["listed"]) for r in office.sql("SELECT * FROM run_count")}
    wrong = {
        key: (counted.get(key), rows.get(key, 0))
        for key in counted.keys() | rows.keys()
        if counted.get(key, (0, 0))[0] != rows.get(key, 0) + counted.get(key, (0, 0))[1]
    }
    assert not wrong, f"(records, listed), rows: {wrong}"
    doubled = office.sql("SELECT event_id FROM outcome GROUP BY event_id HAVING count(*) > 1")
    assert not doubled, doubled
    unknown = office.sql(
        "SELECT event_id FROM outcome o WHERE NOT EXISTS (SELECT 1 FROM event_done d WHERE d.event_id = o.event_id)"
    )
    assert not unknown, unknown


def check_import(office: Office, import_id: int) -> None:
    """Counters = rows; nothing that it needed on its way is left, nor any cell of a row that is done and did not
    fail."""
    job = office.sql("SELECT * FROM import_job WHERE id = :id", id=import_id)[0]
    found = office.sql(
        "SELECT outcome, count(*) AS n FROM import_row WHERE import_id = :id GROUP BY outcome", id=import_id
    )
    rows = Counter({row["outcome"]: row["n"] for row in found})
    assert rows.total() == job["rows"], (rows, job["rows"])
    assert {name: job[name] for name in ("created", "updated", "skipped", "failed")} == {
        name: rows[name] for name in ("created", "updated", "skipped", "failed")
    }
    for table in ("import_chunk", "import_known"):
        assert office.value(f"SELECT count(*) FROM {table} WHERE import_id = :id", id=import_id) == 0
    kept = (
        "SELECT line FROM import_row WHERE import_id = :id AND outcome <> 'failed' AND (cells IS NOT NULL OR key <> '')"
    )
    assert office.sql(kept, id=import_id) == []
    assert office.sql("SELECT 1 FROM org_lease WHERE holder = :h", h=f"import:{import_id}") == []


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("run_id", "direction", "pair", "outcome", "reason"))


def connect(office: Office, sandbox: Sandbox, right: str = BOOKS) -> World:
    """Signs in at both vendors and makes the integration, as people do."""
    actor = host_actor(office.db)
    orgs = {vendor: _signed_in(office, sandbox, actor, vendor) for vendor in (FSM, right)}
    # A minute's allowance would end many tests in a wait.
    office.sql("""UPDATE org SET settings = '{"limits": {"per_minute": false}}'""")
    integration = IntegrationService(office.db, office.settings).create(
        actor, "fsm_books", orgs[FSM].org_id, orgs[right].org_id, sync_type="I"
    )
    return World(office, sandbox, actor, orgs, integration, right)


def _signed_in(office: Office, sandbox: Sandbox, actor: Actor, vendor: str) -> Connected:
    client = sandbox.client
    _, url = office.connections.begin(
        actor, vendor, "sandbox", client.id, client.secret, REDIRECT,
        org_external_id=sandbox.info["orgs"][vendor], org_name="Zylker",
    )  # fmt: skip
    query = httpx.URL(sandbox.http.get(url).headers["location"]).params
    done = office.connections.finish(
        actor,
        query["state"],
        query["code"],
        accounts_server=query.get("accounts-server"),
        location=query.get("location"),
    )
    assert isinstance(done, Connected)
    return done


# The two forms of a record, read without the product's mapping.


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _places(mine: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(_text(mine.get(name)) for name in names)


def _company(row: Json) -> tuple[Any, ...]:
    # The vendor reads an address under prefixed names: Service_Address.Service_City.
    addresses = [
        _places(row.get(f"{kind}_Address") or {}, [f"{kind}_{name}" for name in ADDRESS])
        for kind in ("Service", "Billing")
    ]
    return (row["Company_Name"], _text(row.get("Website")), *addresses)


def _customer(row: Json) -> tuple[Any, ...]:
    addresses = [_places(row.get(name) or {}, ADDRESS.values()) for name in ("shipping_address", "billing_address")]
    return (row["contact_name"], _text(row.get("website")), *addresses)


def _service(row: Json) -> tuple[Any, ...]:
    price = Decimal(str(row.get("Unit_Price") or 0))
    return (row["Name"], price, _text(row.get("Description")), _text(row.get("SKU")), _text(row.get("Unit")))


def _item(row: Json) -> tuple[Any, ...]:
    price = Decimal(str(row.get("rate") or 0))
    return (row["name"], price, _text(row.get("description")), _text(row.get("sku")), _text(row.get("unit")))
