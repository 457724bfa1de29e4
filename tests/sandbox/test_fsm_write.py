"""Zoho FSM: creates, updates, deletes and their refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import FSM, Box

pytestmark = pytest.mark.rule("OP-3")
ITEM = {"Name": "Fan", "Unit_Price": 10, "Type": "Service"}


def shown(box: Box, module: str, record_id: str) -> dict[str, Any]:
    row: dict[str, Any] = box.fsm("GET", f"/{module}/{record_id}").json()["data"][0]
    return row


def test_a_create_is_answered_by_module(box: Box) -> None:
    response = box.fsm("POST", "/Service_And_Parts", {"data": [ITEM]})
    answer = response.json()
    row = answer["data"]["Service_And_Parts"][0]
    assert response.status_code == 201
    assert (answer["result"], answer["code"], answer["status"]) == ("success", "SUCCESS", "success")
    assert (row["UID"], row["TabName"]) == ("Service_And_Parts_0", "Products")
    assert row["Modified_Time"] == row["Created_Time"]


def test_an_update_is_answered_by_a_list(box: Box) -> None:
    made = box.make("Companies", Company_Name="A")
    answer = box.fsm("PUT", f"/Companies/{made}", {"data": [{"Phone": "1"}]}).json()["data"][0]
    assert (answer["code"], answer["status"], answer["details"]["id"]) == ("SUCCESS", "success", made)


def test_an_update_changes_only_what_it_names_and_moves_the_modified_time(box: Box) -> None:
    box.control(
        FSM,
        "POST",
        "seed",
        {"Companies": [{"id": "77", "Company_Name": "A", "Modified_Time": "2020-01-01T00:00:00+00:00"}]},
    )
    box.fsm("PUT", "/Companies/77", {"data": [{"Phone": "1"}]})
    row = shown(box, "Companies", "77")
    assert (row["Company_Name"], row["Phone"]) == ("A", "1")
    assert row["Modified_Time"] > "2026"


def test_items_are_created_in_batches_and_companies_one_by_one(box: Box) -> None:
    rows = [{**ITEM, "Name": f"Fan {number}"} for number in range(100)]
    answer = box.fsm("POST", "/Service_And_Parts", {"data": rows}).json()["data"]["Service_And_Parts"]
    assert [one["UID"] for one in answer] == [f"Service_And_Parts_{number}" for number in range(100)]
    assert box.fsm("POST", "/Service_And_Parts", {"data": [*rows, ITEM]}).status_code == 400
    assert box.fsm("POST", "/Companies", {"data": [{"Company_Name": "A"}, {"Company_Name": "B"}]}).status_code == 400
    box.control(FSM, "POST", "capabilities", {"create_batch_size": {"Companies": 2}})
    assert box.fsm("POST", "/Companies", {"data": [{"Company_Name": "A"}, {"Company_Name": "B"}]}).status_code == 201


def test_a_bad_row_keeps_its_whole_batch_out(box: Box) -> None:
    response = box.fsm("POST", "/Service_And_Parts", {"data": [ITEM, {"Name": "no price", "Type": "Service"}]})
    assert response.status_code == 400
    assert box.fsm("GET", "/Service_And_Parts").status_code == 204


@pytest.mark.parametrize(
    ("module", "fields", "missing"),
    [
        ("Companies", {"Phone": "1"}, "Company_Name"),
        ("Contacts", {"Last_Name": "Rush"}, "Email"),
        ("Contacts", {"Email": "a@b.test"}, "Last_Name"),
        ("Service_And_Parts", {"Name": "Fan", "Type": "Service"}, "Unit_Price"),
        ("Service_And_Parts", {"Name": "Fan", "Unit_Price": 1}, "Type"),
    ],
)
def test_required_fields(box: Box, module: str, fields: dict[str, Any], missing: str) -> None:
    response = box.fsm("POST", f"/{module}", {"data": [fields]})
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_DATA")
    assert response.json()["details"]["api_name"] == missing


def test_a_required_field_cannot_be_emptied(box: Box) -> None:
    made = box.make("Companies", Company_Name="A")
    assert box.fsm("PUT", f"/Companies/{made}", {"data": [{"Company_Name": None}]}).status_code == 400


def test_a_street_has_at_most_255_characters(box: Box) -> None:
    fields = {"Company_Name": "A", "Service_Address": {"Street_1": "x" * 256}}
    response = box.fsm("POST", "/Companies", {"data": [fields]})
    assert response.status_code == 400
    assert response.json()["details"] == {
        "maximum_length": 255,
        "api_name": "Street_1",
        "parent_api_name": "Service_Address",
    }
    fields["Service_Address"] = {"Street_1": "x" * 255}
    assert box.fsm("POST", "/Companies", {"data": [fields]}).status_code == 201


def test_errors_can_come_inside_data(box: Box) -> None:
    box.control(FSM, "POST", "capabilities", {"errors_in_data": True})
    answer = box.fsm("POST", "/Companies", {"data": [{}]})
    assert (answer.status_code, answer.json()["data"][0]["code"]) == (400, "INVALID_DATA")


def test_text_is_cut_from_the_first_emoji_on(box: Box) -> None:
    made = box.make(
        "Companies", Company_Name="Ana 😀 Ltd", Service_Address={"City": "Köln 🏰 am Rhein"}, Note__C="é😀x"
    )
    row = shown(box, "Companies", made)
    assert row["Company_Name"] == "Ana "
    assert row["Service_Address"]["Service_City"] == "Köln "
    assert row["Note__C"] == "é"


def test_addresses_are_written_plain_and_read_prefixed(box: Box) -> None:
    address = {"Address_Name": "Head office", "Street_1": "1 Main St", "City": "Austin", "Zip_Code": "78701"}
    made = box.make("Companies", Company_Name="A", Billing_Address=address)
    read = shown(box, "Companies", made)["Billing_Address"]
    assert (read["Billing_Street_1"], read["Billing_City"], read["name"]) == ("1 Main St", "Austin", "Head office")
    assert read["id"]
    assert not {"Street_1", "City", "Address_Name"} & set(read)
    assert shown(box, "Companies", made)["Service_Address"] is None


def test_a_part_of_an_address_changes_only_its_keys(box: Box) -> None:
    made = box.make("Companies", Company_Name="A", Service_Address={"Street_1": "1 Main St", "City": "Austin"})
    before = shown(box, "Companies", made)["Service_Address"]
    for given in ({"City": "Waco"}, {"City": "Waco", "id": before["id"]}):
        box.fsm("PUT", f"/Companies/{made}", {"data": [{"Service_Address": given}]})
        after = shown(box, "Companies", made)["Service_Address"]
        assert after == {**before, "Service_City": "Waco"}
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Service_Address": None}]})
    assert shown(box, "Companies", made)["Service_Address"] is None


def test_a_part_is_taken_and_shown_as_goods(box: Box) -> None:
    assert shown(box, "Service_And_Parts", box.make("Service_And_Parts", **{**ITEM, "Type": "Part"}))["Type"] == "Goods"
    assert box.fsm("POST", "/Service_And_Parts", {"data": [{**ITEM, "Type": "Thing"}]}).status_code == 400


@pytest.mark.parametrize("price", ["19.99", "0.1", "100", "12345678901234567.89"])
def test_money_stays_exact(box: Box, price: str) -> None:
    body = b'{"data":[{"Name":"Fan","Type":"Service","Unit_Price":%s}]}' % price.encode()
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(FSM)}"}
    box.http.post(f"/{FSM}/fsm/v1/Service_And_Parts", content=body, headers=headers)
    assert f'"Unit_Price":{price},'.encode() in box.fsm("GET", "/Service_And_Parts").content


def test_names_need_not_be_unique(box: Box) -> None:
    assert box.make("Companies", Company_Name="A") != box.make("Companies", Company_Name="A")
    assert box.make("Service_And_Parts", **ITEM) != box.make("Service_And_Parts", **ITEM)


def test_a_contact_shows_its_company_by_its_present_name(box: Box) -> None:
    company = box.make("Companies", Company_Name="Before")
    contact = box.make("Contacts", Last_Name="Rush", Email="l@x.test", Company={"id": company})
    assert shown(box, "Contacts", contact)["Company"] == {"name": "Before", "id": company}
    box.fsm("PUT", f"/Companies/{company}", {"data": [{"Company_Name": "After"}]})
    assert shown(box, "Contacts", contact)["Company"] == {"name": "After", "id": company}
    refused = box.fsm("PUT", f"/Contacts/{contact}", {"data": [{"Company": {"id": "1"}}]})
    assert (refused.status_code, refused.json()["details"]["api_name"]) == (400, "Company")


@pytest.mark.parametrize(
    ("capability", "field", "value"),
    [("zbilling_id_writable", "ZBilling_Id", "46001"), ("inactive_writable", "$inactive", True)],
)
def test_link_and_inactive_are_written_only_by_capability(box: Box, capability: str, field: str, value: Any) -> None:
    made = box.make("Service_And_Parts", **ITEM)
    before = shown(box, "Service_And_Parts", made)[field]
    for on, expected in ((False, before), (True, value)):
        box.control(FSM, "POST", "capabilities", {capability: on})
        assert box.fsm("PUT", f"/Service_And_Parts/{made}", {"data": [{field: value}]}).status_code == 200
        assert shown(box, "Service_And_Parts", made)[field] == expected


@pytest.mark.parametrize(
    ("allowed", "statuses"), [("both", [200, 200]), ("products", [404, 200]), ("service_and_parts", [200, 404])]
)
def test_under_which_name_items_are_changed_is_a_capability(box: Box, allowed: str, statuses: list[int]) -> None:
    made = box.make("Service_And_Parts", **ITEM)
    box.control(FSM, "POST", "capabilities", {"items_update_path": allowed})
    body = {"data": [{"Unit": "h"}]}
    assert [
        box.fsm("PUT", f"/{path}/{made}", body).status_code for path in ("Service_And_Parts", "Products")
    ] == statuses


def test_custom_fields_and_tax_are_kept_as_given(box: Box) -> None:
    made = box.make("Companies", Company_Name="A", Code__C="x1", Tax={"Taxable": False, "Tax_Name": "None"}, Unknown=1)
    row = shown(box, "Companies", made)
    assert (row["Code__C"], row["Tax"]["Taxable"], row["Tax"]["Tax_Name"]) == ("x1", False, "None")
    assert "Unknown" not in row


def test_a_body_that_is_no_json_is_refused(box: Box) -> None:
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(FSM)}"}
    response = box.http.post(f"/{FSM}/fsm/v1/Companies", content=b"{", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_DATA")
