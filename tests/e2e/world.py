"""A whole stack with its sandbox vendors, and people who work there. It compares the two sides with its own code."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from api.ports import open_doors
from deploy.local.stack import Stack, StackOptions
from shared.settings import Settings
from tests.callers import Carrying, token_of

FSM, BOOKS = "zoho_fsm", "zoho_books"
Json = dict[str, Any]

ADDRESS = (
    ("Street_1", "address"),
    ("Street_2", "street2"),
    ("City", "city"),
    ("State", "state"),
    ("Zip_Code", "zip"),
    ("Country", "country"),
)


def await_that(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Polls, less and less often, for looking costs what is looked at its time. The bound is there so that a hang
    becomes a failure with a name, it measures nothing."""
    ends, pause_s = time.monotonic() + within_s, 0.02
    while not condition():
        assert time.monotonic() < ends, f"never came true: {what}"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 0.2)


class AlreadyThereError(AssertionError):
    """The vendor refuses a second record of this name: the product was faster than the person."""


@dataclass
class Person:
    """A user of a vendor, by its real API with a token of their own."""

    vendor: str
    base: str
    http: httpx.Client
    token: str
    org: str

    def put(self, module: str, record_id: str, fields: Json) -> None:
        self._send("PUT", f"{module}/{record_id}", fields)

    def post(self, module: str, fields: Json) -> str:
        answer = self._send("POST", module, fields)
        if self.vendor == FSM:
            return str(answer["data"][module][0]["id"])
        body = answer.get("contact") or answer.get("item") or answer["contact_person"][0]
        return str(body.get("contact_person_id") or body.get("contact_id") or body["item_id"])

    def post_bare(self, path: str) -> None:
        self._send("POST", path, None)

    def delete(self, module: str, record_id: str) -> None:
        self._send("DELETE", f"{module}/{record_id}", None)

    def _send(self, method: str, path: str, fields: Json | None) -> Json:
        body = {"data": [fields]} if self.vendor == FSM and fields is not None else fields
        query = {"organization_id": self.org} if self.vendor == BOOKS else {}
        answer = self.http.request(
            method,
            f"{self.base}/{path}",
            json=body,
            params=query,
            headers={"Authorization": f"Zoho-oauthtoken {self.token}"},
        )
        if answer.status_code == 400 and "already exist" in answer.text:
            raise AlreadyThereError(answer.text)
        assert answer.status_code in (200, 201), answer.text
        found: Json = answer.json()
        return found


@dataclass
class World:
    stack: Stack
    http: httpx.Client
    integration: int
    people: Mapping[str, Person]
    hooks: Mapping[str, Json] = field(default_factory=dict)

    @property
    def sandbox(self) -> str:
        return str(self.stack.sandbox["base_url"])

    # The sandbox's control

    def control(self, method: str, vendor: str, what: str, body: object | None = None) -> Json:
        answer = self.http.request(method, f"{self.sandbox}/_sandbox/{vendor}/{what}", json=body)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    def seed(self, vendor: str, module: str, records: list[Json]) -> list[str]:
        seeded: list[str] = self.control("POST", vendor, "seed", {module: records})["seeded"][module]
        return seeded

    def records(self, vendor: str, module: str) -> list[Json]:
        found: list[Json] = self.control("GET", vendor, "state")["modules"][module]
        return found

    def calls(self, vendor: str) -> list[Json]:
        found: list[Json] = self.control("GET", vendor, "calls")["calls"]
        return found

    def raced(self, vendor: str, record_id: str, began: float, ended: float) -> bool:
        """Whether a person's call (epoch ms) fell between the product's read of a record and its write.

        Books' updates must carry name and rate, both vendors take addresses whole, and neither has a conditional
        write: what is written in those milliseconds is a clash that no caller can see.
        """
        read_at: float | None = None
        for call in sorted(self.ours(vendor), key=lambda call: float(call["at"])):
            if call["record"] != record_id:
                continue
            if call["method"] == "GET":
                read_at = call["at"]
            elif call["write"] and read_at is not None and read_at <= ended and began <= call["at"] + call["ms"]:
                return True
        return False

    def forget_calls(self) -> None:
        for vendor in (FSM, BOOKS):
            self.control("DELETE", vendor, "calls")

    def ours(self, vendor: str) -> list[Json]:
        """Calls of the product: those of people are somebody else's."""
        return [call for call in self.calls(vendor) if not str(call["user"]).startswith("person@")]

    def writes(self) -> list[Json]:
        return [call for vendor in (FSM, BOOKS) for call in self.ours(vendor) if call["write"]]

    # The product's doors

    def start(self, what: str) -> int:
        answer = self.http.post(f"{self.stack.api_url}/api/v1/integrations/{self.integration}/{what}")
        assert answer.status_code == 202, answer.text
        return int(answer.json()["sync_id"])

    def run(self, sync_id: int) -> Json:
        found: Json = self.http.get(f"{self.stack.api_url}/api/v1/runs/{sync_id}").json()
        return found

    def ended(self, sync_id: int, within_s: float = 90.0) -> Json:
        await_that(lambda: self.run(sync_id)["ended_at"] is not None, f"sync {sync_id} ends", within_s)
        return self.run(sync_id)

    def failures(self, sync_id: int) -> str:
        return self.http.get(f"{self.stack.api_url}/api/v1/runs/{sync_id}/failures.csv").text

    def sync(self) -> Json:
        return self.ended(self.start("sync"))

    def fetch(self) -> Json:
        return self.ended(self.start("fetch"))

    # Quiet

    def quiet(self, within_s: float = 60.0) -> None:
        """No delivery under way, no event, no result, no run, nothing due but what failed."""
        await_that(self.is_quiet, "everything is quiet", within_s)

    def is_quiet(self) -> bool:
        idle = all(self.control("GET", vendor, "deliveries")["idle"] for vendor in (FSM, BOOKS))
        return idle and self._lanes() == 0 and self._waiting() == 0

    def _lanes(self) -> int:
        with redis.Redis.from_url(self.stack.env["REDIS_URL"], decode_responses=True) as client:
            keys = list(client.smembers("bw:lanes"))
            return sum(client.xlen(key) for key in [*keys, "bw:results", "bw:results:live"])

    def _waiting(self) -> int:
        query = (
            "SELECT (SELECT count(*) FROM due WHERE why <> 'failed') + (SELECT count(*) FROM intent) "
            "+ (SELECT count(*) FROM run WHERE kind <> 'webhook' AND ended_at IS NULL)"
        )
        return int(self.sql(query)[0][0])

    def versions_are_settled(self) -> bool:
        """The vendors' times have a resolution of a second: a younger version may still change without a new time. Nor
        does the product trust one that it first saw less than two seconds ago."""
        modules = ((FSM, "Companies"), (FSM, "Service_And_Parts"), (BOOKS, "contacts"), (BOOKS, "items"))
        stamps = [row["_sandbox"]["modified_ms"] for where in modules for row in self.records(*where)]
        seen = self.sql(
            "SELECT max(greatest(left_seen_at, right_seen_at)) < clock_timestamp() - interval '2.5 s' FROM binding"
        )
        return time.time() * 1000 - max(stamps, default=0) > 2500 and seen[0][0] is not False

    def sql(self, query: str, **values: object) -> list[Any]:
        engine = create_engine(self.stack.env["DATABASE_URL"], hide_parameters=True)
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(query), values).all())
        finally:
            engine.dispose()

    def story(self, ids: Iterable[str]) -> str:
        """What happened to a record and its twin, in order: calls, deliveries, outcomes. For failures."""
        wanted = set(ids)
        lines: list[tuple[float, str]] = []
        for vendor in (FSM, BOOKS):
            for call in self.calls(vendor):
                if call["record"] in wanted:
                    about = f"{vendor} {call['user']} {call['method']} {call['status']} {call['fault'] or ''}"
                    lines.append((call["at"], f"{about} took {call['ms']:.1f}"))
            for sent in self.control("GET", vendor, "deliveries")["deliveries"]:
                if sent["record"] in wanted:
                    fate = "lost" if sent["lost"] else sent["status"]
                    lines.append((sent["at"], f"{vendor} delivery {sent['event']} {fate}"))
        rows = self.sql(
            "SELECT extract(epoch FROM at) * 1000 AS at, direction, outcome, origin, changes, conflicts, run_id, "
            "received_at, written_at FROM outcome WHERE record_id = ANY(:ids) OR twin_id = ANY(:ids)",
            ids=list(wanted),
        )
        lines += [(float(row.at), f"outcome {list(row[1:])}") for row in rows]
        bindings = self.sql("SELECT * FROM binding WHERE left_id = ANY(:ids) OR right_id = ANY(:ids)", ids=list(wanted))
        told = [f"{at:.1f} {line}" for at, line in sorted(lines)]
        return "\n".join([*told, *map(str, bindings)])

    # Comparing

    def primary_of(self, customer: str) -> str:
        """The id of a customer's primary contact person."""
        row = next(row for row in self.records(BOOKS, "contacts") if row["contact_id"] == customer)
        return str(_primary(row)["contact_person_id"])

    def everything(self) -> dict[str, dict[str, dict[str, list[Json]]]]:
        """Kind -> vendor -> folded match key -> what is there, as plain values, with its own id and whether it is
        active."""
        contacts = self.records(FSM, "Contacts")
        customers = [row for row in self.records(BOOKS, "contacts") if row["contact_type"] == "customer"]
        business = [row for row in customers if row["customer_sub_type"] == "business"]
        single = [row for row in customers if row["customer_sub_type"] == "individual"]
        companies = self.records(FSM, "Companies")
        services, items = self.records(FSM, "Service_And_Parts"), self.records(BOOKS, "items")
        found = {
            ("company", FSM): [_of_fsm(row, _fsm_company(row)) for row in companies],
            ("company", BOOKS): [_of_books(row, "contact_id", _books_customer(row)) for row in business],
            ("item", FSM): [_of_fsm(row, _fsm_item(row)) for row in services],
            ("item", BOOKS): [_of_books(row, "item_id", _books_item(row)) for row in items],
            ("person", FSM): [
                _of_fsm(row, _fsm_person(row) | {"company": row["Company"]["name"]})
                for row in contacts
                if row.get("Company")
            ],
            ("person", BOOKS): [
                _of_books(
                    person | {"status": "active"},
                    "contact_person_id",
                    _books_person(person) | {"company": row["contact_name"]},
                )
                for row in business
                for person in row["contact_persons"]
            ],
            ("individual", FSM): [
                _of_fsm(row, _fsm_person(row) | _fsm_places(row)) for row in contacts if not row.get("Company")
            ],
            ("individual", BOOKS): [
                _of_books(row, "contact_id", _books_person(_primary(row)) | _books_places(row)) for row in single
            ],
        }
        kinds = ("company", "item", "person", "individual")
        return {kind: {side: _by_name(iter(found[kind, side])) for side in (FSM, BOOKS)} for kind in kinds}

    def companies(self) -> tuple[dict[str, list[Json]], dict[str, list[Json]]]:
        """Both sides by folded name, as plain values of the mapped fields."""
        left = _by_name(_fsm_company(row) for row in self.records(FSM, "Companies"))
        right = _by_name(
            _books_customer(row) for row in self.records(BOOKS, "contacts") if row.get("contact_type") == "customer"
        )  # of Type I: an individual would be one too many
        return left, right

    def items(self) -> tuple[dict[str, list[Json]], dict[str, list[Json]]]:
        left = _by_name(_fsm_item(row) for row in self.records(FSM, "Service_And_Parts"))
        return left, _by_name(_books_item(row) for row in self.records(BOOKS, "items"))

    def check_agreement(self) -> None:
        """Every record has exactly one twin, equal in every mapped field."""
        for what, (left, right) in (("companies", self.companies()), ("items", self.items())):
            for side, rows in (("FSM", left), ("Books", right)):
                doubled = {name: len(found) for name, found in rows.items() if len(found) > 1}
                assert not doubled, f"doubled {what} in {side}: {doubled}"
            assert left.keys() == right.keys(), (
                f"{what}: only in FSM {sorted(left.keys() - right.keys())[:5]}, "
                f"only in Books {sorted(right.keys() - left.keys())[:5]}"
            )
            for name in left:
                assert left[name][0] == right[name][0], f"{what}: {left[name][0]} is not {right[name][0]}"

    def check_counters(self) -> None:
        """P9: a run's counters are its rows, plus what was settled while listing; no event has two outcomes."""
        wrong = self.sql(
            """
            SELECT c.run_id, c.direction, c.pair, c.outcome, c.reason, c.records, c.listed, count(o.id)
            FROM run_count c LEFT JOIN outcome o ON o.run_id = c.run_id AND o.direction = c.direction
                AND o.pair = c.pair AND o.outcome = c.outcome AND o.reason = c.reason
            GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING c.records - c.listed <> count(o.id)
            """
        )
        assert not wrong, wrong
        assert not self.sql("SELECT event_id FROM outcome GROUP BY event_id HAVING count(*) > 1")


def _by_name(rows: Iterator[Json]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for row in rows:
        found.setdefault(str(row["name"]).strip().casefold(), []).append(row)
    return found


def _blank(value: object) -> object:
    return None if value in ("", None) else value


def _of_fsm(row: Json, plain: Json) -> Json:
    return plain | {"id": str(row["id"]), "active": row.get("$inactive") is not True}


def _of_books(row: Json, id_key: str, plain: Json) -> Json:
    return plain | {"id": str(row[id_key]), "active": row["status"] == "active"}


def _primary(row: Json) -> Json:
    found: Json = next((one for one in row["contact_persons"] if one["is_primary_contact"]), {})
    return found


def _fsm_person(row: Json) -> Json:
    names = {"name": "Email", "first": "First_Name", "last": "Last_Name", "phone": "Phone", "mobile": "Mobile"}
    return {ours: _blank(row.get(theirs)) for ours, theirs in names.items()}


def _books_person(row: Json) -> Json:
    names = {"name": "email", "first": "first_name", "last": "last_name", "phone": "phone", "mobile": "mobile"}
    return {ours: _blank(row.get(theirs)) for ours, theirs in names.items()}


def _fsm_company(row: Json) -> Json:
    return {"name": row["Company_Name"], "website": _blank(row.get("Website")), **_fsm_places(row)}


def _fsm_places(row: Json) -> Json:
    out: Json = {}
    for group, prefix in (("Service_Address", "Service_"), ("Billing_Address", "Billing_")):
        address = row.get(group) or {}
        for fsm, _books in ADDRESS:
            out[f"{group}.{fsm}"] = _blank(address.get(prefix + fsm, address.get(fsm)))
    return out


def _books_customer(row: Json) -> Json:
    return {"name": row["contact_name"], "website": _blank(row.get("website")), **_books_places(row)}


def _books_places(row: Json) -> Json:
    out: Json = {}
    for group, books_group in (("Service_Address", "shipping_address"), ("Billing_Address", "billing_address")):
        address = row.get(books_group) or {}
        for fsm, books in ADDRESS:
            out[f"{group}.{fsm}"] = _blank(address.get(books))
    return out


def _fsm_item(row: Json) -> Json:
    return {
        "name": row["Name"],
        "price": round(float(row["Unit_Price"]), 2),
        "description": _blank(row.get("Description")),
        "sku": _blank(row.get("SKU")),
        "unit": _blank(row.get("Unit")),
    }


def _books_item(row: Json) -> Json:
    return {
        "name": row["name"],
        "price": round(float(row["rate"]), 2),
        "description": _blank(row.get("description")),
        "sku": _blank(row.get("sku")),
        "unit": _blank(row.get("unit")),
    }


# Setting up


@contextmanager
def running_world(
    data_dir: Path,
    *,
    time_scale: float = 0.1,
    beat: bool = True,
    sync_type: str = "I",
    state_writable: bool = False,
) -> Iterator[World]:
    """A stack of its own with both vendors connected, their webhooks on, and one integration, not fetched yet.

    `state_writable`: FSM lets a program make a record inactive, and the product is told so.
    """
    options = StackOptions(
        data_dir=data_dir,
        sandbox=True,
        flower=False,
        beat=beat,
        durable=False,
        restart=False,
        env={
            "BOTHWAYS_TIME_SCALE": str(time_scale),
            "BOTHWAYS_WORKER_GONE_S": "30",  # three seconds: on a busy machine a beat may be late
            "BOTHWAYS_LOG_LEVEL": "INFO",
            "BOTHWAYS_MANUAL_SYNCS_PER_DAY": "0",  # a module's tests share one stack, and each starts its own syncs
        },
    )
    with Stack.start(options) as stack, httpx.Client(timeout=30) as http:
        yield connected(stack, http, sync_type, state_writable=state_writable)


def connected(stack: Stack, http: httpx.Client, sync_type: str = "I", *, state_writable: bool = False) -> World:
    told, env = stack.sandbox, stack.env
    settings = Settings(
        database_url=SecretStr(env["DATABASE_URL"]),
        redis_url=SecretStr(env["REDIS_URL"]),
        key_file=Path(env["BOTHWAYS_KEY_FILE"]),
        sandbox_url=told["base_url"],
    )
    doors = open_doors(settings, threads=2)
    try:
        actor = doors.host()
        http.auth = Carrying(stack.api_url, token_of(doors.db))
        orgs = {}
        hooks = {}
        for vendor in (FSM, BOOKS):
            state, url = doors.connections.begin(
                actor,
                vendor,
                "sandbox",
                told["client_id"],
                SecretStr(told["client_secret"]),
                "http://127.0.0.1:1/callback",
                org_external_id=told["orgs"][vendor],
                org_name="Test",
            )
            query = httpx.URL(http.get(url).headers["location"]).params
            done = doors.connections.finish(
                actor,
                state,
                query["code"],
                accounts_server=query.get("accounts-server"),
                location=query.get("location"),
            )
            orgs[vendor] = getattr(done, "org_id")  # noqa: B009
            setup = doors.connections.webhook_setup(actor, getattr(done, "connection_id"))  # noqa: B009
            hooks[vendor] = _hook(stack, vendor, setup.path, setup.secret.get_secret_value())
        with doors.db.transaction() as session:
            settled = {"limits": {"per_minute": False}, "capabilities": {"inactive_writable": state_writable}}
            session.execute(text("UPDATE org SET settings = CAST(:s AS jsonb)"), {"s": json.dumps(settled)})
        integration = doors.integrations.create(actor, "fsm_books", orgs[FSM], orgs[BOOKS], sync_type=sync_type)
    finally:
        doors.close()
    http.post(
        f"{told['base_url']}/_sandbox/{FSM}/capabilities", json={"inactive_writable": state_writable}
    ).raise_for_status()
    people = {vendor: _person(told, vendor, http) for vendor in (FSM, BOOKS)}
    world = World(stack, http, integration, people, hooks)
    for vendor, hook in hooks.items():
        world.control("POST", vendor, "webhooks", hook)
    return world


def _hook(stack: Stack, vendor: str, path: str, secret: str) -> Json:
    url = stack.api_url + path
    if vendor == FSM:
        return {"url": url, "header_name": "X-Bothways-Secret", "header_value": secret}
    return {"url": url, "secret": secret}


def _person(told: Json, vendor: str, http: httpx.Client) -> Person:
    about = told["vendors"][vendor]
    answer = http.post(
        f"{told['accounts_url']}/oauth/v2/token",
        data={
            "grant_type": "refresh_token",
            "client_id": told["client_id"],
            "client_secret": told["client_secret"],
            "refresh_token": about["refresh_tokens"]["person"],
        },
    ).json()
    return Person(vendor, about["url"], http, answer["access_token"], about["org_id"])


def tally(run: Json) -> Counter[str]:
    """Records per outcome of a run."""
    counts: Counter[str] = Counter()
    for one in run["counts"]:
        counts[one["outcome"]] += one["records"]
    return counts
