"""Custom fields of an organisation (FM-7): their definitions read from the vendor, their values read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from decimal import Decimal

import pytest

from shared.connectors.base import Capabilities, Draft, Edit, HelperMaker, Written
from shared.connectors.custom_fields import dumped, loaded
from shared.sync.model import Change, FieldKind, ModuleName, RecordId, Value
from tests.contract.support import CASES, Sandbox, World, world_of

pytestmark = pytest.mark.rule("FM-7", "FM-2")

BOOKS, FSM = "zoho_books", "zoho_fsm"
FIELDS: list[dict[str, object]] = [
    {"label": "Region", "api_name": "cf_region"},
    {"label": "Grade", "api_name": "cf_grade", "data_type": "dropdown", "values": ["A", "B"], "is_mandatory": False},
    {"label": "Visits", "api_name": "cf_visits", "data_type": "decimal"},
    {"label": "Since", "api_name": "cf_since", "data_type": "date"},
    {"label": "Vip", "api_name": "cf_vip", "data_type": "check_box"},
    {"label": "Illness", "api_name": "cf_illness", "pii_type": "sensitive_pii"},
    {"label": "Old", "api_name": "cf_old", "is_active": False},
]


def told(sandbox: Sandbox, vendor: str, module: str, fields: list[dict[str, object]]) -> None:
    sandbox.control(vendor, "POST", "custom_fields", {module: fields})


Opened = Callable[[str], World]


@pytest.fixture
def opened(sandbox: Sandbox) -> Iterator[Opened]:
    """A connector that was given what its own probe found, as it is stored."""
    with ExitStack() as stack:

        def open_one(module: str) -> World:
            plain = world_of(sandbox, next(one for one in CASES if one.module == module))
            with closing(plain.connector):
                found = plain.connector.probe()
            stored = Capabilities(found.flags, loaded(dumped(found.custom_fields)))
            link = replace(plain.link, capabilities=stored)
            world = replace(plain, link=link, connector=plain.vendor.connect(link))
            stack.callback(world.connector.close)
            return world

        yield open_one


@pytest.fixture
def books(sandbox: Sandbox, opened: Opened) -> World:
    told(sandbox, BOOKS, "contact", FIELDS)
    return opened("contacts")


def test_books_tells_its_custom_fields(books: World) -> None:
    fields = {
        name: one for name, one in books.connector.facts.modules[ModuleName("contacts")].fields.items() if one.custom
    }
    assert {name: (one.kind, one.label, one.pii) for name, one in fields.items()} == {
        "cf_region": (FieldKind.TEXT, "Region", False),
        "cf_grade": (FieldKind.PICKLIST, "Grade", False),
        "cf_visits": (FieldKind.NUMBER, "Visits", False),
        "cf_since": (FieldKind.DATE, "Since", False),
        "cf_vip": (FieldKind.BOOLEAN, "Vip", False),
        "cf_illness": (FieldKind.TEXT, "Illness", True),
    }
    assert fields["cf_grade"].picklist == ("A", "B")
    assert fields["cf_region"].max_length == 255
    assert not [one for one in books.connector.facts.modules[ModuleName("items")].fields.values() if one.custom]


def test_their_values_are_written_and_read_in_their_kinds(books: World) -> None:
    values: dict[str, Value] = {
        "cf_region": "North",
        "cf_grade": "B",
        "cf_visits": Decimal("2.5"),
        "cf_since": "2026-01-31",
        "cf_vip": True,
    }
    made = books.connector.create(books.case.module, [Draft({**books.case.fields("Zylker"), **values})])[0]
    assert isinstance(made, Written)
    assert {name: books.fetch(made.id).get(name) for name in values} == values


def test_an_update_of_one_keeps_the_others_and_a_blank_clears(books: World) -> None:
    record = books.create("Zylker", cf_region="North", cf_grade="A")
    current = books.fetch(record)
    edit = Edit(current, (Change("cf_grade", "A", "B"), Change("cf_region", "North", None)))
    assert isinstance(books.connector.update(books.case.module, [edit])[0], Written)
    after = books.fetch(record)
    assert (after.get("cf_grade"), after.get("cf_region")) == ("B", None)
    edit = Edit(after, (Change("website", None, "www.z.test"),))
    assert isinstance(books.connector.update(books.case.module, [edit])[0], Written)
    assert books.fetch(record).get("cf_grade") == "B", "what does not touch them leaves them alone"


@pytest.mark.parametrize("module", ["contacts", "items"])
def test_a_list_row_says_nothing_of_them(sandbox: Sandbox, opened: Opened, module: str) -> None:
    told(sandbox, BOOKS, "contact" if module == "contacts" else "item", FIELDS[:1])
    world = opened(module)
    world.create("Zylker", cf_region="North")
    row = world.listed()[0]
    assert not row.complete
    assert "cf_region" not in row.fields
    facts = world.connector.facts.modules[ModuleName(module)]
    assert facts.list_fields is not None
    assert "cf_region" not in facts.list_fields


def test_those_of_a_contact_person_are_read_only(sandbox: Sandbox, opened: Opened) -> None:
    """The vendor's file of a person's calls has none."""
    told(sandbox, BOOKS, "contact_person", FIELDS[:1])
    world = opened("contacts")
    persons = ModuleName("contact_persons")
    assert world.connector.facts.modules[persons].fields["cf_region"].read_only
    inside = [{"first_name": "Ann", "custom_field_hash": {"cf_region": "North"}}]
    row = {"contact_name": "Zylker", "contact_persons": inside}
    made = sandbox.control(BOOKS, "POST", "seed", {"contacts": [row]})["seeded"]["contacts"][0]
    assert world.fetch(RecordId(str(made))).children[persons][0].get("cf_region") == "North"


def test_fsm_tells_them_where_its_call_is_open_and_else_none_is_known(sandbox: Sandbox, opened: Opened) -> None:
    told(sandbox, FSM, "Companies", [{"api_name": "Region__C", "label": "Region", "personal": True, "length": 50}])
    assert opened("Companies").connector.facts.modules[ModuleName("Companies")].fields.get("Region__C") is None
    sandbox.switch(FSM, fields_api=True)
    found = opened("Companies").connector.facts.modules[ModuleName("Companies")].fields["Region__C"]
    assert (found.label, found.pii, found.max_length, found.bmp_only, found.custom) == ("Region", True, 50, True, True)


def test_what_a_person_tells_of_fsm_is_written_and_read(sandbox: Sandbox) -> None:
    case = next(one for one in CASES if one.module == "Companies")
    world = world_of(sandbox, case)
    world.connector.close()
    stored = {"Companies": [{"name": "Region__C", "label": "Region"}, {"name": "Size__C", "kind": "number"}]}
    link = replace(world.link, capabilities=Capabilities({}, loaded(stored)))
    fields = {**case.fields("Zylker"), "Region__C": "North", "Size__C": Decimal(3)}
    with closing(world.vendor.connect(link)) as connector:
        record = connector.create(case.module, [Draft(fields)])[0]
        assert isinstance(record, Written)
        shown = connector.fetch(case.module, [record.id])[RecordId(record.id)]
    assert shown is not None
    assert (shown.get("Region__C"), shown.get("Size__C")) == ("North", Decimal(3))


@pytest.mark.rule("SU-7", "P3")
@pytest.mark.parametrize("module", ["contacts", "items"])
def test_a_helper_is_made_once_and_makes_creates_safe(sandbox: Sandbox, module: str) -> None:
    sandbox.switch(BOOKS, custom_field_upsert=True)
    world = world_of(sandbox, next(one for one in CASES if one.module == module))
    with closing(world.connector) as connector:
        assert isinstance(connector, HelperMaker)
        assert {one.module: one.name for one in connector.helpers()} == {"contacts": "", "items": ""}
        for _ in range(2):
            connector.make_helper(world.case.module)
        assert {one.module: one.name for one in connector.helpers()}[world.case.module] == "cf_bothways_id"
        found = connector.probe()
    flags = {**found.flags, "upsert_field": "cf_bothways_id"}
    link = replace(world.link, capabilities=Capabilities(flags, loaded(dumped(found.custom_fields))))
    with closing(world.vendor.connect(link)) as connector:
        assert connector.facts.modules[world.case.module].upserts
        draft = Draft(world.case.fields("Zylker"), stamp=RecordId("1011000000195001"))
        made = [connector.create(world.case.module, [draft])[0] for _ in range(2)]
    first, second = made
    assert isinstance(first, Written)
    assert isinstance(second, Written)
    assert first.id == second.id
    assert len(world.stored()) == 1


def test_without_the_field_a_create_is_a_create(sandbox: Sandbox) -> None:
    world = world_of(sandbox, next(one for one in CASES if one.module == "contacts"))
    link = replace(world.link, capabilities=Capabilities({"upsert_field": "cf_bothways_id"}))
    world.connector.close()
    with closing(world.vendor.connect(link)) as connector:
        assert not connector.facts.modules[world.case.module].upserts
        draft = Draft(world.case.fields("Zylker"), stamp=RecordId("7"))
        assert isinstance(connector.create(world.case.module, [draft])[0], Written)
