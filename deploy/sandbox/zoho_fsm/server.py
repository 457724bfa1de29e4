"""Zoho FSM v1 over HTTP. Source: fact sheet of Zoho FSM."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from deploy.sandbox import jsonio
from deploy.sandbox.accounts.grants import Grants, Product, bearer_of
from deploy.sandbox.faults import Fault
from deploy.sandbox.jsonio import BadJson, JsonObject
from deploy.sandbox.limits import Verdict
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.routing import Router
from deploy.sandbox.store import Record
from deploy.sandbox.vendor import Vendor, World
from deploy.sandbox.webhooks import Change, Hook, Message
from deploy.sandbox.zoho_fsm import errors, native_sync, wire
from deploy.sandbox.zoho_fsm.blueprint import Blueprint
from deploy.sandbox.zoho_fsm.blueprint_api import BlueprintApi
from deploy.sandbox.zoho_fsm.controls import add_controls
from deploy.sandbox.zoho_fsm.currencies import Currencies, Taxes
from deploy.sandbox.zoho_fsm.custom_fields import CustomFields
from deploy.sandbox.zoho_fsm.invoicing import Invoices, Invoicing
from deploy.sandbox.zoho_fsm.modules import find_modules
from deploy.sandbox.zoho_fsm.records import Records
from deploy.sandbox.zoho_fsm.rules import EDITIONS, Rules
from deploy.sandbox.zoho_fsm.search import search
from deploy.sandbox.zoho_fsm.settings_api import SettingsApi
from deploy.sandbox.zoho_fsm.work_orders import WorkOrders

PER_PAGE_MAX = 200
CAPABILITIES: JsonObject = {
    "inactive_writable": False,
    "zbilling_id_writable": False,
    "modified_time_search": False,
    "items_update_path": "both",
    "create_batch_size": {"Service_And_Parts": 100},
    "list_rows_with_times": ["Service_And_Parts", "Work_Orders", "Invoices"],
    "errors_in_data": False,
    "multi_currency": False,
    "taxes": "off",
    "unique_contact_email": False,
    "companies_with_contacts_deletable": True,
    "fields_api": False,
    "currencies_api": False,
    "native_sync": False,
    "list_lag_ms": 0,
}
CHOICES = {"taxes": tuple(EDITIONS), "items_update_path": ("both", "products", "service_and_parts")}
# Standard edition's day [T].
PUBLISHED = {"per_minute": 5000, "per_day": 25000, "concurrent": 15}
ORG = {"id": "1011000000000001", "name": "Zylker Field Service", "time_zone": "America/Los_Angeles", "currency": "USD"}
LINKS = frozenset({"ZBilling_Id", "ZCRM_Id"})
# Modules whose records are more than their fields.
KINDS: dict[str, type[Records]] = {"Work_Orders": WorkOrders, "Invoices": Invoices}
# The accounting vendor behind the organisation, unless the control says another.
ACCOUNTING = "zoho_books"
INDEX = re.compile(r"\d{1,19}")


class ZohoFsm(Vendor):
    name = "zoho_fsm"
    text_fields = ("Company_Name", "Last_Name", "Name")

    def __init__(self, world: World) -> None:
        super().__init__(world, CAPABILITIES, PUBLISHED)
        self.capabilities.choices.update(CHOICES)
        self.grants = world.get(Grants)
        self.product = Product("ZohoFSM", self.name, ("ZohoFSM.modules.all", "ZohoFSM.modules.custom.all"))
        self.grants.add_product(self.product)
        self.custom_fields, self.currencies, self.taxes = CustomFields(), Currencies(), Taxes()
        self.rules = Rules(self.capabilities, self.currencies, self.taxes)
        self.records: dict[str, Records] = {}
        for module in find_modules():
            kind = KINDS.get(module.name, Records)
            self.records[module.name] = kind(module, self.records, self.clock, self.visibility, self.custom_fields)
        self.accounting: str | None = ACCOUNTING
        self.blueprint, self.invoicing = Blueprint(), Invoicing(self)
        for records in self.records.values():
            if isinstance(records, Invoices):
                records.payload = self.invoicing.payload
        self.router = self._routes()
        add_controls(self)

    def _routes(self) -> Router:
        router = Router()
        SettingsApi(self.capabilities, self.records, self.custom_fields, self.currencies).add_routes(router)
        BlueprintApi(self).add_routes(router)
        router.add("POST", "/fsm/v1/Invoices", self.invoicing.create)
        router.add("POST", "/fsm/v1/{module}/{id}/actions/process_sync", self._process_sync)
        router.add("GET", "/fsm/v1/{module}/search", self._search)
        router.add("GET", "/fsm/v1/{module}", self._list)
        router.add("POST", "/fsm/v1/{module}", self._create)
        router.add("GET", "/fsm/v1/{module}/{id}", self._read)
        router.add("PUT", "/fsm/v1/{module}/{id}", self._update)
        router.add("DELETE", "/fsm/v1/{module}/{id}", self._delete)
        return router

    # Who calls

    def identify(self, request: Request) -> None:
        token = bearer_of(request.headers)
        caller = self.grants.caller(token) if token else None
        if caller is None:
            raise Refusal(errors.bad_token())
        request.caller = caller

    def user_of(self, request: Request) -> str | None:
        caller = self.grants.caller(bearer_of(request.headers) or "")
        return caller.user if caller else None

    def limit_key(self, request: Request) -> str:
        return request.caller.user if request.caller else ""

    def handle(self, request: Request) -> Answer:
        route = self.router.find(request)
        if route is None:
            raise errors.invalid_url()
        try:
            return route.handler(request)
        except Refusal as refusal:
            if self.capabilities["errors_in_data"] and refusal.answer.status == 400:
                body = jsonio.loads_object(refusal.answer.body)
                raise Refusal(Answer.of({"data": [body]}, 400)) from refusal
            raise

    def scoped(self, request: Request, verb: str, name: str | None = None) -> Records:
        name = name or request.params["module"]
        records = self.records.get(name)
        if records is None:
            raise errors.invalid_module()
        held = request.caller.scopes if request.caller else frozenset()
        own = f"zohofsm.modules.{(records.module.scope or name).lower()}"
        enough = {f"{own}.all", f"{own}.{verb.lower()}"} | ({"zohofsm.modules.all"} if records.module.in_all else set())
        if not held & enough:
            raise errors.scope_mismatch()
        return records

    # Reading

    def _list(self, request: Request) -> Answer:
        """No filter, no sort, no field selection: other parameters are ignored."""
        records = self.scoped(request, "READ")
        request.touch(records.module.name, None)
        return self._page(request, records, records.newest_first())

    def _search(self, request: Request) -> Answer:
        records = self.scoped(request, "READ")
        request.touch(records.module.name, None)
        found = search(records, request.query, self.capabilities["modified_time_search"])
        return self._page(request, records, found)

    def _page(self, request: Request, records: Records, found: list[Record]) -> Answer:
        if self.capabilities["list_lag_ms"]:  # a new record may show late in lists and search
            newest = self.clock.now() - timedelta(milliseconds=self.capabilities["list_lag_ms"])
            found = [record for record in found if record.created_at <= newest]
        found = records.table.listed(found)
        page = _number(request, "page", 1)
        per_page = _number(request, "per_page", PER_PAGE_MAX)
        if per_page > PER_PAGE_MAX:
            raise errors.invalid_data("per_page", maximum=PER_PAGE_MAX)
        start = (page - 1) * per_page
        rows = found[start : start + per_page]
        if not rows:
            return Answer(204)
        rows, cut = self.short_page(request, rows)
        timed = records.module.name in self.capabilities["list_rows_with_times"]
        shown = [records.listed(one, timed) for one in rows]
        more = cut or start + per_page < len(found)
        info = {"page": page, "per_page": per_page, "count": len(rows), "more_records": more}
        return Answer.of({"data": shown, "info": info})

    def _read(self, request: Request) -> Answer:
        records = self.scoped(request, "READ")
        record = self.record(request, records)
        return Answer.of({"data": [records.detail(record)]})

    def record(self, request: Request, records: Records) -> Record:
        record_id = request.params["id"]
        if not INDEX.fullmatch(record_id):
            raise errors.invalid_data("id", expected_data_type="bigint")
        request.touch(records.module.name, record_id)
        return records.get(record_id)

    # Writing

    def _writable(self, records: Records) -> frozenset[str]:
        names = {name for name, rule in records.module.fields.items() if not rule.read_only}
        if not self.capabilities["zbilling_id_writable"]:
            names -= LINKS
        if self.capabilities["inactive_writable"]:
            names.add("$inactive")
        return frozenset(names)

    def rows(self, request: Request) -> list[JsonObject]:
        try:
            rows = jsonio.loads_object(request.body).get("data")
        except BadJson as error:
            raise errors.bad_json() from error
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise errors.bad_json()
        return rows

    def _create(self, request: Request) -> Answer:
        """All or nothing [I]. More rows than the capability allows are refused [I]."""
        records = self.scoped(request, "CREATE")
        module = records.module
        request.touch(module.name, None)
        rows = self.rows(request)
        most = self.capabilities["create_batch_size"].get(module.name, 1)
        if len(rows) > most:
            raise errors.invalid_data("data", maximum_length=most)
        writable = self._writable(records)
        changes = [self.rules.applied(records, records.cleaned(row, None, writable), None) for row in rows]
        made = [records.create(change) for change in changes]
        for record in made:
            self.emit(records, record, "create")
        request.touch(module.name, made[0].id, applied=True)
        answers = [
            {"UID": f"{module.name}_{number}", **records.stamps(record), "id": record.id, "TabName": module.tab_name}
            for number, record in enumerate(made)
        ]
        inside = records.made_inside(made)
        return Answer.of(
            {"result": "success", "code": "SUCCESS", "data": {module.name: answers, **inside}, "status": "success"}, 201
        )

    def _by_write_path(self, request: Request, verb: str) -> Records:
        """Items may be changed under two names [T]; which of them works is a capability."""
        given = request.params["module"]
        for records in self.records.values():
            paths = records.module.write_paths
            if given in paths:
                allowed = self.capabilities["items_update_path"]
                if len(paths) > 1 and allowed not in ("both", given.lower()):
                    raise errors.invalid_url()
                return self.scoped(request, verb, records.module.name)
        raise errors.invalid_module()

    def _update(self, request: Request) -> Answer:
        records = self._by_write_path(request, "UPDATE")
        record = self.record(request, records)
        changes = records.cleaned(self.rows(request)[0], record.data, self._writable(records))
        return self._written(request, records, record, self.rules.applied(records, changes, record))

    def _written(self, request: Request, records: Records, record: Record, changes: JsonObject) -> Answer:
        records.update(record, changes)
        request.touch(records.module.name, record.id, applied=True)
        self.emit(records, record, "update")
        return self.changed({**records.stamps(record), "id": record.id}, "record updated")

    def _process_sync(self, request: Request) -> Answer:
        """The answer, and that it is a change like any other, are [I]."""
        records = self.scoped(request, "UPDATE")
        record = self.record(request, records)
        changes = native_sync.changes_of(request, self.capabilities["native_sync"])
        return self._written(request, records, record, changes)

    def _delete(self, request: Request) -> Answer:
        """Deleting is known for /Products only [T]; the others are [I]."""
        records = self._by_write_path(request, "DELETE")
        record = self.record(request, records)
        self._check_deletable(records, record)
        self._remove(records, record)
        request.touch(records.module.name, record.id, applied=True)
        return self.changed({"id": record.id}, "record deleted")

    def _check_deletable(self, records: Records, record: Record) -> None:
        """A company with contacts goes, and they stay without one, unless the capability says otherwise [I]."""
        if self.capabilities["companies_with_contacts_deletable"]:
            return
        if any(other.naming(records.module.name, record.id) for other in self.records.values()):
            raise errors.invalid_data("id")

    def changed(self, details: JsonObject, message: str) -> Answer:
        return Answer.of({"data": [{"code": "SUCCESS", "details": details, "message": message, "status": "success"}]})

    def _remove(self, records: Records, record: Record) -> None:
        records.delete(record)
        self.emit(records, record, "delete")

    # Webhooks

    def emit(self, records: Records, record: Record, event: str) -> None:
        """A delete tells the modified time of before [T]."""
        self.webhooks.emit(Change(records.module.name, event, record.id, {}, wire.time_text(record.modified_at)))

    def ids_of(self, module: str, which: str, count: int) -> list[str]:
        return self.records[module].table.ids(which, count)

    def foreign_change(self, module: str, record_id: str, event: str, organization_id: str | None) -> Change:
        table = self.records[module].table
        record = table.records.get(record_id) or table.removed.get(record_id)
        modified = wire.time_text(record.modified_at if record else self.clock.now())
        return Change(module, event, record_id, {}, modified, organization_id)

    def compose_webhook(self, hook: Hook, change: Change) -> Message:
        """The body that the product asks the administrator to design; not signed, no event id, no organisation [T]."""
        body = {"module": change.module, "event": change.event, "id": change.id, "modified_time": change.modified}
        if change.organization_id is not None:
            body["organization_id"] = change.organization_id
        return jsonio.dumps(body), {"content-type": "application/json", **hook.headers}

    # The vendor's words

    def over_limit(self, exceeded: str) -> Answer:
        """Status and text [I]; no Retry-After is known."""
        return errors.error_answer(429, "TOO_MANY_REQUESTS", "too many requests", {"limit": exceeded})

    def limit_headers(self, verdict: Verdict) -> dict[str, str]:
        if verdict.limit is None:
            return {}
        return {
            "x-ratelimit-limit": str(verdict.limit), "x-ratelimit-remaining": str(verdict.remaining),
            "x-ratelimit-reset": str(verdict.reset_s),
        }  # fmt: skip

    def server_error(self, status: int) -> Answer:
        return errors.error_answer(status, "INTERNAL_ERROR", "Internal Server Error")

    def body_error(self, fault: Fault) -> Answer:
        """Some calls answer so with HTTP 200 [T]."""
        details = {"code": str(fault.code or "2031"), "message": "the operation could not be completed"}
        body = {"code": "ERROR", "details": details, "message": "error occurred", "status": "error"}
        return Answer.of(body, fault.status)

    def token_error(self) -> Answer:
        return errors.bad_token()

    def end_token(self, request: Request) -> None:
        self.grants.end_access(bearer_of(request.headers) or "")

    # The control

    def describe(self, base_url: str) -> JsonObject:
        return {
            "url": f"{base_url}/{self.name}/fsm/v1",
            "api_domain": f"{base_url}/{self.name}",
            "org_id": ORG["id"],
            "org": ORG,
            "scopes": list(self.product.all_scopes),
            "refresh_tokens": {"person": self.product.person_token, "integration": self.product.integration_token},
            "modules": sorted(self.records),
        }

    def seed(self, given: JsonObject) -> dict[str, list[str]]:
        unknown = set(given) - set(self.records)
        if unknown:
            raise KeyError(sorted(unknown)[0])
        return {
            name: [records.seed(row) for row in given[name]] for name, records in self.records.items() if name in given
        }

    def state(self, module: str | None) -> JsonObject:
        wanted = [self.records[module]] if module else list(self.records.values())
        return {
            one.module.name: [self._internal(one, record) for record in one.table.records.values()] for one in wanted
        }

    def _internal(self, records: Records, record: Record) -> JsonObject:
        return {**records.show(record), "_sandbox": records.table.sandbox_times(record)}

    def edit(self, method: str, module: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        records = self.records[module]
        if method == "POST":
            record = records.create(records.loose(fields))
            self.emit(records, record, "create")
            return self._internal(records, record)
        record = records.table.records[record_id or ""]
        if method == "DELETE":
            self._remove(records, record)
            return {"deleted": record.id}
        records.update(record, records.loose(fields, record.data))
        self.emit(records, record, "update")
        return self._internal(records, record)

    def reset_records(self) -> None:
        for settings in (self.custom_fields, self.currencies, self.taxes, self.blueprint):
            settings.clear()
        self.accounting = ACCOUNTING
        for records in self.records.values():
            records.clear()


def _number(request: Request, name: str, default: int) -> int:
    text: Any = request.query.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise errors.invalid_data(name, expected_data_type="integer")
    return int(text)
