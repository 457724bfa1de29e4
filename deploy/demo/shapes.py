"""What a company and a product are at each vendor: one table of fields, read and written by it.

It is the demonstration's own reading of the vendors' records, so that what it counts does not hang on the product's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

FSM, BOOKS = "zoho_fsm", "zoho_books"
VENDORS = (FSM, BOOKS)
LABELS = {FSM: "FSM", BOOKS: "Books"}

Json = dict[str, Any]
Value = str | Decimal
Values = dict[str, Value]


def other(vendor: str) -> str:
    return BOOKS if vendor == FSM else FSM


def fold(name: str) -> str:
    """Names that differ by this in nothing are the same name."""
    return unicodedata.normalize("NFC", name).strip().casefold()


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is ours; the paths are those of a write. `label` is what is shown."""

    name: str
    label: str
    fsm: str
    books: str


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """`modules`, `id_keys` and `constants` are by vendor; constants go with every new record."""

    label: str
    plural: str
    fields: tuple[Field, ...]
    modules: Mapping[str, str]
    books_one: str
    constants: Mapping[str, Json]

    def module(self, vendor: str) -> str:
        return self.modules[vendor]

    def id_key(self, vendor: str) -> str:
        return "id" if vendor == FSM else f"{self.books_one}_id"

    def label_of(self, name: str) -> str:
        return next(field.label for field in self.fields if field.name == name)

    def written(self, vendor: str, values: Mapping[str, Value]) -> Json:
        """In the vendor's names, nested as it wants them."""
        out: Json = {}
        for field in self.fields:
            if field.name in values:
                group, _, name = _path(field, vendor).rpartition(".")
                (out.setdefault(group, {}) if group else out)[name] = values[field.name]
        return out

    def new(self, vendor: str, values: Mapping[str, Value]) -> Json:
        return {**self.written(vendor, values), **self.constants[vendor]}

    def read(self, vendor: str, row: Mapping[str, Any]) -> Values:
        """A record as the sandbox holds it, in our names; a blank is an empty text."""
        return {field.name: _value(_found(row, _path(field, vendor), vendor)) for field in self.fields}


def _path(field: Field, vendor: str) -> str:
    return field.fsm if vendor == FSM else field.books


def _found(row: Mapping[str, Any], path: str, vendor: str) -> object:
    group, _, name = path.rpartition(".")
    if not group:
        return row.get(name)
    inside = row.get(group) or {}
    prefix = group.removesuffix("Address") if vendor == FSM else ""  # Service_Address shows Service_City
    return inside.get(f"{prefix}{name}")


def _value(raw: object) -> Value:
    if raw is None:
        return ""
    if isinstance(raw, int | Decimal):
        return Decimal(raw)
    return str(raw).strip()


def _address(ours: str, label: str, fsm: str, books: str) -> tuple[Field, ...]:
    parts = (
        ("street1", "street", "Street_1", "address"),
        ("street2", "street 2", "Street_2", "street2"),
        ("city", "city", "City", "city"),
        ("state", "state", "State", "state"),
        ("zip", "postal code", "Zip_Code", "zip"),
        ("country", "country", "Country", "country"),
    )
    return tuple(
        Field(f"{ours}.{name}", f"{label} {shown}", f"{fsm}.{left}", f"{books}.{right}")
        for name, shown, left, right in parts
    )


COMPANY = Kind(
    label="company",
    plural="companies",
    fields=(
        Field("name", "name", "Company_Name", "contact_name"),
        Field("website", "website", "Website", "website"),
        *_address("service", "service", "Service_Address", "shipping_address"),
        *_address("billing", "billing", "Billing_Address", "billing_address"),
    ),
    modules={FSM: "Companies", BOOKS: "contacts"},
    books_one="contact",
    constants={FSM: {}, BOOKS: {"contact_type": "customer", "customer_sub_type": "business"}},
)

PRODUCT = Kind(
    label="product",
    plural="products",
    fields=(
        Field("name", "name", "Name", "name"),
        Field("price", "price", "Unit_Price", "rate"),
        Field("description", "description", "Description", "description"),
        Field("sku", "stock number", "SKU", "sku"),
        Field("unit", "unit", "Unit", "unit"),
    ),
    modules={FSM: "Service_And_Parts", BOOKS: "items"},
    books_one="item",
    constants={FSM: {"Type": "Part"}, BOOKS: {"product_type": "goods", "item_type": "sales"}},
)

KINDS = (COMPANY, PRODUCT)
