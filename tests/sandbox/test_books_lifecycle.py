"""Zoho Books: activation, deactivation and deletion of contacts and items."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box, refusal

pytestmark = pytest.mark.rule("OP-3")
FIELDS: dict[str, dict[str, Any]] = {"contacts": {"contact_name": "A"}, "items": {"name": "A", "rate": 1}}
both = pytest.mark.parametrize("plural", ["contacts", "items"])


def listed(box: Box, plural: str, **params: str) -> list[str]:
    id_key = f"{plural.removesuffix('s')}_id"
    return [row[id_key] for row in box.books("GET", f"/{plural}", params=params).json()[plural]]


@both
def test_active_and_inactive(box: Box, plural: str) -> None:
    made = box.make_in_books(plural, **FIELDS[plural])
    assert "marked as inactive" in box.books("POST", f"/{plural}/{made}/inactive").json()["message"]
    assert box.in_books(plural, made)["status"] == "inactive"
    assert "marked as active" in box.books("POST", f"/{plural}/{made}/active").json()["message"]
    assert box.in_books(plural, made)["status"] == "active"


@both
def test_lists_hide_what_is_inactive_unless_asked(box: Box, plural: str) -> None:
    made = box.make_in_books(plural, **FIELDS[plural])
    box.books("POST", f"/{plural}/{made}/inactive")
    assert listed(box, plural) == []
    assert listed(box, plural, filter_by="Status.Active") == []
    assert listed(box, plural, filter_by="Status.Inactive") == [made]
    assert listed(box, plural, filter_by="Status.All") == [made]


@both
def test_an_unknown_filter_is_refused(box: Box, plural: str) -> None:
    assert refusal(box.books("GET", f"/{plural}", params={"filter_by": "Status.Gone"})) == (400, 2)


@both
def test_a_change_of_status_moves_the_modified_time(box: Box, plural: str) -> None:
    old = "2020-01-01T00:00:00-0800"
    made = box.seed(BOOKS, **{plural: [{**FIELDS[plural], "last_modified_time": old}]})[plural][0]
    box.books("POST", f"/{plural}/{made}/inactive")
    assert box.in_books(plural, made)["last_modified_time"] > "2026"


@both
@pytest.mark.parametrize("status", ["active", "inactive"])
def test_a_repeated_change_of_status_succeeds_and_changes_nothing(box: Box, plural: str, status: str) -> None:
    old = "2020-01-01T00:00:00-0800"
    seeded = {**FIELDS[plural], "status": status, "last_modified_time": old}
    made = box.seed(BOOKS, **{plural: [seeded]})[plural][0]
    response = box.books("POST", f"/{plural}/{made}/{status}")
    assert (response.status_code, response.json()["code"]) == (200, 0)
    assert box.in_books(plural, made)["last_modified_time"] == old


@both
def test_what_is_inactive_can_still_be_changed(box: Box, plural: str) -> None:
    made = box.make_in_books(plural, **FIELDS[plural])
    box.books("POST", f"/{plural}/{made}/inactive")
    field = "notes" if plural == "contacts" else "description"
    box.books("PUT", f"/{plural}/{made}", {field: "x"})
    after = box.in_books(plural, made)
    assert (after[field], after["status"]) == ("x", "inactive")


@both
def test_what_has_transactions_cannot_be_deleted_but_deactivated(box: Box, plural: str) -> None:
    made = box.seed(BOOKS, **{plural: [{**FIELDS[plural], "has_transaction": True}]})[plural][0]
    assert refusal(box.books("DELETE", f"/{plural}/{made}")) == (400, 2049)
    assert box.in_books(plural, made)["status"] == "active"
    assert box.books("POST", f"/{plural}/{made}/inactive").json()["code"] == 0


@both
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_was_deleted_does_not_exist(box: Box, plural: str, method: str) -> None:
    made = box.make_in_books(plural, **FIELDS[plural])
    assert box.books("DELETE", f"/{plural}/{made}").json()["code"] == 0
    response = box.books(method, f"/{plural}/{made}", FIELDS[plural] if method == "PUT" else None)
    assert refusal(response) == (404, 1002)
    assert listed(box, plural, filter_by="Status.All") == []


@pytest.mark.parametrize("call", ["active", "inactive"])
def test_the_status_of_what_is_gone_cannot_be_changed(box: Box, call: str) -> None:
    assert refusal(box.books("POST", f"/items/1/{call}")) == (404, 1002)


def test_contacts_are_deleted_in_bulk(box: Box) -> None:
    ids = [box.make_in_books("contacts", contact_name=name) for name in "ABC"]
    assert box.books("DELETE", "/contacts", params={"contact_ids": ",".join(ids[:2])}).json()["code"] == 0
    assert listed(box, "contacts") == ids[2:]


def test_a_deletion_in_bulk_is_all_or_nothing(box: Box) -> None:
    rows: list[dict[str, Any]] = [{"contact_name": "A"}, {"contact_name": "B", "has_transaction": True}]
    ids = box.seed(BOOKS, contacts=rows)["contacts"]
    assert refusal(box.books("DELETE", "/contacts", params={"contact_ids": ",".join(ids)})) == (400, 2049)
    assert sorted(listed(box, "contacts")) == sorted(ids)


def test_the_deleted_contact_takes_its_persons_along(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A", contact_persons=[{"first_name": "Pat"}])
    person = box.in_books("contacts", made)["primary_contact_id"]
    box.books("DELETE", f"/contacts/{made}")
    assert refusal(box.books("GET", f"/contacts/contactpersons/{person}")) == (404, 1002)
