"""Zoho Books: taxes, tax groups, authorities and exemptions, and what contacts and items take of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box, refusal

pytestmark = pytest.mark.rule("OP-3")
COUNTY = "460000000566009"
FIELDS: dict[str, dict[str, Any]] = {"contacts": {"contact_name": "A"}, "items": {"name": "A", "rate": 1}}
both = pytest.mark.parametrize("plural", ["contacts", "items"])


def settings(box: Box, method: str, path: str, body: Any = None) -> Any:
    return box.books(method, f"/settings/{path}", body)


def exemption(box: Box, kind: str, code: str = "RESELLER") -> str:
    response = settings(box, "POST", "taxexemptions", {"tax_exemption_code": code, "type": kind})
    made: str = response.json()["tax_exemption"]["tax_exemption_id"]
    return made


def kind_of(plural: str) -> str:
    return "customer" if plural == "contacts" else "item"


# The settings


def test_a_tax_is_added_and_answered_in_a_list(box: Box) -> None:
    response = settings(box, "POST", "taxes", {"tax_name": "City", "tax_percentage": 1.25})
    (made,) = response.json()["tax"]
    assert (response.status_code, made["tax_name"], made["tax_percentage"]) == (201, "City", 1.25)
    assert made["tax_type"] == "tax"
    assert settings(box, "GET", f"taxes/{made['tax_id']}").json()["tax"] == [made]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"tax_percentage": 1}, 4),
        ({"tax_name": "T"}, 4),
        ({"tax_name": "T", "tax_percentage": 101}, 2),
        ({"tax_name": "T", "tax_percentage": 1, "tax_type": "toll"}, 2),
        ({"tax_name": "county TAX", "tax_percentage": 1}, 1000),
        ({"tax_name": "T", "tax_percentage": 1, "tax_authority_id": "1"}, 2),
    ],
)
def test_taxes_that_cannot_be_added(box: Box, body: dict[str, Any], code: int) -> None:
    assert refusal(settings(box, "POST", "taxes", body)) == (400, code)


def test_a_tax_is_changed(box: Box) -> None:
    (after,) = settings(box, "PUT", f"taxes/{COUNTY}", {"tax_percentage": 4}).json()["tax"]
    assert (after["tax_name"], after["tax_percentage"]) == ("County tax", 4)


def test_a_tax_is_deleted_unless_something_has_it(box: Box) -> None:
    made = box.make_in_books("items", name="A", rate=1, tax_id=COUNTY)
    assert settings(box, "DELETE", f"taxes/{COUNTY}").status_code == 400
    box.books("DELETE", f"/items/{made}")
    assert settings(box, "DELETE", f"taxes/{COUNTY}").json()["message"] == "The record has been deleted."
    assert refusal(settings(box, "GET", f"taxes/{COUNTY}")) == (404, 1002)


def group(box: Box) -> dict[str, Any]:
    (city,) = settings(box, "POST", "taxes", {"tax_name": "City", "tax_percentage": 1.25}).json()["tax"]
    response = settings(box, "POST", "taxgroups", {"tax_group_name": "Both", "taxes": f"{COUNTY},{city['tax_id']}"})
    assert response.status_code == 201
    made: dict[str, Any] = response.json()["tax_group"]
    return made


def test_a_tax_group_sums_up_its_taxes(box: Box) -> None:
    made = group(box)
    assert made["tax_group_percentage"] == 4.75
    assert [tax["tax_name"] for tax in made["taxes"]] == ["County tax", "City"]
    assert settings(box, "GET", f"taxgroups/{made['tax_group_id']}").json()["tax_group"] == made


def test_a_tax_group_is_listed_among_the_taxes(box: Box) -> None:
    made = group(box)
    rows = settings(box, "GET", "taxes").json()["taxes"]
    assert [row["tax_type"] for row in rows if row["tax_id"] == made["tax_group_id"]] == ["tax_group"]


def test_tax_groups_have_no_list_of_their_own(box: Box) -> None:
    assert refusal(settings(box, "GET", "taxgroups")) == (404, 5)


def test_a_tax_group_needs_known_taxes(box: Box) -> None:
    assert refusal(settings(box, "POST", "taxgroups", {"tax_group_name": "G", "taxes": "1"})) == (400, 2)
    assert refusal(settings(box, "POST", "taxgroups", {"tax_group_name": "G"})) == (400, 4)


def test_a_tax_of_a_group_cannot_be_deleted(box: Box) -> None:
    made = group(box)
    assert settings(box, "DELETE", f"taxes/{COUNTY}").status_code == 400
    settings(box, "DELETE", f"taxgroups/{made['tax_group_id']}")
    assert settings(box, "DELETE", f"taxes/{COUNTY}").status_code == 200


def test_an_authority_lends_a_tax_its_name(box: Box) -> None:
    body = {"tax_authority_name": "Revenue", "registration_number": "7"}
    authority = settings(box, "POST", "taxauthorities", body).json()["tax_authority"]
    assert settings(box, "GET", "taxauthorities").json()["tax_authorities"] == [authority]
    given = {"tax_name": "T", "tax_percentage": 1, "tax_authority_id": authority["tax_authority_id"]}
    assert settings(box, "POST", "taxes", given).json()["tax"][0]["tax_authority_name"] == "Revenue"
    assert refusal(settings(box, "POST", "taxauthorities", {})) == (400, 4)


def test_an_exemption_is_added(box: Box) -> None:
    response = settings(box, "POST", "taxexemptions", {"tax_exemption_code": "RESELLER", "type": "customer"})
    assert response.status_code == 200  # not 201, by the vendor's file
    assert settings(box, "GET", "taxexemptions").json()["tax_exemptions"] == [response.json()["tax_exemption"]]


@pytest.mark.parametrize(
    ("body", "code"),
    [({"type": "item"}, 4), ({"tax_exemption_code": "X"}, 4), ({"tax_exemption_code": "X", "type": "vendor"}, 2)],
)
def test_exemptions_that_cannot_be_added(box: Box, body: dict[str, Any], code: int) -> None:
    assert refusal(settings(box, "POST", "taxexemptions", body)) == (400, code)


def test_taxes_and_their_kin_are_seeded(box: Box) -> None:
    box.seed(
        BOOKS,
        taxes=[{"tax_id": "7", "tax_name": "City", "tax_percentage": 1.25}],
        tax_exemptions=[{"tax_exemption_id": "8", "tax_exemption_code": "X", "type": "item"}],
        tax_authorities=[{"tax_authority_id": "9", "tax_authority_name": "Revenue"}],
        tax_groups=[{"tax_group_id": "10", "tax_group_name": "G", "tax_group_percentage": 2}],
    )
    assert settings(box, "GET", "taxes/7").json()["tax"][0]["tax_percentage"] == 1.25
    assert settings(box, "GET", "taxexemptions/8").json()["tax_exemption"]["type"] == "item"
    assert settings(box, "GET", "taxauthorities/9").json()["tax_authority"]["tax_authority_name"] == "Revenue"
    assert settings(box, "GET", "taxgroups/10").json()["tax_group"]["tax_group_percentage"] == 2


# Contacts and items


@both
def test_the_name_and_percentage_of_a_tax_follow_from_its_id(box: Box, plural: str) -> None:
    shown = box.in_books(plural, box.make_in_books(plural, **FIELDS[plural], tax_id=COUNTY))
    assert (shown["tax_id"], shown["tax_name"], shown["tax_percentage"]) == (COUNTY, "County tax", 3.5)


@both
def test_a_tax_group_is_taken_as_a_tax(box: Box, plural: str) -> None:
    wanted = group(box)["tax_group_id"]
    shown = box.in_books(plural, box.make_in_books(plural, **FIELDS[plural], tax_id=wanted))
    assert (shown["tax_id"], shown["tax_name"], shown["tax_percentage"]) == (wanted, "Both", 4.75)


@both
@pytest.mark.parametrize("name", ["tax_id", "tax_exemption_id", "tax_authority_id"])
def test_an_unknown_id_is_refused(box: Box, plural: str, name: str) -> None:
    taxable = name != "tax_exemption_id"
    response = box.books("POST", f"/{plural}", {**FIELDS[plural], "is_taxable": taxable, name: "1"})
    assert refusal(response) == (400, 2)


@both
def test_what_is_not_taxable_takes_no_tax(box: Box, plural: str) -> None:
    body = {
        **FIELDS[plural],
        "is_taxable": False,
        "tax_id": COUNTY,
        "tax_exemption_id": exemption(box, kind_of(plural)),
    }
    assert refusal(box.books("POST", f"/{plural}", body)) == (400, 2)


@both
def test_tax_and_exemption_take_turns(box: Box, plural: str) -> None:
    made = box.make_in_books(plural, **FIELDS[plural], tax_id=COUNTY)
    wanted = exemption(box, kind_of(plural))
    box.books("PUT", f"/{plural}/{made}", {"is_taxable": False, "tax_exemption_id": wanted})
    shown = box.in_books(plural, made)
    assert (shown["tax_id"], shown["tax_name"], shown["tax_exemption_code"]) == ("", "", "RESELLER")
    box.books("PUT", f"/{plural}/{made}", {"is_taxable": True, "tax_id": COUNTY})
    shown = box.in_books(plural, made)
    assert (shown["tax_id"], shown["tax_exemption_id"]) == (COUNTY, "")


@both
def test_an_exemption_of_the_other_kind_is_refused(box: Box, plural: str) -> None:
    wanted = exemption(box, "item" if plural == "contacts" else "customer")
    body = {**FIELDS[plural], "is_taxable": False, "tax_exemption_id": wanted}
    assert refusal(box.books("POST", f"/{plural}", body)) == (400, 2)


@both
def test_taxable_is_true_or_false(box: Box, plural: str) -> None:
    assert refusal(box.books("POST", f"/{plural}", {**FIELDS[plural], "is_taxable": "maybe"})) == (400, 2)


@pytest.mark.parametrize(("needed", "found"), [(True, (400, 4)), (False, (201, 0))])
def test_whether_an_item_needs_an_exemption_is_a_capability(box: Box, needed: bool, found: tuple[int, int]) -> None:
    box.capable(BOOKS, item_exemption_required=needed)
    assert refusal(box.books("POST", "/items", {**FIELDS["items"], "is_taxable": False})) == found


def test_a_contact_needs_no_exemption(box: Box) -> None:
    shown = box.in_books("contacts", box.make_in_books("contacts", contact_name="A", is_taxable=False))
    assert shown["is_taxable"] is False


def test_items_are_filtered_by_what_is_taxable(box: Box) -> None:
    made = box.make_in_books("items", name="A", rate=1, tax_id=COUNTY)
    box.seed(BOOKS, items=[{"name": "B", "is_taxable": False}])
    for params in ({"is_taxable": "true"}, {"tax_id": COUNTY}, {"tax_name": "county tax"}):
        found = box.books("GET", "/items", params=params).json()["items"]
        assert [row["item_id"] for row in found] == [made]


@both
def test_with_taxes_off_no_tax_is_listed_or_taken(box: Box, plural: str) -> None:
    box.capable(BOOKS, taxes_enabled=False)
    assert settings(box, "GET", "taxes").json()["taxes"] == []
    assert settings(box, "POST", "taxes", {"tax_name": "T", "tax_percentage": 1}).status_code == 400
    assert refusal(box.books("POST", f"/{plural}", {**FIELDS[plural], "tax_id": COUNTY})) == (400, 2)
    assert box.books("POST", f"/{plural}", FIELDS[plural]).status_code == 201
