"""The one Books organisation of the sandbox: what its modules share."""

from __future__ import annotations

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


class Kept(Protocol):
    """A module whose records the control may seed, show and edit."""

    def seed(self, given: JsonObject) -> str: ...
    def internal(self) -> list[JsonObject]: ...
    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject: ...
    def clear(self) -> None: ...
    def forget_renderings(self) -> None: ...


class Office:
    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.capabilities = vendor.capabilities
        self.webhooks = vendor.webhooks
        self.clock = vendor.clock
        self.visibility = vendor.visibility
        self.custom_fields = CustomFields()
        self.router = Router()
        self.modules: dict[str, Kept] = {}
        # Paths that need no organization_id.
        self.free_paths = {"/books/v3/organizations"}

    def emit(self, change: Change, headers: dict[str, str]) -> None:
        """The skip header is sent by third parties; whether it works is not established, so it is a capability."""
        asked = headers.get("x-zoho-skip-webhook-trigger", "").lower() == "true"
        if not (asked and self.capabilities["skip_webhook_header"]):
            self.webhooks.emit(change)

    def forget_renderings(self) -> None:
        """After a change that rows of any module may show, such as a custom field."""
        for module in self.modules.values():
            module.forget_renderings()
