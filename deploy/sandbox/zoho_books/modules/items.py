"""Items. Lists sort by name, rate and tax_name only; details of many come from /itemdetails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books import errors, listing, wire
from deploy.sandbox.zoho_books.listing import SortKey, Test
from deploy.sandbox.zoho_books.office import Office
from deploy.sandbox.zoho_books.resource import Resource, by_modified
from deploy.sandbox.zoho_books.tax_rules import tax_changes

# name and description [V]; the others [I].
LENGTHS = {"name": 100, "description": 2000, "sku": 100, "unit": 100, "purchase_description": 2000, "hsn_or_sac": 50}
CHOICES = {
    "product_type": ("goods", "service", "digital_service"),
    "item_type": ("sales", "purchases", "sales_and_purchases", "inventory"),
}
NUMBERS = ("rate", "purchase_rate")
AS_GIVEN = ("account_id", "purchase_account_id", "vendor_id", "item_tax_preferences")
TAX = ("is_taxable", "tax_exemption_id", "tax_exemption_code")
# Filters that have no variants [V].
EXACT = ("is_taxable", "tax_exemption_id", "account_id", "tax_id", "tax_name")
ROW = (
    "name", "status", "description", "rate", "unit", "tax_id", "tax_name", "tax_percentage", "tax_type", "sku",
    "product_type", "item_type",
)  # fmt: skip


def _data(name: str) -> Callable[[Record], str]:
    return lambda record: str(record.data.get(name) or "")


def _sort_name(record: Record) -> str:
    return str(record.data["name"]).casefold()


class Items(Resource):
    singular, plural, label, scope = "item", "items", "Item", "settings"
    first_id = 460000000046001
    created_message = "The item has been added."
    updated_message = "Item details have been saved."
    default_sort = "name"
    indexed = (("name", "name", "n"),)
    texts: Mapping[str, Callable[[Record], str]] = {
        "name": _data("name"), "description": _data("description"),
    }  # fmt: skip
    sorts: Mapping[str, SortKey] = {
        "name": _sort_name,
        "rate": lambda record: Decimal(record.data["rate"]),
        "tax_name": lambda record: str(record.data.get("tax_name") or "").casefold(),
    }

    def _add_routes(self) -> None:
        super()._add_routes()
        self.office.router.add("GET", f"{self.office.base}/itemdetails", self._details, "settings.read")
        self.office.router.add("PUT", f"{self.office.base}/item/{{id}}/customfields", self._custom, "settings.update")

    def defaults(self) -> JsonObject:
        return {
            **dict.fromkeys(LENGTHS, ""), "product_type": "goods", "item_type": "sales", "is_taxable": True,
            "tax_id": "", "tax_name": "", "tax_percentage": 0, "tax_type": "tax", "tax_exemption_id": "",
            "tax_exemption_code": "", "purchase_rate": 0,
        }  # fmt: skip

    def list_sorts(self) -> Mapping[str, SortKey]:
        """By modified time for several third parties, though not documented [T]: a capability."""
        if self.office.capabilities["items_sort_modified"]:
            return {**self.sorts, "last_modified_time": by_modified}
        return self.sorts

    def name_keys(self, record: Record) -> Iterable[str]:
        """Names and stock numbers share the index, apart by their first letter."""
        name, sku = str(record.data.get("name", "")), str(record.data.get("sku") or "")
        return (f"n{name.strip().casefold()}", f"s{sku.casefold()}" if sku else "")

    # Writing

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        changes = wire.check_texts(given, LENGTHS)
        if "name" in changes or held is None:
            changes["name"] = changes.get("name", "").strip()
            if not changes["name"]:
                raise errors.empty("name")
        for name in NUMBERS:
            if name in given and not (name == "purchase_rate" and given[name] in (None, "")):
                changes[name] = wire.number_of(name, given[name])
        if held is None and "rate" not in changes:
            raise errors.empty("rate")
        for name, allowed in CHOICES.items():
            if name in given and given[name] not in allowed:
                raise errors.bad_value(name)
        changes.update({name: given[name] for name in (*AS_GIVEN, *CHOICES) if name in given})
        return {**changes, **self._tax(given, held)}

    def _tax(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """An exemption is mandatory where is_taxable is false [V]; live answers may be laxer, hence the capability."""
        changes = tax_changes(self.office, given, held, "item")
        after = {**(held or {}), **changes}
        touched = "is_taxable" in changes or "tax_exemption_id" in changes
        strict = self.office.capabilities["item_exemption_required"] and self.office.capabilities["taxes_enabled"]
        if strict and touched and after.get("is_taxable") is False and not after.get("tax_exemption_id"):
            raise errors.empty("tax_exemption_id")
        return changes

    def check_unique(self, after: JsonObject, record_id: str | None) -> None:
        """Code and text of a second name as on Zoho Billing's item page; those of a second sku [I]."""
        name, sku = str(after["name"]).strip().casefold(), str(after.get("sku") or "").casefold()
        if any(other.id != record_id for other in self.table.find("name", f"n{name}")):
            raise errors.refuse(400, 1000, "item name already exist")
        if sku and any(other.id != record_id for other in self.table.find("name", f"s{sku}")):
            raise errors.refuse(400, 1000, "item sku already exist")

    def loose(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        own = (*LENGTHS, *NUMBERS, *CHOICES, *AS_GIVEN, *TAX, *ROW, "has_transaction")
        changes = {name: given[name] for name in own if name in given}
        if held is None:
            changes.setdefault("rate", 0)
        return changes

    def _custom(self, request: Request) -> Answer:
        record = self.named(request)
        given = wire.body_of(request)
        record.data.update(self._changes({"custom_fields": given.get("custom_fields")}, record))
        self.saved(request, record)
        return Answer.of({"code": 0, "message": "Custom Fields Updated Successfully"})

    # Reading

    def list_tests(self, query: Mapping[str, str]) -> list[Test]:
        tests = listing.rate_tests(query) + [_equals(name, query[name]) for name in EXACT if query.get(name)]
        if query.get("search_text"):
            wanted = query["search_text"].casefold()
            tests.append(lambda record: wanted in f"{record.data['name']} {record.data['description']}".casefold())
        if self.office.capabilities["items_modified_filter"]:
            tests += listing.modified_test(query)
        return tests

    def row(self, record: Record) -> JsonObject:
        """As in the specification, with last_modified_time, which third parties see [T]."""
        shown = self.office.custom_fields.show(self.singular, record.data["custom_field_hash"])
        return {
            "item_id": record.id, **{name: record.data[name] for name in ROW}, "custom_fields": shown["custom_fields"],
            "last_modified_time": wire.time_text(record.modified_at),
        }  # fmt: skip

    def detail(self, record: Record) -> JsonObject:
        data = {key: value for key, value in record.data.items() if key != "custom_field_hash"}
        shown = self.office.custom_fields.show(self.singular, record.data["custom_field_hash"])
        return {"item_id": record.id, **data, **self.stamps(record), **shown}

    def _details(self, request: Request) -> Answer:
        """Ids that are not there are left out [I]."""
        request.touch("items", None)
        wanted = [part.strip() for part in request.query.get("item_ids", "").split(",") if part.strip()]
        if not wanted:
            raise errors.bad_value("item_ids")
        found = [self.table.records[one] for one in wanted if one in self.table.records]
        return Answer.of({"code": 0, "message": "success", "items": [self.shown(record) for record in found]})


def _equals(name: str, wanted: str) -> Test:
    return lambda record: str(record.data.get(name, "")).casefold() == wanted.casefold()


def register(office: Office) -> None:
    Items(office)
