"""Zoho Books v3 over HTTP. Source: fact sheet of Zoho Books."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl, urlsplit

from deploy.sandbox import jsonio
from deploy.sandbox.accounts.grants import Grants, Product, bearer_of
from deploy.sandbox.faults import Fault
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.limits import Verdict
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.vendor import Vendor, World
from deploy.sandbox.webhooks import Change, Hook, Message
from deploy.sandbox.zoho_books import errors
from deploy.sandbox.zoho_books.custom_fields import ENTITIES
from deploy.sandbox.zoho_books.ledger import BooksLedger
from deploy.sandbox.zoho_books.modules import register_all
from deploy.sandbox.zoho_books.office import BOOKS, Edition, Office
from deploy.sandbox.zoho_books.resource import Resource

CAPABILITIES: JsonObject = {
    "contacts_modified_filter": False,
    "items_modified_filter": False,
    "items_sort_modified": False,
    "custom_field_upsert": True,
    "duplicate_contact_names": False,
    "contact_person_partial_put": False,
    "multi_currency": True,
    "taxes_enabled": True,
    "item_exemption_required": True,
    "skip_webhook_header": False,
    "page_context_as_list": False,
    "list_lag_ms": 0,
}
OVER = {
    "minute": (44, "For security reasons you have been blocked for some time: too many requests per minute."),
    "day": (45, "You have exceeded the maximum number of requests per day."),
    "concurrent": (1070, "The maximum number of in process requests has been exceeded."),
}  # fmt: skip


def signature(secret: str, url: str, body: bytes) -> str:
    """Lowercase hex HMAC-SHA256 over the query, sorted and joined with nothing between, then the body [V]."""
    pairs = sorted(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    text = "".join(key + value for key, value in pairs).encode() + body
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


class ZohoBooks(Vendor):
    """Zoho Books, or another edition of the platform."""

    text_fields = ("contact_name", "name")

    def __init__(self, world: World, edition: Edition = BOOKS) -> None:
        self.name = edition.vendor
        self.edition = edition
        super().__init__(world, CAPABILITIES, edition.published)
        self.grants = world.get(Grants)
        self.product = Product(edition.prefix, self.name, edition.scopes)
        self.grants.add_product(self.product)
        self.office = Office(self, edition)
        register_all(self.office)
        self.ledger = BooksLedger(self.office)
        self.controls.add("POST", "custom_fields", self._define_fields)
        self.controls.add("GET", "custom_fields", self._show_fields)
        self.controls.add("DELETE", "custom_fields/{entity}/{api_name}", self._drop_field)

    # The call

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
        """All callers of an organisation share its limit."""
        return self.office.org_id

    def handle(self, request: Request) -> Answer:
        route = self.office.router.find(request)
        if route is None:
            raise errors.bad_url()
        self._check_scope(request, route.scope or "")
        if request.path.rstrip("/") not in self.office.free_paths:
            self._check_organization(request)
        return route.handler(request)

    def _check_scope(self, request: Request, scope: str) -> None:
        held = request.caller.scopes if request.caller else frozenset()
        prefix, group = self.edition.prefix.lower(), scope.partition(".")[0]
        if not held & {
            f"{prefix}.{scope}",
            f"{prefix}.{group}.all",
            f"{prefix}.{group}.*",
            f"{prefix}.fullaccess.all",
        }:
            raise errors.not_allowed()

    def _check_organization(self, request: Request) -> None:
        """In the query [V] or in a header [T]. The refusals' codes are [I]."""
        given = request.query.get("organization_id") or request.headers.get(self.edition.header)
        if not given:
            raise errors.refuse(400, 6, "Organization ID is missing. Pass organization_id with the request.")
        if given != self.office.org_id:
            raise errors.refuse(401, 6041, f"This user is not associated with the CompanyID/CompanyName:{given}.")

    # Webhooks

    def _resource(self, module: str) -> Resource:
        found = self.office.modules[module]
        if isinstance(found, Resource):
            return found
        raise KeyError(module)

    def ids_of(self, module: str, which: str, count: int) -> list[str]:
        return self._resource(module).table.ids(which, count)

    def foreign_change(self, module: str, record_id: str, event: str, organization_id: str | None) -> Change:
        return self._resource(module).foreign_change(record_id, event, organization_id)

    def compose_webhook(self, hook: Hook, change: Change) -> Message:
        """The default payload: the whole record under its module key, with organization_id [T]. No event in it."""
        body = jsonio.dumps(change.payload)
        headers = {"content-type": "application/json", **hook.headers}
        if hook.secret:
            headers["X-Zoho-Webhook-Signature"] = signature(hook.secret, hook.full_url(), body)
        return body, headers

    # The vendor's words

    def over_limit(self, exceeded: str) -> Answer:
        return errors.error_answer(429, *OVER[exceeded])

    def limit_headers(self, verdict: Verdict) -> dict[str, str]:
        if verdict.limit is None:
            return {}
        return {
            "X-Rate-Limit-Limit": str(verdict.limit), "X-Rate-Limit-Remaining": str(verdict.remaining),
            "X-Rate-Limit-Reset": str(verdict.reset_s),
        }  # fmt: skip

    def server_error(self, status: int) -> Answer:
        return errors.error_answer(status, 1000, "Internal Error. Please contact support")

    def body_error(self, fault: Fault) -> Answer:
        return errors.error_answer(fault.status, int(fault.code or 1000), "Internal Error. Please contact support")

    def token_error(self) -> Answer:
        return errors.bad_token()

    def end_token(self, request: Request) -> None:
        self.grants.end_access(bearer_of(request.headers) or "")

    # The control

    def describe(self, base_url: str) -> JsonObject:
        return {
            "url": f"{base_url}/{self.name}{self.edition.path}",
            "api_domain": f"{base_url}/{self.name}",
            "org_id": self.office.org_id,
            "org": self.edition.org,
            "scopes": list(self.edition.scopes),
            "refresh_tokens": {"person": self.product.person_token, "integration": self.product.integration_token},
            "modules": sorted(self.office.modules),
        }

    def _define_fields(self, request: Request) -> Answer:
        """{"contact": [{api_name, label, data_type, …}], "item": […], "contact_person": […], "invoice": […]}"""
        for entity, fields in jsonio.loads_object(request.body).items():
            for given in fields:
                self.office.custom_fields.define(entity, given)
        self.office.forget_renderings()
        return self._show_fields(request)

    def _drop_field(self, request: Request) -> Answer:
        self.office.custom_fields.drop(request.params["entity"], request.params["api_name"])
        self.office.forget_renderings()
        return self._show_fields(request)

    def _show_fields(self, request: Request) -> Answer:
        fields = self.office.custom_fields
        return Answer.of({"custom_fields": {one: [field.describe() for field in fields.of(one)] for one in ENTITIES}})

    def seed(self, given: JsonObject) -> dict[str, list[str]]:
        modules = [(name, self.office.modules[name]) for name in given]  # all known, or nothing is seeded
        return {name: [module.seed(row) for row in given[name]] for name, module in modules}

    def state(self, module: str | None) -> JsonObject:
        wanted = [module] if module else list(self.office.modules)
        return {name: self.office.modules[name].internal() for name in wanted}

    def edit(self, method: str, module: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        return self.office.modules[module].edit(method, record_id, fields)

    def reset_records(self) -> None:
        self.office.custom_fields.clear()
        for module in self.office.modules.values():
            module.clear()
