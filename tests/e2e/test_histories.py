"""Random work on both sides, webhooks doubled, lost and disordered: both sides agree, nothing doubled, no unclashed
edit lost.

Companies with their contacts, contacts alone, and items (Type IV), thirty histories at a time on one stack (each has
its records to itself). A history is a sequence of rounds; in a round people create, edit, rename, move, delete, and
make inactive and active again, while the product works; then all is quiet, a sync repairs what lost webhooks left, and
it is looked at. The seed of a history decides everything that people do; it is in the message of each failure.
BOTHWAYS_TEST_HISTORIES says how many there are.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.e2e.world import BOOKS, FSM, AlreadyThereError, Json, World, await_that, running_world

AT_ONCE, ROUNDS, EDITS = 30, 3, 10
HISTORIES = int(os.environ.get("BOTHWAYS_TEST_HISTORIES", "30"))

FIELDS = {
    "company": ("website", "Service_Address.Street_1", "Service_Address.City", "Billing_Address.Zip_Code"),
    "item": ("price", "description", "sku"),
    "person": ("phone", "mobile", "first"),
    "individual": ("phone", "mobile", "Service_Address.City"),
}
MODULES = {
    "company": ("Companies", "contacts"),
    "item": ("Service_And_Parts", "items"),
    "person": ("Contacts", "contacts/contactpersons"),
    "individual": ("Contacts", "contacts"),
}
NEVER_BLANK = ("price", "first")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("histories"), sync_type="IV", state_writable=True) as found:
        found.control("POST", BOOKS, "capabilities", {"contact_person_partial_put": True})  # of the people's own calls
        found.fetch()
        yield found


@dataclass(eq=False)
class Thing:
    """One company, item or contact as people think of it; `ids` is filled in as its twins appear."""

    kind: str
    name: str
    """The match key: a name, or an e-mail."""
    home: Thing | None = None
    """The company of a person."""
    ids: dict[str, str] = field(default_factory=dict)
    edits: dict[str, dict[str, object]] = field(default_factory=dict)
    """Since it was last looked at: field -> side -> last value set there."""
    last_name: str = ""
    when: list[tuple[str, str, float, float]] = field(default_factory=list)
    """(field, side, began, ended) of each of those edits."""
    young: bool = False
    """Made on both sides in this round: what is set before the two are matched clashes with the other's first value."""
    asleep: bool = False
    """Inactive in Books, and so in FSM."""
    away: bool = False
    """In FSM it is with another company, which is not followed."""
    gone: str = ""
    """The side where it was deleted."""

    @property
    def idle(self) -> bool:
        """Nothing is carried to it or from it."""
        return self.asleep or (self.home is not None and self.home.asleep)

    def module(self, side: str) -> str:
        return MODULES[self.kind][0 if side == FSM else 1]

    def read_id(self, side: str) -> str:
        """Under which the vendor's calls name it: a person is read with its customer."""
        if side == BOOKS and self.kind == "person" and self.home is not None:
            return self.home.ids.get(BOOKS, "")
        return self.ids.get(side, "")


@dataclass
class History:
    seed: int
    world: World
    things: list[Thing] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    """Names of individual customers whose contact went to a company."""
    count: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def fresh(self, word: str) -> str:
        self.count += 1
        return f"{word} {self.seed}-{self.count}"

    # What people do

    def act(self) -> None:
        known = [thing for thing in self.things if len(thing.ids) == 2 and not thing.gone]
        if not known or self.chance.random() < 0.25:
            self.create()
            return
        thing = self.chance.choice(known)
        deed = self.chance.choices(
            (self.edit, self.rename, self.move, self.sleep, self.delete), weights=(70, 10, 8, 7, 5)
        )[0]
        deed(thing)

    def create(self) -> None:
        kind = self.chance.choice(("company", "item", "person", "person", "individual"))
        homes = [one for one in self.things if one.kind == "company" and len(one.ids) == 2 and self.whole(one)]
        home = self.chance.choice(homes) if homes and kind == "person" else None
        if kind == "person" and home is None:
            kind = "company"
        name = self.fresh({"company": "Häuser & Co", "item": "Pump"}.get(kind, "mail"))
        thing = Thing(kind, name if kind in ("company", "item") else mail(name), home)
        self.things.append(thing)
        # Now and then two people make the same record on both sides at the same time.
        # (Not a contact person: neither vendor refuses a second one, so they would have made two.)
        alone = kind == "person" or self.chance.random() < 0.8
        sides = [self.chance.choice((FSM, BOOKS))] if alone else [FSM, BOOKS]
        thing.young = len(sides) == 2
        for side in sides:
            with suppress(AlreadyThereError):
                thing.ids[side] = self.make(thing, side)

    @staticmethod
    def whole(thing: Thing) -> bool:
        return not (thing.gone or thing.asleep or thing.young)

    def make(self, thing: Thing, side: str) -> str:
        return self.world.people[side].post(thing.module(side), first_fields(thing, side))

    def rename(self, thing: Thing) -> None:
        """Of the match key, on one side: the binding holds (DU-11)."""
        if "name" in thing.edits or not self.whole(thing) or thing.idle:
            return
        side = self.chance.choice((FSM, BOOKS))
        thing.last_name = thing.name
        thing.name = self.fresh("Renamed") if thing.kind in ("company", "item") else mail(self.fresh("renamed"))
        self.put(thing, side, "name", thing.name)

    def edit(self, thing: Thing) -> None:
        name = self.chance.choice(FIELDS[thing.kind])
        value: object = self.fresh("v")
        if name == "price":
            value = self.chance.randrange(1, 10_000_000) / 100
        elif self.chance.random() < 0.1 and name not in NEVER_BLANK:
            value = ""  # clearing is an edit like any other (FM-9)
        before = thing.edits.get(name, {})
        clash = self.chance.random() < 0.15
        side = self.chance.choice((FSM, BOOKS)) if clash or not before else next(iter(before))
        self.put(thing, side, name, value)

    def put(self, thing: Thing, side: str, name: str, value: object) -> None:
        began = time.time() * 1000
        self.write(thing, side, fields_of(thing.kind, side, name, value))
        thing.when.append((name, side, began, time.time() * 1000))
        thing.edits.setdefault(name, {})[side] = value or None

    def write(self, thing: Thing, side: str, fields: Json) -> None:
        """What an individual customer shows of its person is edited at the person, as Books' own page does."""
        person = self.world.people[side]
        if side == BOOKS and thing.kind == "individual" and not any("address" in name for name in fields):
            own = self.world.primary_of(thing.ids[BOOKS])
            person.put("contacts/contactpersons", own, fields)
            return
        person.put(thing.module(side), thing.ids[side], fields)

    def move(self, thing: Thing) -> None:
        """A contact to another company (which is not followed) and back, or an individual into a company (which is)."""
        homes = [one for one in self.things if one.kind == "company" and self.whole(one) and len(one.ids) == 2]
        if thing.kind not in ("person", "individual") or not self.whole(thing) or thing.idle or not homes:
            return
        if thing.kind == "person" and thing.home is not None:
            thing.away = not thing.away
            others = [one for one in homes if one is not thing.home]
            if thing.away and not others:
                thing.away = False
                return
            there = self.chance.choice(others) if thing.away else thing.home
            self.write(thing, FSM, {"Company": {"id": there.ids[FSM]}})
        elif not thing.edits:  # else an edit of the customer that stays would be nobody's
            thing.kind, thing.home = "person", self.chance.choice(homes)
            self.left_behind.append(thing.ids.pop(BOOKS))
            self.write(thing, FSM, {"Company": {"id": thing.home.ids[FSM]}})

    def sleep(self, thing: Thing) -> None:
        """Inactive in Books, or active again. Who made it so in FSM is the product."""
        if thing.kind == "person" or thing.young or (thing.kind == "company" and self.moved_into(thing)):
            return
        thing.asleep = not thing.asleep
        word = "inactive" if thing.asleep else "active"
        self.world.people[BOOKS].post_bare(f"{thing.module(BOOKS)}/{thing.ids[BOOKS]}/{word}")

    def moved_into(self, thing: Thing) -> bool:
        return any(one.home is thing and (one.young or len(one.ids) < 2 or one.away) for one in self.things)

    def delete(self, thing: Thing) -> None:
        """On one side; the other keeps it (TR-9)."""
        others = any(one.home is thing or one.away for one in self.things) and thing.kind == "company"
        if not self.whole(thing) or thing.idle or thing.away or others:
            return
        thing.gone = self.chance.choice((FSM, BOOKS))
        module = "Products" if thing.kind == "item" and thing.gone == FSM else thing.module(thing.gone)
        self.world.people[thing.gone].delete(module, thing.ids[thing.gone])

    def wake_all(self) -> None:
        for thing in self.things:
            if thing.asleep:
                self.sleep(thing)
            if thing.away:
                self.move(thing)

    # What must be true

    def check(self, seen: dict[str, dict[str, dict[str, list[Json]]]]) -> None:
        for thing in self.things:
            if thing.gone:
                self.check_gone(thing, seen)
            elif thing.idle:
                self.check_idle(thing, seen)
            else:
                self.check_one(thing, seen)

    def check_gone(self, thing: Thing, seen: dict[str, dict[str, dict[str, list[Json]]]]) -> None:
        """Neither deleted on the other side, nor made again on this one."""
        other = FSM if thing.gone == BOOKS else BOOKS
        names = {thing.name.casefold(), thing.last_name.casefold()} - {""}
        found = {side: [row for name in names for row in seen[thing.kind][side].get(name, [])] for side in (FSM, BOOKS)}
        where = self.where(thing)
        assert len(found[thing.gone]) == 0, f"{where}: made again in {thing.gone}\n{self.story(thing)}"
        assert len(found[other]) == 1, f"{where}: {len(found[other])} in {other}\n{self.story(thing)}"

    def check_idle(self, thing: Thing, seen: dict[str, dict[str, dict[str, list[Json]]]]) -> None:
        for side in (FSM, BOOKS):
            names = {thing.name.casefold(), thing.last_name.casefold()} - {""}
            rows = [row for name in names for row in seen[thing.kind][side].get(name, [])]
            assert len(rows) == 1, f"{self.where(thing)}: {len(rows)} in {side}\n{self.story(thing)}"
            if thing.asleep:
                assert not rows[0]["active"], f"{self.where(thing)}: active in {side}\n{self.story(thing)}"

    def check_one(self, thing: Thing, seen: dict[str, dict[str, dict[str, list[Json]]]]) -> None:
        sides = seen[thing.kind]
        raced = {one[0] for one in thing.when if self.world.raced(one[1], thing.read_id(one[1]), *one[2:])}
        if "name" in raced and thing.name.casefold() not in sides[FSM]:
            thing.name = thing.last_name
        key = thing.name.casefold()
        found = {side: sides[side].get(key, []) for side in (FSM, BOOKS)}
        where = self.where(thing)
        for side, rows in found.items():
            assert len(rows) == 1, f"{where}: {len(rows)} in {side}\n{self.story(thing)}"
        left, right = ({k: v for k, v in found[side][0].items() if k != "id"} for side in (FSM, BOOKS))
        if thing.home is not None:
            at_home = right.pop("company")
            assert at_home == thing.home.name, f"{where}: it is with {at_home}\n{self.story(thing)}"
            if left.pop("company") != at_home:
                assert thing.away, f"{where}: in FSM it is elsewhere\n{self.story(thing)}"
        assert left == right, f"{where}: the sides differ\n{self.story(thing)}"
        for name, values in thing.edits.items():
            if len(values) == 1 and name != "name" and not thing.young and name not in raced:
                value = next(iter(values.values()))
                lost = f"{where}: lost {name} = {value!r} set in {values.keys()}"
                assert left[name] == value, f"{lost}\n{self.story(thing)}"
        thing.edits.clear()
        thing.when.clear()
        thing.last_name = ""
        thing.young = False

    def where(self, thing: Thing) -> str:
        return f"history {self.seed}, {thing.kind} {thing.name!r}"

    def story(self, thing: Thing) -> str:
        customer = thing.read_id(BOOKS)
        return self.world.story([*thing.ids.values(), customer, f"{customer}.{thing.ids.get(BOOKS, '')}"])

    def learn(self, seen: dict[str, dict[str, dict[str, list[Json]]]]) -> None:
        """The ids of twins that appeared, so that people can edit them in the next round."""
        for thing in self.things:
            if not thing.gone:
                for side in (FSM, BOOKS):
                    rows = seen[thing.kind][side].get(thing.name.casefold(), [])
                    if rows:
                        thing.ids[side] = rows[0]["id"]


def mail(name: str) -> str:
    return f"{name.replace(' ', '-')}@mail.test".lower()


def first_fields(thing: Thing, side: str) -> Json:
    """What a person types in to make it."""
    last = thing.name.partition("@")[0]
    if thing.kind == "company":
        kind = {"contact_type": "customer", "customer_sub_type": "business"}
        return {"Company_Name": thing.name, "Website": None} if side == FSM else {"contact_name": thing.name, **kind}
    if thing.kind == "item":
        if side == FSM:
            return {"Name": thing.name, "Unit_Price": 10, "Type": "Service"}
        return {"name": thing.name, "rate": 10, "product_type": "service"}
    if side == FSM:
        home = {"Company": {"id": thing.home.ids[FSM]}} if thing.home else {}
        return {"First_Name": "Ann", "Last_Name": last, "Email": thing.name, **home}
    person = {"first_name": "Ann", "last_name": last, "email": thing.name}
    if thing.home is not None:
        return {"contact_id": thing.home.ids[BOOKS], **person}
    shown = {"contact_name": f"Ann {last}", "contact_type": "customer", "customer_sub_type": "individual"}
    return {**shown, "contact_persons": [{**person, "is_primary_contact": True}]}


_NAMES = {
    ("company", FSM): {"name": "Company_Name", "website": "Website"},
    ("company", BOOKS): {"name": "contact_name", "website": "website"},
    ("item", FSM): {"name": "Name", "price": "Unit_Price", "description": "Description", "sku": "SKU"},
    ("item", BOOKS): {"name": "name", "price": "rate", "description": "description", "sku": "sku"},
}
_PERSON = {
    FSM: {"name": "Email", "phone": "Phone", "mobile": "Mobile", "first": "First_Name"},
    BOOKS: {"name": "email", "phone": "phone", "mobile": "mobile", "first": "first_name"},
}


def fields_of(kind: str, side: str, name: str, value: object) -> Json:
    if "." not in name:
        return {(_NAMES.get((kind, side)) or _PERSON[side])[name]: value}
    group, inner = name.split(".")
    if side == FSM:
        return {group: {inner: value}}
    books_group = "shipping_address" if group == "Service_Address" else "billing_address"
    return {books_group: {{"Street_1": "address", "City": "city", "Zip_Code": "zip"}[inner]: value}}


@pytest.mark.rule("DU-6", "DU-7", "DU-8", "DU-10", "DU-11", "FM-9", "SU-5", "TR-5", "TR-9", "P1", "P3", "P5", "P6")
@pytest.mark.parametrize("first", range(0, HISTORIES, AT_ONCE))
def test_random_histories(world: World, first: int) -> None:
    histories = [History(seed, world) for seed in range(first, first + AT_ONCE)]
    chance = random.Random(first)
    for vendor in (FSM, BOOKS):
        world.control(
            "POST",
            vendor,
            "faults",
            [
                {"kind": "webhook_lost", "share": 0.15, "seed": first},
                {"kind": "webhook_doubled", "share": 0.15, "seed": first + 1},
                {"kind": "webhook_reordered", "share": 0.15, "seed": first + 2},
            ],
        )
    for _ in range(ROUNDS):
        turns = [history for history in histories for _ in range(EDITS)]
        chance.shuffle(turns)
        for history in turns:
            history.act()
        settle_and_look(world, histories)
    for vendor in (FSM, BOOKS):
        world.control("DELETE", vendor, "faults")
    for history in histories:
        history.wake_all()
    settle_and_look(world, histories)
    await_that(world.versions_are_settled, "no version at the vendors is of this second")
    world.sync()
    world.quiet()
    world.forget_calls()
    world.sync()
    world.quiet()
    assert world.writes() == [], f"histories {first}: not silent"
    world.check_counters()


def settle_and_look(world: World, histories: list[History]) -> None:
    world.quiet()
    world.sync()
    world.quiet()
    seen = world.everything()
    for history in histories:
        history.check(seen)
        history.learn(seen)
