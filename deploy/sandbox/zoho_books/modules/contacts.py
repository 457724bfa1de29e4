"""Contacts: customers and vendors under one name space. Source: fact sheet of Zoho Books, section 6."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books import errors, listing, wire
from deploy.sandbox.zoho_books.listing import SortKey, Test
from deploy.sandbox.zoho_books.office import ORG, Office
from deploy.sandbox.zoho_books.persons import MIRRORED, Persons, primary_of
from deploy.sandbox.zoho_books.resource import STATUS_FILTERS, Resource, by_created, by_modified
from deploy.sandbox.zoho_books.tax_rules import tax_changes

# company_name and contact_number [V]; the others from the specification's descriptions or [I].
LENGTHS = {
    "contact_name": 200, "company_name": 200, "website": 255, "contact_number": 200, "facebook": 100, "twitter": 100,
    "notes": 3000, "payment_terms_label": 200, "language_code": 10, "legal_name": 200, "gst_no": 15, "vat_reg_no": 50,
    "tax_exemption_code": 100, "tax_authority_name": 100, "place_of_contact": 10,
}  # fmt: skip
CHOICES = {"contact_type": ("customer", "vendor"), "customer_sub_type": ("business", "individual")}
AS_GIVEN = (
    "payment_terms", "credit_limit", "pricebook_id", "owner_id", "gst_treatment", "vat_treatment", "tax_treatment",
    "tax_reg_no", "country_code", "is_portal_enabled", "track_1099", "default_templates", "tags",
)  # fmt: skip
TAX = ("is_taxable", "tax_id", "tax_name", "tax_percentage", "tax_exemption_id", "tax_authority_id")
ADDRESSES = ("billing_address", "shipping_address")
MONEY_OF_ROW = (
    "outstanding_receivable_amount", "outstanding_receivable_amount_bcy", "outstanding_payable_amount",
    "outstanding_payable_amount_bcy", "unused_credits_receivable_amount", "unused_credits_receivable_amount_bcy",
    "unused_credits_payable_amount", "unused_credits_payable_amount_bcy",
)  # fmt: skip
CRM_LINKS = ("zcrm_account_id", "zcrm_contact_id", "zcrm_vendor_id")
NOTHING = Decimal("0.00")
# Of the vendor's own filters those on money and credit limits are not built. Customers and Vendors are [I].
FILTERS = frozenset(
    {*STATUS_FILTERS, "Status.Customers", "Status.Vendors", "Status.Crm", "Status.Duplicate", "Status.PortalEnabled",
     "Status.PortalDisabled"}
)  # fmt: skip


def _data(name: str) -> Callable[[Record], str]:
    return lambda record: str(record.data.get(name) or "")


def _person(name: str) -> Callable[[Record], str]:
    return lambda record: str(primary_of(record.data).get(name) or "")


def _folded(text_of: Callable[[Record], str]) -> SortKey:
    return lambda record: text_of(record).casefold()


def _address_text(record: Record) -> str:
    return " ".join(str(value) for name in ADDRESSES for value in record.data[name].values())


class Contacts(Resource):
    singular, plural, label, scope = "contact", "contacts", "Contact", "contacts"
    first_id = 460000000026001
    created_message = "The contact has been created"
    updated_message = "Contact has been updated successfully"
    default_sort = "contact_name"
    filters = FILTERS
    indexed = (("contact_name", "name", ""), ("email", "email", ""))
    texts: Mapping[str, Callable[[Record], str]] = {
        "contact_name": _data("contact_name"), "company_name": _data("company_name"), "email": _person("email"),
        "phone": _person("phone"), "first_name": _person("first_name"), "last_name": _person("last_name"),
        "address": _address_text,
    }  # fmt: skip
    sorts: Mapping[str, SortKey] = {
        "contact_name": _folded(_data("contact_name")), "first_name": _folded(_person("first_name")),
        "last_name": _folded(_person("last_name")), "email": _folded(_person("email")),
        "outstanding_receivable_amount": lambda record: Decimal(record.data["outstanding_receivable_amount"]),
        "created_time": by_created, "last_modified_time": by_modified,
    }  # fmt: skip

    def __init__(self, office: Office) -> None:
        self.persons = Persons(office.custom_fields, self.new_part_id)
        super().__init__(office)

    def _add_routes(self) -> None:
        super()._add_routes()
        self.office.router.add("DELETE", f"{self.office.base}/contacts", self._delete_many, "contacts.delete")

    def defaults(self) -> JsonObject:
        addresses = {name: wire.merge_address(None, {}, name, self.new_part_id()) for name in ADDRESSES}
        return {
            **dict.fromkeys(LENGTHS, ""), "language_code": "en", "contact_type": "customer",
            "customer_sub_type": "business",
            "payment_terms": 0, "payment_terms_label": "Due on Receipt", "currency_id": ORG["currency_id"],
            "is_taxable": True, "has_transaction": False, "contact_persons": [], **addresses,
            **dict.fromkeys(MONEY_OF_ROW, NOTHING),
        }  # fmt: skip

    def name_keys(self, record: Record) -> Iterable[str]:
        return (str(record.data.get("contact_name", "")).strip().casefold(),)

    def email_keys(self, record: Record) -> Iterable[str]:
        return (str(primary_of(record.data).get("email") or "").strip().casefold(),)

    def person_keys(self, record: Record) -> Iterable[str]:
        return [person["contact_person_id"] for person in record.data["contact_persons"]]

    # Writing

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        changes = wire.check_texts(given, LENGTHS)
        if "contact_name" in changes or held is None:
            changes["contact_name"] = changes.get("contact_name", "").strip()
            if not changes["contact_name"]:
                raise errors.empty("contact_name")
        for name, allowed in CHOICES.items():
            if name in given and given[name] not in allowed:
                raise errors.bad_value(name)
        for name in (*AS_GIVEN, *CHOICES):
            if name in given:
                changes[name] = given[name]
        if {**(held or {}), **changes}.get("contact_type") == "vendor":
            if not self.office.edition.buys:
                raise errors.bad_value("contact_type")
            changes["customer_sub_type"] = ""  # for customers only [V]; what a vendor shows is [I]
        changes.update(self._currency_change(given, held))
        return {**changes, **tax_changes(self.office, given, held, "customer"), **self._nested(given, held)}

    def _nested(self, given: JsonObject, held: JsonObject | None, checked: bool = True) -> JsonObject:
        changes: JsonObject = {}
        for name in ADDRESSES:
            if name in given:
                before = (held or {}).get(name)
                changes[name] = wire.merge_address(before, given[name], name, self.new_part_id(), checked)
        before_persons = (held or {}).get("contact_persons", [])
        if given.get("contact_persons") is not None:
            changes["contact_persons"] = self.persons.replaced(before_persons, given["contact_persons"], checked)
        else:
            mirrored = self.persons.mirrored(before_persons, given, checked)
            if mirrored is not None:
                changes["contact_persons"] = mirrored
        return changes

    def _currency_change(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """Without one it is the base currency [V]; after the first transaction it stays [I]; with multi-currency off
        there is no other than the base [I]."""
        wanted = str(given.get("currency_id") or "")
        if not wanted:
            return {}
        row = next((one for one in self.office.modules["currencies"].internal() if one["currency_id"] == wanted), None)
        if row is None or not (row["is_base_currency"] or self.office.capabilities["multi_currency"]):
            raise errors.bad_value("currency_id")
        if held and held["has_transaction"] and held["currency_id"] != wanted:
            raise errors.refuse(400, 2, "The currency cannot be changed, for the contact has transactions.")
        return {"currency_id": wanted}

    def check_unique(self, after: JsonObject, record_id: str | None) -> None:
        """The display name is unique among customers and vendors, active or not, also when it is changed."""
        if self.office.capabilities["duplicate_contact_names"]:
            return
        name = str(after["contact_name"])
        if any(other.id != record_id for other in self.table.find("name", name.strip().casefold())):
            words = (
                f'The {after.get("contact_type", "customer")} "{name}" already exists. Please specify a different name.'
            )
            raise errors.refuse(400, 3062, words)

    def loose(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """A seed may name the primary person's fields at the top, as a list row does."""
        own = (
            *LENGTHS, *CHOICES, *AS_GIVEN, *TAX, *MONEY_OF_ROW, *CRM_LINKS, "currency_id", "status", "has_transaction",
            "source",
        )  # fmt: skip
        changes = {name: given[name] for name in own if name in given}
        return {**changes, **self._nested(given, held, checked=False)}

    def _delete_many(self, request: Request) -> Answer:
        wanted = [part.strip() for part in request.query.get("contact_ids", "").split(",") if part.strip()]
        if not wanted:
            raise errors.bad_value("contact_ids")
        records = [self.get(record_id) for record_id in wanted]
        for record in records:
            self.check_deletable(record)
        for record in records:
            self.remove(request, record)
        return Answer.of({"code": 0, "message": "The contacts have been deleted."})

    # Reading

    def list_tests(self, query: Mapping[str, str]) -> list[Test]:
        tests: list[Test] = []
        kind = query.get("contact_type") or _kind_of_filter(query.get("filter_by", ""))
        if kind:
            tests.append(lambda record: bool(record.data["contact_type"] == kind))
        if query.get("search_text"):
            wanted = query["search_text"].casefold()
            tests.append(lambda record: wanted in f"{record.data['contact_name']} {record.data['notes']}".casefold())
        for name in CRM_LINKS:
            if query.get(name):
                tests.append(_same(name, query[name]))
        tests += self._filter_tests(query.get("filter_by", ""))
        if self.office.capabilities["contacts_modified_filter"]:
            tests += listing.modified_test(query)
        return tests

    def _filter_tests(self, filter_by: str) -> list[Test]:
        """What each of them means is [I]."""
        if filter_by == "Status.Crm":
            return [lambda record: _in_crm(record.data)]
        if filter_by == "Status.Duplicate":
            return [lambda record: any(len(self.table.find("name", name)) > 1 for name in self.name_keys(record))]
        if filter_by in ("Status.PortalEnabled", "Status.PortalDisabled"):
            wanted = filter_by == "Status.PortalEnabled"
            return [lambda record: any(one["enable_portal"] for one in record.data["contact_persons"]) is wanted]
        return []

    def row(self, record: Record) -> JsonObject:
        """Thin: no addresses, no persons but the primary one's name, no custom fields."""
        data, person = record.data, primary_of(record.data)
        name, kind = data["contact_name"], data["contact_type"]
        return {
            "contact_id": record.id, "contact_name": name, "customer_name": name, "vendor_name": name,
            "company_name": data["company_name"], "website": data["website"], "language_code": data["language_code"],
            "contact_type": kind, "contact_type_formatted": f"{kind.capitalize()}s", "status": data["status"],
            "customer_sub_type": data["customer_sub_type"], "source": data.get("source", "api"),
            "is_linked_with_zohocrm": _in_crm(data), "payment_terms": data["payment_terms"],
            "payment_terms_label": data["payment_terms_label"], "currency_id": data["currency_id"],
            "twitter": data["twitter"], "facebook": data["facebook"],
            "currency_code": self._currency(data["currency_id"]),
            **{key: data[key] for key in MONEY_OF_ROW},
            **{key: person.get(key, "") for key in MIRRORED},
            "portal_status": "disabled", "track_1099": bool(data.get("track_1099", False)), **self.stamps(record),
            "custom_fields": [], "custom_field_hash": {}, "contactperson_custom_fields": [], "tags": [],
            "ach_supported": False, "has_attachment": False,
        }  # fmt: skip

    def detail(self, record: Record) -> JsonObject:
        """With the primary person's name, email and phones at the top too [T]."""
        data, person = record.data, primary_of(record.data)
        hidden = {"custom_field_hash", *MONEY_OF_ROW}
        return {
            "contact_id": record.id, **{key: value for key, value in data.items() if key not in hidden},
            "is_linked_with_zohocrm": _in_crm(data), "currency_code": self._currency(data["currency_id"]),
            "primary_contact_id": person.get("contact_person_id", ""), **{key: person.get(key, "") for key in MIRRORED},
            "contact_persons": [self.persons.shown(one) for one in data["contact_persons"]],
            **{key: data[key] for key in MONEY_OF_ROW}, **self.stamps(record),
            **self.office.custom_fields.show(self.singular, data["custom_field_hash"]),
        }  # fmt: skip

    def _currency(self, currency_id: Any) -> str:
        for row in self.office.modules["currencies"].internal():
            if row["currency_id"] == str(currency_id):
                return str(row["currency_code"])
        return str(ORG["currency_code"])


def _same(name: str, wanted: str) -> Test:
    return lambda record: str(record.data.get(name, "")) == wanted


def _in_crm(data: JsonObject) -> bool:
    return any(data.get(name) for name in CRM_LINKS)


def _kind_of_filter(filter_by: str) -> str | None:
    return {"Status.Customers": "customer", "Status.Vendors": "vendor"}.get(filter_by)


def register(office: Office) -> None:
    Contacts(office)
