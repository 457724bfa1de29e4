"""Zoho FSM: work orders, their lines and money, and how their status moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.orders import Shop, open_shop
from tests.sandbox.support import FSM, Box, Receiver, fault_of

pytestmark = pytest.mark.rule("OP-3")


@pytest.fixture
def shop(box: Box) -> Shop:
    return open_shop(box)


def refused(shop: Shop, **fields: Any) -> tuple[int, str, str | None]:
    return fault_of(shop.box.fsm("POST", "/Work_Orders", {"data": [shop.order(**fields)]}))


# Making one


def test_a_work_order_has_a_name_a_status_and_the_customer_s_address(shop: Shop) -> None:
    first, second = shop.make(), shop.make()
    assert (first["Name"], second["Name"]) == ("WO1", "WO2")
    assert (first["Status"], first["Billing_Status"]) == ("New", "Not yet Invoiced")
    assert first["Company"] == {"name": "Acme", "id": shop.company}
    assert first["Service_Address"]["Service_City"] == "Austin"
    assert first["Service_Address"]["id"] == shop.addresses["Service_Address"]["id"]
    assert first["Modified_Time"] == first["Created_Time"]


@pytest.mark.parametrize(
    ("field", "named"),
    [("Summary", "Summary"), ("Type", "Type"), ("Company", "Contact"), ("Service_Address", "id"),
     ("Billing_Address", "id"), ("Service_Line_Items", "Service_Line_Items")],
)  # fmt: skip
def test_what_a_work_order_must_have(shop: Shop, field: str, named: str) -> None:
    assert refused(shop, **{field: None}) == (400, "INVALID_DATA", named)


def test_a_contact_will_do_for_a_company(shop: Shop) -> None:
    address = {"City": "Dallas"}
    contact = shop.box.make(
        "Contacts", Last_Name="Rush", Email="l@x.test", Service_Address=address, Billing_Address=address
    )
    own = shop.box.in_fsm("Contacts", contact)
    addresses = {name: {"id": own[name]["id"]} for name in shop.addresses}
    order = shop.make(Company=None, Contact=contact, **addresses)
    assert (order["Contact"]["id"], order["Service_Address"]["Service_City"]) == (contact, "Dallas")


def test_an_address_of_somebody_else_is_refused(shop: Shop) -> None:
    other = shop.box.make("Companies", Company_Name="Other", Service_Address={"City": "X"})
    foreign = shop.box.in_fsm("Companies", other)["Service_Address"]["id"]
    assert refused(shop, Service_Address={"id": foreign}) == (400, "INVALID_DATA", "id")


def test_the_type_is_one_of_two(shop: Shop) -> None:
    assert shop.make(Type="Inspection")["Type"] == "Inspection"
    assert refused(shop, Type="Party") == (400, "INVALID_DATA", "Type")


def test_the_answer_of_a_create_tells_the_lines_too(shop: Shop) -> None:
    answer = shop.box.fsm("POST", "/Work_Orders", {"data": [shop.order()]})
    assert answer.status_code == 201
    told = answer.json()["data"]
    shown = shop.box.in_fsm("Work_Orders", told["Work_Orders"][0]["id"])
    assert [line["id"] for line in told["Service_Line_Items"]] == [line["id"] for line in shown["Service_Line_Items"]]


# Lines and money


def test_lines_take_their_price_from_the_item_and_are_summed_to_the_cent(shop: Shop) -> None:
    order = shop.make()
    (line,) = order["Service_Line_Items"]
    (part,) = line["Part_Line_Items"]
    assert (line["Service"], line["List_Price"], line["Amount"]) == ({"name": "Repair", "id": shop.service}, 10.5, 21)
    assert (part["Part"]["id"], part["Quantity"], part["Amount"]) == (shop.part, 3, 1.01)
    assert part["Service_Line_Item"] == line["id"]
    assert (line["Invoice_Id"], line["Billing_Status"]) == (None, "Not yet Invoiced")
    assert (order["Sub_Total"], order["Tax_Amount"], order["Grand_Total"]) == (22.01, 0, 22.01)


def test_a_line_may_have_a_price_of_its_own_and_a_tax(shop: Shop) -> None:
    tax = {"Taxable": True, "Tax_Name": "County tax", "Tax_Percentage": 3.5}
    order = shop.make(Service_Line_Items=[{"Service": shop.service, "Quantity": 1.5, "List_Price": 33.33, "Tax": tax}])
    (line,) = order["Service_Line_Items"]
    assert (line["Amount"], line["Line_Item_Amount"]) == (50.0, 51.75)
    assert (order["Sub_Total"], order["Tax_Amount"], order["Grand_Total"]) == (50, 1.75, 51.75)


@pytest.mark.parametrize(
    ("line", "named"),
    [({"Quantity": 1}, "Service"), ({"Service": "1", "Quantity": 1}, "Service"), ({"Service": True}, "Service"),
     ({"Service": "own"}, "Quantity"), ({"Service": "own", "Quantity": 0}, "Quantity"),
     ({"Service": "own", "Quantity": "x"}, "Quantity"), ({"Service": "part", "Quantity": 1}, "Service"),
     ({"Service": "own", "Quantity": 1, "Part_Line_Items": [{"Part": "own", "Quantity": 1}]}, "Part")],
)  # fmt: skip
def test_lines_that_are_refused(shop: Shop, line: dict[str, Any], named: str) -> None:
    names = {"own": shop.service, "part": shop.part}
    filled = json.loads(json.dumps(line), object_hook=lambda one: {k: names.get(str(v), v) for k, v in one.items()})
    assert refused(shop, Service_Line_Items=[filled]) == (400, "INVALID_DATA", named)


def test_lines_come_in_their_sequence(shop: Shop) -> None:
    lines = [{"Service": shop.service, "Quantity": n, "Sequence": s} for n, s in ((1, 3), (2, 1), (3, 2))]
    assert [line["Quantity"] for line in shop.make(Service_Line_Items=lines)["Service_Line_Items"]] == [2, 3, 1]


def test_an_update_adds_changes_and_takes_out_lines(shop: Shop) -> None:
    order = shop.make()
    first = order["Service_Line_Items"][0]["id"]
    shop.box.change("Work_Orders", order["id"], Service_Line_Items=[{"Service": shop.service, "Quantity": 1}])
    shop.box.change("Work_Orders", order["id"], Service_Line_Items=[{"id": first, "Quantity": 4}])
    after = shop.box.in_fsm("Work_Orders", order["id"])
    assert [line["Quantity"] for line in after["Service_Line_Items"]] == [4, 1]
    assert after["Grand_Total"] == 53.51
    shop.box.change("Work_Orders", order["id"], Service_Line_Items=[{"id": first, "$fsm_delete": True}])
    assert shop.box.in_fsm("Work_Orders", order["id"])["Grand_Total"] == 10.5


def test_what_is_the_organisation_s_own_is_not_written(shop: Shop) -> None:
    order = shop.make(Status="Closed", Grand_Total=1, Name="Mine", Billing_Status="Invoiced")
    shop.box.change("Work_Orders", order["id"], Status="Closed", Grand_Total=1)
    after = shop.box.in_fsm("Work_Orders", order["id"])
    assert (after["Status"], after["Grand_Total"], after["Name"]) == ("New", 22.01, "WO1")
    assert after["Billing_Status"] == "Not yet Invoiced"


def test_custom_fields_are_kept_and_checked_as_elsewhere(shop: Shop) -> None:
    shop.box.control(FSM, "POST", "custom_fields", {"Work_Orders": [{"label": "Site", "length": 4}]})
    order = shop.make(Site__C="roof")
    assert order["Site__C"] == "roof"
    assert fault_of(shop.box.change("Work_Orders", order["id"], Site__C="attic")) == (400, "INVALID_DATA", "Site__C")


# Reading


def test_rows_have_times_and_money_and_no_lines(shop: Shop) -> None:
    order = shop.make()
    (row,) = shop.box.fsm("GET", "/Work_Orders").json()["data"]
    assert (row["id"], row["Grand_Total"], row["Modified_Time"]) == (order["id"], 22.01, order["Modified_Time"])
    assert "Service_Line_Items" not in row


def test_work_orders_come_newest_first(shop: Shop) -> None:
    made = [shop.make()["id"] for _ in range(3)]
    assert [row["id"] for row in shop.box.fsm("GET", "/Work_Orders").json()["data"]] == made[::-1]


@pytest.mark.parametrize("field", ["Company", "Name", "Status", "Contact", "Territory", "ZCRM_Deals_Id"])
def test_what_work_orders_are_searched_by(shop: Shop, field: str) -> None:
    wanted = shop.make(Territory="T1")
    values = {"Company": shop.company, "Name": "WO1", "Status": "New", "Territory": "T1"}
    params = {"api_name": field, "value": values.get(field, "none"), "comparator": "equal"}
    found = shop.box.fsm("GET", "/Work_Orders/search", params=params)
    assert (
        [row["id"] for row in found.json()["data"]] == [wanted["id"]] if field in values else found.status_code == 204
    )
    params["api_name"] = "Summary"
    assert fault_of(shop.box.fsm("GET", "/Work_Orders/search", params=params))[0] == 400


def test_the_scope_of_work_orders_has_no_underscore(shop: Shop) -> None:
    token = shop.box.granted("ZohoFSM.modules.WorkOrders.READ")["access_token"]
    assert shop.box.fsm("GET", "/Work_Orders", token=token).status_code == 204
    refusal = shop.box.fsm("POST", "/Work_Orders", {"data": [shop.order()]}, token=token)
    assert (refusal.status_code, refusal.json()["code"]) == (401, "OAUTH_SCOPE_MISMATCH")


# Status


def step(shop: Shop, order_id: str, name: str, notes: str | None = "done") -> Any:
    path = f"/Work_Orders/{order_id}/actions/blueprint"
    offered = {one["name"]: one["id"] for one in shop.box.fsm("GET", f"{path}/transitions").json()["transitions"]}
    body = {"blueprint": [{"transition_id": offered.get(name, "1"), "data": {"Notes": notes}}]}
    return shop.box.fsm("PUT", path, body)


def test_a_status_moves_by_the_blueprint(shop: Shop) -> None:
    order = shop.make()
    for name, status in (("Start", "In Progress"), ("Complete", "Completed"), ("Close", "Closed")):
        assert step(shop, order["id"], name).json()["code"] == "SUCCESS"
        assert shop.box.in_fsm("Work_Orders", order["id"])["Status"] == status
    assert fault_of(step(shop, order["id"], "Cancel")) == (400, "INVALID_DATA", "transition_id")


def test_a_step_needs_a_note(shop: Shop) -> None:
    order = shop.make()
    assert fault_of(step(shop, order["id"], "Start", None)) == (400, "INVALID_DATA", "Notes")
    assert shop.box.in_fsm("Work_Orders", order["id"])["Status"] == "New"


def test_the_blueprint_is_the_organisation_s_own(shop: Shop) -> None:
    shop.box.control(FSM, "POST", "blueprint", {"transitions": [{"name": "Jump", "before": "New", "after": "Closed"}]})
    order = shop.make()
    assert step(shop, order["id"], "Jump").status_code == 200
    assert shop.box.in_fsm("Work_Orders", order["id"])["Status"] == "Closed"


def test_other_modules_have_no_blueprint(shop: Shop) -> None:
    response = shop.box.fsm("GET", f"/Companies/{shop.company}/actions/blueprint/transitions")
    assert (response.status_code, response.json()["code"]) == (404, "INVALID_URL_PATTERN")


def test_every_change_of_a_work_order_fires_a_webhook(shop: Shop, receiver: Receiver) -> None:
    shop.box.control(FSM, "POST", "webhooks", {"url": receiver.url, "modules": ["Work_Orders"]})
    order = shop.make()
    shop.box.change("Work_Orders", order["id"], Priority="High")
    step(shop, order["id"], "Start")
    shop.box.fsm("DELETE", f"/Work_Orders/{order['id']}")
    told = [json.loads(one.body) for one in receiver.wait_for(4)]
    assert [one["event"] for one in told] == ["create", "update", "update", "delete"]
    assert {(one["module"], one["id"]) for one in told} == {("Work_Orders", order["id"])}


# The control


def test_work_orders_are_seeded_and_edited_past_the_rules(shop: Shop) -> None:
    lines = [{"Service": shop.service, "Quantity": 2}, {"Service": "1", "Quantity": 1, "List_Price": 3}]
    (made,) = shop.box.seed(FSM, Work_Orders=[{"Summary": "S", "Status": "Completed", "Service_Line_Items": lines}])[
        "Work_Orders"
    ]
    shown = shop.box.in_fsm("Work_Orders", made)
    assert (shown["Status"], shown["Grand_Total"], shown["Name"]) == ("Completed", 24, "WO1")
    assert shown["Service_Line_Items"][1]["Service"] is None
    shop.box.control(FSM, "PUT", f"edits/Work_Orders/{made}", {"Status": "Closed"})
    assert shop.box.in_fsm("Work_Orders", made)["Status"] == "Closed"


def test_a_renamed_service_is_shown_by_its_new_name(shop: Shop) -> None:
    order = shop.make()
    shop.box.change("Service_And_Parts", shop.service, Name="Overhaul")
    line = shop.box.in_fsm("Work_Orders", order["id"])["Service_Line_Items"][0]
    assert line["Service"] == {"name": "Overhaul", "id": shop.service}
