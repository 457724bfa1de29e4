"""Zoho FSM: lists, single reads and search."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import FSM, Box

pytestmark = pytest.mark.rule("OP-3")


def seed(box: Box, module: str, *rows: dict[str, Any]) -> list[str]:
    ids: list[str] = box.control(FSM, "POST", "seed", {module: list(rows)})["seeded"][module]
    return ids


def names(response: Any, field: str = "Company_Name") -> list[str]:
    return [row[field] for row in response.json()["data"]]


def test_an_empty_list_is_204_without_a_body(box: Box) -> None:
    response = box.fsm("GET", "/Companies")
    assert (response.status_code, response.content) == (204, b"")


def test_the_list_is_newest_created_first_whatever_is_asked(box: Box) -> None:
    seed(
        box,
        "Companies",
        {"Company_Name": "Middle", "Created_Time": "2026-02-01T00:00:00-08:00"},
        {"Company_Name": "Old", "Created_Time": "2026-01-01T00:00:00-08:00"},
        {"Company_Name": "New", "Created_Time": "2026-03-01T00:00:00-08:00"},
    )
    params = {"sort_by": "Company_Name", "fields": "id", "modified_since": "2027-01-01T00:00:00Z"}
    assert names(box.fsm("GET", "/Companies", params=params)) == ["New", "Middle", "Old"]


def test_pages_tell_whether_there_are_more(box: Box) -> None:
    seed(box, "Companies", *({"Company_Name": f"C{number}"} for number in range(5)))
    first = box.fsm("GET", "/Companies", params={"page": 1, "per_page": 3}).json()
    last = box.fsm("GET", "/Companies", params={"page": 2, "per_page": 3}).json()
    assert first["info"] == {"page": 1, "per_page": 3, "count": 3, "more_records": True}
    assert last["info"] == {"page": 2, "per_page": 3, "count": 2, "more_records": False}
    assert len({row["id"] for row in first["data"] + last["data"]}) == 5
    assert box.fsm("GET", "/Companies", params={"page": 3, "per_page": 3}).status_code == 204


def test_a_page_holds_at_most_200(box: Box) -> None:
    seed(box, "Companies", *({"Company_Name": f"C{number}"} for number in range(201)))
    assert len(box.fsm("GET", "/Companies").json()["data"]) == 200
    refused = box.fsm("GET", "/Companies", params={"per_page": 201})
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_DATA")


def test_company_rows_show_no_times_and_a_single_read_does(box: Box) -> None:
    made = box.make("Companies", Company_Name="A")
    row = box.fsm("GET", "/Companies").json()["data"][0]
    detail = box.fsm("GET", f"/Companies/{made}").json()["data"][0]
    assert not {"Modified_Time", "Created_Time"} & set(row)
    assert {"Modified_Time", "Created_Time"} <= set(detail)
    box.control(FSM, "POST", "capabilities", {"list_rows_with_times": ["Companies"]})
    assert "Modified_Time" in box.fsm("GET", "/Companies").json()["data"][0]


def test_item_rows_show_times_with_offset_in_whole_seconds(box: Box) -> None:
    seed(box, "Service_And_Parts", {"Name": "A", "Modified_Time": "2023-11-20T02:36:58-08:00"})
    row = box.fsm("GET", "/Service_And_Parts").json()["data"][0]
    assert row["Modified_Time"] == "2023-11-20T02:36:58-08:00"
    assert row["$inactive"] is False


def test_an_unknown_id_is_404(box: Box) -> None:
    response = box.fsm("GET", "/Companies/1011000000999999")
    assert (response.status_code, response.json()["code"]) == (404, "INVALID_DATA")


@pytest.mark.parametrize("module", ["Nothing", "Requests", "Products"])
def test_a_module_that_is_not_there_is_refused(box: Box, module: str) -> None:
    response = box.fsm("GET", f"/{module}")
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_MODULE")


def test_an_unknown_path_is_refused(box: Box) -> None:
    response = box.fsm("GET", "/Companies/1/notes/all")
    assert (response.status_code, response.json()["code"]) == (404, "INVALID_URL_PATTERN")


def test_field_settings_are_refused_under_module_scopes(box: Box) -> None:
    response = box.fsm("GET", "/settings/fields", params={"module": "Companies"})
    assert (response.status_code, response.json()["code"]) == (401, "OAUTH_SCOPE_MISMATCH")


# Search


def search(box: Box, module: str, api_name: str, value: str, **more: str) -> Any:
    return box.fsm("GET", f"/{module}/search", params={"api_name": api_name, "value": value, **more})


def test_search_contains_by_default_and_equal_when_asked(box: Box) -> None:
    seed(box, "Companies", {"Company_Name": "Acme"}, {"Company_Name": "Acme East"}, {"Company_Name": "Other"})
    assert sorted(names(search(box, "Companies", "Company_Name", "acme"))) == ["Acme", "Acme East"]
    assert names(search(box, "Companies", "Company_Name", "Acme", comparator="equal")) == ["Acme"]


def test_search_finds_what_was_renamed_and_not_what_it_was(box: Box) -> None:
    made = box.make("Companies", Company_Name="Before")
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Company_Name": "After"}]})
    assert search(box, "Companies", "Company_Name", "Before", comparator="equal").status_code == 204
    assert names(search(box, "Companies", "Company_Name", "After", comparator="equal")) == ["After"]


def test_a_comma_must_be_escaped(box: Box) -> None:
    seed(box, "Companies", {"Company_Name": "Smith, Jones"}, {"Company_Name": "Smith"})
    equal = {"comparator": "equal"}
    assert names(search(box, "Companies", "Company_Name", "Smith\\, Jones", **equal)) == ["Smith, Jones"]
    assert names(search(box, "Companies", "Company_Name", "Smith, Jones", **equal)) == ["Smith"]


@pytest.mark.parametrize(
    ("module", "field"),
    [("Companies", "Email"), ("Contacts", "First_Name"), ("Service_And_Parts", "SKU"), ("Companies", "Modified_Time")],
)
def test_other_fields_cannot_be_searched(box: Box, module: str, field: str) -> None:
    response = search(box, module, field, "x")
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_DATA")


def test_links_to_books_can_be_searched(box: Box) -> None:
    seed(box, "Service_And_Parts", {"Name": "A", "ZBilling_Id": "46001"}, {"Name": "B", "ZBilling_Id": "46002"})
    assert names(search(box, "Service_And_Parts", "ZBilling_Id", "46002", comparator="equal"), "Name") == ["B"]


@pytest.mark.parametrize(
    ("comparator", "value", "found"),
    [
        ("greater_than", "2026-01-02T00:00:00-08:00", ["C"]),
        ("greater_equal", "2026-01-02T00:00:00-08:00", ["C", "B"]),
        ("less_than", "2026-01-02T08:00:00+00:00", ["A"]),
        ("equal", "2026-01-02T00:00:00-08:00", ["B"]),
        ("between", "2026-01-01T00:00:00-08:00,2026-01-02T00:00:00-08:00", ["B", "A"]),
    ],
)
def test_search_by_modified_time_is_a_capability(box: Box, comparator: str, value: str, found: list[str]) -> None:
    box.control(FSM, "POST", "capabilities", {"modified_time_search": True})
    seed(
        box,
        "Service_And_Parts",
        *({"Name": name, "Modified_Time": f"2026-01-0{day}T00:00:00-08:00"} for day, name in enumerate("ABC", 1)),
    )
    answer = search(box, "Service_And_Parts", "Modified_Time", value, comparator=comparator)
    assert names(answer, "Name") == found


def test_a_new_record_can_show_late(box: Box) -> None:
    box.control(FSM, "POST", "capabilities", {"list_lag_ms": 60_000})
    made = box.make("Companies", Company_Name="A")
    assert box.fsm("GET", "/Companies").status_code == 204
    assert search(box, "Companies", "Company_Name", "A").status_code == 204
    assert box.fsm("GET", f"/Companies/{made}").status_code == 200
