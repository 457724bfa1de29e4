"""Zoho FSM's modules as we drive them: fields by their writing names, limits, order (zoho-fsm.md, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from shared.connectors._zoho.taxes import TAX
from shared.connectors.base import Capabilities, ListOrder, ModuleFacts
from shared.connectors.custom_fields import with_custom
from shared.connectors.zoho_fsm import settings
from shared.sync.model import FieldDef, FieldKind, ModuleName

COMPANIES = ModuleName("Companies")
CONTACTS = ModuleName("Contacts")
ITEMS = ModuleName("Service_And_Parts")
WORK_ORDERS = ModuleName("Work_Orders")
INVOICES = "Invoices"
"""Links to the accounting org's: made and read by calls of their own, no module of ours."""
LINES, PARTS = "Service_Line_Items", "Part_Line_Items"
PAGE_SIZE = 200
_LINK_IDS = ("ZBilling_Id", "ZCRM_Id")
STAMP = "ZBilling_Id"
STATE = "$inactive"
CURRENCY, RATE = "Currency", "Exchange_Rate"
PRICE = "Unit_Price"
ADDRESS_GROUPS = MappingProxyType({"Service_Address": "Service_", "Billing_Address": "Billing_"})
"""Writing name of an address -> the prefix that its keys have when they are read."""


def _text(name: str, label: str, *, required: bool = False, most: int | None = None) -> FieldDef:
    # [T] Text from the first character above U+FFFF on is cut silently, in every text field.
    return FieldDef(name, label=label, required=required, max_length=most, bmp_only=True)


def _address(group: str, label: str) -> tuple[FieldDef, ...]:
    return (
        FieldDef(f"{group}.id", label=f"{label}: id", read_only=True),
        _text(f"{group}.Address_Name", f"{label}: name"),
        _text(f"{group}.Street_1", f"{label}: street 1", most=255),
        _text(f"{group}.Street_2", f"{label}: street 2", most=255),
        _text(f"{group}.City", f"{label}: city"),
        _text(f"{group}.State", f"{label}: state"),
        _text(f"{group}.Zip_Code", f"{label}: zip code"),
        _text(f"{group}.Country", f"{label}: country"),
    )


_TAX = (
    FieldDef(TAX, label="Tax (name and rate)", tax=True),
    FieldDef("Tax.Taxable", FieldKind.BOOLEAN, "Taxable"),
    FieldDef("Tax.Tax_Id", label="Tax id"),
    _text("Tax.Tax_Name", "Tax name"),
    FieldDef("Tax.Tax_Exemption_Id", label="Tax exemption id"),
    _text("Tax.Tax_Exemption_Code", "Tax exemption code"),
)

_COMPANY = (
    _text("Company_Name", "Company name", required=True),
    _text("Email", "E-mail"),
    _text("Phone", "Phone"),
    _text("Mobile", "Mobile"),
    _text("Fax", "Fax"),
    _text("Website", "Website"),
    _text("Company_Type", "Company type"),
    _text(CURRENCY, "Currency"),
    FieldDef(RATE, FieldKind.NUMBER, "Exchange rate"),
    *_TAX,
    FieldDef("Tax.Tax_Authority_Id", label="Tax authority id"),
    _text("Tax.Tax_Authority", "Tax authority"),
    FieldDef("Tax.Tax_Percentage", FieldKind.NUMBER, "Tax percentage", read_only=True),
    *_address("Service_Address", "Service address"),
    *_address("Billing_Address", "Billing address"),
)

FULL_NAME = "$full_name"
"""First and last name in one, made here: other systems name a person by one field."""

_CONTACT = (
    _text("Salutation", "Salutation"),
    _text("First_Name", "First name"),
    _text("Last_Name", "Last name", required=True),
    FieldDef(FULL_NAME, label="First and last name", read_only=True),
    _text("Email", "E-mail", required=True),
    _text("Phone", "Phone"),
    _text("Mobile", "Mobile"),
    _text("Fax", "Fax"),
    FieldDef("Company.id", label="Company: id", read_only=True),
    FieldDef("Company.name", label="Company: name", read_only=True),
    _text(CURRENCY, "Currency"),
    FieldDef(RATE, FieldKind.NUMBER, "Exchange rate"),
    *_TAX,
    *_address("Service_Address", "Service address"),
    *_address("Billing_Address", "Billing address"),
)

_ITEM = (
    _text("Name", "Name", required=True),
    FieldDef(PRICE, FieldKind.NUMBER, "Unit price", required=True),
    # [V] The text says Part, list rows show Goods; [T] a third party writes Goods.
    FieldDef("Type", FieldKind.PICKLIST, "Type", required=True, picklist=("Service", "Goods")),
    _text("Description", "Description"),
    _text("Unit", "Unit"),
    _text("SKU", "SKU"),
    *_TAX,
)


# [V] Names by get-a-work-order; [T] Billing_Status. All are read only: status moves by a blueprint, money is the
# vendor's, and nothing else of a work order is written.
_WORK_ORDER = tuple(
    replace(one, read_only=True, required=False)
    for one in (
        FieldDef("Name", label="Number"),
        FieldDef("Summary", label="Summary"),
        FieldDef("Type", label="Type"),
        FieldDef("Priority", label="Priority"),
        FieldDef("Due_Date", FieldKind.DATE, "Due date"),
        FieldDef("Status", label="Status"),
        FieldDef("Billing_Status", label="Billing status"),
        FieldDef("Company.id", label="Company: id"),
        FieldDef("Company.name", label="Company: name"),
        FieldDef("Contact.id", label="Contact: id"),
        FieldDef("Contact.name", label="Contact: name"),
        FieldDef("Territory.id", label="Territory: id"),
        FieldDef("Territory.name", label="Territory: name"),
        FieldDef("Email", label="E-mail"),
        FieldDef("Phone", label="Phone"),
        FieldDef("Sub_Total", FieldKind.NUMBER, "Total before tax"),
        FieldDef("Tax_Amount", FieldKind.NUMBER, "Tax"),
        FieldDef("Grand_Total", FieldKind.NUMBER, "Total"),
        FieldDef(CURRENCY, label="Currency"),
        FieldDef("ZCRM_Deals_Id", label="CRM deal: id"),
        FieldDef("ZCRM_Deals_Name", label="CRM deal: name"),
        *_address("Service_Address", "Service address"),
        *_address("Billing_Address", "Billing address"),
    )
)


@dataclass(frozen=True, slots=True)
class Module:
    """`searchable` are the fields that the search call documents for the module; `lookups` name a record of another
    module as {id, name}. `linked`: it has a field for its twin's id in Zoho Finance. `creates`: see ModuleFacts."""

    name: ModuleName
    label: str
    fields: tuple[FieldDef, ...]
    searchable: frozenset[str]
    list_modified: bool
    lookups: tuple[str, ...] = ()
    linked: bool = True
    creates: bool = True


MODULES: Mapping[ModuleName, Module] = MappingProxyType(
    {
        # [V] The sample list rows of Companies show no modified time, those of Service_And_Parts do.
        COMPANIES: Module(COMPANIES, "Companies", _COMPANY, frozenset({"Company_Name", *_LINK_IDS}), False),
        CONTACTS: Module(
            CONTACTS,
            "Contacts",
            _CONTACT,
            frozenset({"Email", "Last_Name", "Mobile", "Phone", *_LINK_IDS}),
            False,  # as with Companies [I]
            ("Company",),
        ),
        ITEMS: Module(ITEMS, "Services And Parts", _ITEM, frozenset({"Name", *_LINK_IDS}), True),
        WORK_ORDERS: Module(
            WORK_ORDERS,
            "Work Orders",
            _WORK_ORDER,
            frozenset({"Company", "Contact", "Name", "Status", "Territory", "ZCRM_Deals_Id", "ZCRM_Deals_Name"}),
            True,  # [V] the sample list rows show it; they show no lines
            ("Company", "Contact"),
            linked=False,
            creates=False,
        ),
    }
)

HINT_NAMES: Mapping[str, ModuleName] = MappingProxyType(
    {
        "companies": COMPANIES,
        "contacts": CONTACTS,
        "service_and_parts": ITEMS,
        "services_and_parts": ITEMS,
        "products": ITEMS,
        "work_orders": WORK_ORDERS,
        "workorders": WORK_ORDERS,
    }
)
"""How a webhook may spell a module, in lower case with underscores for spaces."""


def module_facts(module: Module, capabilities: Capabilities) -> ModuleFacts:
    base = str(capabilities.flags.get(settings.BASE_CURRENCY, ""))
    module = replace(module, fields=tuple(replace(f, currency=base) if f.name == PRICE else f for f in module.fields))
    stamp = capabilities.on(settings.ZBILLING_ID_WRITABLE)
    links = (FieldDef(STAMP, label="Zoho Finance id", read_only=not stamp),) if module.linked else ()
    told = capabilities.custom_fields.get(module.name, ())
    custom = [replace(one, bmp_only=one.kind is FieldKind.TEXT) for one in told]
    if not module.creates:
        custom = [replace(one, read_only=True) for one in custom]
    private = capabilities.private.get(module.name, frozenset())
    return ModuleFacts(
        name=module.name,
        label=module.label,
        fields=MappingProxyType(with_custom((*module.fields, *links), custom, private)),
        order=ListOrder.SINCE if capabilities.on(settings.MODIFIED_TIME_SEARCH) else ListOrder.WHOLE,
        list_modified=module.list_modified,
        page_size=PAGE_SIZE,
        create_batch=create_batch(capabilities) if module.creates else 1,
        stamp_field=STAMP if stamp and module.linked else None,
        state_field=STATE if capabilities.on(settings.INACTIVE_WRITABLE) and module.creates else None,
        creates=module.creates,
    )


def create_batch(capabilities: Capabilities) -> int:
    wanted = capabilities.flags.get(settings.CREATE_BATCH, 1)
    return max(1, min(int(wanted), settings.MOST_CREATE_BATCH)) if str(wanted).isdigit() else 1
