"""SU-5, every case of it: what each sync type makes of each shape of record, in one world per type and policy.

Both vendors' whole state is compared with what is written down here, which shares nothing with the product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

import pytest

from tests.integration.world import BOOKS, FSM, Json, World

pytestmark = pytest.mark.rule("SU-5", "DU-3", "DU-10")

COMPANIES = ("company0", "company1", "company3")
BUSINESSES = ("business0", "business1", "business3")
SHAPES = (*COMPANIES, "contact", *BUSINESSES, "individual", "vendor")
SITUATIONS = ("new", "matched", "ambiguous", "bound")
"""Of the other side: nothing of that key, one, two, or its twin (and then it is edited)."""

Person = tuple[str, str]
"""(e-mail, phone)."""


@dataclass(frozen=True)
class Case:
    shape: str
    situation: str

    @property
    def name(self) -> str:
        return f"{self.shape} {self.situation}"

    @property
    def from_fsm(self) -> bool:
        return self.shape in (*COMPANIES, "contact")

    @property
    def site(self) -> str:
        return "" if self.shape in ("contact", "individual", "vendor") else f"www.{self.shape}-{self.situation}.test"

    @property
    def people(self) -> tuple[Person, ...]:
        count = int(self.shape[-1]) if self.shape[-1].isdigit() else 0 if self.shape == "vendor" else 1
        return tuple((f"{n}@{self.shape}-{self.situation}.test", f"+1 {n}") for n in range(count))

    @property
    def silent(self) -> tuple[Person, ...]:
        """The people as the other side knows them: without a phone."""
        return tuple((mail, "") for mail, _ in self.people)


CASES = tuple(Case(*one) for one in product(SHAPES, SITUATIONS) if one[0] != "vendor" or one[1] == "new")


# What there is, as (kind, name, site, people): a record of each side with those that belong to it.

Row = tuple[str, str, str, frozenset[Person]]


def row(kind: str, name: str, site: str, people: Iterable[Person]) -> Row:
    return kind, name, site, frozenset(people)


def solo(kind: str, person: Person) -> Row:
    return row(kind, person[0], "", [person])


@dataclass
class Sides:
    fsm: list[Row]
    books: list[Row]


def before(case: Case) -> Sides:
    """What people have made of it by the time of the first sync."""
    firsts = case.silent[:1]
    twins = {"matched": 1, "ambiguous": 2}.get(case.situation, 0)
    if case.shape in COMPANIES:
        people = firsts if case.situation == "matched" else ()
        return Sides(
            [row("company", case.name, case.site, case.people)], [row("business", case.name, "", people)] * twins
        )
    if case.shape in BUSINESSES:
        people = firsts if case.situation == "matched" else ()
        return Sides(
            [row("company", case.name, "", people)] * twins, [row("business", case.name, case.site, case.people)]
        )
    if case.shape == "contact":
        return Sides(
            [solo("contact", one) for one in case.people], [solo("individual", one) for one in case.silent] * twins
        )
    if case.shape == "individual":
        return Sides(
            [solo("contact", one) for one in case.silent] * twins, [solo("individual", one) for one in case.people]
        )
    return Sides([], [row("vendor", case.name, "", ())])


def after(case: Case, sync_type: str, policy: str) -> Sides:
    """What a sync of this type makes of it."""
    start = before(case)
    if case.shape == "vendor":
        return start
    if case.shape in (*COMPANIES, *BUSINESSES):
        return after_of_companies(case, start, sync_type, policy)
    return after_of_singles(case, start, sync_type, policy)


def after_of_companies(case: Case, start: Sides, sync_type: str, policy: str) -> Sides:
    if sync_type == "II":
        return with_individuals(case, start, policy)
    if case.situation == "ambiguous":
        return start
    persons = sync_type in ("III", "IV")
    if case.situation == "matched" and policy == "clone":
        theirs = start.fsm[0]
        return Sides(start.fsm, [*start.books, row("business", case.name, theirs[2], theirs[3] if persons else ())])
    fsm_people, books_people = (start.fsm or start.books)[0][3], (start.books or start.fsm)[0][3]
    if persons:
        fsm_people = books_people = frozenset(case.people)
    elif case.situation != "matched":  # a new one has nobody in it
        fsm_people, books_people = (fsm_people, frozenset()) if case.from_fsm else (frozenset(), books_people)
    return Sides(
        [row("company", case.name, case.site, fsm_people)], [row("business", case.name, case.site, books_people)]
    )


def with_individuals(case: Case, start: Sides, policy: str) -> Sides:
    """Type II: companies stay what they are, and each of their contacts is an individual customer."""
    people = [one for company in start.fsm for one in company[3]]
    return Sides(start.fsm, [*start.books, *(solo("individual", one) for one in people)])


def after_of_singles(case: Case, start: Sides, sync_type: str, policy: str) -> Sides:
    if sync_type in ("I", "III") or case.situation == "ambiguous":
        return start
    if case.situation == "matched" and policy == "clone":
        return Sides(
            start.fsm, [*start.books, *(solo("individual", one[3].__iter__().__next__()) for one in start.fsm)]
        )
    return Sides([solo("contact", one) for one in case.people], [solo("individual", one) for one in case.people])


# People at the vendors.


def seed(world: World, case: Case) -> None:
    start = before(case)
    for kind, name, site, people in start.fsm:
        home = world.company(name, Website=site) if kind == "company" else None
        for mail, phone in sorted(people):
            number = mail.partition("@")[0]
            company = {"Company": {"id": home}} if home else {}
            world.seed(
                FSM,
                "Contacts",
                {"First_Name": f"P{number}", "Last_Name": case.name, "Email": mail, "Phone": phone, **company},
            )
    for kind, name, site, people in start.books:
        persons = [
            {
                "first_name": f"P{mail.partition('@')[0]}",
                "last_name": case.name,
                "email": mail,
                "phone": phone,
                "is_primary_contact": mail.startswith("0"),
            }
            for mail, phone in sorted(people)
        ]
        shown = name if kind != "individual" else f"P0 {case.name}"
        fields: Json = {"contact_type": "vendor"} if kind == "vendor" else {"customer_sub_type": kind}
        world.customer(shown, website=site, contact_persons=persons, **fields)


def edit(world: World, case: Case) -> None:
    """The site, and everybody's phone, at the side it came from."""
    if case.from_fsm:
        for one in world.sandbox.rows(FSM, "Companies"):
            if one["Company_Name"] == case.name:
                world.sandbox.edit(FSM, "Companies", one["id"], Website=f"{case.site}/new")
        for one in world.sandbox.rows(FSM, "Contacts"):
            if one["Last_Name"] == case.name:
                world.sandbox.edit(FSM, "Contacts", one["id"], Phone=f"{one['Phone']} new")
        return
    for one in world.sandbox.rows(BOOKS, "contacts"):
        if one["contact_name"] not in (case.name, f"P0 {case.name}"):
            continue
        persons = [{**person, "phone": f"{person['phone']} new"} for person in one["contact_persons"]]
        site = {"website": f"{case.site}/new"} if case.site else {}
        world.sandbox.edit(BOOKS, "contacts", one["contact_id"], contact_persons=persons, **site)


def edited(sides: Sides, case: Case, sync_type: str) -> Sides:
    """As `edit` leaves it, and a sync carries it to the other side: nothing of a kind that is not synced."""

    def at(rows: list[Row], *, theirs: bool) -> list[Row]:
        found = []
        for kind, name, site, people in rows:
            carried_site = f"{site}/new" if site and (not theirs or sync_type != "II") else site
            carried = frozenset((mail, f"{phone} new") for mail, phone in people)
            found.append((kind, name, carried_site, carried))
        return found

    return Sides(at(sides.fsm, theirs=not case.from_fsm), at(sides.books, theirs=case.from_fsm))


# What is there.


def seen(world: World) -> tuple[Counter[Row], Counter[Row]]:
    contacts = world.sandbox.rows(FSM, "Contacts")

    def person(one: Json) -> Person:
        return one["Email"], one.get("Phone") or ""

    fsm = Counter(
        row(
            "company",
            one["Company_Name"],
            one.get("Website") or "",
            [person(c) for c in contacts if (c.get("Company") or {}).get("id") == one["id"]],
        )
        for one in world.sandbox.rows(FSM, "Companies")
    )
    fsm += Counter(solo("contact", person(one)) for one in contacts if not one.get("Company"))
    books: Counter[Row] = Counter()
    for one in world.sandbox.rows(BOOKS, "contacts"):
        people = [(p["email"], p["phone"]) for p in one["contact_persons"]]
        if one["contact_type"] == "vendor":
            books[row("vendor", one["contact_name"], "", ())] += 1
        elif one["customer_sub_type"] == "individual":
            assert len(people) == 1, "an individual is its one person"
            assert one["contact_persons"][0]["is_primary_contact"]
            books[solo("individual", people[0])] += 1
        else:
            books[row("business", one["contact_name"], one["website"], people)] += 1
            assert len([p for p in one["contact_persons"] if p["is_primary_contact"]]) == bool(people)
    return fsm, books


def check(world: World, what: Callable[[Case], Sides]) -> None:
    fsm, books = seen(world)
    wanted_fsm: Counter[Row] = Counter()
    wanted_books: Counter[Row] = Counter()
    for case in CASES:
        sides = what(case)
        wanted_fsm += Counter(sides.fsm)
        wanted_books += Counter(sides.books)
    assert (fsm - wanted_fsm, wanted_fsm - fsm) == (Counter(), Counter()), "FSM: (too many, missing)"
    assert (books - wanted_books, wanted_books - books) == (Counter(), Counter()), "Books: (too many, missing)"


@pytest.mark.parametrize("policy", ["overwrite", "clone"])
@pytest.mark.parametrize("sync_type", ["I", "II", "III", "IV"])
def test_each_shape_ends_as_its_type_says(world: World, sync_type: str, policy: str) -> None:
    world.office.sql("UPDATE integration SET sync_type = :t, policy = :p", t=sync_type, p=policy)
    if policy == "clone":
        world.sandbox.switch(BOOKS, duplicate_contact_names=True)
        world.office.sql(
            'UPDATE org SET settings = settings || \'{"capabilities": {"duplicate_contact_names": true}}\' '
            "WHERE vendor = :v",
            v=BOOKS,
        )
    for case in CASES:
        seed(world, case)
    check(world, before)
    world.fetch()
    check(world, before)

    world.sync()
    check(world, lambda case: after(case, sync_type, policy))

    for case in CASES:
        if case.situation == "bound":
            edit(world, case)

    def then(case: Case) -> Sides:
        sides = after(case, sync_type, policy)
        return edited(sides, case, sync_type) if case.situation == "bound" else sides

    world.sync()
    check(world, then)
    world.forget_calls()
    world.sync()
    assert world.writes() == [], "both sides agree"
