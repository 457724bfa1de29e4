"""Contacts of Zoho FSM: the company that they belong to, or none, and what they are looked for by."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from shared.connectors.base import Draft, Edit, Rejected, Written
from shared.sync.model import Change, ModuleName, RecordId
from tests.contract.support import CASES, World

COMPANIES, CONTACTS = ModuleName("Companies"), ModuleName("Contacts")
pytestmark = [
    pytest.mark.parametrize("case", [case for case in CASES if case.module == CONTACTS], ids=str),
    pytest.mark.rule("DU-10"),
]


def make(world: World, module: ModuleName, fields: Mapping[str, str]) -> RecordId:
    result = world.connector.create(module, [Draft(fields)])[0]
    assert isinstance(result, Written), result
    return result.id


@pytest.mark.rule("SU-5")
def test_the_company_of_a_contact_is_told_wherever_the_contact_is_read(world: World) -> None:
    acme = make(world, COMPANIES, {"Company_Name": "Acme"})
    pat, sam = world.create("Lee", **{"Company.id": acme}), world.create("Ray")
    told = {pat: (acme, "Acme"), sam: (None, None)}
    read = [world.fetch(pat), world.fetch(sam)]
    found = [row for name in ("Lee", "Ray") for row in world.connector.find(CONTACTS, "Last_Name", name)]
    for rows in (read, world.listed(), found):
        assert {row.id: (row.get("Company.id"), row.get("Company.name")) for row in rows} == told
        assert all(row.complete and "Company.id" in row.fields for row in rows), "none, and not unknown"


def test_an_update_keeps_the_company(world: World) -> None:
    acme = make(world, COMPANIES, {"Company_Name": "Acme"})
    pat = world.create("Lee", **{"Company.id": acme, "Service_Address.City": "Ulm"})
    before = world.fetch(pat)
    changes = (Change("Phone", None, "1"), Change("Service_Address.City", "Ulm", "Bonn"))
    assert isinstance(world.connector.update(CONTACTS, [Edit(before, changes)])[0], Written)
    after = world.fetch(pat)
    assert {name for name in after.fields if after.get(name) != before.get(name)} == {"Phone", "Service_Address.City"}


@pytest.mark.rule("DU-2")
def test_a_contact_is_found_by_its_e_mail(world: World) -> None:
    made = world.create("Lee", Email="pat+1@x.test")
    world.create("Ray", Email="pat@x.test")
    assert [row.id for row in world.connector.find(CONTACTS, "Email", "pat+1@x.test")] == [made]


@pytest.mark.rule("SU-5")
def test_first_and_last_name_are_shown_as_one(world: World) -> None:
    both, one = world.create("Lee"), world.create("Ray", First_Name="")
    shown = {both: "Pat Lee", one: "Ray"}
    for rows in (world.listed(), [world.fetch(both), world.fetch(one)]):
        assert {row.id: row.get("$full_name") for row in rows} == shown
    assert world.connector.facts.modules[CONTACTS].fields["$full_name"].read_only


@pytest.mark.rule("LG-4")
def test_an_e_mail_that_is_taken_in_the_company_is_a_refusal_of_that_record(world: World) -> None:
    world.sandbox.switch("zoho_fsm", unique_contact_email=True)
    acme = make(world, COMPANIES, {"Company_Name": "Acme"})
    world.create("Lee", **{"Company.id": acme})
    result = world.connector.create(CONTACTS, [Draft({**world.case.fields("Ray"), "Company.id": acme})])[0]
    assert isinstance(result, Rejected)
    assert "already associated" in result.vendor_message
    assert len(world.stored()) == 1


@pytest.mark.rule("OP-3")
def test_a_module_without_records_tells_a_probe_nothing(world: World) -> None:
    """Whoever syncs companies alone has no contacts, and yet the vendor offers what it offers."""
    world.sandbox.switch("zoho_fsm", modified_time_search=True)
    assert not world.connector.probe().on("modified_time_search"), "no record anywhere"
    make(world, COMPANIES, {"Company_Name": "Acme"})
    assert world.connector.probe().on("modified_time_search")
    world.sandbox.switch("zoho_fsm", modified_time_search=False)
    assert not world.connector.probe().on("modified_time_search")
