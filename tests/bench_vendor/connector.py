"""The product's half of the bench vendor: a connector like any other, by the protocol of shared/connectors/base.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self

from pydantic import SecretStr

from shared.connectors.base import (
    CallClass,
    Capabilities,
    Connector,
    Draft,
    Edit,
    Hint,
    Limit,
    LimitScope,
    ListOrder,
    ModuleFacts,
    Page,
    Rejected,
    Unsure,
    VendorFacts,
    WebhookRequest,
    WriteResult,
    Written,
)
from shared.connectors.errors import Answer, Complaint, Kind, Rule, complaint_error, unclear
from shared.connectors.http import VendorHttp
from shared.connectors.vendor import Client, DataCentre, Grant, Link, OrgChoice
from shared.errors import NotFound, RecordRejected, UnsureWrite, WebhookRefused
from shared.sync.model import FieldDef, Fields, ModuleName, Record, RecordId, VendorName

CONTACTS = ModuleName("contacts")
FIELDS = MappingProxyType(
    {
        "name": FieldDef("name", label="Name", required=True, max_length=255),
        "phone": FieldDef("phone", label="Phone"),
        "city": FieldDef("city", label="City"),
    }
)
WINDOW_S = "window_s"
"""int, set: the length of the vendor's minute, which tests shorten."""
CALLS = "calls"
"""int, set: the calls in it."""
BATCH = "batch"
"""int, set: records a call."""
WHOLE = "whole"
"""int, set: 1 where the org cannot tell what changed, and is listed whole, as Zoho FSM is."""


def limits(capabilities: Capabilities) -> tuple[Limit, ...]:
    """Xero's, as published, with its headers and its names for them."""
    window_s, calls = int(capabilities.flags.get(WINDOW_S, 60)), int(capabilities.flags.get(CALLS, 60))
    return (
        Limit("per_minute", calls, window_s, remaining_header="x-minlimit-remaining", problem="minute"),
        Limit("per_day", 5_000, 86_400, remaining_header="x-daylimit-remaining", problem="day"),
        Limit("concurrent", 5, 0, problem="concurrent"),
        Limit(
            "app_per_minute", 10_000, window_s, LimitScope.APP,
            remaining_header="x-appminlimit-remaining", problem="appminute",
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchRules:
    vendor: str = "Bench"
    table: tuple[Rule, ...] = (
        Rule(Kind.RATE_LIMITED, "RATE_LIMITED", status=429, retry_after_s=1),
        Rule(Kind.REJECTED, "TARGET_GONE", code="gone"),
        Rule(Kind.REJECTED, "DUPLICATE_NAME", code="duplicate"),
        Rule(Kind.REJECTED, "MANDATORY_FIELD_EMPTY", code="name_missing"),
    )

    def complaint(self, answer: Answer) -> Complaint | None:
        return None if answer.status < 300 else Complaint(str((answer.body or {}).get("error", "")), "")

    def token_refused(self, answer: Answer) -> bool:
        return answer.status == 401


RULES = BenchRules()


class BenchConnector:
    def __init__(self, link: Link, facts: VendorFacts) -> None:
        self.facts = facts
        self._http = VendorHttp(
            base_url=f"{link.api_domain}/{link.org_external_id}",
            tokens=link.tokens,
            limiter=link.limiter,
            rules=RULES,
            auth_scheme="Bearer",
            call_class=link.call_class,
            limit_wait_s=link.limit_wait_s,
            call_s=link.call_s,
        )

    def with_class(self, cls: CallClass) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._http = self._http.with_class(cls)
        return other

    def close(self) -> None:
        self._http.close()

    def probe(self) -> Capabilities:
        return Capabilities()

    def list_page(self, module: ModuleName, *, cursor: str | None, since: datetime | None) -> Page:
        page = int(cursor or "1")
        headers = {"If-Modified-Since": since.astimezone(UTC).isoformat(timespec="milliseconds")} if since else {}
        size = self.facts.modules[module].page_size
        query = [("page", str(page)), ("pageSize", str(size))]
        answer = self._http.call("GET", "/{module}", path={"module": module}, query=query, headers=headers)
        more = bool((answer.body or {}).get("more"))
        return Page(tuple(_rows(answer)), str(page + 1) if more else None)

    def fetch(self, module: ModuleName, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        shown = {row.id: row for row in self._asked(module, "ids", ",".join(ids))}
        return {record_id: shown.get(record_id) for record_id in ids}

    def find(self, module: ModuleName, field: str, value: str) -> tuple[Record, ...]:
        if field != "name":
            raise RecordRejected("the bench vendor finds by name only", code="VENDOR_REJECTED")
        return tuple(self._asked(module, "name", value))

    def _asked(self, module: ModuleName, name: str, value: str) -> list[Record]:
        return _rows(self._http.call("GET", "/{module}", path={"module": module}, query=[(name, value)]))

    def create(self, module: ModuleName, drafts: Sequence[Draft]) -> tuple[WriteResult, ...]:
        return self._write(module, [_wire(draft.fields) for draft in drafts])

    def update(self, module: ModuleName, edits: Sequence[Edit]) -> tuple[WriteResult, ...]:
        rows = [_wire({one.field: one.new for one in edit.changes}) | {"id": edit.current.id} for edit in edits]
        return self._write(module, rows)

    def _write(self, module: ModuleName, rows: list[dict[str, Any]]) -> tuple[WriteResult, ...]:
        try:
            answer = self._http.call("POST", "/{module}", path={"module": module}, json={"rows": rows})
        except UnsureWrite as error:
            return (Unsure(str(error)),) * len(rows)
        except RecordRejected as error:
            return (Rejected(error.code, error.vendor_code or "", ""),) * len(rows)
        elements = (answer.body or {}).get("rows")
        if not isinstance(elements, list) or len(elements) != len(rows):
            raise unclear(RULES.vendor, True, "answered with another number of records")
        return tuple(_result(one, answer) for one in elements)


def _result(element: Any, answer: Answer) -> WriteResult:
    if "error" in element:
        error = complaint_error(RULES, Complaint(element["error"], ""), status=400, answer=answer, sent=())
        return Rejected(error.code, element["error"], "")
    record = _record(element)
    return Written(record.id, record, record.modified_at)


def _wire(fields: Fields) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in FIELDS}


def _rows(answer: Answer) -> list[Record]:
    rows = (answer.body or {}).get("rows")
    if not isinstance(rows, list):
        raise unclear(RULES.vendor, answer.is_write, "answered with a body of another shape")
    return [_record(row) for row in rows]


def _record(row: Any) -> Record:
    fields = {name: row.get(name) for name in FIELDS}
    return Record(RecordId(row["id"]), fields, datetime.fromisoformat(row["modified"]))


class BenchSignIn:
    """A grant for the asking: signing in is not what is measured."""

    scopes: tuple[str, ...] = ()

    def data_centres(self, sandbox_url: str | None) -> Mapping[str, DataCentre]:
        url = sandbox_url or ""
        return {"bench": DataCentre("bench", "Bench", url, (url,))}

    def redirected(
        self, chosen: DataCentre, accounts_server: str | None, location: str | None, sandbox_url: str | None
    ) -> DataCentre:
        return chosen

    def api_domain(self, centre: DataCentre, said: str | None) -> str:
        return centre.api_domains[0]

    def authorize_url(self, centre: DataCentre, *, client_id: str, redirect_uri: str, state: str) -> str:
        return centre.accounts_server

    def exchange(self, centre: DataCentre, client: Client, *, code: str, redirect_uri: str) -> Grant:
        return Grant(SecretStr("bench"), SecretStr("refresh"), 10**8, None)

    def refresh(self, centre: DataCentre, client: Client, refresh_token: SecretStr) -> Grant:
        return Grant(SecretStr("bench"), None, 10**8, None)

    def revoke(self, centre: DataCentre, refresh_token: SecretStr) -> None:
        return


class NoWebhooks:
    def verify(self, request: WebhookRequest, secrets: Sequence[str]) -> None:
        raise WebhookRefused("the bench vendor sends none", status=401)

    def parse(self, request: WebhookRequest) -> tuple[Hint, ...]:
        return ()


class BenchVendor:
    sign_in = BenchSignIn()
    webhooks = NoWebhooks()
    lists_orgs = False

    def __init__(self, name: str, label: str) -> None:
        self.name = VendorName(name)
        self.label = label

    def facts(self, capabilities: Capabilities) -> VendorFacts:
        batch = int(capabilities.flags.get(BATCH, 100))
        module = ModuleFacts(
            name=CONTACTS,
            label="Contacts",
            fields=FIELDS,
            order=ListOrder.WHOLE if capabilities.on(WHOLE) else ListOrder.SINCE,
            page_size=1000,
            read_batch=batch,
            create_batch=batch,
            update_batch=batch,
            unique_key="name",
        )
        return VendorFacts(self.name, self.label, MappingProxyType({CONTACTS: module}), limits(capabilities))

    def connect(self, link: Link) -> Connector:
        return BenchConnector(link, self.facts(link.capabilities))

    def orgs(self, link: Link) -> Sequence[OrgChoice]:
        raise NotFound("the bench vendor lists no orgs")


FIELD = BenchVendor("bench_field", "Bench Field")
BOOKS = BenchVendor("bench_books", "Bench Books")
