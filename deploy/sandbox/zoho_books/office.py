"""The one organisation of a product: what its modules share, and in what the products differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.routing import Router
from deploy.sandbox.vendor import Vendor
from deploy.sandbox.webhooks import Change
from deploy.sandbox.zoho_books.custom_fields import CustomFields

ORG: JsonObject = {
    "organization_id": "10234695", "name": "Zylker Books", "contact_name": "John Smith",
    "email": "books@zylker.test", "is_default_org": True, "plan_type": 130, "plan_name": "PROFESSIONAL",
    "plan_period": "Monthly", "version": "books", "tax_group_enabled": True, "language_code": "en",
    "fiscal_year_start_month": 0, "account_created_date": "2012-02-15", "time_zone": "PST", "is_org_active": True,
    "currency_id": "460000000000097", "currency_code": "USD", "currency_symbol": "$",
    "currency_format": "###,##0.00", "price_precision": 2, "country": "U.S.A", "country_code": "US",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edition:
    """What one product of the platform differs in. `path` is the root of its API, `prefix` begins its scopes, `header`
    (lower case) may name the organisation. `scopes` are those of the ready tokens. `buys`: there are vendors."""

    vendor: str
    prefix: str
    path: str
    header: str
    org: JsonObject
    published: JsonObject
    scopes: tuple[str, ...]
    buys: bool = True


# Professional plan's day, paid plan's concurrency [V].
BOOKS = Edition(
    "zoho_books", "ZohoBooks", "/books/v3", "x-com-zoho-books-organizationid", ORG,
    {"per_minute": 100, "per_day": 5000, "concurrent": 10},
    ("ZohoBooks.contacts.ALL", "ZohoBooks.settings.ALL", "ZohoBooks.invoices.ALL"),
)  # fmt: skip


class Kept(Protocol):
    """A module whose records the control may seed, show and edit."""

    def seed(self, given: JsonObject) -> str: ...
    def internal(self) -> list[JsonObject]: ...
    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject: ...
    def clear(self) -> None: ...
    def forget_renderings(self) -> None: ...


class Office:
    def __init__(self, vendor: Vendor, edition: Edition = BOOKS) -> None:
        self.vendor = vendor
        self.edition = edition
        self.base = edition.path
        self.settings = f"{edition.path}/settings"
        self.org_id = str(edition.org["organization_id"])
        self.capabilities = vendor.capabilities
        self.webhooks = vendor.webhooks
        self.clock = vendor.clock
        self.visibility = vendor.visibility
        self.custom_fields = CustomFields()
        self.router = Router()
        self.modules: dict[str, Kept] = {}
        # Paths that need no organization_id.
        self.free_paths = {f"{self.base}/organizations"}

    def emit(self, change: Change, headers: dict[str, str]) -> None:
        """The skip header is sent by third parties; whether it works is not established, so it is a capability."""
        asked = headers.get("x-zoho-skip-webhook-trigger", "").lower() == "true"
        if not (asked and self.capabilities["skip_webhook_header"]):
            self.webhooks.emit(change)

    def forget_renderings(self) -> None:
        """After a change that rows of any module may show, such as a custom field."""
        for module in self.modules.values():
            module.forget_renderings()
