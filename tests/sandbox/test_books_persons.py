"""Zoho Books: the persons of a contact, in its list and by single calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box, Receiver, refusal

pytestmark = pytest.mark.rule("OP-3")
PAT = {"first_name": "Pat", "last_name": "Lee", "email": "p@x.test", "phone": "1", "mobile": "2"}
SAM = {"first_name": "Sam", "email": "s@x.test"}
OLD = "2020-01-01T00:00:00-0800"


def two_persons(box: Box) -> tuple[str, list[str]]:
    """Pat, who is primary, and Sam, in a contact that was last changed long ago."""
    row = {"contact_name": "A", "contact_persons": [PAT, SAM], "last_modified_time": OLD}
    made = box.seed(BOOKS, contacts=[row])["contacts"][0]
    return made, [one["contact_person_id"] for one in persons(box, made)]


def persons(box: Box, contact_id: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = box.in_books("contacts", contact_id)["contact_persons"]
    return shown


def names(box: Box, contact_id: str) -> list[str]:
    return [one["first_name"] for one in persons(box, contact_id)]


def primaries(box: Box, contact_id: str) -> list[str]:
    return [one["first_name"] for one in persons(box, contact_id) if one["is_primary_contact"]]


# The list of the contact


def test_a_business_customer_may_have_no_person(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A", customer_sub_type="business")
    shown = box.in_books("contacts", made)
    assert (shown["contact_persons"], shown["primary_contact_id"], shown["email"]) == ([], "", "")


def test_a_list_of_persons_replaces_the_list(box: Box) -> None:
    made, (pat, _) = two_persons(box)
    listed = [{"contact_person_id": pat, "phone": "9"}, {"first_name": "New"}]
    box.books("PUT", f"/contacts/{made}", {"contact_persons": listed})
    assert names(box, made) == ["Pat", "New"]
    kept = persons(box, made)[0]
    assert (kept["contact_person_id"], kept["phone"], kept["email"]) == (pat, "9", "p@x.test")


def test_an_empty_list_removes_every_person(box: Box) -> None:
    made, _ = two_persons(box)
    box.books("PUT", f"/contacts/{made}", {"contact_persons": []})
    assert names(box, made) == []


def test_an_update_without_persons_keeps_them(box: Box) -> None:
    made, ids = two_persons(box)
    box.books("PUT", f"/contacts/{made}", {"notes": "n"})
    assert [one["contact_person_id"] for one in persons(box, made)] == ids


def test_a_person_of_another_contact_cannot_be_listed(box: Box) -> None:
    _, (pat, _) = two_persons(box)
    other = box.make_in_books("contacts", contact_name="B")
    response = box.books("PUT", f"/contacts/{other}", {"contact_persons": [{"contact_person_id": pat}]})
    assert refusal(response) == (404, 1002)


def test_a_refused_list_leaves_all_as_it_was(box: Box) -> None:
    made, (pat, _) = two_persons(box)
    listed = [{"contact_person_id": pat, "first_name": "Changed"}, {"email": "no email"}]
    assert refusal(box.books("PUT", f"/contacts/{made}", {"contact_persons": listed})) == (400, 2)
    assert names(box, made) == ["Pat", "Sam"]


@pytest.mark.parametrize(
    ("field", "length"),
    [
        ("salutation", 25), ("first_name", 100), ("last_name", 100), ("phone", 50), ("mobile", 50),
        ("designation", 100), ("department", 50), ("skype", 50),
    ],
)  # fmt: skip
def test_lengths_of_a_person_in_the_list(box: Box, field: str, length: int) -> None:
    def status(text: str) -> int:
        body = {"contact_name": f"Contact {len(text)}", "contact_persons": [{field: text}]}
        return box.books("POST", "/contacts", body).status_code

    assert (status("x" * length), status("x" * (length + 1))) == (201, 400)


def test_an_email_has_at_most_100_characters(box: Box) -> None:
    body = {"contact_name": "A", "contact_persons": [{"email": "x" * 95 + "@x.test"}]}
    assert refusal(box.books("POST", "/contacts", body)) == (400, 15)


# The primary person


def test_the_first_is_primary_unless_another_is_marked(box: Box) -> None:
    first = box.make_in_books("contacts", contact_name="A", contact_persons=[PAT, SAM])
    second = box.make_in_books("contacts", contact_name="B", contact_persons=[PAT, {**SAM, "is_primary_contact": True}])
    assert (primaries(box, first), primaries(box, second)) == (["Pat"], ["Sam"])


def test_of_two_that_are_marked_one_is_primary(box: Box) -> None:
    marked = [{**PAT, "is_primary_contact": True}, {**SAM, "is_primary_contact": True}]
    assert len(primaries(box, box.make_in_books("contacts", contact_name="A", contact_persons=marked))) == 1


def test_the_primary_person_can_be_changed(box: Box) -> None:
    made, (_, sam) = two_persons(box)
    assert "primary contact person" in box.books("POST", f"/contacts/contactpersons/{sam}/primary").json()["message"]
    assert primaries(box, made) == ["Sam"]
    assert box.in_books("contacts", made)["primary_contact_id"] == sam
    assert box.books("GET", "/contacts").json()["contacts"][0]["email"] == "s@x.test"


def test_the_next_becomes_primary_when_the_primary_is_deleted(box: Box) -> None:
    made, (pat, _) = two_persons(box)
    assert box.books("DELETE", f"/contacts/contactpersons/{pat}").json()["code"] == 0
    assert primaries(box, made) == ["Sam"]


def test_the_next_becomes_primary_when_a_list_leaves_the_primary_out(box: Box) -> None:
    made, (_, sam) = two_persons(box)
    box.books("PUT", f"/contacts/{made}", {"contact_persons": [{"contact_person_id": sam}]})
    assert primaries(box, made) == ["Sam"]


# The contact mirrors its primary person


def test_a_contact_shows_its_primary_person(box: Box) -> None:
    made, _ = two_persons(box)
    row, detail = box.books("GET", "/contacts").json()["contacts"][0], box.in_books("contacts", made)
    for shown in (row, detail):
        assert {name: shown[name] for name in PAT} == PAT


def test_what_is_written_on_the_contact_reaches_the_primary_person(box: Box) -> None:
    made, _ = two_persons(box)
    box.books("PUT", f"/contacts/{made}", {"email": "new@x.test", "first_name": "Patricia"})
    first, second = persons(box, made)
    assert (first["first_name"], first["email"], first["phone"]) == ("Patricia", "new@x.test", "1")
    assert (second["first_name"], second["email"]) == ("Sam", "s@x.test")


def test_a_contact_without_persons_gets_one_from_its_own_email(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A", email="a@x.test")
    (person,) = persons(box, made)
    assert (person["email"], person["is_primary_contact"]) == ("a@x.test", True)


def test_empty_texts_on_the_contact_make_no_person(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A", email="", first_name="")
    assert persons(box, made) == []


def test_a_list_of_persons_goes_before_the_contact_s_own_email(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A", email="a@x.test", contact_persons=[SAM])
    assert [one["email"] for one in persons(box, made)] == ["s@x.test"]


def test_an_individual_has_its_name_in_its_primary_person(box: Box) -> None:
    made = box.make_in_books(
        "contacts", contact_name="Pat Lee", customer_sub_type="individual", first_name="Pat", last_name="Lee"
    )
    assert [(one["first_name"], one["last_name"]) for one in persons(box, made)] == [("Pat", "Lee")]


@pytest.mark.parametrize(("field", "value", "code"), [("email", "none", 2), ("first_name", "x" * 101, 15)])
def test_the_contact_s_own_fields_have_the_person_s_rules(box: Box, field: str, value: str, code: int) -> None:
    assert refusal(box.books("POST", "/contacts", {"contact_name": "A", field: value})) == (400, code)


@pytest.mark.parametrize(("filter_name", "value"), [("email", "s@x.test"), ("phone", "77"), ("last_name", "Kim")])
def test_lists_are_filtered_by_the_primary_person_alone(box: Box, filter_name: str, value: str) -> None:
    made = box.make_in_books("contacts", contact_name="A", contact_persons=[{filter_name: value}])
    box.make_in_books("contacts", contact_name="B", contact_persons=[PAT, {filter_name: value}])
    found = box.books("GET", "/contacts", params={filter_name: value}).json()["contacts"]
    assert [row["contact_id"] for row in found] == [made]


# Single calls


def test_a_person_is_made(box: Box) -> None:
    made, _ = two_persons(box)
    response = box.books("POST", "/contacts/contactpersons", {"contact_id": made, "first_name": "Kim"})
    answer = response.json()
    assert (response.status_code, answer["message"]) == (201, "The contactperson has been Created")
    assert answer["contact_person"][0]["contact_id"] == made
    assert (names(box, made), primaries(box, made)) == (["Pat", "Sam", "Kim"], ["Pat"])


def test_a_person_can_be_made_as_the_primary_one(box: Box) -> None:
    made, _ = two_persons(box)
    body = {"contact_id": made, "first_name": "Kim", "is_primary_contact": True}
    box.books("POST", "/contacts/contactpersons", body)
    assert primaries(box, made) == ["Kim"]


def test_a_person_needs_a_first_name_and_a_contact(box: Box) -> None:
    made, _ = two_persons(box)
    assert refusal(box.books("POST", "/contacts/contactpersons", {"contact_id": made})) == (400, 4)
    assert refusal(box.books("POST", "/contacts/contactpersons", {"first_name": "Kim"})) == (404, 1002)


def test_a_person_is_changed(box: Box) -> None:
    made, (_, sam) = two_persons(box)
    body = {"contact_id": made, "first_name": "Samuel", "last_name": "Ray"}
    answer = box.books("PUT", f"/contacts/contactpersons/{sam}", body).json()
    assert answer["message"] == "The contactperson details has been updated."
    after = persons(box, made)[1]
    assert (after["first_name"], after["last_name"], after["email"]) == ("Samuel", "Ray", "s@x.test")


@pytest.mark.parametrize(("partial", "found"), [(False, (400, 4)), (True, (200, 0))])
def test_whether_a_change_needs_the_first_name_is_a_capability(box: Box, partial: bool, found: tuple[int, int]) -> None:
    _, (pat, _) = two_persons(box)
    box.capable(BOOKS, contact_person_partial_put=partial)
    assert refusal(box.books("PUT", f"/contacts/contactpersons/{pat}", {"last_name": "Ray"})) == found


def test_a_designation_is_shorter_in_the_single_calls(box: Box) -> None:
    made, _ = two_persons(box)
    body = {"contact_id": made, "first_name": "Kim", "designation": "x" * 51}
    assert refusal(box.books("POST", "/contacts/contactpersons", body)) == (400, 15)


def test_a_person_cannot_be_moved_to_another_contact(box: Box) -> None:
    _, (pat, _) = two_persons(box)
    other = box.make_in_books("contacts", contact_name="B")
    body = {"contact_id": other, "first_name": "Pat"}
    assert refusal(box.books("PUT", f"/contacts/contactpersons/{pat}", body)) == (400, 2)


def test_a_person_is_read_by_either_path(box: Box) -> None:
    made, (_, sam) = two_persons(box)
    for path in (f"/contacts/{made}/contactpersons/{sam}", f"/contacts/contactpersons/{sam}"):
        person = box.books("GET", path).json()["contact_person"]
        assert (person["contact_id"], person["contact_person_id"], person["first_name"]) == (made, sam, "Sam")


def test_a_person_is_not_found_under_another_contact(box: Box) -> None:
    _, (pat, _) = two_persons(box)
    other = box.make_in_books("contacts", contact_name="B")
    assert refusal(box.books("GET", f"/contacts/{other}/contactpersons/{pat}")) == (404, 1002)


def test_the_list_of_persons_comes_ten_a_page(box: Box) -> None:
    listed = [{"first_name": f"P{number}"} for number in range(12)]
    made = box.make_in_books("contacts", contact_name="A", contact_persons=listed)
    first = box.books("GET", f"/contacts/{made}/contactpersons").json()
    second = box.books("GET", f"/contacts/{made}/contactpersons", params={"page": 2}).json()
    assert [len(first["contact_persons"]), len(second["contact_persons"])] == [10, 2]
    assert [first["page_context"]["has_more_page"], second["page_context"]["has_more_page"]] == [True, False]
    assert first["page_context"]["sort_column"] == "contact_person_id"


@pytest.mark.parametrize(("method", "call"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/primary")])
def test_an_unknown_person_does_not_exist(box: Box, method: str, call: str) -> None:
    response = box.books(method, f"/contacts/contactpersons/1{call}", {} if method == "PUT" else None)
    assert refusal(response) == (404, 1002)


# A change of a person is a change of the contact


def change_of_a_person(box: Box, which: str, contact_id: str, person_id: str) -> None:
    body = {"contact_id": contact_id, "first_name": "Kim"}
    path = f"/contacts/contactpersons/{person_id}"
    calls: dict[str, tuple[str, str, Any]] = {
        "create": ("POST", "/contacts/contactpersons", body),
        "update": ("PUT", path, body),
        "delete": ("DELETE", path, None),
        "primary": ("POST", f"{path}/primary", None),
    }
    method, path, body = calls[which]
    assert box.books(method, path, body).json()["code"] == 0


@pytest.mark.parametrize("which", ["create", "update", "delete", "primary"])
def test_a_change_of_a_person_moves_the_contact_s_modified_time(box: Box, which: str) -> None:
    made, (_, sam) = two_persons(box)
    change_of_a_person(box, which, made, sam)
    assert box.in_books("contacts", made)["last_modified_time"] > "2026"


def test_a_person_has_no_modified_time(box: Box) -> None:
    made, _ = two_persons(box)
    assert not [name for one in persons(box, made) for name in one if "time" in name]


@pytest.mark.parametrize("which", ["create", "update", "delete", "primary"])
def test_a_change_of_a_person_fires_the_contact_s_webhook(box: Box, receiver: Receiver, which: str) -> None:
    made, (_, sam) = two_persons(box)
    box.control(BOOKS, "POST", "webhooks", {"url": receiver.url, "events": ["update"]})
    change_of_a_person(box, which, made, sam)
    body = json.loads(receiver.wait_for(1)[0].body)
    assert body["contact"]["contact_id"] == made


# The control


def test_state_shows_persons_with_their_contact(box: Box) -> None:
    made, ids = two_persons(box)
    shown = box.control(BOOKS, "GET", "state?module=contact_persons")["modules"]["contact_persons"]
    assert [(one["contact_id"], one["contact_person_id"]) for one in shown] == [(made, one) for one in ids]


def test_a_person_is_seeded_with_its_own_id(box: Box) -> None:
    made, _ = two_persons(box)
    row = {"contact_id": made, "contact_person_id": "77", "first_name": "Kim", "is_primary_contact": True}
    assert box.seed(BOOKS, contact_persons=[row])["contact_persons"] == ["77"]
    assert primaries(box, made) == ["Kim"]
    assert box.in_books("contacts", made)["last_modified_time"] == OLD


def test_somebody_edits_persons(box: Box, receiver: Receiver) -> None:
    made, (pat, sam) = two_persons(box)
    box.control(BOOKS, "POST", "webhooks", {"url": receiver.url, "events": ["update"]})
    box.control(BOOKS, "POST", "edits/contact_persons", {"contact_id": made, "first_name": "Kim"})
    box.control(BOOKS, "PUT", f"edits/contact_persons/{sam}", {"first_name": "Samuel"})
    box.control(BOOKS, "DELETE", f"edits/contact_persons/{pat}")
    assert (names(box, made), primaries(box, made)) == (["Samuel", "Kim"], ["Samuel"])
    assert len(receiver.wait_for(3)) == 3
