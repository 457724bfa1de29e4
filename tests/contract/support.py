"""The sandbox as a process, a connector of it, and what each vendor calls the things that the one suite asks for."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
from pydantic import SecretStr

from shared.connectors.base import CallClass, Capabilities, Connector, Draft, WebhookRequest, Written
from shared.connectors.limits import Unlimited, figures
from shared.connectors.registry import get_vendor
from shared.connectors.tokens import Held, SharedTokens
from shared.connectors.vendor import AccessToken, Client, DataCentre, Grant, Link, Vendor
from shared.errors import ConnectionBroken, RateLimited
from shared.sync.model import Fields, ModuleName, Record, RecordId

ACCOUNTS = "zoho_accounts"
WEBHOOK_SECRET = "0123456789abcdefABCDEF0123456789"


@contextmanager
def sandbox_process() -> Iterator[str]:
    """Its base address; the process is ours and ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.sandbox", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        info = json.loads(process.stdout.readline())
        yield str(info["base_url"])
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@dataclass
class Sandbox:
    """The control of a running sandbox, over HTTP like everything else."""

    base_url: str
    http: httpx.Client
    info: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        for vendor in (ACCOUNTS, "zoho_books", "zoho_fsm", "zoho_invoice"):
            self.control(vendor, "POST", "reset")
        self.info = self.http.get("/_sandbox/info").json()

    def control(self, vendor: str, method: str, path: str, body: object = None) -> Any:
        # In plain ASCII: texts that are no UTF-8 travel as escapes.
        content = None if body is None else json.dumps(body).encode()
        response = self.http.request(method, f"/_sandbox/{vendor}/{path}", content=content)
        assert response.status_code == 200, response.text
        return response.json()

    def fault(self, vendor: str, kind: str, **more: object) -> None:
        self.control(vendor, "POST", "faults", {"kind": kind, **more})

    def switch(self, vendor: str, **capabilities: object) -> None:
        self.control(vendor, "POST", "capabilities", capabilities)

    def rows(self, vendor: str, module: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control(vendor, "GET", "state")["modules"][module]
        return found

    def calls(self, vendor: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control(vendor, "GET", "calls")["calls"]
        return found

    def edit(self, vendor: str, module: str, record_id: str, **fields: object) -> None:
        """A change by a person, past the rules of the API."""
        self.control(vendor, "PUT", f"edits/{module}/{record_id}", fields)

    def delete(self, vendor: str, module: str, record_id: str) -> None:
        self.control(vendor, "DELETE", f"edits/{module}/{record_id}")

    @property
    def client(self) -> Client:
        return Client(self.info["client_id"], SecretStr(self.info["client_secret"]))

    def refresh_token(self, vendor: str) -> SecretStr:
        return SecretStr(self.info["vendors"][vendor]["refresh_tokens"]["person"])


@dataclass
class MemoryGrants:
    """GrantStore without a database: one process, so every claim is granted."""

    held: Held
    broken: str | None = None
    not_before: bool = False

    def load(self) -> Held:
        if self.broken is not None:
            raise ConnectionBroken(self.broken)
        return self.held

    def claim(self, version: int) -> Held | None:
        if self.not_before:
            raise RateLimited("no more tokens", retry_after_s=600)
        return self.held if version == self.held.version else None

    def save(self, held: Held, grant: Grant, *, used: SecretStr, expires_at: datetime) -> AccessToken:
        access = AccessToken(grant.access_token, expires_at, held.version + 1)
        self.held = replace(held, access=access, version=held.version + 1, refresh_token=grant.refresh_token or used)
        return access

    def release(self, held: Held, *, not_before_s: float | None) -> None:
        self.not_before = not_before_s is not None

    def break_(self, held: Held, reason: str) -> None:
        self.broken = reason


@dataclass
class SpyLimiter(Unlimited):
    """No budget, and a list of what it was told."""

    acquired: list[CallClass] = field(default_factory=list)
    released: list[tuple[str, bool]] = field(default_factory=list)
    """(token, sent)."""
    corrected: list[tuple[int, int]] = field(default_factory=list)
    """(limit, remaining), as the answers' headers said."""
    blocked_s: list[float] = field(default_factory=list)
    told: list[tuple[str, str, float | None, float]] = field(default_factory=list)
    """What `block` was told: limit, problem, said_s, otherwise_s."""

    def acquire(self, cls: CallClass, *, wait_s: float, hold_s: float = 30.0) -> str:
        self.acquired.append(cls)
        return str(len(self.acquired))

    def release(self, token: str, *, sent: bool = True, headers: Mapping[str, str] | None = None) -> None:
        self.released.append((token, sent))
        if (said := figures(headers or {})) is not None:
            self.corrected.append(said)

    def block(self, *, limit: str, problem: str, said_s: float | None, otherwise_s: float) -> tuple[str, float]:
        self.told.append((limit, problem, said_s, otherwise_s))
        self.blocked_s.append(said_s or otherwise_s)
        return limit, said_s or otherwise_s


@dataclass(frozen=True)
class Case:
    """One module of a vendor, in the words of the one suite.

    `plain` is a text field that a list row or a detail shows and that can be changed; `group` are two fields of one
    group (an address), None where the module has none; `inactive` is what makes a record inactive at the vendor.
    """

    vendor: str
    module: ModuleName
    key: str
    plain: str
    others: Mapping[str, str | Decimal]
    group: tuple[str, str] | None
    inactive: Mapping[str, object]
    required: str
    number: str | None = None
    own_id: str = "id"
    capabilities: Mapping[str, bool | int | str] = field(default_factory=dict)
    switches: Mapping[str, object] = field(default_factory=dict)

    def fields(self, name: str) -> Fields:
        return {self.key: name, **self.others}

    @property
    def family(self) -> str:
        """Zoho Invoice is Zoho Books' API under another name."""
        return "zoho_books" if self.vendor == "zoho_invoice" else self.vendor

    def __str__(self) -> str:
        extra = "+" + ",".join(self.capabilities) if self.capabilities else ""
        return f"{self.vendor}.{self.module}{extra}"


_FSM_GROUP = ("Service_Address.Street_1", "Service_Address.City")
_FSM_COMPANIES = Case(
    vendor="zoho_fsm",
    module=ModuleName("Companies"),
    key="Company_Name",
    plain="Phone",
    others={"Website": "www.zylker.test"},
    group=_FSM_GROUP,
    inactive={"$inactive": True},
    required="Company_Name",
)
_FSM_ITEMS = Case(
    vendor="zoho_fsm",
    module=ModuleName("Service_And_Parts"),
    key="Name",
    plain="Description",
    others={"Unit_Price": Decimal("18.10"), "Type": "Service"},
    group=None,
    inactive={"$inactive": True},
    required="Name",
    number="Unit_Price",
)
_FSM_CONTACTS = Case(
    vendor="zoho_fsm",
    module=ModuleName("Contacts"),
    key="Last_Name",
    plain="Phone",
    others={"First_Name": "Pat", "Email": "pat@zylker.test"},
    group=_FSM_GROUP,
    inactive={"$inactive": True},
    required="Last_Name",
)
_BOOKS_CONTACTS = Case(
    vendor="zoho_books",
    module=ModuleName("contacts"),
    key="contact_name",
    plain="website",
    others={"contact_type": "customer", "customer_sub_type": "business", "company_name": "Zylker Inc"},
    group=("billing_address.address", "billing_address.city"),
    inactive={"status": "inactive"},
    required="contact_name",
    own_id="contact_id",
)
_BOOKS_ITEMS = Case(
    vendor="zoho_books",
    module=ModuleName("items"),
    key="name",
    plain="description",
    others={"rate": Decimal("18.10"), "unit": "pcs"},
    group=None,
    inactive={"status": "inactive"},
    required="name",
    number="rate",
    own_id="item_id",
)
_INVOICE_CONTACTS = replace(_BOOKS_CONTACTS, vendor="zoho_invoice")
_INVOICE_ITEMS = replace(_BOOKS_ITEMS, vendor="zoho_invoice")
CASES = (
    _FSM_COMPANIES,
    _FSM_ITEMS,
    _BOOKS_CONTACTS,
    _BOOKS_ITEMS,
    _FSM_CONTACTS,
    _INVOICE_CONTACTS,
    _INVOICE_ITEMS,
)
"""Modules that live inside others have no list, and of some none is made here: tests of their own hold those."""

_SEARCH = {"modified_time_search": True}
WITH_CAPABILITIES = (
    replace(_FSM_COMPANIES, capabilities=_SEARCH, switches=_SEARCH),
    replace(_FSM_ITEMS, capabilities=_SEARCH, switches=_SEARCH),
    replace(_FSM_CONTACTS, capabilities=_SEARCH, switches=_SEARCH),
    replace(_BOOKS_ITEMS, capabilities={"items_sort_modified": True}, switches={"items_sort_modified": True}),
    replace(_INVOICE_ITEMS, capabilities={"items_sort_modified": True}, switches={"items_sort_modified": True}),
)
"""What a vendor may offer, tested switched on as well (OP-3)."""


@dataclass
class World:
    """A connector of one case, with everything round it that a test looks at."""

    sandbox: Sandbox
    case: Case
    vendor: Vendor
    centre: DataCentre
    grants: MemoryGrants
    limiter: SpyLimiter
    link: Link
    connector: Connector

    def create(self, name: str, **fields: str | Decimal) -> RecordId:
        result = self.connector.create(self.case.module, [Draft({**self.case.fields(name), **fields})])[0]
        assert isinstance(result, Written), result
        return result.id

    def seed(self, name: str, day: str) -> RecordId:
        """A record made and last changed on that day, put into the sandbox past its API."""
        times = {
            "zoho_fsm": dict.fromkeys(("Created_Time", "Modified_Time"), f"{day}T10:00:00-08:00"),
            "zoho_books": dict.fromkeys(("created_time", "last_modified_time"), f"{day}T10:00:00-0800"),
        }[self.case.family]
        row = {k: float(v) if isinstance(v, Decimal) else v for k, v in self.case.fields(name).items()}
        seeded = self.sandbox.control(self.case.vendor, "POST", "seed", {self.case.module: [{**row, **times}]})
        return RecordId(str(seeded["seeded"][self.case.module][0]))

    def fetch(self, record_id: RecordId) -> Record:
        found = self.connector.fetch(self.case.module, [record_id])[record_id]
        assert found is not None
        return found

    def listed(self, since: datetime | None = None) -> list[Record]:
        rows: list[Record] = []
        cursor: str | None = None
        while True:
            page = self.connector.list_page(self.case.module, cursor=cursor, since=since)
            rows += page.rows
            if page.next_cursor is None:
                return rows
            cursor = page.next_cursor

    def stored(self) -> Sequence[Mapping[str, Any]]:
        return self.sandbox.rows(self.case.vendor, self.case.module)


def world_of(sandbox: Sandbox, case: Case, **link: Any) -> World:
    vendor = get_vendor(case.vendor)
    sandbox.switch(case.vendor, **case.switches)
    centre = vendor.sign_in.data_centres(sandbox.base_url)["sandbox"]
    held = Held(centre, sandbox.client, sandbox.refresh_token(case.vendor), None, None, 1)
    grants, limiter = MemoryGrants(held), SpyLimiter()
    made = Link(
        org_external_id=sandbox.info["orgs"][case.vendor],
        api_domain=centre.api_domains[0],
        tokens=SharedTokens(grants, vendor.sign_in),
        limiter=limiter,
        capabilities=Capabilities(case.capabilities),
    )
    made = replace(made, **link)
    return World(sandbox, case, vendor, centre, grants, limiter, made, vendor.connect(made))


def signed_delivery(vendor: str, body: bytes, secret: str = WEBHOOK_SECRET) -> WebhookRequest:
    """A delivery as the vendor would send it, signed by its rules and without its parser."""
    headers = {"content-type": "application/json"}
    if vendor != "zoho_fsm":
        headers["x-zoho-webhook-signature"] = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    else:
        headers["x-bothways-secret"] = secret
    return WebhookRequest(headers, (), body)


def delivery_body(case: Case, record_id: str) -> bytes:
    if case.family == "zoho_books":
        one = str(case.module).removesuffix("s")
        return json.dumps({one: {case.own_id: record_id, "last_modified_time": "2026-01-02T03:04:05-0700"}}).encode()
    return json.dumps({"module": case.module, "event": "edit", "id": record_id}).encode()


def hours_from_now(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)
