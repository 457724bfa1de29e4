"""Data imports into both vendors (LK-5), in the org's lock (LK-1): what is made, what is left, what is refused."""

from __future__ import annotations

import csv
import io
import socket
import threading
from typing import Any

import pytest

from shared import points
from shared.engine import data_import, epoch, housekeeping
from shared.errors import NotAllowed, NotFound, OrgHeld, Refused
from shared.lease import Held, run_holder
from shared.services.imports import ImportView
from shared.services.integrations import IntegrationService
from shared.services.mappings import MappingService
from shared.services.setup import SetupService
from shared.sync.access import Role, host
from shared.sync.imports import ImportKind, OnMatch
from shared.sync.model import Policy
from tests.callers import made, token_of
from tests.integration.crew import await_that
from tests.integration.hooks import delivery
from tests.integration.test_audit import ann
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("LK-5", "P3")

COMPANIES = {
    FSM: "Company_Name,Website,Service_Address.City\n",
    BOOKS: "Display name,website,Billing address: city\n",
}


def counts(view: ImportView) -> tuple[int, int, int, int]:
    return view.created, view.updated, view.skipped, view.failed


def report(world: World, import_id: int, **more: Any) -> list[dict[str, str]]:
    text = "".join(world.imports.report(world.actor, import_id, **more))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def reasons(world: World, import_id: int) -> dict[int, tuple[str | None, str]]:
    return {row.line: (row.outcome, row.reason) for row in world.imports.rows(world.actor, import_id, limit=1000)}


def with_settings(world: World, **values: int) -> None:
    settings = world.office.settings.model_copy(update=values)
    object.__setattr__(world.office.ports, "settings", settings)


# Three kinds, two vendors.


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_companies_are_made_each_once_and_each_row_is_told_of(world: World, vendor: str) -> None:
    old = world.company("Acme") if vendor == FSM else world.customer("Acme")
    name = "Company_Name" if vendor == FSM else "contact_name"
    file = COMPANIES[vendor] + 'Zylker,www.z.test,Pune\nacme ,www.a.test,\n"Kanary, & Sons",,\nZYLKER,,\n,www.x.test,\n'
    view = world.imported(vendor, "companies", file)
    assert view.state == "completed_with_failures"
    assert counts(view) == (2, 0, 1, 2)
    assert reasons(world, view.id) == {
        2: ("created", ""),
        3: ("skipped", "EXISTS_ALREADY"),
        4: ("created", ""),
        5: ("failed", "DUPLICATE_IN_FILE"),
        6: ("failed", "NO_KEY"),
    }
    rows = {row[name]: row for row in world.sandbox.rows(vendor, "Companies" if vendor == FSM else "contacts")}
    assert set(rows) == {"Acme", "Zylker", "Kanary, & Sons"}
    if vendor == BOOKS:
        made_rows = [rows["Zylker"], rows["Kanary, & Sons"]]
        assert {(row["contact_type"], row["customer_sub_type"]) for row in made_rows} == {("customer", "business")}
        assert rows["Zylker"]["billing_address"]["city"] == "Pune"
    else:
        assert rows["Zylker"]["Service_Address"]["Service_City"] == "Pune"
    assert not rows["Acme"].get("Website" if vendor == FSM else "website"), "left as it was"
    told = {row.line: row for row in world.imports.rows(world.actor, view.id)}
    assert told[3].record_id == old
    assert told[3].record_url is None, "the sandbox has no pages for people"
    world.office.sql(
        "UPDATE org SET settings = settings || CAST(:s AS jsonb)",
        s='{"capabilities": {"record_url": "https://page.test/{org}/{page}/{id}"}}',
    )
    assert str(world.imports.rows(world.actor, view.id)[1].record_url).endswith(f"/{view.module}/{old}")
    assert told[5].sentence == "An earlier row of the file has the same match key: line 2"
    assert "by its webhooks, or with their next sync" in view.afterwards


def test_contacts_of_fsm_belong_to_the_company_that_the_file_names(world: World) -> None:
    acme = world.company("Acme")
    world.company("Twin")
    world.company("TWIN")
    file = (
        "First name,Last name,E-mail,Company\n"
        "Ann,Lee,ann@a.test,ACME\nBob,Ray,bob@a.test,\nCy,Low,cy@a.test,Nobody\nDi,May,di@a.test,Twin\n"
        ",,ed@a.test,Acme\n"
    )
    view = world.imported(FSM, "contacts", file)
    assert reasons(world, view.id) == {
        2: ("created", ""),
        3: ("created", ""),
        4: ("failed", "LINK_UNKNOWN"),
        5: ("failed", "LINK_AMBIGUOUS"),
        6: ("failed", "MANDATORY_FIELD_EMPTY"),
    }
    rows = {row["Email"]: row for row in world.sandbox.rows(FSM, "Contacts")}
    assert rows["ann@a.test"]["Company"]["id"] == acme
    assert not rows["bob@a.test"].get("Company")


def test_contacts_of_books_are_individuals_with_their_one_person(world: World) -> None:
    world.customer("Acme", email="ann@a.test")
    file = "first_name,last_name,email,phone\nAnn,Lee,ann@a.test,'+49 1\nBob,Ray,bob@a.test,\n,,cy@a.test,\n"
    view = world.imported(BOOKS, "contacts", file)
    assert reasons(world, view.id) == {
        2: ("created", ""),  # the company's person has the same e-mail, and is another record
        3: ("created", ""),
        4: ("failed", "MANDATORY_FIELD_EMPTY"),
    }
    rows = {row["contact_name"]: row for row in world.sandbox.rows(BOOKS, "contacts")}
    made_row = rows["Ann Lee"]
    assert (made_row["contact_type"], made_row["customer_sub_type"]) == ("customer", "individual")
    (person,) = made_row["contact_persons"]
    assert (person["first_name"], person["last_name"], person["phone"]) == ("Ann", "Lee", "+49 1")
    assert person["is_primary_contact"] is True
    again = world.imported(BOOKS, "contacts", file)
    assert reasons(world, again.id)[2] == ("skipped", "EXISTS_ALREADY")
    assert len(world.sandbox.rows(BOOKS, "contacts")) == 3


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_items(world: World, vendor: str) -> None:
    header = "Name;Unit Price;Type\n" if vendor == FSM else "Name;Rate;Type\n"
    good = "Service;" if vendor == FSM else "goods;"
    file = header + f"Bolt;1.25;{good[:-1]}\nNut;x;{good[:-1]}\nNail;2;Thing\nRope;3\n"
    view = world.imported(vendor, "items", file)
    assert reasons(world, view.id) == {
        2: ("created", ""),
        3: ("failed", "BAD_CELL"),
        4: ("failed", "BAD_CELL"),
        5: ("failed", "UNREADABLE_ROW"),
    }
    (row,) = world.sandbox.rows(vendor, "Service_And_Parts" if vendor == FSM else "items")
    assert float(row["Unit_Price" if vendor == FSM else "rate"]) == 1.25
    if vendor == BOOKS:
        assert row["item_type"] == "sales"


@pytest.mark.parametrize("batch", [1, 100])
def test_rows_go_in_the_vendor_s_batches(world: World, batch: int) -> None:
    world.office.sql(
        "UPDATE org SET settings = settings || CAST(:s AS jsonb) WHERE vendor = 'zoho_fsm'",
        s=f'{{"capabilities": {{"create_batch": {batch}}}}}',
    )
    world.office.sql("UPDATE connection SET updated_at = clock_timestamp()")
    file = "Name,Unit_Price,Type\n" + "".join(f"Part {n},1,Goods\n" for n in range(150))
    view = world.imported(FSM, "items", file)
    assert counts(view) == (150, 0, 0, 0)
    assert len(world.sandbox.rows(FSM, "Service_And_Parts")) == 150
    assert len(world.writes()) == (150 if batch == 1 else 2)


def test_a_batch_that_is_refused_for_one_of_its_rows_fails_that_row_alone(world: World) -> None:
    world.office.sql(
        "UPDATE org SET settings = settings || CAST(:s AS jsonb) WHERE vendor = 'zoho_fsm'",
        s='{"capabilities": {"create_batch": 100}}',
    )
    world.office.sql("UPDATE connection SET updated_at = clock_timestamp()")
    world.sandbox.switch(FSM, taxes="us")  # each must say whether it is taxable, which the connector does not know
    file = "Name,Unit_Price,Type,Taxable\nPart 1,1,Goods,true\nPart 2,1,Goods,\nPart 3,1,Goods,true\n"
    view = world.imported(FSM, "items", file)
    assert [row.outcome for row in world.imports.rows(world.actor, view.id)] == ["created", "failed", "created"]
    assert len(world.sandbox.rows(FSM, "Service_And_Parts")) == 2


# What is there already.


@pytest.mark.rule("FM-9")
@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_overwrite_changes_what_the_cells_hold_and_no_blank_overwrites(world: World, vendor: str) -> None:
    if vendor == FSM:
        mine = world.company("Acme", Website="www.old.test", Service_Address={"Street_1": "1 Road", "City": "Pune"})
        same_row = world.company("Same", Website="www.s.test")
        world.company("Off", **{"$inactive": True})
    else:
        mine = world.customer("Acme", website="www.old.test", billing_address={"address": "1 Road", "city": "Pune"})
        same_row = world.customer("Same", website="www.s.test")
        world.customer("Off", status="inactive")
    file = COMPANIES[vendor] + "Acme,,Leeds\nSame,www.s.test,\nNew,www.n.test,\nOff,www.o.test,\n"
    view = world.imported(vendor, "companies", file, on_match=OnMatch.OVERWRITE)
    assert reasons(world, view.id) == {
        2: ("updated", ""),
        3: ("skipped", "NOTHING_TO_CHANGE"),
        4: ("created", ""),
        5: ("skipped", "INACTIVE"),
    }
    if vendor == FSM:
        row = world.fsm(mine)
        address = row["Service_Address"]
        assert (row["Website"], address["Service_Street_1"], address["Service_City"]) == (
            "www.old.test", "1 Road", "Leeds",
        )  # fmt: skip
    else:
        row = world.books(mine)
        address = row["billing_address"]
        assert (row["website"], address["address"], address["city"]) == ("www.old.test", "1 Road", "Leeds")
    assert not [call for call in world.calls(write=True) if call["record"] == same_row]


def test_several_records_of_a_key_are_never_a_choice(world: World) -> None:
    world.company("Acme")
    world.company("ACME ")
    view = world.imported(FSM, "companies", "Company name,Website\nAcme,www.a.test\n", on_match=OnMatch.OVERWRITE)
    assert reasons(world, view.id) == {2: ("failed", "AMBIGUOUS_MATCH")}
    assert world.writes() == []


@pytest.mark.rule("DU-2")
def test_of_contacts_of_one_e_mail_that_of_the_same_company_is_meant(world: World) -> None:
    acme, other = world.company("Acme"), world.company("Other")
    first, second = world.seed(
        FSM,
        "Contacts",
        {"Last_Name": "Lee", "Email": "a@a.test", "Company": {"id": acme}},
        {"Last_Name": "Lee", "Email": "a@a.test", "Company": {"id": other}},
    )
    file = "Last_Name,Email,Phone,Company\nLee,a@a.test,123,Other\n"
    view = world.imported(FSM, "contacts", file, on_match=OnMatch.OVERWRITE)
    assert reasons(world, view.id) == {2: ("updated", "")}
    phones = {str(row["id"]): row.get("Phone") for row in world.sandbox.rows(FSM, "Contacts")}
    assert (phones[first] or None, phones[second]) == (None, "123")
    unsaid = world.imported(FSM, "contacts", "Last_Name,Email\nLee,a@a.test\n")
    assert reasons(world, unsaid.id) == {2: ("failed", "AMBIGUOUS_MATCH")}


def test_a_contact_s_company_is_not_changed(world: World) -> None:
    acme, other = world.company("Acme"), world.company("Other")
    contact = {"Last_Name": "Lee", "Email": "a@a.test", "Company": {"id": acme}}
    world.seed(FSM, "Contacts", contact)
    file = "Last_Name,Email,Phone,Company\nLee,a@a.test,123,Other\n"
    view = world.imported(FSM, "contacts", file, on_match=OnMatch.OVERWRITE)
    assert reasons(world, view.id) == {2: ("failed", "LINK_CANNOT_CHANGE")}
    assert world.sandbox.rows(FSM, "Contacts")[0]["Company"]["id"] == acme != other


def test_a_customer_whose_name_a_vendor_has_fails_with_that_reason(world: World) -> None:
    world.customer("Acme", contact_type="vendor")
    view = world.imported(BOOKS, "companies", "contact_name\nAcme\n")
    assert reasons(world, view.id) == {2: ("failed", "DUPLICATE_NAME")}


# Its report is a file that can be corrected and imported again.


@pytest.mark.rule("LG-3", "P14")
def test_failed_rows_are_corrected_in_the_report_and_imported_again(world: World) -> None:
    file = "Name,Rate,Description\n'=Bolt,1.x,+49\nNut,2,\n"
    first = world.imported(BOOKS, "items", file)
    text = "".join(world.imports.report(world.actor, first.id, outcome="failed"))
    assert text.startswith("Name,Rate,Description,Bothways line,Bothways outcome,Bothways reason,")
    (row,) = report(world, first.id, outcome="failed")
    assert (row["Name"], row["Description"]) == ("'=Bolt", "'+49"), "no spreadsheet runs it"
    assert row["Bothways what happened"] == "A cell does not fit its field: Rate (not a number)"
    assert "1.x" not in str(world.imports.rows(world.actor, first.id))
    second = world.imported(BOOKS, "items", text.replace("1.x", "1.y"))
    third_file = "".join(world.imports.report(world.actor, second.id)).replace("1.y", "1.5")
    third = world.imported(BOOKS, "items", third_file)
    assert counts(third) == (1, 0, 0, 0)
    rows = {one["name"]: one for one in world.sandbox.rows(BOOKS, "items")}
    assert rows["=Bolt"]["description"] == "+49"
    everything = report(world, first.id)
    assert [(one["Bothways line"], one["Bothways outcome"], one["Name"]) for one in everything] == [
        ("2", "failed", "'=Bolt"), ("3", "created", ""),
    ]  # fmt: skip


def test_rows_and_reports_come_a_page_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.services.imports._PAGE", 3)
    view = world.imported(FSM, "companies", "Company_Name\n" + "".join(f"C{n}\n" for n in range(7)))
    assert [row["Bothways line"] for row in report(world, view.id)] == [str(n) for n in range(2, 9)]
    page = world.imports.rows(world.actor, view.id, after_line=3, limit=2)
    assert [row.line for row in page] == [4, 5]


# What is refused at once.


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"Company_Name,Shoe size\nA,1\n", "'Shoe size' is no field"),
        (b"Website\nwww.a.test\n", "match key is missing: Company name"),
        (b"Company_Name\nZ\xc3\xbcrich\nM\xfcnchen\n", "Byte 23 of the file is not UTF-8"),
        ("Company_Name\nZürich\n".encode("utf-16"), "Byte 1 of the file is not UTF-8"),
        (b"Company_Name\nA\xc3", "Byte 15 of the file is not UTF-8"),
        (b'"Company_Name\n', "header cannot be read"),
        (b"Company_Name," + b"x" * 300_000, "header cannot be read"),
        (b",".join([b"Company_Name"] * 201), "more than 200 columns"),
    ],
)
def test_a_file_that_will_not_do_is_refused_and_forgotten(world: World, file: bytes, said: str) -> None:
    with pytest.raises(Refused) as caught:
        world.begin_import(FSM, "companies", file)
    assert said in str(caught.value)
    assert world.office.value("SELECT count(*) FROM import_job") == 0
    assert world.office.value("SELECT count(*) FROM audit_log WHERE action LIKE 'import.%'") == 0


@pytest.mark.rule("FM-2")
def test_private_fields_are_refused_also_when_they_become_private_meanwhile(world: World) -> None:
    mark = """UPDATE org SET settings = settings || '{"private_fields": {"Companies": ["Phone"]}}' WHERE vendor = :v"""
    world.office.crew.deaf = True
    import_id = world.begin_import(FSM, "companies", "Company_Name,Phone\nA,1\n")
    world.office.sql(mark, v=FSM)
    world.office.sql("UPDATE connection SET updated_at = clock_timestamp()")
    with pytest.raises(OrgHeld):
        world.begin_import(FSM, "companies", "Company_Name\nA\n")
    world.office.crew.deaf = False
    world.office.crew.until(lambda: world.imports.get(world.actor, import_id).ended, "it ends")
    view = world.imports.get(world.actor, import_id)
    assert (view.state, view.error_code) == ("failed", "BAD_COLUMNS")
    with pytest.raises(Refused, match="'Phone' is a field that is marked as private"):
        world.begin_import(FSM, "companies", "Company_Name,Phone\nA,1\n")
    assert world.writes() == []


def test_a_file_of_too_many_rows_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_import, "READ_ROWS", 4)
    with_settings(world, import_max_rows=9)
    import_id = world.begin_import(FSM, "companies", "Company_Name\n" + "".join(f"C{n}\n" for n in range(10)))
    world.office.crew.until(lambda: world.imports.get(world.actor, import_id).ended, "it ends")
    view = world.imports.get(world.actor, import_id)
    assert (view.state, view.error_code) == ("failed", "TOO_MANY_ROWS")
    assert world.writes() == []
    assert {row.reason for row in world.imports.rows(world.actor, import_id)} == {"IMPORT_ENDED"}


@pytest.mark.rule("PE-1")
def test_who_may_not_sync_may_not_import(world: World) -> None:
    viewer = ann(world, Role.VIEWER)
    with pytest.raises(NotAllowed):
        world.imports.begin(viewer, world.orgs[FSM].connection_id, ImportKind.ITEMS)
    view = world.imported(FSM, "companies", "Company_Name\nA\n")
    assert world.imports.get(viewer, view.id).created == 1
    for act in (world.imports.rows, world.imports.report, world.imports.cancel):
        with pytest.raises(NotAllowed):
            act(viewer, view.id)


@pytest.mark.rule("PE-6")
def test_imports_of_others_are_not_found(world: World) -> None:
    view = world.imported(FSM, "companies", "Company_Name\nA\n")
    other = host(world.office.value("INSERT INTO workspace (name) VALUES ('other') RETURNING id"))
    assert world.imports.recent(other) == []
    for act in (world.imports.get, world.imports.rows, world.imports.report, world.imports.cancel):
        with pytest.raises(NotFound):
            act(other, view.id)
    with pytest.raises(NotFound):
        world.imports.begin(other, world.orgs[FSM].connection_id, ImportKind.ITEMS)


# The org's lock, both ways (LK-1).


@pytest.mark.rule("LK-1")
def test_no_import_during_a_sync_nor_during_another(world: World) -> None:
    world.fetch()
    world.office.crew.deaf = True
    run = world.runs.sync_now(world.actor, world.integration)
    for vendor in (FSM, BOOKS):
        with pytest.raises(OrgHeld, match=f"Sync {run} has this organisation since 20") as caught:
            world.begin_import(vendor, "companies", "contact_name\nA\n")
        assert caught.value.holder == f"run:{run}"
    world.office.crew.deaf = False
    world.ended(run)
    world.office.crew.deaf = True
    first = world.begin_import(FSM, "companies", "Company_Name\nA\n")
    with pytest.raises(OrgHeld, match=f"Import {first} into one of the organisations is on since"):
        world.begin_import(FSM, "items", "Name\nA\n")
    world.begin_import(BOOKS, "items", "Name\nA\n")  # another org


@pytest.mark.rule("LK-1", "SU-2", "SU-4")
@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_no_sync_no_fetch_and_no_enabling_during_an_import(world: World, vendor: str) -> None:
    world.fetch()
    office = world.office
    integrations, mappings = IntegrationService(office.db, office.settings), MappingService(office.db)
    setup = SetupService(office.db, integrations, mappings)
    org = office.value(
        "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre) "
        "VALUES (:w, :v, 'x', 'x', 'sandbox') RETURNING id", w=world.workspace, v=BOOKS if vendor == FSM else FSM,
    )  # fmt: skip
    sides = (world.orgs[FSM].org_id, org) if vendor == FSM else (org, world.orgs[BOOKS].org_id)
    draft = setup.begin(world.actor, "fsm_books", *sides)
    office.crew.deaf = True
    import_id = world.begin_import(vendor, "items", "Name\nA\n")
    for ask in (world.runs.sync_now, world.runs.fetch):
        with pytest.raises(OrgHeld, match=f"Import {import_id} into one") as caught:
            ask(world.actor, world.integration)
        assert caught.value.holder == f"import:{import_id}"
    with pytest.raises(Refused) as refused:
        setup.choose(world.actor, draft, Policy.OVERWRITE, "I")
    assert refused.value.code == "IMPORT_IN_PROGRESS"
    setup_done = office.value("SELECT setup_done FROM integration WHERE id = :i", i=draft)
    assert setup_done == []
    office.sql("DELETE FROM integration WHERE id = :i", i=draft)
    with pytest.raises(Refused) as refused:
        integrations.create(world.actor, "fsm_books", *sides)
    assert refused.value.code == "IMPORT_IN_PROGRESS"
    office.crew.deaf = False
    world.import_ended(import_id)
    world.sync()


@pytest.mark.rule("LK-1")
def test_a_scheduled_sync_waits_for_the_import_and_says_so(world: World) -> None:
    before = world.fetch().id
    held = Hold(world)
    import_id = held.begin(FSM, "companies", "Company_Name\nZylker\n")
    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp()")
    housekeeping.tick(world.office.ports)
    waits = "SELECT id, waiting_for FROM run WHERE id > :before AND waiting_for IS NOT NULL"
    world.office.crew.until(lambda: world.office.sql(waits, before=before), "the sync waits")
    (row,) = world.office.sql(waits, before=before)
    assert f"import {import_id} since" in row["waiting_for"]
    held.let_go()
    world.import_ended(import_id)
    world.ended(row["id"])
    world.check_agree()


@pytest.mark.rule("LK-3", "LK-4")
def test_webhook_work_gives_way_and_what_comes_meanwhile_is_worked_on_afterwards(world: World) -> None:
    mine = world.company("Acme", Website="www.a.test")
    world.fetch()
    world.sync()
    held = Hold(world)
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
    token = setup.path.rsplit("/", 1)[1]
    body = {"module": "Companies", "event": "edit", "id": mine}
    world.sandbox.edit(FSM, "Companies", mine, Website="www.b.test")
    world.accept_webhook(FSM, token, delivery(FSM, body, setup.secret))
    world.quiet()  # webhook work has had the orgs, and holds them softly
    assert world.office.sql("SELECT 1 FROM org_lease WHERE kind = 'webhook'")
    import_id = held.begin(FSM, "companies", "Company_Name\nZylker\n")
    world.sandbox.edit(FSM, "Companies", mine, Website="www.c.test")
    world.accept_webhook(FSM, token, delivery(FSM, body, setup.secret))
    housekeeping.tick(world.office.ports)
    await_that(lambda: world.office.value("SELECT wanted_by FROM org_lease WHERE holder LIKE 'import%'"), "they ask")
    assert world.books(world.twin(mine) or "")["website"] == "www.b.test", "kept, and not worked on"
    held.let_go()
    world.import_ended(import_id)
    world.quiet()
    assert world.books(world.twin(mine) or "")["website"] == "www.c.test"
    world.sync()
    world.check_agree()


class Hold:
    """An import that stands still, with its org, before its first row is sent."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._goes_on = threading.Event()
        self._reached = threading.Event()

    def begin(self, vendor: str, kind: str, file: str) -> int:
        self.arm()
        import_id = self._world.begin_import(vendor, kind, file)
        self.await_reached()
        return import_id

    def arm(self) -> None:
        def strike(point: str) -> None:
            if point == "import.intended":
                self._reached.set()
                assert self._goes_on.wait(30)

        points.arm(strike)

    def await_reached(self) -> None:
        await_that(self._reached.is_set, "the import is about to send")

    def let_go(self) -> None:
        points.arm(None)
        self._goes_on.set()


@pytest.fixture(autouse=True)
def _disarmed() -> Any:
    yield
    points.arm(None)


# Waiting, cancelling.


@pytest.mark.rule("LK-4", "OP-4")
@pytest.mark.parametrize("when", ["listing", "writing"])
def test_an_import_out_of_quota_gives_the_org_back_and_goes_on_later(world: World, when: str) -> None:
    world.fetch()
    match = {"method": "GET" if when == "listing" else "POST", "path": "contacts"}
    world.sandbox.fault(BOOKS, "429", match=match, count=100, retry_after_s=900)
    file = "contact_name\n" + "".join(f"Company {n}\n" for n in range(5))
    import_id = world.begin_import(BOOKS, "companies", file)
    parked = "SELECT 1 FROM import_job WHERE id = :id AND resume_at > clock_timestamp() + interval '10 minutes'"
    world.office.crew.until(lambda: world.office.sql(parked, id=import_id), "it waits for quota")
    view = world.imports.get(world.actor, import_id)
    assert (view.state, str(view.waiting_for)[:15]) == (when, "quota until 202")
    world.sandbox.control(BOOKS, "DELETE", "faults")
    for key in world.office.bus.redis.keys("bw:limit*"):
        world.office.bus.redis.delete(key)
    # Others get the org meanwhile: a sync makes one of the rows' companies, which must not be made again.
    world.company("Company 3")
    world.sync()
    world.office.sql("UPDATE import_job SET resume_at = clock_timestamp(), claimed_until = NULL")
    done = world.import_ended(import_id)
    assert counts(done) == (4, 0, 1, 0)
    names = [row["contact_name"] for row in world.sandbox.rows(BOOKS, "contacts")]
    assert sorted(names) == [f"Company {n}" for n in range(5)]


@pytest.mark.rule("LK-4")
def test_fsm_which_takes_doubles_is_listed_anew_after_others_had_it(world: World) -> None:
    world.fetch()
    world.sandbox.fault(FSM, "429", match={"method": "POST", "path": "Companies"}, count=100, retry_after_s=900)
    import_id = world.begin_import(FSM, "companies", "Company_Name\nAcme\nZylker\n")
    parked = "SELECT 1 FROM import_job WHERE id = :id AND resume_at IS NOT NULL AND state = 'writing'"
    world.office.crew.until(lambda: world.office.sql(parked, id=import_id), "it waits for quota")
    world.sandbox.control(FSM, "DELETE", "faults")
    for key in world.office.bus.redis.keys("bw:limit*"):
        world.office.bus.redis.delete(key)
    world.customer("Acme")
    world.sync()
    world.office.sql("UPDATE import_job SET resume_at = clock_timestamp(), claimed_until = NULL")
    done = world.import_ended(import_id)
    assert counts(done) == (1, 0, 1, 0)
    world.sync()
    world.check_agree()


def test_a_broken_connection_makes_it_wait_and_loses_nothing(world: World) -> None:
    world.office.crew.deaf = True
    import_id = world.begin_import(FSM, "companies", "Company_Name\nAcme\n")
    world.office.sql("UPDATE connection SET status = 'broken', broken_reason = 'test'")
    world.office.crew.deaf = False
    world.office.crew.until(
        lambda: "connection (CONNECTION_BROKEN)" in str(world.imports.get(world.actor, import_id).waiting_for), "waits"
    )
    world.office.sql("UPDATE connection SET status = 'live', broken_reason = NULL")
    world.office.sql("UPDATE import_job SET resume_at = clock_timestamp(), claimed_until = NULL")
    assert counts(world.import_ended(import_id)) == (1, 0, 0, 0)


def test_it_is_cancelled_between_two_batches(world: World) -> None:
    held = Hold(world)
    file = "Company_Name\n" + "".join(f"C{n:02}\n" for n in range(25))
    import_id = held.begin(FSM, "companies", file)
    assert world.imports.cancel(world.actor, import_id).cancel_asked
    world.imports.cancel(world.actor, import_id)
    held.let_go()
    world.office.crew.until(lambda: world.imports.get(world.actor, import_id).ended, "it ends")
    view = world.imports.get(world.actor, import_id)
    assert (view.state, view.rows, counts(view)) == ("cancelled", 25, (10, 0, 0, 15))
    assert len(world.sandbox.rows(FSM, "Companies")) == 10
    assert {row["Bothways reason"] for row in report(world, import_id, outcome="failed")} == {"IMPORT_ENDED"}
    with pytest.raises(Refused):
        world.imports.cancel(world.actor, import_id)
    again = world.imported(FSM, "companies", "".join(world.imports.report(world.actor, import_id, outcome="failed")))
    assert counts(again) == (15, 0, 0, 0)
    acts = world.office.sql("SELECT action FROM audit_log WHERE action LIKE 'import.%' ORDER BY id")
    assert [one["action"] for one in acts] == ["import.asked", "import.cancelled", "import.asked"]


def test_one_that_waits_for_its_org_is_cancelled_at_once(world: World) -> None:
    with world.office.db.transaction() as session:
        got = world.office.ports.leases.take(session, [world.orgs[FSM].org_id], run_holder(99, 1, world.workspace))
        assert not isinstance(got, Held)
    import_id = world.begin_import(FSM, "companies", "Company_Name\nAcme\n")
    world.office.crew.until(lambda: world.imports.get(world.actor, import_id).waiting_for, "it waits")
    assert "Held by sync 99 since" in str(world.imports.get(world.actor, import_id).waiting_for)
    world.imports.cancel(world.actor, import_id)
    world.office.crew.until(lambda: world.imports.get(world.actor, import_id).state == "cancelled", "it ends")


# Faults.


@pytest.mark.rule("P8")
@pytest.mark.parametrize("vendor", [FSM, BOOKS])
@pytest.mark.parametrize("kind", ["companies", "contacts", "items"])
def test_lost_replies_at_random_lose_and_double_nothing(world: World, vendor: str, kind: str) -> None:
    world.hurry()
    module = {"companies": "Companies", "contacts": "Contacts", "items": "Service_And_Parts"}[kind]
    books = {"companies": "contacts", "contacts": "contacts", "items": "items"}[kind]
    rows = {
        (FSM, "companies"): ("Company_Name\n", "R{n}\n"),
        (FSM, "contacts"): ("Last_Name,Email\n", "R{n},r{n}@a.test\n"),
        (FSM, "items"): ("Name,Unit_Price,Type\n", "R{n},1,Goods\n"),
        (BOOKS, "companies"): ("contact_name\n", "R{n}\n"),
        (BOOKS, "contacts"): ("first_name,email\n", "R{n},r{n}@a.test\n"),
        (BOOKS, "items"): ("name,rate\n", "R{n},1\n"),
    }[vendor, kind]
    path = module if vendor == FSM else books
    for seed, (fault, more) in enumerate(
        [("reply_lost", {}), ("5xx", {}), ("5xx", {"applied": "after"}), ("malformed", {}), ("429", {})]
    ):
        world.sandbox.fault(
            vendor, fault, match={"method": "POST", "path": path}, share=0.3, count=4, seed=seed, **more
        )
    world.sandbox.fault(vendor, "5xx", match={"method": "GET", "path": path}, share=0.3, count=4, seed=9)
    view = world.imported(vendor, kind, rows[0] + "".join(rows[1].format(n=n) for n in range(30)))
    assert counts(view) == (30, 0, 0, 0)
    assert len(world.sandbox.rows(vendor, path)) == 30
    assert [call for call in world.calls() if call["fault"]]


@pytest.mark.rule("P8")
def test_lost_replies_of_updates(world: World) -> None:
    world.hurry()
    mine = [world.customer(f"R{n}", website="www.old.test") for n in range(12)]
    for seed, fault in enumerate(("reply_lost", "5xx", "malformed")):
        world.sandbox.fault(BOOKS, fault, match={"method": "PUT", "path": "contacts"}, share=0.4, count=4, seed=seed)
    file = "contact_name,website\n" + "".join(f"R{n},www.{n}.test\n" for n in range(12))
    view = world.imported(BOOKS, "companies", file, on_match=OnMatch.OVERWRITE)
    assert counts(view) == (0, 12, 0, 0)
    assert [world.books(one)["website"] for one in mine] == [f"www.{n}.test" for n in range(12)]


@pytest.mark.rule("DU-1")
@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_a_lost_create_that_lists_show_late_is_not_made_again(world: World, vendor: str) -> None:
    world.sandbox.switch(vendor, list_lag_ms=1500)
    path, header = ("Companies", "Company_Name\n") if vendor == FSM else ("contacts", "contact_name\n")
    world.sandbox.fault(vendor, "reply_lost", match={"method": "POST", "path": path})
    view = world.imported(vendor, "companies", header + "Zylker\nAcme\n")
    assert counts(view) == (2, 0, 0, 0)
    assert len(world.sandbox.rows(vendor, path)) == 2


def test_a_row_that_the_vendor_never_takes_fails_alone(world: World) -> None:
    world.hurry()
    with_settings(world, attempts_by_error=3)
    world.sandbox.fault(FSM, "5xx", match={"method": "POST", "path": "Companies"}, count=1000)
    import_id = world.begin_import(FSM, "companies", "Company_Name\nZylker\n")
    world.office.crew.until(lambda: world.imports.get(world.actor, import_id).ended, "it ends", within_s=120)
    assert reasons(world, import_id) == {2: ("failed", "VENDOR_UNAVAILABLE")}


def test_a_database_that_was_restored_ends_it(world: World) -> None:
    """What it wrote since the backup is not known any more: the rest is imported again, and matched anew."""
    world.office.crew.deaf = True
    import_id = world.begin_import(FSM, "companies", "Company_Name\nZylker\nAcme\n")
    held = Hold(world)
    world.office.crew.deaf = False
    held.arm()
    world.office.crew.data_import(import_id)
    held.await_reached()
    with world.office.db.transaction() as session:
        epoch._after_restore(session)
    held.let_go()
    world.office.crew.rest()
    view = world.imports.get(world.actor, import_id)
    assert (view.state, view.error_code, view.failed) == ("failed", "DATABASE_RESTORED", 2)
    assert reasons(world, import_id) == {2: ("failed", "IN_DOUBT_UNRESOLVED"), 3: ("failed", "IN_DOUBT_UNRESOLVED")}
    again = world.imported(FSM, "companies", "".join(world.imports.report(world.actor, import_id)))
    assert again.created + again.skipped == 2
    assert len(world.sandbox.rows(FSM, "Companies")) == 2


def test_old_imports_are_forgotten_and_cells_before_that(world: World) -> None:
    world.imported(FSM, "companies", "Company_Name,Website\nA,\n,www.b.test\n")
    office = world.office
    assert office.value("SELECT count(*) FROM import_row WHERE cells IS NOT NULL") == 1
    office.sql("UPDATE import_job SET ended_at = ended_at - interval '31 days'")
    office.sql(
        "INSERT INTO import_job (workspace_id, org_id, kind, module, on_match, asked_by, created_at) SELECT "
        "workspace_id, org_id, kind, module, on_match, asked_by, created_at - interval '25 hours' FROM import_job"
    )
    housekeeping.hourly(office.ports)
    assert office.value("SELECT count(*) FROM import_row WHERE cells IS NOT NULL") == 0
    assert office.value("SELECT count(*) FROM import_job") == 1, "the upload that was broken off is gone"
    office.sql("UPDATE import_job SET ended_at = ended_at - interval '7 months'")
    housekeeping.hourly(office.ports)
    assert office.value("SELECT count(*) FROM import_job") == 0


def test_over_rest(world: World) -> None:
    with serving(world.office.settings) as http:
        at = f"/api/v1/connections/{world.orgs[BOOKS].connection_id}/imports/companies"
        rows = "".join(f"Company {n},{'x' * 1500}\n" for n in range(1500))  # longer than other bodies may be
        asked = http.post(
            at, content=("Firma,notes\n" + rows).encode(), headers={"Content-Type": "text/csv"},
            params={"column": "Firma=contact_name", "name": "list.csv", "on_match": "skip"},
        )  # fmt: skip
        assert (asked.status_code, asked.json()["name"]) == (202, "list.csv"), asked.text
        number = asked.json()["id"]
        busy = http.post(at, content=b"contact_name\nA\n")
        assert (busy.status_code, busy.json()["code"]) == (409, "ORG_HELD")
        assert http.post(f"/api/v1/imports/{number}/cancel").status_code == 202
        world.office.crew.until(lambda: http.get(f"/api/v1/imports/{number}").json()["ended_at"], "it ends")
        told = http.get(f"/api/v1/imports/{number}/rows", params={"limit": 2}).json()
        assert [one["line"] for one in told] in ([], [2, 3])
        assert http.get("/api/v1/imports").json()[0]["state"] in ("cancelled", "completed")
        shown = http.get(f"/api/v1/imports/{number}/report.csv")
        assert shown.headers["content-disposition"] == f'attachment; filename="Import-{number}.csv"'
        assert shown.text.startswith("Firma,notes,Bothways line,")
        refused = http.post(at, content=b"contact_name,Nonsense\nA,b\n")
        assert (refused.status_code, refused.json()["code"]) == (409, "BAD_COLUMNS")
        bad = http.post(at, content=b"contact_name\nA\n", params={"column": "x"})
        assert (bad.status_code, bad.json()["code"]) == (409, "BAD_COLUMNS")
        assert http.post(at.replace("companies", "people"), content=b"a\n").status_code == 422
    assert world.office.value("SELECT count(*) FROM import_job WHERE state = 'uploading'") == 0


def test_an_upload_that_breaks_off_is_forgotten(world: World) -> None:
    with serving(world.office.settings) as http:
        base, connection = http.base_url, world.orgs[FSM].connection_id
        with socket.create_connection((base.host, base.port or 0), timeout=20) as line:
            head = f"POST /api/v1/connections/{connection}/imports/companies HTTP/1.1\r\nHost: x\r\n"
            head += f"Authorization: Bearer {token_of(world.office.db)}\r\nContent-Length: 900000\r\n\r\n"
            line.sendall(head.encode() + b"Company_Name\n" + b"A\n" * 200_000)
            uploads = "SELECT count(*) FROM import_job"
            await_that(lambda: world.office.value(uploads) == 1, "it comes")
        await_that(lambda: world.office.value(uploads) == 0, "it is forgotten")
    assert world.office.value("SELECT count(*) FROM import_chunk") == 0


def test_a_body_is_bounded_while_it_streams(world: World) -> None:
    settings = world.office.settings.model_copy(update={"import_max_bytes": 100_000})
    with serving(settings) as http:
        at = f"/api/v1/connections/{world.orgs[FSM].connection_id}/imports/companies"

        def stream() -> Any:
            yield b"Company_Name\n"
            for n in range(40_000):
                yield b"Company %06d\n" % n

        refused = http.post(at, content=stream())
        assert refused.status_code == 413
    assert world.office.value("SELECT count(*) FROM import_job") == 0
    assert made(world.office.db, name="x")  # the door still works
