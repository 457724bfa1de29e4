"""Northwind, dealt out to the two vendors: half and half, a tenth on both with differences, and some that must fail."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files

from deploy.demo.shapes import BOOKS, COMPANY, FSM, KINDS, PRODUCT, VENDORS, Json, Kind, Value, Values, fold

_DOMAINS = ("example.com", "example.org", "example.net")
HELD_BACK = 3
"""Of each kind and vendor: entered by people while everything runs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of Northwind; `person` is who to talk to there: {name, email, phone}."""

    kind: Kind
    values: Values
    person: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.values["name"])


@dataclass
class Cast:
    """What is where at the start, and what must be on both sides in the end.

    `truth`: by kind and folded name, the values that both sides must agree on. `failing`: folded names, with how many
    records of that name there are; no twin is expected of them. `held_back`: to be entered later, by vendor.
    """

    seeds: dict[str, dict[str, list[Json]]] = field(default_factory=lambda: {FSM: {}, BOOKS: {}})
    truth: dict[tuple[str, str], Values] = field(default_factory=dict)
    failing: dict[tuple[str, str], int] = field(default_factory=dict)
    held_back: dict[str, list[Entry]] = field(default_factory=lambda: {FSM: [], BOOKS: []})
    shared: int = 0

    def count(self, vendor: str, kind: Kind) -> int:
        return len(self.seeds[vendor].get(kind.module(vendor), ()))


def load() -> tuple[list[Entry], list[Entry]]:
    """(companies, products)"""
    firms = [*_rows("customers"), *_rows("suppliers")]
    categories = {row["category_id"]: row for row in _rows("categories")}
    companies = [_company(number, row) for number, row in enumerate(firms)]
    return companies, [_product(row, categories[row["category_id"]]) for row in _rows("products")]


def _rows(name: str) -> list[Json]:
    text = files("deploy.demo").joinpath(f"data/northwind/{name}.json").read_text("utf-8")
    found: list[Json] = json.loads(text, parse_float=Decimal)
    return found


def _company(number: int, row: Json) -> Entry:
    place = {
        "street1": row["address"],
        "street2": "",
        "city": row["city"],
        "state": row["region"] or "",
        "zip": row["postal_code"] or "",
        "country": row["country"],
    }
    values: Values = {"name": row["company_name"], "website": f"https://www.{_slug(row['company_name'], '-')}.example"}
    for group in ("service", "billing"):
        values |= {f"{group}.{name}": text for name, text in place.items()}
    email = f"{_slug(row['contact_name'], '.')}@{_DOMAINS[number % len(_DOMAINS)]}"
    return Entry(COMPANY, values, {"name": row["contact_name"], "email": email, "phone": row["phone"]})


def _product(row: Json, category: Json) -> Entry:
    values: Values = {
        "name": row["product_name"],
        "price": Decimal(row["unit_price"]),
        "description": f"{category['category_name']}: {category['description']}",
        "sku": f"NW-{row['product_id']:04}",
        "unit": row["quantity_per_unit"],
    }
    return Entry(PRODUCT, values)


def _slug(text: str, joint: str) -> str:
    """Letters a to z and digits: `Königlich Essen` -> koniglich-essen."""
    plain = text.lower().replace("'", "").replace("ß", "ss").replace("ø", "o").replace("æ", "ae")
    letters = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", joint, letters).strip(joint)


def deal(now: datetime) -> Cast:
    """The same every time; only the times of creation and change follow `now`."""
    cast = Cast()
    clock = _Clock(now)
    for kind, entries in zip(KINDS, load(), strict=True):
        shared, halves = _split(entries)
        for number, entry in enumerate(shared):
            _place_on_both(cast, clock, number, entry)
        for vendor in VENDORS:
            keep = len(halves[vendor]) - HELD_BACK
            cast.held_back[vendor] += halves[vendor][keep:]
            for entry in halves[vendor][:keep]:
                _seed(cast, vendor, entry, clock.next())
                cast.truth[kind.label, fold(entry.name)] = dict(entry.values)
        _fail_one(cast, clock, halves[FSM])
    return cast


def _split(entries: Sequence[Entry]) -> tuple[list[Entry], dict[str, list[Entry]]]:
    """Every tenth on both sides, the others in turn on the one and the other."""
    shared = [entry for number, entry in enumerate(entries) if number % 10 == 0]
    single = [entry for number, entry in enumerate(entries) if number % 10]
    return shared, {FSM: single[0::2], BOOKS: single[1::2]}


class _Clock:
    """Times of change, some hours apart, the last a week ago; whole seconds, as the vendors show them."""

    def __init__(self, now: datetime) -> None:
        self._at = now.astimezone(UTC).replace(microsecond=0) - timedelta(days=90)

    def next(self) -> datetime:
        self._at += timedelta(hours=7, minutes=13)
        return self._at


def _seed(cast: Cast, vendor: str, entry: Entry, changed: datetime) -> None:
    module = entry.kind.module(vendor)
    record = {**entry.kind.new(vendor, entry.values), **_person(vendor, entry.person), **_times(vendor, changed)}
    cast.seeds[vendor].setdefault(module, []).append(record)


def _person(vendor: str, person: Mapping[str, str]) -> Json:
    if not person:
        return {}
    if vendor == FSM:
        return {"Email": person["email"], "Phone": person["phone"]}
    first, _, last = person["name"].partition(" ")
    return {
        "company_name": "",
        "contact_persons": [
            {
                "first_name": first,
                "last_name": last,
                "email": person["email"],
                "phone": person["phone"],
                "is_primary_contact": True,
            }
        ],
    }


def _times(vendor: str, changed: datetime) -> Json:
    created = changed - timedelta(days=30)
    if vendor == FSM:
        return {"Created_Time": created.isoformat(), "Modified_Time": changed.isoformat()}
    texts = [moment.strftime("%Y-%m-%dT%H:%M:%S%z") for moment in (created, changed)]
    return dict(zip(("created_time", "last_modified_time"), texts, strict=True))


# On both sides, with differences

_COMPANY_DIFFERENCES = ("website gone", "street", "name", "billing", "postal code", "city and name")
_PRODUCT_DIFFERENCES = ("price", "description gone", "name", "unit", "stock number gone", "price and name")


def _place_on_both(cast: Cast, clock: _Clock, number: int, entry: Entry) -> None:
    """One of the two differs; which was changed later goes in turn. The later wins, but a blank yields."""
    differences = _COMPANY_DIFFERENCES if entry.kind is COMPANY else _PRODUCT_DIFFERENCES
    changed = _differently(entry, differences[number % len(differences)])
    differing = VENDORS[(number // 2) % 2]
    later = VENDORS[number % 2]
    sides = {vendor: changed if vendor == differing else entry for vendor in VENDORS}
    for vendor in sorted(VENDORS, key=lambda one: one == later):
        _seed(cast, vendor, sides[vendor], clock.next())
    earlier = next(vendor for vendor in VENDORS if vendor != later)
    winner, loser = sides[later].values, sides[earlier].values
    agreed: Values = {name: value if value != "" else loser[name] for name, value in winner.items()}
    cast.truth[entry.kind.label, fold(entry.name)] = agreed
    cast.shared += 1


def _differently(entry: Entry, difference: str) -> Entry:
    values: Values = dict(entry.values)
    if "website" in difference:
        values["website"] = ""
    if "street" in difference:
        values["service.street1"] = f"{values['service.street1']}, 2nd floor"
    if "name" in difference:
        values["name"] = str(values["name"]).upper()
    if "billing" in difference:
        values |= {"billing.street1": "P.O. Box 1996", "billing.street2": "Accounts"}
    if "postal" in difference:
        values["billing.zip"] = f"{values['billing.zip']}-0001"
    if "city" in difference:
        values["service.city"] = f"{values['service.city']} (old town)"
    return Entry(entry.kind, values | _product_difference(values, difference), entry.person)


def _product_difference(values: Mapping[str, Value], difference: str) -> Values:
    changed: Values = {}
    if "price" in difference:
        changed["price"] = Decimal(values["price"]) + Decimal("0.75")
    if "description" in difference:
        changed["description"] = ""
    if "unit" in difference:
        changed["unit"] = f"{values['unit']} (new)"
    if "stock" in difference:
        changed["sku"] = ""
    return changed


# Meant to fail


def _fail_one(cast: Cast, clock: _Clock, half: Sequence[Entry]) -> None:
    """A company that is in FSM twice, and a product whose name is longer than Books takes (100 characters)."""
    kind = half[0].kind
    if kind is COMPANY:
        twice = half[5]
        moved: Values = {**twice.values, "name": twice.name.upper(), "service.street1": "1 Harbour Street"}
        del cast.truth[kind.label, fold(twice.name)]
        failing = Entry(kind, moved, twice.person)
        cast.failing[kind.label, fold(twice.name)] = 2
    else:
        failing = _hamper(half)
        cast.failing[kind.label, fold(failing.name)] = 1
    _seed(cast, FSM, failing, clock.next())


def _hamper(products: Iterable[Entry]) -> Entry:
    names = ", ".join(entry.name for entry in list(products)[:6])
    values: Values = {
        "name": f"Hamper: {names}",
        "price": Decimal("149.50"),
        "description": "One of each",
        "sku": "NW-HAMPER",
        "unit": "1 basket",
    }
    return Entry(PRODUCT, values)
