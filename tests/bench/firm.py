"""A business with records at both sandbox vendors, for `calls`: what is seeded, edited and added, by number.

Of each kind (companies with a contact each, individuals, items) `share` are at both sides, `share` at FSM alone and
`share` at Books alone. Of those at both sides a third is equal, a third lacks a value in Books and a third in FSM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.e2e.world import BOOKS, FSM, Json, World

KINDS = 4
"""Company, its contact, individual, item: each is a record, and a write, of its own."""


@dataclass(frozen=True)
class Firm:
    share: int
    edits: int
    """Later, of each kind and at each side: so many bound records are edited, so many are new."""

    @property
    def lacking(self) -> Mapping[str, int]:
        """Of each kind, how many of those at both sides lack a value there."""
        return {vendor: len([n for n in range(self.share) if _lacks(n) == vendor]) for vendor in (FSM, BOOKS)}

    def seed(self, world: World) -> None:
        both, left = range(self.share), range(self.share, 2 * self.share)
        add(world, FSM, [*both, *left], {n: _lacks(n) != FSM for n in both})
        add(world, BOOKS, [*both, *range(2 * self.share, 3 * self.share)], {n: _lacks(n) != BOOKS for n in both})

    def change(self, world: World) -> None:
        """Edits at both sides, each of another family, individual or item, and new ones."""
        k, new = self.edits, 3 * self.share
        _edit_fsm(world, companies=range(k), people=range(k, 2 * k), others=range(k))
        _edit_books(world, companies=range(2 * k, 3 * k), people=range(3 * k, 4 * k), others=range(k, 2 * k))
        add(world, FSM, range(new, new + k), {})
        add(world, BOOKS, range(new + k, new + 2 * k), {})


def _lacks(number: int) -> str:
    return ("", BOOKS, FSM)[number % 3]


def add(world: World, vendor: str, numbers: Sequence[int], full: Mapping[int, bool]) -> None:
    """New records of all kinds; `full`: whether they have each value, as they do unless told."""
    if vendor == BOOKS:
        rows = [_books(n, full.get(n, True)) for n in numbers]
        world.seed(BOOKS, "contacts", [one for customer, individual, _ in rows for one in (customer, individual)])
        world.seed(BOOKS, "items", [item for _, _, item in rows])
        return
    told = {n: full.get(n, True) for n in numbers}
    companies = [{"Company_Name": company(n)} | ({"Website": site(n)} if told[n] else {}) for n in numbers]
    homes = world.seed(FSM, "Companies", companies)
    people = [_person(n, told[n]) | {"Company": {"id": home}} for n, home in zip(numbers, homes, strict=True)]
    world.seed(FSM, "Contacts", people + [_individual(n, told[n]) for n in numbers])
    items = [{"Name": f"Item {n}", "Unit_Price": 10.5, "Type": "Service"} for n in numbers]
    skus = [{"SKU": f"SKU-{n}"} if told[n] else {} for n in numbers]
    world.seed(FSM, "Service_And_Parts", [item | sku for item, sku in zip(items, skus, strict=True)])


def _books(number: int, full: bool) -> tuple[Json, Json, Json]:
    """A customer with its contact person, an individual, an item."""
    customer = {"contact_name": company(number), "contact_type": "customer", "customer_sub_type": "business"}
    inside = [_in_books(_person(number, full))]
    individual = {"contact_name": f"Ann Solo {number}", "contact_type": "customer", "customer_sub_type": "individual"}
    own = [_in_books(_individual(number, full)) | {"is_primary_contact": True}]
    item = {"name": f"Item {number}", "rate": 10.5, "product_type": "service"}
    return (
        customer | {"contact_persons": inside} | ({"website": site(number)} if full else {}),
        individual | {"contact_persons": own},
        item | ({"sku": f"SKU-{number}"} if full else {}),
    )


def company(number: int) -> str:
    return f"Company {number}"


def site(number: int) -> str:
    return f"https://{number}.example.com"


def _person(number: int, full: bool) -> Json:
    return _contact(f"Lee {number}", f"lee@{number}.test", f"1 {number}" if full else None)


def _individual(number: int, full: bool) -> Json:
    return _contact(f"Solo {number}", f"solo@{number}.test", f"2 {number}" if full else None)


def _contact(last: str, mail: str, phone: str | None) -> Json:
    return {"First_Name": "Ann", "Last_Name": last, "Email": mail} | ({"Phone": phone} if phone else {})


def _in_books(contact: Json) -> Json:
    return {name.lower(): value for name, value in contact.items()}


# Edits, past the vendors' API: they are no calls.


def _edit_fsm(world: World, *, companies: range, people: range, others: range) -> None:
    rows = {row["Company_Name"]: row["id"] for row in world.records(FSM, "Companies")}
    for n in companies:
        _put(world, FSM, "Companies", rows[company(n)], Website=f"{site(n)}/left")
    mails = {row["Email"]: row["id"] for row in world.records(FSM, "Contacts")}
    for mail in [f"lee@{n}.test" for n in people] + [f"solo@{n}.test" for n in others]:
        _put(world, FSM, "Contacts", mails[mail], Phone="3 0")
    items = {row["Name"]: row["id"] for row in world.records(FSM, "Service_And_Parts")}
    for n in others:
        _put(world, FSM, "Service_And_Parts", items[f"Item {n}"], SKU=f"SKU-{n}-left")


def _edit_books(world: World, *, companies: range, people: range, others: range) -> None:
    rows = {row["contact_name"]: row for row in world.records(BOOKS, "contacts")}
    for n in companies:
        _put(world, BOOKS, "contacts", rows[company(n)]["contact_id"], website=f"{site(n)}/right")
    for row in [rows[company(n)] for n in people] + [rows[f"Ann Solo {n}"] for n in others]:
        inside = [{**one, "phone": "4 0"} for one in row["contact_persons"]]
        _put(world, BOOKS, "contacts", row["contact_id"], contact_persons=inside)
    items = {row["name"]: row["item_id"] for row in world.records(BOOKS, "items")}
    for n in others:
        _put(world, BOOKS, "items", items[f"Item {n}"], sku=f"SKU-{n}-right")


def _put(world: World, vendor: str, module: str, record_id: object, **fields: object) -> None:
    world.control("PUT", vendor, f"edits/{module}/{record_id}", fields)
