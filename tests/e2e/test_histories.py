"""Random edits on both sides, webhooks doubled and lost: both sides agree, nothing doubled, no unclashed edit lost.

Fifty histories, twenty-five at a time on one stack (each has its records to itself). A history is a sequence of rounds;
in a round people edit while the product works; then all is quiet, a sync repairs what lost webhooks left, and it is
looked at. The seed of a history decides everything that people do; it is in the message of each failure.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.e2e.world import BOOKS, FSM, AlreadyThereError, Json, World, await_that, running_world

HISTORIES, AT_ONCE, ROUNDS, EDITS = 50, 25, 3, 8

COMPANY_FIELDS = ("website", "Service_Address.Street_1", "Service_Address.City", "Billing_Address.Zip_Code")
ITEM_FIELDS = ("price", "description", "sku")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("histories")) as found:
        found.fetch()
        yield found


@dataclass
class Thing:
    """One company or item as people think of it; `ids` is filled in as its twins appear."""

    kind: str
    name: str
    ids: dict[str, str] = field(default_factory=dict)
    edits: dict[str, dict[str, object]] = field(default_factory=dict)
    """Of this round: field -> side -> last value set there."""
    last_name: str = ""
    when: list[tuple[str, str, float, float]] = field(default_factory=list)
    """Of this round: (field, side, began, ended) of each edit."""
    young: bool = False
    """Made on both sides in this round: what is set before the two are matched clashes with the other's first value."""


@dataclass
class History:
    seed: int
    world: World
    things: list[Thing] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def fresh(self, word: str) -> str:
        self.count += 1
        return f"{word} {self.seed}-{self.count}"

    # What people do

    def act(self) -> None:
        known = [thing for thing in self.things if len(thing.ids) == 2]
        if not known or self.chance.random() < 0.2:
            self.create()
        elif self.chance.random() < 0.12:
            self.rename(self.chance.choice(known))
        else:
            self.edit(self.chance.choice(known))

    def create(self) -> None:
        kind = self.chance.choice(("company", "item"))
        thing = Thing(kind, self.fresh("Häuser & Co" if kind == "company" else "Pump"))
        self.things.append(thing)
        # Now and then two people make the same record on both sides at the same time.
        sides = [self.chance.choice((FSM, BOOKS))] if self.chance.random() < 0.8 else [FSM, BOOKS]
        thing.young = len(sides) == 2
        thing.ids[sides[0]] = self.make(thing, sides[0])
        for side in sides[1:]:
            with suppress(AlreadyThereError):
                thing.ids[side] = self.make(thing, side)

    def make(self, thing: Thing, side: str) -> str:
        person = self.world.people[side]
        if thing.kind == "company":
            if side == FSM:
                return person.post("Companies", {"Company_Name": thing.name, "Website": None})
            return person.post(
                "contacts",
                {"contact_name": thing.name, "contact_type": "customer", "customer_sub_type": "business"},
            )
        if side == FSM:
            return person.post("Service_And_Parts", {"Name": thing.name, "Unit_Price": 10, "Type": "Service"})
        return person.post("items", {"name": thing.name, "rate": 10, "product_type": "service"})

    def rename(self, thing: Thing) -> None:
        """Of the match key, on one side: the binding holds (DU-11)."""
        if "name" in thing.edits or thing.young:
            return
        side = self.chance.choice((FSM, BOOKS))
        thing.last_name = thing.name
        thing.name = self.fresh("Renamed")
        self.put(thing, side, "name", thing.name)

    def edit(self, thing: Thing) -> None:
        name = self.chance.choice(COMPANY_FIELDS if thing.kind == "company" else ITEM_FIELDS)
        value: object = self.fresh("v")
        if name == "price":
            value = self.chance.randrange(1, 10_000_000) / 100
        elif self.chance.random() < 0.1:
            value = ""  # clearing is an edit like any other (FM-9)
        before = thing.edits.get(name, {})
        clash = self.chance.random() < 0.15
        side = self.chance.choice((FSM, BOOKS)) if clash or not before else next(iter(before))
        self.put(thing, side, name, value)

    def put(self, thing: Thing, side: str, name: str, value: object) -> None:
        person = self.world.people[side]
        began = time.time() * 1000
        if thing.kind == "company":
            module = "Companies" if side == FSM else "contacts"
            person.put(module, thing.ids[side], company_fields(side, name, value))
        else:
            module = "Service_And_Parts" if side == FSM else "items"
            person.put(module, thing.ids[side], item_fields(side, name, value))
        thing.when.append((name, side, began, time.time() * 1000))
        thing.edits.setdefault(name, {})[side] = value or None

    # What must be true

    def check(self) -> None:
        companies, items = self.world.companies(), self.world.items()
        for thing in self.things:
            left, right = companies if thing.kind == "company" else items
            raced = {one[0] for one in thing.when if self.world.raced(one[1], thing.ids.get(one[1], ""), *one[2:])}
            if "name" in raced and thing.name.casefold() not in left:
                thing.name = thing.last_name
            key = thing.name.casefold()
            found = {FSM: left.get(key, []), BOOKS: right.get(key, [])}
            where = f"history {self.seed}, {thing.kind} {thing.name!r}"
            for side, rows in found.items():
                assert len(rows) == 1, f"{where}: {len(rows)} in {side}\n{self.world.story(thing.ids.values())}"
            story = self.world.story
            assert found[FSM][0] == found[BOOKS][0], f"{where}: the sides differ\n{story(thing.ids.values())}"
            for name, sides in thing.edits.items():
                if len(sides) == 1 and name != "name" and not thing.young and name not in raced:
                    value = next(iter(sides.values()))
                    lost = f"{where}: lost {name} = {value!r} set in {sides.keys()}"
                    assert found[FSM][0][name] == value, f"{lost}\n{story(thing.ids.values())}"
            thing.edits.clear()
            thing.when.clear()
            thing.young = False

    def learn(self) -> None:
        """The ids of twins that appeared, so that people can edit them in the next round."""
        ids = {
            ("company", FSM): {r["Company_Name"]: r["id"] for r in self.world.records(FSM, "Companies")},
            ("company", BOOKS): {r["contact_name"]: r["contact_id"] for r in self.world.records(BOOKS, "contacts")},
            ("item", FSM): {r["Name"]: r["id"] for r in self.world.records(FSM, "Service_And_Parts")},
            ("item", BOOKS): {r["name"]: r["item_id"] for r in self.world.records(BOOKS, "items")},
        }
        for thing in self.things:
            for side in (FSM, BOOKS):
                thing.ids[side] = ids[thing.kind, side][thing.name]


def company_fields(side: str, name: str, value: object) -> Json:
    if name == "name":
        return {"Company_Name" if side == FSM else "contact_name": value}
    if name == "website":
        return {"Website" if side == FSM else "website": value}
    group, fsm_field = name.split(".")
    if side == FSM:
        return {group: {fsm_field: value}}
    books_group = "shipping_address" if group == "Service_Address" else "billing_address"
    return {books_group: {{"Street_1": "address", "City": "city", "Zip_Code": "zip"}[fsm_field]: value}}


def item_fields(side: str, name: str, value: object) -> Json:
    fsm = {"name": "Name", "price": "Unit_Price", "description": "Description", "sku": "SKU"}
    books = {"name": "name", "price": "rate", "description": "description", "sku": "sku"}
    return {(fsm if side == FSM else books)[name]: value}


@pytest.mark.rule("DU-6", "DU-7", "DU-8", "DU-11", "FM-9", "TR-5", "P1", "P3", "P5", "P6")
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
            ],
        )
    for _ in range(ROUNDS):
        turns = [history for history in histories for _ in range(EDITS)]
        chance.shuffle(turns)
        for history in turns:
            history.act()
        world.quiet()
        world.sync()
        world.quiet()
        for history in histories:
            history.check()
            history.learn()
    for vendor in (FSM, BOOKS):
        world.control("DELETE", vendor, "faults")
    await_that(world.versions_are_settled, "no version at the vendors is of this second")
    world.sync()
    world.quiet()
    world.forget_calls()
    world.sync()
    world.quiet()
    calls = [call for vendor in (FSM, BOOKS) for call in world.ours(vendor)]
    assert {(call["method"], call["record"]) for call in calls} == {("GET", None)}, f"histories {first}: not silent"
    world.check_counters()
