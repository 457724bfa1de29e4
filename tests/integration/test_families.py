"""Companies and their people (Type IV, DU-10, TR-11), one change at a time, as webhooks tell of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.bus import BULK, LIVE, Lane
from shared.engine.context import lane_of
from shared.engine.known import Known
from shared.sync.model import RecordId, Side
from tests.integration.crew import await_that
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, Json, World

pytestmark = pytest.mark.rule("DU-10", "SU-5")


@pytest.fixture
def family(world: World) -> World:
    """Type IV, with "Acme" and its contact Ann Lee on both sides, in step."""
    world.office.sql("UPDATE integration SET sync_type = 'IV'")
    contact(world, "Lee", "lee@acme.test", world.company("Acme"), Phone="1")
    world.fetch()
    world.sync()
    world.forget_calls()
    return world


def contact(world: World, last: str, mail: str, company: str | None = None, **fields: object) -> str:
    home = {"Company": {"id": company}} if company else {}
    row = {"First_Name": "Ann", "Last_Name": last, "Email": mail, **home, **fields}
    return world.seed(FSM, "Contacts", row)[0]


def tell(world: World, vendor: str, record: str, module: str = "Contacts", event: str = "edit") -> None:
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[vendor].connection_id)
    body = {"module": module, "event": event, "id": record} if vendor == FSM else {"contact": {"contact_id": record}}
    request = delivery(vendor, body, setup.secret)
    assert world.accept_webhook(vendor, setup.path.rsplit("/", 1)[1], request) == 1, "one event, of whatever pair"


def told(world: World, vendor: str, record: str, module: str = "Contacts", event: str = "edit") -> None:
    """A webhook of it, and all that comes of it."""
    tell(world, vendor, record, module, event)
    world.quiet()


def customer(world: World, name: str) -> Json:
    found = [one for one in world.sandbox.rows(BOOKS, "contacts") if one["contact_name"] == name]
    assert len(found) == 1, [one["contact_name"] for one in world.sandbox.rows(BOOKS, "contacts")]
    return found[0]


def persons(world: World, name: str) -> dict[str, Json]:
    found = customer(world, name)["contact_persons"]
    assert len({one["email"] for one in found}) == len(found), "nobody is there twice"
    return {one["email"]: one for one in found}


def people(world: World, company: str) -> dict[str, Json]:
    rows = world.sandbox.rows(FSM, "Contacts")
    home = world.seed_of(company)
    return {one["Email"]: one for one in rows if (one.get("Company") or {}).get("id") == home}


def last_of(world: World, record: str) -> Json:
    return world.office.sql(
        "SELECT pair, outcome, reason, detail, changes FROM outcome WHERE record_id = :id ORDER BY id DESC LIMIT 1",
        id=record,
    )[0]


# What lives inside a customer.


def test_a_customers_webhook_brings_its_people(family: World) -> None:
    acme = customer(family, "Acme")
    lee = {**acme["contact_persons"][0], "phone": "2"}
    ray = {"first_name": "Ann", "last_name": "Ray", "email": "ray@acme.test"}
    family.sandbox.edit(BOOKS, "contacts", acme["contact_id"], contact_persons=[lee, ray])
    told(family, BOOKS, acme["contact_id"])
    assert {mail: one.get("Phone") for mail, one in people(family, "Acme").items()} == {
        "lee@acme.test": "2", "ray@acme.test": None,
    }  # fmt: skip
    family.forget_calls()
    told(family, BOOKS, acme["contact_id"])
    assert [(call["method"], call["vendor"]) for call in family.calls()] == [("GET", BOOKS)], "one read tells of all"


@pytest.mark.rule("TR-9")
def test_a_person_removed_in_books_is_not_brought_back(family: World) -> None:
    acme, lee = customer(family, "Acme"), people(family, "Acme")["lee@acme.test"]["id"]
    family.sandbox.edit(BOOKS, "contacts", acme["contact_id"], contact_persons=[])
    told(family, BOOKS, acme["contact_id"])
    assert family.office.value("SELECT state FROM binding WHERE pair = 'contact_persons'") == "right_deleted"
    family.sandbox.edit(FSM, "Contacts", lee, Phone="3")
    told(family, FSM, lee)
    assert last_of(family, lee)["reason"] == "TWIN_DELETED"
    family.sync()
    assert family.writes() == []
    assert set(people(family, "Acme")) == {"lee@acme.test"}, "and the other side is not deleted"


def test_people_are_written_one_by_one_and_those_of_books_stay(family: World) -> None:
    acme = customer(family, "Acme")
    own = {"first_name": "Only", "last_name": "Here", "email": ""}
    held = acme["contact_persons"]
    family.sandbox.edit(BOOKS, "contacts", acme["contact_id"], contact_persons=[*held, own])
    lee = people(family, "Acme")["lee@acme.test"]["id"]
    family.sandbox.edit(FSM, "Contacts", lee, Phone="4")
    told(family, FSM, lee)
    now = persons(family, "Acme")
    assert now["lee@acme.test"]["phone"] == "4"
    assert now[""]["first_name"] == "Only"
    assert now["lee@acme.test"]["is_primary_contact"], "a primary that is there is not moved"
    assert [call["path"].rsplit("/", 1)[0] for call in family.calls(write=True)] == [
        "/books/v3/contacts/contactpersons"
    ]


def test_a_person_without_what_fsm_demands_fails_alone(family: World) -> None:
    made = family.customer("Beta", contact_persons=[{"first_name": "No", "last_name": "Mail"}])
    told(family, BOOKS, made)
    assert family.seed_of("Beta")
    failed = family.office.sql("SELECT pair, reason, detail FROM outcome WHERE outcome = 'failed'")
    assert failed == [{"pair": "contact_persons", "reason": "MANDATORY_FIELD_EMPTY", "detail": "E-mail"}]


# Parents first.


def test_a_contact_that_comes_before_its_company_brings_it(family: World) -> None:
    late = contact(family, "New", "new@new.test", family.company("New"))
    told(family, FSM, late)
    assert set(persons(family, "New")) == {"new@new.test"}
    assert last_of(family, late)["outcome"] == "created"


@pytest.mark.rule("OP-4")
def test_a_company_that_is_made_while_its_contact_is_looked_at_is_not_read_again(
    family: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for a bound parent and the look for what is under way it was both: neither look saw it."""
    home = family.company("New")
    shards = family.office.settings.shards
    mine = lane_of(family.integration, LIVE, "companies", Side.LEFT, RecordId(home), shards)
    people_of = [contact(family, f"N{n}", f"{n}@new.test", home) for n in range(4 * shards)]
    ann = next(
        one for one in people_of if lane_of(family.integration, LIVE, "contacts", Side.LEFT, one, shards) != mine
    )
    look = Known.parents_under_way

    def late(known: Known, pair: str, side: Side, ids: Sequence[str]) -> tuple[set[RecordId], set[RecordId]]:
        await_that(lambda: family.twin(home), "another worker makes the company meanwhile")
        return look(known, pair, side, ids)

    monkeypatch.setattr(Known, "parents_under_way", late)
    tell(family, FSM, ann)
    told(family, FSM, home, "Companies")
    assert family.twin(ann)
    reads = [call["path"] for call in family.calls(write=False) if call["record"] == home]
    assert len(reads) == 1, "for its own webhook"


def test_a_failing_company_holds_its_people_back_until_it_is_mended(family: World) -> None:
    long = family.company("x" * 201)  # a match key is not cut
    ann = contact(family, "Long", "ann@long.test", long)
    told(family, FSM, long, "Companies")
    reason = last_of(family, long)["reason"]
    assert reason in ("KEY_CUT", "FIELD_TOO_LONG", "VENDOR_REJECTED")
    told(family, FSM, ann)
    assert last_of(family, ann) == {
        "pair": "contact_persons", "outcome": "failed", "reason": "PARENT_NOT_SYNCED", "detail": long, "changes": [],
    }  # fmt: skip
    family.sandbox.edit(FSM, "Companies", long, Company_Name="Short")
    told(family, FSM, long, "Companies")
    assert set(persons(family, "Short")) == {"ann@long.test"}, "at once, without another event of theirs"
    assert family.office.value("SELECT count(*) FROM due") == 0


# Moves.


@pytest.mark.rule("TR-11", "LG-4")
def test_a_synced_contact_cannot_change_its_company_and_its_other_fields_sync(family: World) -> None:
    lee = people(family, "Acme")["lee@acme.test"]["id"]
    other = family.company("Other")
    told(family, FSM, other, "Companies")
    family.forget_calls()
    family.sandbox.edit(FSM, "Contacts", lee, Company={"id": other}, Phone="5")
    told(family, FSM, lee)
    assert persons(family, "Acme")["lee@acme.test"]["phone"] == "5"
    assert persons(family, "Other") == {}
    ended = last_of(family, lee)
    assert (ended["outcome"], ended["reason"]) == ("failed", "COMPANY_CANNOT_CHANGE")
    assert [one["field"] for one in ended["changes"]] == ["phone"]
    family.sandbox.edit(FSM, "Contacts", lee, Company=None)
    told(family, FSM, lee)
    assert last_of(family, lee)["reason"] == "COMPANY_CANNOT_CHANGE", "nor lose it"
    assert len(family.sandbox.rows(BOOKS, "contacts")) == 2, "and it is no individual customer either"
    home = family.seed_of("Acme")
    family.sandbox.edit(FSM, "Contacts", lee, Company={"id": home})
    family.sync()
    assert family.office.value("SELECT count(*) FROM due") == 0, "put back, it fails no more"


def test_an_individual_that_gains_a_company_becomes_its_contact_person(family: World) -> None:
    solo = contact(family, "Solo", "solo@x.test")
    told(family, FSM, solo)
    assert customer(family, "Ann Solo")["customer_sub_type"] == "individual"
    family.sandbox.edit(FSM, "Contacts", solo, Company={"id": family.seed_of("Acme")})
    told(family, FSM, solo)
    assert set(persons(family, "Acme")) == {"lee@acme.test", "solo@x.test"}
    stays = customer(family, "Ann Solo")
    assert stays["contact_persons"][0]["email"] == "solo@x.test", "that customer stays"
    states = family.office.sql("SELECT pair, state FROM binding WHERE left_id = :id ORDER BY pair", id=solo)
    assert states == [{"pair": "contact_persons", "state": "live"}, {"pair": "contacts", "state": "moved"}]
    told_of = family.office.sql("SELECT outcome, reason FROM outcome WHERE reason = 'MOVED'")
    assert told_of == [{"outcome": "skipped", "reason": "MOVED"}], "the change is reported"
    family.sandbox.edit(BOOKS, "contacts", stays["contact_id"], notes="x", company_name="y")
    told(family, BOOKS, stays["contact_id"])
    family.sync()
    family.forget_calls()
    family.sync()
    assert family.writes() == []
    assert len(family.sandbox.rows(FSM, "Contacts")) == 2


def test_a_sync_finds_a_move_that_no_webhook_told(family: World) -> None:
    solo = contact(family, "Solo", "solo@x.test")
    family.sync()
    family.sandbox.edit(FSM, "Contacts", solo, Company={"id": family.seed_of("Acme")})
    family.sync()
    family.quiet()
    assert set(persons(family, "Acme")) == {"lee@acme.test", "solo@x.test"}
    assert customer(family, "Ann Solo")


# Of several pairs of one module.


@pytest.mark.rule("P1", "P7")
@pytest.mark.parametrize("becomes", ["solo", "of a company"])
def test_a_contact_that_waited_before_it_was_known_what_it_is(family: World, becomes: str) -> None:
    """It waits under the pair that was asked for, or that it was of; its outcome comes under the one that it is of."""
    solo = contact(family, "Solo", "solo@x.test")
    if becomes == "of a company":  # it is known to be solo, and waits as such
        family.sandbox.fault(BOOKS, "429", match={"method": "POST", "path": "contacts"}, count=1, retry_after_s=1)
    else:
        read = {"method": "GET", "path": f"Contacts/{solo}"}
        family.sandbox.fault(FSM, "429", match=read, count=1, retry_after_s=1)
    tell(family, FSM, solo)
    family.office.crew.until(lambda: family.office.value("SELECT count(*) FROM due"), "it waits")
    if becomes == "of a company":
        family.sandbox.edit(FSM, "Contacts", solo, Company={"id": family.seed_of("Acme")})
    family.quiet()
    assert family.office.value("SELECT count(*) FROM due") == 0
    found = persons(family, "Acme") if becomes == "of a company" else {"solo@x.test": customer(family, "Ann Solo")}
    assert "solo@x.test" in found


@pytest.mark.parametrize("company", [None, "Acme"])
def test_a_run_is_answered_by_a_webhook_of_a_contact_that_it_waits_for(family: World, company: str | None) -> None:
    """The run's event names the pair that the contact is of, the webhook's the same one for all contacts."""
    new = contact(family, "New", "new@acme.test", company and family.seed_of(company))
    family.sandbox.fault(BOOKS, "429", match={"method": "POST", "path": "contacts"}, count=1, retry_after_s=2)
    run = family.runs.sync_now(family.actor, family.integration)
    office = family.office
    office.crew.until(lambda: office.value("SELECT count(*) FROM due WHERE run_id IS NOT NULL"), "the run waits")
    office.sql("UPDATE due SET due_at = clock_timestamp() + interval '1 hour'")
    family.forget_calls()
    tell(family, FSM, new)
    office.crew.until(lambda: family.runs.get(family.actor, run).ended, "the run ends")
    assert family.twin(new)
    reads = [call for call in family.calls(write=False) if call["record"] == new]
    assert len(reads) == 1, "the run does not send for it once more"


@pytest.mark.rule("P3", "TR-11")
@pytest.mark.parametrize("to", ["Acme", None])
def test_a_contact_that_a_run_listed_as_what_it_is_not_any_more_is_made_once(family: World, to: str | None) -> None:
    """The webhook of the change overtakes the run's event, whose row is of before it."""
    office, acme = family.office, family.seed_of("Acme")
    new = contact(family, "New", "new@acme.test", None if to else acme)
    bulk = [Lane(family.integration, BULK, shard) for shard in range(office.settings.shards)]
    for lane in bulk:
        office.bus.pause(lane, 60)
    run = family.runs.sync_now(family.actor, family.integration)
    office.crew.until(lambda: any(office.bus.redis.xlen(lane.key) for lane in bulk), "the run has listed")
    family.sandbox.edit(FSM, "Contacts", new, Company={"id": acme} if to else None)
    tell(family, FSM, new)
    office.crew.until(lambda: family.twin(new), "the webhook's event is worked on")
    for lane in bulk:
        office.bus.resume(lane)
        office.crew.drain(lane)
    office.crew.until(lambda: family.runs.get(family.actor, run).ended, "the run ends")
    family.quiet()
    made = [one["contact_name"] for one in family.sandbox.rows(BOOKS, "contacts") if one["contact_name"] != "Acme"]
    inside = set(persons(family, "Acme")) - {"lee@acme.test"}
    assert (made, inside) == (([], {"new@acme.test"}) if to else (["Ann New"], set()))


@pytest.mark.rule("TR-6")
def test_who_asks_for_a_contact_as_what_it_is_not_is_told_how_it_ended(family: World) -> None:
    solo = contact(family, "Solo", "solo@x.test")
    asked = (family.actor, family.integration, "contact_persons", Side.LEFT, solo)
    family.sandbox.fault(BOOKS, "429", match={"method": "POST", "path": "contacts"}, count=1, retry_after_s=2)
    event = family.events.sync_record(*asked).event_id
    family.office.crew.until(lambda: family.office.value("SELECT count(*) FROM due"), "it waits")
    assert family.events.record_sync(*asked, event).waiting_for == "RATE_LIMITED"
    family.quiet()
    assert family.events.record_sync(*asked, event).outcome == "created"


# Whose twin.


@pytest.mark.rule("LG-4", "DU-2")
def test_an_individual_with_the_email_of_a_companys_contact_fails(family: World) -> None:
    made = family.customer(
        "Mrs Lee",
        customer_sub_type="individual",
        contact_persons=[{"first_name": "A", "last_name": "Lee", "email": "LEE@acme.test", "is_primary_contact": True}],
    )
    told(family, BOOKS, made)
    assert last_of(family, made)["reason"] == "EMAIL_IN_COMPANY"
    family.sync()
    assert len(family.sandbox.rows(FSM, "Contacts")) == 1


@pytest.mark.rule("LG-4", "DU-2")
def test_a_person_with_the_email_of_a_bound_contact_of_its_company_fails(family: World) -> None:
    acme = customer(family, "Acme")
    double = {"first_name": "Second", "last_name": "Lee", "email": "lee@acme.test"}
    family.sandbox.edit(BOOKS, "contacts", acme["contact_id"], contact_persons=[*acme["contact_persons"], double])
    told(family, BOOKS, acme["contact_id"])
    failed = family.office.sql("SELECT pair, reason FROM outcome WHERE outcome = 'failed'")
    assert failed == [{"pair": "contact_persons", "reason": "EMAIL_IN_COMPANY"}]
    assert len(people(family, "Acme")) == 1


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize("by", ["webhook", "sync"])
def test_a_person_without_email_is_the_contact_of_that_name(family: World, by: str) -> None:
    acme = customer(family, "Acme")
    ray = {"first_name": "ann", "last_name": "RAY", "email": ""}
    family.sandbox.edit(BOOKS, "contacts", acme["contact_id"], contact_persons=[*acme["contact_persons"], ray])
    mine = contact(family, "Ray", "ray@acme.test", family.seed_of("Acme"))
    if by == "webhook":
        told(family, FSM, mine)
    else:
        family.sync()
    assert set(persons(family, "Acme")) == {"lee@acme.test", "ray@acme.test"}, "and gets the address that it lacked"


@pytest.mark.rule("DU-2", "DU-8")
def test_of_two_of_one_name_none_is_chosen(world: World) -> None:
    world.office.sql("UPDATE integration SET sync_type = 'III'")
    acme = world.company("Acme")
    contact(world, "Ray", "one@acme.test", acme)
    contact(world, "Ray", "two@acme.test", acme)
    world.customer("Acme", contact_persons=[{"first_name": "Ann", "last_name": "Ray", "email": ""}])
    fetched = world.fetch()
    assert fetched.report["contact_persons"]["ambiguous_left"] == 2
    world.sync()
    assert [one["email"] for one in customer(world, "Acme")["contact_persons"]] == [""]


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize("by", ["webhook", "sync"])
def test_two_of_one_email_in_two_companies_are_two(world: World, by: str) -> None:
    world.office.sql("UPDATE integration SET sync_type = 'II'")
    world.fetch()
    world.sync()
    for name in ("North", "South"):
        mine = contact(world, name, "office@both.test", world.company(name))
        if by == "webhook":
            told(world, FSM, mine)
    world.sync()
    assert {one["company_name"] for one in world.sandbox.rows(BOOKS, "contacts")} == {"North", "South"}
    assert len(world.sandbox.rows(BOOKS, "contacts")) == 2


def test_an_individual_without_a_first_name_is_edited_where_books_takes_it(world: World) -> None:
    """Whether it does is not established: one file of the vendor demands a first name, another does not."""
    world.office.sql("UPDATE integration SET sync_type = 'IV'")
    world.sandbox.switch(BOOKS, contact_person_partial_put=True)
    one = world.seed(FSM, "Contacts", {"Last_Name": "Solo", "Email": "solo@x.test"})[0]
    world.fetch()
    world.sync()
    world.sandbox.edit(FSM, "Contacts", one, Phone="77")
    told(world, FSM, one)
    assert customer(world, "Solo")["contact_persons"][0]["phone"] == "77"


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize("by", ["webhook", "sync", "later sync"])
def test_of_two_of_one_email_the_company_tells(world: World, by: str) -> None:
    world.office.sql("UPDATE integration SET sync_type = 'II'")
    world.fetch()
    if by == "later sync":  # which does not read the lists whole
        world.sync()
    office = "office@both.test"
    for name in ("North", "South"):
        person = {"first_name": "Ann", "last_name": name, "email": office, "is_primary_contact": True}
        world.customer(f"{name} office", customer_sub_type="individual", company_name=name, contact_persons=[person])
    mine = [contact(world, name, office, world.company(name), Phone=name) for name in ("North", "South")]
    if by == "webhook":
        for one in mine:
            told(world, FSM, one)
    else:
        world.sync()
    found = {one["company_name"]: one["contact_persons"][0]["phone"] for one in world.sandbox.rows(BOOKS, "contacts")}
    assert found == {"North": "North", "South": "South"}


@pytest.mark.rule("DU-6", "OP-4")
def test_a_person_whose_time_decides_nothing_is_not_read_for_it(world: World) -> None:
    """In Books no person has a modified time. A blank yields at any time."""
    world.office.sql("UPDATE integration SET sync_type = 'IV'")
    contact(world, "Lee", "lee@acme.test", world.company("Acme"))
    inside = {"first_name": "Ann", "last_name": "Lee", "email": "lee@acme.test", "phone": "2"}
    there = world.customer("Acme", contact_persons=[inside])
    world.fetch()
    world.forget_calls()
    world.sync()
    assert people(world, "Acme")["lee@acme.test"]["Phone"] == "2"
    asked = [call["record"] for call in world.calls() if call["vendor"] == BOOKS and call["record"]]
    assert asked == [there], "once, for its people"


@pytest.mark.rule("OP-4")
def test_an_individual_is_read_once_just_before_it_is_written(world: World) -> None:
    """A thin row needs a read anyway: where the record is written next, that is the read before the write."""
    world.office.sql("UPDATE integration SET sync_type = 'IV'")
    contact(world, "Solo", "solo@one.test", Phone="1")
    own = {"first_name": "Ann", "last_name": "Solo", "email": "solo@one.test", "is_primary_contact": True}
    there = world.customer("Ann Solo", customer_sub_type="individual", contact_persons=[own])
    world.fetch()
    world.forget_calls()
    world.sync()
    assert customer(world, "Ann Solo")["contact_persons"][0]["phone"] == "1"
    asked = [(call["vendor"], call["method"]) for call in world.calls() if call["record"]]
    assert asked == [(BOOKS, "GET"), (BOOKS, "PUT")]
    assert world.twin(there) is not None


@pytest.mark.rule("DU-8", "OP-4")
@pytest.mark.parametrize("source", [FSM, BOOKS])
def test_a_first_sync_of_families_needs_the_least_calls(world: World, source: str) -> None:
    """List pages, a read for each thin row, and a write for each record: no search, and nothing is read twice."""
    world.office.sql("UPDATE integration SET sync_type = 'IV'")
    for n in range(20):
        mails = [f"{who}@{n}.test" for who in ("ann", "bob")]
        if source == FSM:
            home = world.company(f"Company {n}")
            for mail in mails:
                contact(world, f"Lee {mail}", mail, home)
            contact(world, f"Solo {n}", f"solo@{n}.test")
            continue
        inside = [{"first_name": "Ann", "last_name": f"Lee {mail}", "email": mail} for mail in mails]
        world.customer(f"Company {n}", contact_persons=inside)
        own = {"first_name": "Ann", "last_name": f"Solo {n}", "email": f"solo@{n}.test", "is_primary_contact": True}
        world.customer(f"Ann Solo {n}", customer_sub_type="individual", contact_persons=[own])
    world.fetch()
    world.forget_calls()
    world.sync()
    assert len(people(world, "Company 7")) == len(persons(world, "Company 7")) == 2
    lists = [call["path"] for call in world.calls() if call["method"] == "GET" and not call["record"]]
    reads = [call["record"] for call in world.calls() if call["method"] == "GET" and call["record"]]
    fsm = [f"/fsm/v1/{module}" for module in ("Companies", "Contacts", "Service_And_Parts")]
    assert sorted(lists) == ["/books/v3/contacts", "/books/v3/items", *fsm]
    assert len(world.writes()) == 20 * 4
    assert len(reads) == (0 if source == FSM else 20 * 2), "what Books lists is thin"
    assert len(set(reads)) == len(reads)
