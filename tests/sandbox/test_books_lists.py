"""Zoho Books: lists, filters, sort, pages, organisations and settings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box

pytestmark = pytest.mark.rule("OP-3")


def seed(box: Box, **modules: list[dict[str, Any]]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = box.control(BOOKS, "POST", "seed", modules)["seeded"]
    return ids


def contacts(box: Box, **params: Any) -> list[str]:
    return [row["contact_name"] for row in box.books("GET", "/contacts", params=params).json()["contacts"]]


def items(box: Box, **params: Any) -> list[str]:
    return [row["name"] for row in box.books("GET", "/items", params=params).json()["items"]]


def dated(name: str, day: int) -> dict[str, Any]:
    return {"contact_name": name, "name": name, "last_modified_time": f"2026-01-0{day}T10:00:00-0800"}


def test_the_organisation_must_be_named(box: Box) -> None:
    missing = box.call(BOOKS, "GET", "/contacts")
    assert (missing.status_code, missing.json()["code"] != 0) == (400, True)
    other = box.call(BOOKS, "GET", "/contacts", params={"organization_id": "1"})
    assert (other.status_code, other.json()["code"]) == (401, 6041)
    header = {"X-com-zoho-books-organizationid": box.info["orgs"][BOOKS]}
    assert box.call(BOOKS, "GET", "/contacts", headers=header).status_code == 200


def test_organisations_need_no_organisation(box: Box) -> None:
    org = box.call(BOOKS, "GET", "/organizations").json()["organizations"][0]
    assert org["organization_id"] == box.info["orgs"][BOOKS]
    assert {"name", "plan_name", "currency_code", "time_zone", "country", "version"} <= set(org)


def test_contact_rows_are_thin(box: Box) -> None:
    made = box.make_in_books(
        "contacts",
        contact_name="A",
        billing_address={"city": "Austin"},
        contact_persons=[{"first_name": "Pat", "last_name": "Buyer", "email": "pat@x.test", "phone": "1"}],
    )
    row = box.books("GET", "/contacts").json()["contacts"][0]
    assert (row["contact_id"], row["first_name"], row["email"]) == (made, "Pat", "pat@x.test")
    assert not {"billing_address", "contact_persons", "notes"} & set(row)
    detail = box.books("GET", f"/contacts/{made}").json()["contact"]
    assert detail["billing_address"]["city"] == "Austin"
    assert detail["contact_persons"][0]["is_primary_contact"] is True


def test_times_are_whole_seconds_with_a_plain_offset(box: Box) -> None:
    seed(box, contacts=[dated("A", 1)])
    assert box.books("GET", "/contacts").json()["contacts"][0]["last_modified_time"] == "2026-01-01T10:00:00-0800"


def test_contacts_sort_by_modified_time_both_ways(box: Box) -> None:
    seed(box, contacts=[dated("B", 2), dated("C", 1), dated("A", 3)])
    assert contacts(box, sort_column="last_modified_time", sort_order="D") == ["A", "B", "C"]
    assert contacts(box, sort_column="last_modified_time", sort_order="A") == ["C", "B", "A"]
    assert contacts(box, sort_column="contact_name") == ["A", "B", "C"]


def test_pages_do_not_overlap(box: Box) -> None:
    seed(box, contacts=[dated(f"C{number}", 1) for number in range(5)])
    params = {"sort_column": "last_modified_time", "sort_order": "D", "per_page": 2}
    pages = [box.books("GET", "/contacts", params={**params, "page": page}).json() for page in (1, 2, 3)]
    assert [page["page_context"]["has_more_page"] for page in pages] == [True, True, False]
    assert sorted(row["contact_name"] for page in pages for row in page["contacts"]) == [f"C{n}" for n in range(5)]
    assert pages[0]["page_context"]["sort_column"] == "last_modified_time"


def test_a_page_holds_at_most_200(box: Box) -> None:
    seed(box, items=[{"name": f"I{number}"} for number in range(201)])
    assert len(items(box, per_page=500)) == 200
    assert len(items(box)) == 200


def test_page_context_can_come_as_a_list(box: Box) -> None:
    box.control(BOOKS, "POST", "capabilities", {"page_context_as_list": True})
    assert box.books("GET", "/contacts").json()["page_context"][0]["page"] == 1


def test_inactive_rows_come_only_when_asked_for(box: Box) -> None:
    seed(box, contacts=[{"contact_name": "On"}, {"contact_name": "Off", "status": "inactive"}])
    assert contacts(box) == ["On"]
    assert contacts(box, filter_by="Status.All") == ["Off", "On"]
    assert contacts(box, filter_by="Status.Inactive") == ["Off"]


def test_customers_and_vendors_can_be_told_apart(box: Box) -> None:
    seed(box, contacts=[{"contact_name": "C"}, {"contact_name": "V", "contact_type": "vendor"}])
    assert contacts(box, contact_type="vendor") == ["V"]
    assert contacts(box, filter_by="Status.Customers") == ["C"]


@pytest.mark.parametrize("link", ["zcrm_account_id", "zcrm_contact_id", "zcrm_vendor_id"])
def test_contacts_are_found_by_their_link_to_the_crm(box: Box, link: str) -> None:
    seed(box, contacts=[{"contact_name": "A", link: "7"}, {"contact_name": "B", link: "8"}, {"contact_name": "C"}])
    assert contacts(box, **{link: "8"}) == ["B"]
    assert contacts(box, filter_by="Status.Crm") == ["A", "B"]
    linked = [row["is_linked_with_zohocrm"] for row in box.books("GET", "/contacts").json()["contacts"]]
    assert linked == [True, True, False]


def test_duplicates_are_those_whose_name_another_has(box: Box) -> None:
    seed(box, contacts=[{"contact_name": name} for name in ("Acme", "acme ", "Beta")])
    assert sorted(contacts(box, filter_by="Status.Duplicate")) == ["Acme", "acme "]


def test_contacts_are_told_apart_by_their_portal(box: Box) -> None:
    box.make_in_books("contacts", contact_name="In", contact_persons=[{"first_name": "Pat", "enable_portal": True}])
    box.make_in_books("contacts", contact_name="Out", contact_persons=[{"first_name": "Sam"}])
    assert contacts(box, filter_by="Status.PortalEnabled") == ["In"]
    assert contacts(box, filter_by="Status.PortalDisabled") == ["Out"]


def test_a_vendor_has_no_customer_type(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="V", contact_type="vendor", customer_sub_type="individual")
    assert box.in_books("contacts", made)["customer_sub_type"] == ""


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"contact_name": "acme"}, ["Acme"]),
        ({"contact_name_startswith": "Ac"}, ["Acme", "Acme East"]),
        ({"contact_name_contains": "east"}, ["Acme East"]),
        ({"email": "EAST@x.test"}, ["Acme East"]),
        ({"email_startswith": "ea"}, ["Acme East"]),
        ({"email_contains": "@y"}, ["Zeta"]),
        ({"phone": "555"}, ["Zeta"]),
        ({"company_name_contains": "hold"}, ["Zeta"]),
        ({"contact_name": "Acme", "email": "other@x.test"}, []),
    ],
)
def test_filters_of_contacts(box: Box, params: dict[str, str], found: list[str]) -> None:
    seed(
        box,
        contacts=[
            {"contact_name": "Acme"},
            {"contact_name": "Acme East", "email": "east@x.test"},
            {"contact_name": "Zeta", "email": "z@y.test", "phone": "555", "company_name": "Zeta Holding"},
        ],
    )
    assert contacts(box, **params) == found


def test_the_modified_filter_is_ignored_on_contacts_unless_switched_on(box: Box) -> None:
    seed(box, contacts=[dated("Old", 1), dated("New", 3)])
    since = {"last_modified_time": "2026-01-02T00:00:00-0800"}
    assert contacts(box, **since) == ["New", "Old"]
    box.control(BOOKS, "POST", "capabilities", {"contacts_modified_filter": True})
    assert contacts(box, **since) == ["New"]
    refused = box.books("GET", "/contacts", params={"last_modified_time": "2026-01-02T00:00:00Z"})
    assert (refused.status_code, refused.json()["code"]) == (400, 2)


def test_items_sort_by_modified_time_only_by_capability(box: Box) -> None:
    seed(box, items=[dated("A", 1), dated("B", 2)])
    params = {"sort_column": "last_modified_time", "sort_order": "D"}
    assert items(box, **params) == ["A", "B"]
    box.control(BOOKS, "POST", "capabilities", {"items_sort_modified": True})
    assert items(box, **params) == ["B", "A"]


def test_items_sort_by_rate_as_numbers(box: Box) -> None:
    seed(box, items=[{"name": "A", "rate": 9}, {"name": "B", "rate": 10.5}, {"name": "C", "rate": 100}])
    assert items(box, sort_column="rate", sort_order="D") == ["C", "B", "A"]
    assert items(box, rate_greater_than="9") == ["B", "C"]
    assert items(box, name="b") == ["B"]


def test_item_rows_show_their_modified_time(box: Box) -> None:
    seed(box, items=[dated("A", 1)])
    row = box.books("GET", "/items").json()["items"][0]
    assert row["last_modified_time"] == "2026-01-01T10:00:00-0800"
    assert {"item_id", "rate", "sku", "unit", "status", "tax_name"} <= set(row)


def test_details_of_many_items_in_one_call(box: Box) -> None:
    ids = seed(box, items=[{"name": "A"}, {"name": "B"}, {"name": "C"}])["items"]
    answer = box.books("GET", "/itemdetails", params={"item_ids": f"{ids[2]},{ids[0]},999"}).json()["items"]
    assert [row["name"] for row in answer] == ["C", "A"]
    assert "created_time" in answer[0]


def test_a_new_record_can_show_late(box: Box) -> None:
    box.control(BOOKS, "POST", "capabilities", {"list_lag_ms": 60_000})
    made = box.make_in_books("contacts", contact_name="A")
    assert contacts(box) == []
    assert box.books("GET", f"/contacts/{made}").status_code == 200


def test_currencies_and_taxes(box: Box) -> None:
    currencies = box.books("GET", "/settings/currencies").json()["currencies"]
    assert [one["currency_code"] for one in currencies if one["is_base_currency"]] == ["USD"]
    seed(box, taxes=[{"tax_id": "7", "tax_name": "City", "tax_percentage": 1.25}])
    taxes = box.books("GET", "/settings/taxes").json()["taxes"]
    made = box.make_in_books("items", name="A", rate=1, tax_id="7")
    assert [one["tax_percentage"] for one in taxes if one["tax_id"] == "7"] == [1.25]
    assert box.books("GET", f"/items/{made}").json()["item"]["tax_name"] == "City"


def test_an_unknown_path_is_refused(box: Box) -> None:
    response = box.books("GET", "/contacts/1/nothing/here")
    assert (response.status_code, response.json()["code"]) == (404, 5)
