"""Zoho Books: creates, updates, deletes, upserts and their refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box

pytestmark = pytest.mark.rule("OP-3")


def contact(box: Box, contact_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = box.books("GET", f"/contacts/{contact_id}").json()["contact"]
    return shown


def refusal(response: Any) -> tuple[int, int]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("second", ["Acme", "acme", " Acme "])
def test_a_display_name_is_taken_once(box: Box, second: str) -> None:
    box.make_in_books("contacts", contact_name="Acme")
    response = box.books("POST", "/contacts", {"contact_name": second})
    assert refusal(response) == (400, 3062)
    assert response.json()["message"].endswith("already exists. Please specify a different name.")


def test_vendors_and_inactive_contacts_hold_their_names_too(box: Box) -> None:
    vendor = box.make_in_books("contacts", contact_name="Acme", contact_type="vendor")
    box.books("POST", f"/contacts/{vendor}/inactive")
    assert refusal(box.books("POST", "/contacts", {"contact_name": "Acme"})) == (400, 3062)


def test_a_rename_meets_the_same_rule_but_not_itself(box: Box) -> None:
    box.make_in_books("contacts", contact_name="Acme")
    other = box.make_in_books("contacts", contact_name="Other")
    assert refusal(box.books("PUT", f"/contacts/{other}", {"contact_name": "ACME"})) == (400, 3062)
    assert contact(box, other)["contact_name"] == "Other"
    assert box.books("PUT", f"/contacts/{other}", {"contact_name": "OTHER"}).status_code == 200


def test_a_name_is_free_again_after_a_rename_or_a_delete(box: Box) -> None:
    first = box.make_in_books("contacts", contact_name="Acme")
    box.books("PUT", f"/contacts/{first}", {"contact_name": "Beta"})
    second = box.make_in_books("contacts", contact_name="Acme")
    box.books("DELETE", f"/contacts/{second}")
    box.make_in_books("contacts", contact_name="Acme")


def test_an_organisation_may_allow_duplicate_names(box: Box) -> None:
    box.control(BOOKS, "POST", "capabilities", {"duplicate_contact_names": True})
    assert box.make_in_books("contacts", contact_name="A") != box.make_in_books("contacts", contact_name="A")


def test_an_item_name_is_taken_once(box: Box) -> None:
    box.make_in_books("items", name="Fan", rate=1, sku="F1")
    response = box.books("POST", "/items", {"name": "FAN", "rate": 2})
    assert refusal(response) == (400, 1000)
    assert response.json()["message"] == "item name already exist"
    assert refusal(box.books("POST", "/items", {"name": "Other", "rate": 2, "sku": "f1"})) == (400, 1000)


@pytest.mark.parametrize(
    ("plural", "fields", "code"),
    [
        ("contacts", {"company_name": "A"}, 4),
        ("contacts", {"contact_name": "  "}, 4),
        ("contacts", {"contact_name": "A", "contact_type": "friend"}, 2),
        ("contacts", {"contact_name": "A", "currency_id": "1"}, 2),
        ("contacts", {"contact_name": "A", "company_name": "x" * 201}, 15),
        ("contacts", {"contact_name": "A", "billing_address": {"street2": "x" * 256}}, 15),
        ("contacts", {"contact_name": "A", "contact_persons": [{"first_name": "x" * 101}]}, 15),
        ("contacts", {"contact_name": "A", "custom_fields": [{"api_name": "cf_none", "value": "1"}]}, 2),
        ("items", {"rate": 1}, 4),
        ("items", {"name": "A"}, 4),
        ("items", {"name": "A", "rate": "cheap"}, 2),
        ("items", {"name": "x" * 101, "rate": 1}, 15),
        ("items", {"name": "A", "rate": 1, "description": "x" * 2001}, 15),
        ("items", {"name": "A", "rate": 1, "tax_id": "1"}, 2),
    ],
)
def test_refused_values(box: Box, plural: str, fields: dict[str, Any], code: int) -> None:
    assert refusal(box.books("POST", f"/{plural}", fields)) == (400, code)
    assert box.books("GET", f"/{plural}", params={"filter_by": "Status.All"}).json()[plural] == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_id_does_not_exist(box: Box, method: str) -> None:
    assert refusal(box.books(method, "/contacts/1", {} if method == "PUT" else None)) == (404, 1002)


def test_an_update_changes_only_what_it_names(box: Box) -> None:
    made = box.make_in_books(
        "contacts", contact_name="A", notes="n", billing_address={"city": "Austin", "zip": "1"}, payment_terms=15
    )
    box.books("PUT", f"/contacts/{made}", {"billing_address": {"city": "Waco"}})
    after = contact(box, made)
    assert (after["billing_address"]["city"], after["billing_address"]["zip"]) == ("Waco", "1")
    assert (after["notes"], after["payment_terms"]) == ("n", 15)


def test_an_update_moves_the_modified_time(box: Box) -> None:
    box.control(
        BOOKS,
        "POST",
        "seed",
        {"items": [{"item_id": "7", "name": "A", "last_modified_time": "2020-01-01T00:00:00+0000"}]},
    )
    box.books("PUT", "/items/7", {"description": "d"})
    assert box.books("GET", "/items/7").json()["item"]["last_modified_time"] > "2026"


def test_active_and_inactive(box: Box) -> None:
    made = box.make_in_books("items", name="A", rate=1)
    assert "inactive" in box.books("POST", f"/items/{made}/inactive").json()["message"]
    assert box.books("GET", f"/items/{made}").json()["item"]["status"] == "inactive"
    box.books("POST", f"/items/{made}/active")
    assert box.books("GET", f"/items/{made}").json()["item"]["status"] == "active"


def test_what_has_transactions_cannot_be_deleted(box: Box) -> None:
    seeded = {"items": [{"item_id": "7", "name": "A", "has_transaction": True}]}
    box.control(BOOKS, "POST", "seed", seeded)
    assert refusal(box.books("DELETE", "/items/7")) == (400, 2049)
    assert box.books("GET", "/items/7").status_code == 200


def test_contacts_are_deleted_in_bulk(box: Box) -> None:
    ids = [box.make_in_books("contacts", contact_name=name) for name in "ABC"]
    assert box.books("DELETE", "/contacts", params={"contact_ids": ",".join(ids[:2])}).json()["code"] == 0
    assert [row["contact_id"] for row in box.books("GET", "/contacts").json()["contacts"]] == ids[2:]


@pytest.mark.parametrize("rate", ["19.99", "0.10", "100", "12345678901234567.89"])
def test_money_stays_exact(box: Box, rate: str) -> None:
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(BOOKS)}"}
    url = f"/{BOOKS}/books/v3/items?organization_id={box.info['orgs'][BOOKS]}"
    box.http.post(url, content=f'{{"name":"A","rate":{rate}}}'.encode(), headers=headers)
    assert f'"rate":{rate},'.encode() in box.books("GET", "/items").content


# Contact persons


def two_persons(box: Box) -> tuple[str, list[str]]:
    persons = [{"first_name": "Pat", "email": "p@x.test"}, {"first_name": "Sam", "email": "s@x.test"}]
    made = box.make_in_books("contacts", contact_name="A", contact_persons=persons)
    return made, [one["contact_person_id"] for one in contact(box, made)["contact_persons"]]


def test_a_list_of_persons_replaces_the_list(box: Box) -> None:
    made, (pat, _) = two_persons(box)
    listed = [{"contact_person_id": pat, "phone": "1"}, {"first_name": "New"}]
    box.books("PUT", f"/contacts/{made}", {"contact_persons": listed})
    after = contact(box, made)["contact_persons"]
    assert [one["first_name"] for one in after] == ["Pat", "New"]
    assert (after[0]["contact_person_id"], after[0]["phone"], after[0]["email"]) == (pat, "1", "p@x.test")


def test_an_update_without_persons_keeps_them(box: Box) -> None:
    made, ids = two_persons(box)
    box.books("PUT", f"/contacts/{made}", {"notes": "n"})
    assert [one["contact_person_id"] for one in contact(box, made)["contact_persons"]] == ids


def test_exactly_one_person_is_primary(box: Box) -> None:
    made, (pat, sam) = two_persons(box)
    assert contact(box, made)["primary_contact_id"] == pat
    box.books("POST", f"/contacts/contactpersons/{sam}/primary")
    assert [one["is_primary_contact"] for one in contact(box, made)["contact_persons"]] == [False, True]
    assert box.books("GET", "/contacts").json()["contacts"][0]["email"] == "s@x.test"
    box.books("DELETE", f"/contacts/contactpersons/{sam}")
    assert contact(box, made)["primary_contact_id"] == pat


def test_single_calls_on_persons(box: Box) -> None:
    made, _ = two_persons(box)
    assert refusal(box.books("POST", "/contacts/contactpersons", {"contact_id": made})) == (400, 4)
    answer = box.books("POST", "/contacts/contactpersons", {"contact_id": made, "first_name": "Kim"}).json()
    kim = answer["contact_person"][0]["contact_person_id"]
    box.books("PUT", f"/contacts/contactpersons/{kim}", {"last_name": "Lee"})
    listed = box.books("GET", f"/contacts/{made}/contactpersons").json()["contact_persons"]
    assert [(one["first_name"], one["last_name"]) for one in listed][-1] == ("Kim", "Lee")
    assert refusal(box.books("PUT", "/contacts/contactpersons/1", {})) == (404, 1002)


# Custom fields and upsert

KEY = {"X-Unique-Identifier-Key": "cf_key", "X-Unique-Identifier-Value": "k1"}


def define(box: Box, unique: bool = True) -> None:
    box.control(BOOKS, "POST", "custom_fields", {"contact": [{"api_name": "cf_key", "label": "Key", "unique": unique}]})


def test_custom_fields_are_shown_in_both_forms(box: Box) -> None:
    define(box)
    made = box.make_in_books("contacts", contact_name="A", custom_fields=[{"label": "Key", "value": "k1"}])
    shown = contact(box, made)
    assert shown["custom_field_hash"] == {"cf_key": "k1"}
    assert shown["custom_fields"][0]["value"] == "k1"
    box.books("PUT", f"/contacts/{made}", {"custom_fields": [{**shown["custom_fields"][0], "value": "k2"}]})
    assert contact(box, made)["custom_field_hash"] == {"cf_key": "k2"}


def test_a_unique_custom_field_refuses_a_second_value(box: Box) -> None:
    define(box)
    fields = [{"api_name": "cf_key", "value": "k1"}]
    box.make_in_books("contacts", contact_name="A", custom_fields=fields)
    assert box.books("POST", "/contacts", {"contact_name": "B", "custom_fields": fields}).status_code == 400


def test_an_upsert_creates_once_and_then_updates(box: Box) -> None:
    define(box)
    headers = {**KEY, "X-Upsert": "true"}
    first = box.books("PUT", "/contacts", {"contact_name": "A"}, headers=headers)
    second = box.books("PUT", "/contacts", {"contact_name": "A", "notes": "n"}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["contact"]["contact_id"] == second.json()["contact"]["contact_id"]
    assert second.json()["contact"]["notes"] == "n"


def test_without_the_upsert_header_nothing_is_created(box: Box) -> None:
    define(box)
    assert refusal(box.books("PUT", "/contacts", {"contact_name": "A"}, headers=KEY)) == (404, 1002)


def test_an_upsert_needs_a_unique_field_and_the_capability(box: Box) -> None:
    headers = {**KEY, "X-Upsert": "true"}
    assert refusal(box.books("PUT", "/contacts", {"contact_name": "A"}, headers=headers)) == (400, 2)
    define(box, unique=False)
    assert refusal(box.books("PUT", "/contacts", {"contact_name": "A"}, headers=headers)) == (400, 2)
    define(box)
    box.control(BOOKS, "POST", "capabilities", {"custom_field_upsert": False})
    assert refusal(box.books("PUT", "/contacts", {"contact_name": "A"}, headers=headers)) == (404, 5)


def test_custom_fields_are_made_by_the_settings_call(box: Box) -> None:
    made = box.books("POST", "/settings/fields", {"label": "Link Key", "is_unique": True}, params={"entity": "item"})
    assert made.json()["field"]["api_name"] == "cf_link_key"
    listed = box.books("GET", "/settings/fields", params={"entity": "item"}).json()["fields"]
    assert [one["is_unique"] for one in listed] == [True]
    item = box.make_in_books("items", name="A", rate=1)
    change = {"custom_fields": [{"api_name": "cf_link_key", "value": "x"}]}
    assert box.books("PUT", f"/item/{item}/customfields", change).json()["code"] == 0
    assert box.books("GET", f"/items/{item}").json()["item"]["custom_field_hash"] == {"cf_link_key": "x"}
