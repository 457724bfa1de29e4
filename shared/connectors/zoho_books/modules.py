"""Zoho Books' modules as we drive them: fields by their writing names, lengths, order (zoho-books.md, 4 and 6).

Lengths are those of the vendor's OpenAPI files (contacts.yml, items.yml); fields of invoices are by invoices.yml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from shared.connectors._zoho.taxes import TAX
from shared.connectors.base import Capabilities, ListOrder, ModuleFacts
from shared.connectors.custom_fields import with_custom
from shared.connectors.zoho_books import settings
from shared.sync.model import FieldDef, FieldKind, ModuleName

CONTACTS = ModuleName("contacts")
CONTACT_PERSONS = ModuleName("contact_persons")
ITEMS = ModuleName("items")
INVOICES = ModuleName("invoices")
PAGE_SIZE = 200
ADDRESS_GROUPS = ("billing_address", "shipping_address")
PERSON_LENGTHS = MappingProxyType({"first_name": 100, "last_name": 100, "email": 100, "phone": 50, "mobile": 50})
PERSON_FIELDS = tuple(PERSON_LENGTHS)
"""Of the primary contact person: shown with the contact, written by the person's own calls only (FM-12, DU-10)."""
PRIMARY_ID = "primary_contact_id"
PRICE = "rate"
TAX_ID = "tax_id"
CURRENCY = "currency_code"
"""Shown by the vendor, and written as `currency_id`."""
PERSONS_READ_BATCH = 8
"""Persons of one customer come with one call; those of several cost a call each."""


def _address(group: str, label: str) -> tuple[FieldDef, ...]:
    lengths = {
        "attention": 100,
        "address": 500,
        "street2": 255,
        "city": 100,
        "state": 100,
        "state_code": 100,
        "zip": 50,
        "country": 100,
        "country_code": None,
        "phone": 50,
        "fax": 50,
    }
    return tuple(
        FieldDef(f"{group}.{name}", label=f"{label}: {name.replace('_', ' ')}", max_length=most)
        for name, most in lengths.items()
    )


_CONTACT = (
    FieldDef("contact_name", label="Display name", required=True),
    FieldDef("company_name", label="Company name", max_length=200),
    FieldDef("contact_type", FieldKind.PICKLIST, "Contact type", picklist=("customer", "vendor")),
    FieldDef("customer_sub_type", FieldKind.PICKLIST, "Customer type", picklist=("business", "individual")),
    FieldDef("contact_number", label="Contact number", max_length=200),
    FieldDef("website", label="Website"),
    FieldDef("notes", label="Notes"),
    FieldDef("payment_terms", FieldKind.NUMBER, "Payment terms (days)"),
    FieldDef("payment_terms_label", label="Payment terms"),
    FieldDef("currency_id", label="Currency id"),
    FieldDef(CURRENCY, label="Currency"),
    FieldDef("is_taxable", FieldKind.BOOLEAN, "Taxable"),
    FieldDef(TAX, label="Tax (name and rate)", tax=True),
    FieldDef(TAX_ID, label="Tax id"),
    FieldDef("tax_name", label="Tax name", read_only=True),
    FieldDef("tax_exemption_id", label="Tax exemption id"),
    FieldDef("tax_authority_id", label="Tax authority id"),
    FieldDef("gst_treatment", label="GST treatment"),
    FieldDef("gst_no", label="GST number"),
    FieldDef("place_of_contact", label="Place of contact"),
    FieldDef("vat_treatment", label="VAT treatment"),
    FieldDef("vat_reg_no", label="VAT registration number"),
    FieldDef("tax_treatment", label="Tax treatment"),
    FieldDef("status", FieldKind.PICKLIST, "Status", read_only=True, picklist=("active", "inactive")),
    FieldDef(PRIMARY_ID, label="Primary person: id", read_only=True),
    *(
        FieldDef(name, label=f"Primary person: {name.replace('_', ' ')}", max_length=most)
        for name, most in PERSON_LENGTHS.items()
    ),
    *_address("billing_address", "Billing address"),
    *_address("shipping_address", "Shipping address"),
)

# [V] contacts.yml, list-contacts-response; [T] customer_sub_type and website in real rows. A row that lacks one of
# them leaves it unknown. Addresses, tax fields and notes cost a detail call.
CONTACT_LIST_FIELDS = frozenset(
    {
        "contact_name",
        "company_name",
        "contact_type",
        "customer_sub_type",
        "website",
        "status",
        "payment_terms",
        "payment_terms_label",
        "currency_id",
        CURRENCY,
        *PERSON_FIELDS,
    }
)

# Lengths of the single-person calls [V]; a person has no times and no state of its own.
_PERSON = (
    FieldDef("contact_id", label="Customer id", read_only=True),
    FieldDef("salutation", label="Salutation", max_length=25),
    FieldDef("first_name", label="First name", required=True, max_length=100),
    FieldDef("last_name", label="Last name", max_length=100),
    FieldDef("email", label="E-mail", max_length=100),
    FieldDef("phone", label="Phone", max_length=50),
    FieldDef("mobile", label="Mobile", max_length=50),
    FieldDef("designation", label="Designation", max_length=50),
    FieldDef("department", label="Department", max_length=50),
    FieldDef("is_primary_contact", FieldKind.BOOLEAN, "Primary", read_only=True),
)

_ITEM = (
    FieldDef("name", label="Name", required=True, max_length=100),
    FieldDef(PRICE, FieldKind.NUMBER, "Rate", required=True),
    FieldDef("description", label="Description", max_length=2_000),
    FieldDef("unit", label="Unit"),
    FieldDef("sku", label="SKU"),
    FieldDef("product_type", FieldKind.PICKLIST, "Type", picklist=("goods", "service", "digital_service")),
    FieldDef(TAX, label="Tax (name and rate)", tax=True),
    FieldDef(TAX_ID, label="Tax id"),
    FieldDef("tax_name", label="Tax name", read_only=True),
    FieldDef("tax_percentage", FieldKind.NUMBER, "Tax percentage", read_only=True),
    FieldDef("status", FieldKind.PICKLIST, "Status", read_only=True, picklist=("active", "inactive")),
)


# Made by FSM, or by people; their custom fields alone are written (FM-6). A discount is an amount, or per cent as text.
_INVOICE = tuple(
    replace(one, read_only=True)
    for one in (
        FieldDef("invoice_number", label="Number"),
        FieldDef("reference_number", label="Reference number"),
        FieldDef("customer_id", label="Customer: id"),
        FieldDef("customer_name", label="Customer: name"),
        FieldDef("status", label="Status"),
        FieldDef("date", FieldKind.DATE, "Date"),
        FieldDef("due_date", FieldKind.DATE, "Due date"),
        FieldDef("currency_id", label="Currency id"),
        FieldDef(CURRENCY, label="Currency"),
        FieldDef("total", FieldKind.NUMBER, "Total"),
        FieldDef("balance", FieldKind.NUMBER, "Balance"),
        FieldDef("sub_total", FieldKind.NUMBER, "Total before tax"),
        FieldDef("tax_total", FieldKind.NUMBER, "Tax"),
        FieldDef("discount", label="Discount"),
        FieldDef("shipping_charge", FieldKind.NUMBER, "Shipping charge"),
        FieldDef("adjustment", FieldKind.NUMBER, "Adjustment"),
        FieldDef("exchange_rate", FieldKind.NUMBER, "Exchange rate"),
        FieldDef("payment_terms", FieldKind.NUMBER, "Payment terms (days)"),
        FieldDef("payment_terms_label", label="Payment terms"),
        FieldDef("notes", label="Notes"),
        FieldDef("terms", label="Terms and conditions"),
    )
)

# [V] invoices.yml, list-invoices-response. Lines, notes and most sums cost a detail call.
INVOICE_LIST_FIELDS = frozenset(
    {
        "invoice_number",
        "reference_number",
        "customer_id",
        "customer_name",
        "status",
        "date",
        "due_date",
        "currency_id",
        CURRENCY,
        "total",
        "balance",
        "shipping_charge",
        "adjustment",
        "exchange_rate",
    }
)


@dataclass(frozen=True, slots=True)
class Module:
    """`one`, `many` are the keys of a record and of a list; `must` goes with every PUT (required in the schema).
    `list_fields`: see ModuleFacts; None: a row is whole. `since`: lists are filtered by modified time. `inside`,
    `creates`: see ModuleFacts. `entity`: its name where custom fields are asked for [T]."""

    name: ModuleName
    label: str
    fields: tuple[FieldDef, ...]
    id_key: str
    one: str
    many: str
    key: str
    must: tuple[str, ...]
    searchable: frozenset[str]
    list_fields: frozenset[str] | None = None
    since: bool = False
    inside: ModuleName | None = None
    entity: str = ""
    creates: bool = True

    @property
    def thin_list(self) -> bool:
        return self.list_fields is not None

    def with_custom(self, custom: Sequence[FieldDef]) -> Module:
        return replace(self, fields=(*self.fields, *custom)) if custom else self

    @property
    def custom(self) -> tuple[FieldDef, ...]:
        return tuple(one for one in self.fields if one.custom)


MODULES: Mapping[ModuleName, Module] = MappingProxyType(
    {
        CONTACTS: Module(
            name=CONTACTS,
            label="Customers",
            fields=_CONTACT,
            id_key="contact_id",
            one="contact",
            many="contacts",
            key="contact_name",
            must=("contact_name", "contact_type"),
            searchable=frozenset({"contact_name", "company_name", "email", "phone", "first_name", "last_name"}),
            list_fields=CONTACT_LIST_FIELDS,
            entity="contact",
        ),
        CONTACT_PERSONS: Module(
            name=CONTACT_PERSONS,
            label="Contact persons",
            fields=_PERSON,
            id_key="contact_person_id",
            one="contact_person",
            many="contact_persons",
            key="email",
            must=("contact_id", "first_name"),
            searchable=frozenset(),
            inside=CONTACTS,
            entity="contact_person",
        ),
        ITEMS: Module(
            name=ITEMS,
            label="Items",
            fields=_ITEM,
            id_key="item_id",
            one="item",
            many="items",
            key="name",
            must=("name", "rate"),
            searchable=frozenset({"name", "description"}),
            entity="item",
        ),
        INVOICES: Module(
            name=INVOICES,
            label="Invoices",
            fields=_INVOICE,
            id_key="invoice_id",
            one="invoice",
            many="invoices",
            key="invoice_number",
            must=(),
            searchable=frozenset({"invoice_number", "reference_number", "customer_name"}),
            list_fields=INVOICE_LIST_FIELDS,
            since=True,
            entity="invoice",
            creates=False,
        ),
    }
)


def module_facts(module: Module, capabilities: Capabilities) -> ModuleFacts:
    base = str(capabilities.flags.get(settings.BASE_CURRENCY, ""))
    module = replace(module, fields=tuple(replace(f, currency=base) if f.name == PRICE else f for f in module.fields))
    custom = capabilities.custom_fields.get(module.name, ())
    if module.inside is not None:  # the calls of a person take none, by the vendor's file
        custom = tuple(replace(one, read_only=True) for one in custom)
    fields = MappingProxyType(with_custom(module.fields, custom, capabilities.private.get(module.name, frozenset())))
    if module.inside is not None:
        return ModuleFacts(
            name=module.name,
            label=module.label,
            fields=fields,
            order=ListOrder.WHOLE,
            list_modified=False,
            read_batch=PERSONS_READ_BATCH,
            inside=module.inside,
        )
    if module.since:
        return ModuleFacts(
            name=module.name,
            label=module.label,
            fields=fields,
            order=ListOrder.SINCE,
            list_fields=module.list_fields,
            page_size=PAGE_SIZE,
            unique_key=module.key,
            creates=module.creates,
        )
    is_contacts = module.name == CONTACTS
    sorts = is_contacts or capabilities.on(settings.ITEMS_SORT_MODIFIED)
    return ModuleFacts(
        name=module.name,
        label=module.label,
        fields=fields,
        order=ListOrder.MODIFIED_DESC if sorts else ListOrder.WHOLE,
        list_fields=_list_fields(module, custom),
        upserts=any(one.name == capabilities.flags.get(settings.UPSERT_FIELD) for one in custom),
        list_modified=sorts or capabilities.on(settings.ITEMS_LIST_MODIFIED),
        page_size=PAGE_SIZE,
        read_batch=1 if is_contacts else itemdetails_batch(capabilities),
        unique_key=None if is_contacts and capabilities.on(settings.DUPLICATE_CONTACT_NAMES) else module.key,
    )


def _list_fields(module: Module, custom: Sequence[FieldDef]) -> frozenset[str] | None:
    """Whether a list row carries custom fields is not established, so none is taken to."""
    if module.list_fields is not None:
        return module.list_fields
    return frozenset(one.name for one in module.fields) if custom else None


def itemdetails_batch(capabilities: Capabilities) -> int:
    wanted = capabilities.flags.get(settings.ITEMDETAILS_BATCH, settings.DEFAULT_ITEMDETAILS_BATCH)
    if not str(wanted).isdigit():
        return settings.DEFAULT_ITEMDETAILS_BATCH
    return max(1, min(int(wanted), settings.MOST_ITEMDETAILS_BATCH))
