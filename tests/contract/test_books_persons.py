"""Contact persons of Zoho Books: they live inside their contact, whose name, e-mail and telephones the primary has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from shared.connectors.base import Draft, Edit, Rejected, Unsure, WriteResult, Written
from shared.errors import RecordRejected
from shared.sync.inside import inner_id, own_of
from shared.sync.model import Change, ModuleName, Record, RecordId
from tests.contract.books_openapi import BooksFiles, Seen
from tests.contract.support import CASES, Case, World

CONTACTS, PERSONS = ModuleName("contacts"), ModuleName("contact_persons")
pytestmark = [
    pytest.mark.parametrize("case", [case for case in CASES if case.module == CONTACTS], ids=str),
    pytest.mark.rule("DU-10"),
]
PAT = {"first_name": "Pat", "last_name": "Lee", "email": "pat@x.test", "phone": "1"}
SAM = {"first_name": "Sam", "email": "sam@x.test", "phone": "2"}
GONE = "460000000999999"


def make(world: World, module: ModuleName, fields: Mapping[str, str]) -> RecordId:
    result = world.connector.create(module, [Draft(fields)])[0]
    assert isinstance(result, Written), result
    return result.id


def customer(world: World, name: str = "Acme", **person: str) -> RecordId:
    return make(world, CONTACTS, {"contact_name": name, "contact_type": "customer", **person})


def person(world: World, contact: RecordId, fields: Mapping[str, str]) -> RecordId:
    return make(world, PERSONS, {"contact_id": contact, **fields})


def read(world: World, module: ModuleName, record_id: RecordId) -> Record:
    found = world.connector.fetch(module, [record_id])[record_id]
    assert found is not None
    return found


def change(world: World, module: ModuleName, record: Record, **new: str | None) -> WriteResult:
    changes = tuple(Change(name, record.get(name), value) for name, value in new.items())
    return world.connector.update(module, [Edit(record, changes)])[0]


def held(world: World, contact: RecordId) -> list[dict[str, Any]]:
    """The persons of a contact as the vendor has them."""
    return [one for one in world.sandbox.rows(world.case.vendor, PERSONS) if one["contact_id"] == contact]


def names(world: World, contact: RecordId) -> list[tuple[str, bool]]:
    return [(one["first_name"], one["is_primary_contact"]) for one in held(world, contact)]


def calls(world: World, *, after: int = 0) -> list[tuple[str, str]]:
    return [(one["method"], one["path"].partition("/v3")[2]) for one in world.sandbox.calls(world.case.vendor)[after:]]


def bodies(sent: list[Seen], method: str) -> list[dict[str, Any]]:
    return [json.loads(call.content) for call in sent if call.method == method]


# The primary person, written with its contact.


@pytest.mark.rule("SU-5")
def test_an_individual_is_created_with_its_primary_person_in_one_call(world: World, books_calls: list[Seen]) -> None:
    fields = {"contact_name": "Pat Lee", "contact_type": "customer", "customer_sub_type": "individual", **PAT}
    result = world.connector.create(CONTACTS, [Draft(fields)])[0]
    assert calls(world) == [("POST", "/contacts")]
    assert bodies(books_calls, "post")[0]["contact_persons"] == [{**PAT, "is_primary_contact": True}]
    assert isinstance(result, Written)
    (one,) = held(world, result.id)
    assert {name: one[name] for name in PAT} == PAT
    assert one["is_primary_contact"]
    record = read(world, CONTACTS, result.id)
    assert {name: record.get(name) for name in fields} == fields
    assert record.get("primary_contact_id") == one["contact_person_id"]
    assert result.record == record


def test_a_contact_of_which_no_person_is_told_has_none(world: World) -> None:
    record = read(world, CONTACTS, customer(world))
    assert (record.children, record.get("primary_contact_id")) == ({PERSONS: ()}, None)
    assert held(world, record.id) == []


def test_a_changed_telephone_is_one_call_of_the_person_it_belongs_to(world: World) -> None:
    contact = customer(world, **PAT)
    person(world, contact, SAM)
    before, (pat, sam) = read(world, CONTACTS, contact), held(world, contact)
    asked = len(calls(world))
    result = change(world, CONTACTS, before, phone="9")
    assert calls(world, after=asked) == [("PUT", f"/contacts/contactpersons/{pat['contact_person_id']}")]
    assert held(world, contact) == [{**pat, "phone": "9"}, sam]
    after = read(world, CONTACTS, contact)
    assert {name for name in after.fields if after.get(name) != before.get(name)} == {"phone"}
    assert isinstance(result, Written)
    assert (result.id, result.record and result.record.fields) == (contact, after.fields)


def test_a_changed_website_is_one_call_of_the_contact_whose_persons_stay(world: World, books_calls: list[Seen]) -> None:
    contact = customer(world, **PAT)
    person(world, contact, SAM)
    before, persons = read(world, CONTACTS, contact), held(world, contact)
    asked = len(calls(world))
    assert isinstance(change(world, CONTACTS, before, website="www.x.test"), Written)
    assert calls(world, after=asked) == [("PUT", f"/contacts/{contact}")]
    assert held(world, contact) == persons
    (body,) = bodies(books_calls, "put")
    assert not {"contact_persons", *PAT} & set(body), "the list would replace theirs"


def test_a_change_of_both_is_two_calls(world: World, books_calls: list[Seen]) -> None:
    contact = customer(world, **PAT)
    person(world, contact, SAM)
    before, (pat, sam) = read(world, CONTACTS, contact), held(world, contact)
    asked = len(calls(world))
    result = change(world, CONTACTS, before, website="www.x.test", phone="9", email="new@x.test")
    path = f"/contacts/contactpersons/{pat['contact_person_id']}"
    assert calls(world, after=asked) == [("PUT", f"/contacts/{contact}"), ("PUT", path)]
    assert held(world, contact) == [{**pat, "phone": "9", "email": "new@x.test"}, sam]
    assert isinstance(result, Written)
    assert result.record is not None
    assert result.record.fields == read(world, CONTACTS, contact).fields
    assert all("contact_persons" not in body for body in bodies(books_calls, "put"))


def test_a_field_of_the_primary_person_is_cleared(world: World) -> None:
    contact = customer(world, **PAT)
    assert isinstance(change(world, CONTACTS, read(world, CONTACTS, contact), phone=None, last_name=None), Written)
    (pat,) = held(world, contact)
    assert (pat["first_name"], pat["last_name"], pat["phone"], pat["email"]) == ("Pat", "", "", "pat@x.test")
    assert read(world, CONTACTS, contact).get("phone") is None


def test_a_contact_without_a_person_gets_its_first(world: World) -> None:
    contact = customer(world)
    before = read(world, CONTACTS, contact)
    asked = len(calls(world))
    result = change(world, CONTACTS, before, first_name="Pat", phone="1")
    assert calls(world, after=asked) == [("POST", "/contacts/contactpersons")]
    assert isinstance(result, Written)
    assert result.id == contact, "the contact is what was written to"
    assert names(world, contact) == [("Pat", True)]
    again = change(world, CONTACTS, read(world, CONTACTS, contact), phone="2")
    assert isinstance(again, Written)
    assert [one["phone"] for one in held(world, contact)] == ["2"], "from then on that one is changed"


# Persons by themselves.


def test_a_person_is_known_by_the_id_of_its_contact_and_its_own(world: World) -> None:
    contact = customer(world)
    asked = len(calls(world))
    result = world.connector.create(PERSONS, [Draft({"contact_id": contact, **PAT})])[0]
    assert calls(world, after=asked) == [("POST", "/contacts/contactpersons")]
    assert isinstance(result, Written)
    (pat,) = held(world, contact)
    assert result.id == inner_id(contact, pat["contact_person_id"])
    record = read(world, PERSONS, result.id)
    assert result.record == record
    assert {name: record.get(name) for name in PAT} == PAT
    assert (record.get("contact_id"), record.get("is_primary_contact")) == (contact, True)
    assert (record.complete, record.inactive, record.modified_at) == (True, False, None)


def test_a_person_is_changed_alone(world: World) -> None:
    contact = customer(world, **PAT)
    made = person(world, contact, SAM)
    before, (pat, sam) = read(world, PERSONS, made), held(world, contact)
    asked = len(calls(world))
    result = change(world, PERSONS, before, phone="9", email=None)
    assert calls(world, after=asked) == [("PUT", f"/contacts/contactpersons/{own_of(made)}")]
    assert held(world, contact) == [pat, {**sam, "phone": "9", "email": ""}]
    assert isinstance(result, Written)
    assert (result.id, result.record) == (made, read(world, PERSONS, made))


@pytest.mark.rule("SU-5")
def test_a_primary_person_that_is_there_is_not_moved(world: World) -> None:
    contact = customer(world)
    person(world, contact, PAT)
    sam = person(world, contact, SAM)
    assert names(world, contact) == [("Pat", True), ("Sam", False)], "the first is the primary one"
    world.sandbox.edit(world.case.vendor, PERSONS, own_of(sam), is_primary_contact=True)
    person(world, contact, {"first_name": "Kim"})
    for one in read(world, CONTACTS, contact).children[PERSONS]:
        assert isinstance(change(world, PERSONS, one, department="Sales"), Written)
    assert names(world, contact) == [("Pat", False), ("Sam", True), ("Kim", False)]
    assert {one["department"] for one in held(world, contact)} == {"Sales"}


def test_the_persons_of_a_contact_are_read_with_it_by_one_call(world: World) -> None:
    acme, beta = customer(world, "Acme", **PAT), customer(world, "Beta")
    sam, kim = person(world, acme, SAM), person(world, beta, {"first_name": "Kim"})
    pat = inner_id(acme, held(world, acme)[0]["contact_person_id"])
    asked = len(calls(world))
    found = world.connector.fetch(PERSONS, [kim, pat, sam])
    assert sorted(calls(world, after=asked)) == sorted([("GET", f"/contacts/{acme}"), ("GET", f"/contacts/{beta}")])
    assert {one: record and record.get("first_name") for one, record in found.items()} == {
        kim: "Kim",
        pat: "Pat",
        sam: "Sam",
    }
    assert read(world, CONTACTS, acme).children == {PERSONS: (found[pat], found[sam])}


def test_a_list_tells_nothing_of_persons(world: World) -> None:
    customer(world, **PAT)
    (row,) = world.listed()
    assert row.children == {}
    asked = len(calls(world))
    assert world.connector.facts.modules[PERSONS].inside == CONTACTS
    with pytest.raises(ValueError, match="no list"):
        world.connector.list_page(PERSONS, cursor=None, since=None)
    with pytest.raises(RecordRejected):
        world.connector.find(PERSONS, "email", "pat@x.test")
    assert calls(world, after=asked) == []


@pytest.mark.rule("TR-9")
def test_a_removed_person_is_none_and_so_is_one_of_a_removed_contact(world: World) -> None:
    acme, beta = customer(world, "Acme", **PAT), customer(world, "Beta")
    sam, kim = person(world, acme, SAM), person(world, beta, {"first_name": "Kim"})
    pat = inner_id(acme, held(world, acme)[0]["contact_person_id"])
    gone = read(world, PERSONS, sam)
    world.sandbox.delete(world.case.vendor, PERSONS, own_of(sam))
    world.sandbox.delete(world.case.vendor, CONTACTS, beta)
    elsewhere = inner_id(GONE, own_of(pat))
    found = world.connector.fetch(PERSONS, [sam, kim, pat, elsewhere])
    assert {one for one, record in found.items() if record is not None} == {pat}
    assert set(found) == {sam, kim, pat, elsewhere}
    result = change(world, PERSONS, gone, phone="9")
    assert isinstance(result, Rejected)
    assert result.code == "TARGET_GONE"


@pytest.mark.rule("TR-9")
def test_a_person_of_a_removed_contact_cannot_be_made(world: World) -> None:
    result = world.connector.create(PERSONS, [Draft({"contact_id": GONE, **PAT})])[0]
    assert isinstance(result, Rejected)
    assert result.code == "VENDOR_REJECTED", "what is gone is another record than the one that was to be made"


@pytest.mark.rule("TR-9")
def test_a_person_is_inactive_with_its_contact(world: World) -> None:
    contact = customer(world)
    made = person(world, contact, PAT)
    for status, inactive in (("inactive", True), ("active", False)):
        world.sandbox.edit(world.case.vendor, CONTACTS, contact, status=status)
        assert read(world, PERSONS, made).inactive is inactive


# Trouble.


@pytest.mark.rule("LG-4", "P14")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"phone": "x" * 51}, "FIELD_TOO_LONG"), ({"email": "no address"}, "VENDOR_REJECTED")],
    ids=["too long", "no e-mail address"],
)
def test_what_the_vendor_refuses_of_a_person_is_a_refusal_of_that_record(
    world: World, wrong: dict[str, str], code: str
) -> None:
    contact = customer(world, **PAT)
    made = person(world, contact, SAM)
    before = held(world, contact)
    results = [
        world.connector.create(PERSONS, [Draft({"contact_id": contact, **SAM, **wrong})])[0],
        change(world, PERSONS, read(world, PERSONS, made), **wrong),
        change(world, CONTACTS, read(world, CONTACTS, contact), **wrong),
    ]
    for result in results:
        assert isinstance(result, Rejected)
        assert (result.code, bool(result.vendor_code)) == (code, True)
        assert next(iter(wrong.values())) not in repr(result)
    assert held(world, contact) == before


@pytest.mark.rule("LG-4")
def test_a_person_needs_a_first_name(world: World, books_calls: list[Seen]) -> None:
    contact = customer(world)
    result = world.connector.create(PERSONS, [Draft({"contact_id": contact, "last_name": "Lee"})])[0]
    assert isinstance(result, Rejected)
    assert result.code == "MANDATORY_FIELD_EMPTY"
    books_calls.clear()  # not a call that the vendor's files allow, as it must be here


@pytest.mark.rule("P3")
def test_a_lost_reply_of_a_person_s_call_is_unsure_and_nothing_is_repeated(world: World) -> None:
    contact = customer(world)
    world.sandbox.fault(world.case.vendor, "reply_lost")
    assert isinstance(world.connector.create(PERSONS, [Draft({"contact_id": contact, **PAT})])[0], Unsure)
    (pat,) = held(world, contact)
    made = inner_id(contact, pat["contact_person_id"])
    record = read(world, PERSONS, made)
    asked = len(calls(world))
    world.sandbox.fault(world.case.vendor, "reply_lost")
    assert isinstance(change(world, PERSONS, record, phone="9"), Unsure)
    assert calls(world, after=asked) == [("PUT", f"/contacts/contactpersons/{own_of(made)}")]
    assert [one["phone"] for one in held(world, contact)] == ["9"]


@pytest.mark.rule("P3")
@pytest.mark.parametrize(
    ("lost", "website", "phone"), [("/contactpersons/", "www.x.test", "9"), ("/contacts/[0-9]+$", "www.x.test", "1")]
)
def test_a_contact_is_unsure_where_either_of_its_calls_is(world: World, lost: str, website: str, phone: str) -> None:
    contact = customer(world, **PAT)
    record = read(world, CONTACTS, contact)
    world.sandbox.fault(world.case.vendor, "reply_lost", match={"method": "PUT", "path": lost})
    assert isinstance(change(world, CONTACTS, record, website="www.x.test", phone="9"), Unsure)
    after = read(world, CONTACTS, contact)
    assert (after.get("website"), after.get("phone")) == (website, phone), "after the first that is unsure, no more"


@pytest.mark.rule("P3")
def test_an_answer_of_a_person_s_call_that_cannot_be_read_is_unsure(world: World) -> None:
    contact = customer(world)
    world.sandbox.fault(world.case.vendor, "malformed")
    assert isinstance(world.connector.create(PERSONS, [Draft({"contact_id": contact, **PAT})])[0], Unsure)


# The vendor's files.


@pytest.mark.rule("OP-3", "TR-8")
def test_the_calls_are_those_of_the_vendor_s_file_on_persons(
    world: World, books_calls: list[Seen], vendor_files: BooksFiles | None, case: Case
) -> None:
    if vendor_files is None:
        pytest.skip("the vendor's OpenAPI files are not beside this checkout")
    made = person(world, customer(world), PAT)
    assert isinstance(change(world, PERSONS, read(world, PERSONS, made), phone="9"), Written)
    seen = {(call.method, vendor_files.template(call)): call for call in books_calls}
    post = seen["post", ("contact-persons", "/contacts/contactpersons")]
    put = seen["put", ("contact-persons", "/contacts/contactpersons/{contact_person_id}")]
    for call in (post, put):
        assert call.headers["x-zoho-skip-webhook-trigger"] == "true"
        assert vendor_files.problems(call) == []
