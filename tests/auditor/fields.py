"""The auditor's own table: which fields of two modules are the same thing, and when two values are.

A value is text or None; a number is its shortest decimal text. Fields have names of our own: `name`, `website`,
`service.city`, `price` …
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

FSM, BOOKS, ACCOUNTS = "zoho_fsm", "zoho_books", "zoho_accounts"
LEFT, RIGHT = "left", "right"
VENDORS = {LEFT: FSM, RIGHT: BOOKS}
SIDES = {FSM: LEFT, BOOKS: RIGHT}
KEPT_CHARACTERS = 4000
"""More than any field here may hold: of a longer text the beginning is kept, and its length and hash."""

Values = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Field:
    """`left_most`, `right_most`: characters that the side's field holds. `left_carried`, `right_carried`: an update of
    anything there sends this field too, as it was read."""

    name: str
    left: str
    right: str
    left_most: int
    right_most: int
    number: bool = False
    left_carried: bool = False
    right_carried: bool = False

    def at(self, side: str) -> str:
        return self.left if side == LEFT else self.right

    def most(self, side: str) -> int:
        return self.left_most if side == LEFT else self.right_most

    def carried(self, side: str) -> bool:
        return self.left_carried if side == LEFT else self.right_carried


@dataclass(frozen=True, slots=True)
class Pair:
    """`key`: the field by which records are known for the same. Two pairs may share a module at one side: `belongs`
    tells which of them a row is of."""

    name: str
    left_module: str
    right_module: str
    left_id: str
    right_id: str
    fields: tuple[Field, ...]
    key: str = "name"

    def module(self, side: str) -> str:
        return self.left_module if side == LEFT else self.right_module

    def field_at(self, side: str, name: str) -> Field | None:
        """By the vendor's name of it."""
        return next((one for one in self.fields if one.at(side) == name), None)


_LINES = (
    ("street_1", "Street_1", "address", 255, 500),
    ("street_2", "Street_2", "street2", 255, 255),
    ("city", "City", "city", 100, 100),
    ("state", "State", "state", 100, 100),
    ("zip", "Zip_Code", "zip", 30, 50),
    ("country", "Country", "country", 100, 100),
)


def _address(name: str, left_group: str, right_group: str) -> Iterator[Field]:
    for line, left, right, left_most, right_most in _LINES:
        yield Field(
            f"{name}.{line}",
            f"{left_group}.{left}",
            f"{right_group}.{right}",
            left_most,
            right_most,
            left_carried=True,
            right_carried=True,
        )


COMPANIES = Pair(
    "companies",
    "Companies",
    "contacts",
    "id",
    "contact_id",
    (
        Field("name", "Company_Name", "contact_name", 255, 200, right_carried=True),
        Field("website", "Website", "website", 255, 255),
        *_address("service", "Service_Address", "shipping_address"),
        *_address("billing", "Billing_Address", "billing_address"),
    ),
)
ITEMS = Pair(
    "items",
    "Service_And_Parts",
    "items",
    "id",
    "item_id",
    (
        Field("name", "Name", "name", 255, 100, right_carried=True),
        Field("price", "Unit_Price", "rate", 0, 0, number=True, right_carried=True),
        Field("description", "Description", "description", 2000, 2000),
        Field("sku", "SKU", "sku", 100, 100),
        Field("unit", "Unit", "unit", 100, 100),
    ),
)
_PERSON = (
    Field("email", "Email", "email", 100, 100),
    Field("first_name", "First_Name", "first_name", 100, 100, right_carried=True),
    Field("last_name", "Last_Name", "last_name", 100, 100),
    Field("phone", "Phone", "phone", 30, 50),
    Field("mobile", "Mobile", "mobile", 30, 50),
)
CONTACTS = Pair(
    "contacts",
    "Contacts",
    "contacts",
    "id",
    "contact_id",
    (
        *_PERSON,
        *_address("service", "Service_Address", "shipping_address"),
        *_address("billing", "Billing_Address", "billing_address"),
    ),
    key="email",
)
CONTACT_PERSONS = Pair(
    "contact_persons", "Contacts", "contact_persons", "id", "contact_person_id", _PERSON, key="email"
)
"""A person's id here is `<customer>.<person>`: they live inside their customer."""
PAIRS: Mapping[str, Pair] = {one.name: one for one in (COMPANIES, CONTACT_PERSONS, CONTACTS, ITEMS)}
SYNCED = {
    "I": ("companies", "items"),
    "III": ("companies", "contact_persons", "items"),
    "IV": ("companies", "contact_persons", "contacts", "items"),
}
"""Pairs by sync type. In Type II contacts of companies are individuals, which `belongs` does not know."""


def pairs_of(vendor: str, module: str) -> list[Pair]:
    """Those that the module is in; none: nothing maps it."""
    side = SIDES.get(vendor)
    return [one for one in PAIRS.values() if side and one.module(side) == module]


def belongs(pair: Pair, side: str, row: Mapping[str, Any]) -> bool:
    """Whether a row of the pair's module is of this pair. Whatever is no individual customer is a company, if one that
    is out of scope (a vendor, say)."""
    if pair.module(side) == "Contacts":
        return bool((row.get("Company") or {}).get("id")) is (pair is CONTACT_PERSONS)
    if pair.module(side) == "contacts":
        return (row.get("customer_sub_type") == "individual") is (pair is CONTACTS)
    return True


def parent_key(key: tuple[str, str]) -> tuple[str, str] | None:
    """Of a person, the customer."""
    customer, dot, _ = key[1].partition(".")
    return (key[0], customer) if dot else None


# Reading what a vendor shows, or what a person sent


def read(pair: Pair, side: str, row: Mapping[str, Any]) -> Values:
    """The mapped fields of a record as the vendor shows it; what it lacks is blank."""
    return {one.name: _value(one, _at(side, one.at(side), row)[1]) for one in pair.fields}


def sent(pair: Pair, side: str, body: Mapping[str, Any]) -> Values:
    """The mapped fields that a body names, those alone. A group that is null clears each of its lines."""
    found: Values = {}
    for one in pair.fields:
        named, value = _at(side, one.at(side), body)
        if named:
            found[one.name] = _value(one, value)
    return found


def _at(side: str, path: str, row: Mapping[str, Any]) -> tuple[bool, Any]:
    """Whether it is there, and what. FSM shows the lines of an address with the group's prefix."""
    group, dot, inner = path.partition(".")
    if path in row:
        return True, row[path]
    if group not in row:
        return False, None
    value = row[group]
    if not dot:
        return True, value
    if not isinstance(value, Mapping):
        return value is None, None
    prefixed = group.removesuffix("Address") + inner if side == LEFT else inner
    for name in (prefixed, inner):
        if name in value:
            return True, value[name]
    return False, None


def _value(field: Field, value: Any) -> str | None:
    return number(value) if field.number else text(value)


def text(value: Any) -> str | None:
    """None for blank; else with plain line ends, in one Unicode form."""
    if value is None:
        return None
    plain = unicodedata.normalize("NFC", str(value).replace("\r\n", "\n").replace("\r", "\n"))
    if not plain.strip():
        return None
    if len(plain) <= KEPT_CHARACTERS:
        return plain
    digest = hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{plain[:KEPT_CHARACTERS]}…{len(plain)}:{digest}"


def number(value: Any) -> str | None:
    """Shortest decimal text; what is no number stays as it is."""
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return text(value)
    if not found.is_finite() or abs(found.adjusted()) > 60:
        return str(found)
    plain = format(found, "f")
    return (plain.rstrip("0").rstrip(".") if "." in plain else plain) or "0"


def folded(name: str | None) -> str:
    """Under which a name is taken: without the spaces round it, without regard to case."""
    return (name or "").strip().casefold()


# Comparing


def same(one: str | None, other: str | None) -> bool:
    return (one or "").strip() == (other or "").strip()


def holds(field: Field, side: str, value: str | None, shown: str | None) -> bool:
    """Whether `shown`, at a side, is `value`, or all of it that the side's field takes."""
    if same(value, shown):
        return True
    if value is None or shown is None:
        return False
    if field.number:
        return _rounds_to(value, shown)
    wanted, got = value.strip(), shown.strip()
    limit = field.most(side)
    if side == LEFT:  # FSM drops what comes after the first character above U+FFFF
        wanted = next((wanted[:at] for at, character in enumerate(wanted) if character > "\uffff"), wanted)
    return wanted[:limit].strip() == got


def _rounds_to(value: str, shown: str) -> bool:
    """Amounts hold two digits after the point."""
    try:
        left, right = Decimal(value), Decimal(shown)
    except InvalidOperation:
        return False
    digits = left.as_tuple().exponent
    if not (left.is_finite() and right.is_finite()) or not isinstance(digits, int):
        return False
    return digits < -2 and abs(left - right) <= Decimal("0.005")


def agree(field: Field, left: str | None, right: str | None) -> bool:
    """Whether two sides say the same, as far as each can hold it."""
    return same(left, right) or holds(field, RIGHT, left, right) or holds(field, LEFT, right, left)
