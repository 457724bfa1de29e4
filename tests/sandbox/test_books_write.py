"""Zoho Books: creates, updates, deletes, upserts and their refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box, refusal

pytestmark = pytest.mark.rule("OP-3")


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
    assert box.in_books("contacts", other)["contact_name"] == "Other"
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
    after = box.in_books("contacts", made)
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


@pytest.mark.parametrize("rate", ["19.99", "0.10", "100", "12345678901234567.89"])
def test_money_stays_exact(box: Box, rate: str) -> None:
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(BOOKS)}"}
    url = f"/{BOOKS}/books/v3/items?organization_id={box.info['orgs'][BOOKS]}"
    box.http.post(url, content=f'{{"name":"A","rate":{rate}}}'.encode(), headers=headers)
    assert f'"rate":{rate},'.encode() in box.books("GET", "/items").content
