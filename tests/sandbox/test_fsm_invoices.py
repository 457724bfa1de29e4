"""Zoho FSM: invoices of work orders, which are the accounting organisation's, and the odd answers of their call."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.sandbox.orders import FINANCE, Shop, open_shop
from tests.sandbox.support import BOOKS, FSM, Box, Receiver, fault_of

pytestmark = pytest.mark.rule("OP-3")


@pytest.fixture
def shop(box: Box) -> Shop:
    return open_shop(box)


@pytest.fixture
def twins(shop: Shop) -> Shop:
    """With a customer and items at Books."""
    shop.in_books()
    return shop


def made(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    row: dict[str, Any] = response.json()["data"]["Invoices"][0]
    return row


def complaint(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and inner code."""
    answer = response.json()
    return response.status_code, answer["code"], answer["details"].get("code", "")


def at_books(box: Box) -> list[dict[str, Any]]:
    return list(box.books("GET", "/invoices").json()["invoices"])


# Made


def test_an_invoice_is_made_here_and_in_books(twins: Shop) -> None:
    order = twins.make()
    row = made(twins.invoice(order))
    assert (row["finance_data"]["code"], row["finance_data"]["status"]) == ("2030", "success")
    accounting_id = row["finance_data"]["Invoice_Id"]
    at = twins.box.in_books("invoices", accounting_id)
    assert (at["customer_name"], at["reference_number"], at["status"]) == ("Acme", "WO1", "draft")
    assert [(line["name"], line["quantity"], line["rate"]) for line in at["line_items"]] == [
        ("Repair", 2, 10.5),
        ("Bolt", 3, 0.335),
    ]
    assert (at["total"], at["date"], at["due_date"]) == (22.01, "2026-11-02", "2026-11-17")


def test_the_lines_bear_the_fsm_invoice_and_the_order_does_not(twins: Shop) -> None:
    order = twins.make()
    row = made(twins.invoice(order))
    after = twins.box.in_fsm("Work_Orders", order["id"])
    assert [(one["Invoice_Id"], one["Billing_Status"]) for one in after["Service_Line_Items"]] == [
        (row["id"], "Invoiced")
    ]
    assert after["Billing_Status"] == "Invoiced"
    assert "Invoice_Id" not in after


def test_some_lines_of_an_order_are_invoiced(twins: Shop) -> None:
    order = twins.make(Service_Line_Items=[{"Service": twins.service, "Quantity": n} for n in (1, 2)])
    first, second = (line["id"] for line in order["Service_Line_Items"])
    made(twins.invoice(order, second))
    between = twins.box.in_fsm("Work_Orders", order["id"])
    assert between["Billing_Status"] == "Partially Invoiced"
    assert [bool(line["Invoice_Id"]) for line in between["Service_Line_Items"]] == [False, True]
    made(twins.invoice(order, first))
    assert [row["total"] for row in at_books(twins.box)] == [21, 10.5]


def test_an_fsm_invoice_is_the_books_invoice_wrapped(twins: Shop) -> None:
    order = twins.make()
    row = made(twins.invoice(order))
    shown = twins.box.in_fsm("Invoices", row["id"])
    assert shown["ZBilling_InvoiceId"] == shown["invoice_id"] == row["finance_data"]["Invoice_Id"]
    assert (shown["Work_Order"], shown["Name"]) == ({"name": "WO1", "id": order["id"]}, "INV-000001")
    assert (shown["Date"], shown["Due_Date"], shown["Status"]) == ("2026-11-02", "2026-11-17", "Draft")
    assert len(shown["line_items"]) == 2
    twins.box.books("POST", f"/invoices/{shown['invoice_id']}/status/void")
    assert twins.box.in_fsm("Invoices", row["id"])["Status"] == "Void"


def test_rows_show_fsm_s_own_fields_alone(twins: Shop) -> None:
    row = made(twins.invoice(twins.make()))
    (listed,) = twins.box.fsm("GET", "/Invoices").json()["data"]
    assert (listed["id"], listed["ZBilling_InvoiceId"]) == (row["id"], row["finance_data"]["Invoice_Id"])
    assert "line_items" not in listed


def test_a_discount_on_the_whole(twins: Shop) -> None:
    preference = {"Discount": 10, "Adjustment": 1, "Discount_Type": "Percent"}
    order = twins.make()
    row = made(twins.invoice(order, **{"$finance_data": {**FINANCE, "discount_preference": preference}}))
    assert twins.box.in_books("invoices", row["finance_data"]["Invoice_Id"])["total"] == 20.81


def test_an_order_need_not_be_completed(twins: Shop) -> None:
    """Our own rule must say when."""
    assert twins.make()["Status"] == "New"
    assert made(twins.invoice(twins.make()))


def test_both_vendors_tell_of_it(twins: Shop, receiver: Receiver) -> None:
    order = twins.make()
    twins.box.control(FSM, "POST", "webhooks", {"url": receiver.url, "modules": ["Work_Orders"]})
    twins.box.control(BOOKS, "POST", "webhooks", {"url": receiver.url, "modules": ["invoices"]})
    made(twins.invoice(order))
    bodies = [json.loads(one.body) for one in receiver.wait_for(2)]
    assert {body.get("id") or body["invoice"]["reference_number"] for body in bodies} == {order["id"], "WO1"}


# The odd answers


def test_without_line_ids_it_fails_inside(twins: Shop) -> None:
    order = twins.make()
    response = twins.invoice(order, **{"$Service_Line_Items": None})
    assert (response.status_code, response.json()["code"], response.json()["details"]) == (500, "INTERNAL_ERROR", {})
    assert at_books(twins.box) == []


def test_without_finance_data_the_lines_are_said_to_be_invoiced(twins: Shop) -> None:
    response = twins.invoice(twins.make(), **{"$finance_data": None})
    assert complaint(response) == (200, "ERROR", "2031")
    assert response.json()["details"]["message"] == "One or more line items are already invoiced"
    assert at_books(twins.box) == []


def test_invoiced_lines_answer_the_same(twins: Shop) -> None:
    order = twins.make()
    made(twins.invoice(order))
    assert complaint(twins.invoice(order)) == (200, "ERROR", "2031")
    assert len(at_books(twins.box)) == 1


def test_one_invoiced_line_among_others_refuses_all(twins: Shop) -> None:
    order = twins.make(Service_Line_Items=[{"Service": twins.service, "Quantity": n} for n in (1, 2)])
    made(twins.invoice(order, order["Service_Line_Items"][0]["id"]))
    assert complaint(twins.invoice(order)) == (200, "ERROR", "2031")
    assert len(at_books(twins.box)) == 1


def test_lines_that_are_not_the_order_s_are_refused(twins: Shop) -> None:
    order, other = twins.make(), twins.make()
    foreign = other["Service_Line_Items"][0]["id"]
    own = order["Service_Line_Items"][0]["id"]
    for ids in ((foreign,), ("999",), (own, foreign), (own, own)):
        assert fault_of(twins.invoice(order, *ids)) == (400, "INVALID_DATA", "$Service_Line_Items"), ids
    assert at_books(twins.box) == []


def test_an_unknown_work_order_is_refused(twins: Shop) -> None:
    order = twins.make()
    for wanted in ("999", None):
        assert fault_of(twins.invoice(order, Work_Order=wanted)) == (400, "INVALID_DATA", "Work_Order")


def test_invoiced_lines_are_not_changed(twins: Shop) -> None:
    order = twins.make()
    made(twins.invoice(order))
    line = {"id": order["Service_Line_Items"][0]["id"], "Quantity": 9}
    response = twins.box.change("Work_Orders", order["id"], Service_Line_Items=[line])
    assert fault_of(response) == (400, "INVALID_DATA", "Billing_Status")


@pytest.mark.parametrize(
    ("scope", "reads", "makes"),
    [("ZohoFSM.modules.all", 401, 401), ("ZohoFSM.modules.custom.READ", 204, 401),
     ("ZohoFSM.modules.custom.ALL", 204, 201)],
)  # fmt: skip
def test_the_scope_of_invoices_is_that_of_custom_modules(twins: Shop, scope: str, reads: int, makes: int) -> None:
    order = twins.make()
    token = twins.box.granted(scope)["access_token"]
    listed = twins.box.fsm("GET", "/Invoices", token=token)
    line_ids = [order["Service_Line_Items"][0]["id"]]
    row = {"Work_Order": order["id"], "$Service_Line_Items": line_ids, "$finance_data": FINANCE}
    made = twins.box.fsm("POST", "/Invoices", {"data": [row]}, token=token)
    assert (listed.status_code, made.status_code) == (reads, makes)
    for refusal in (one for one in (listed, made) if one.status_code == 401):
        assert refusal.json()["code"] == "OAUTH_SCOPE_MISMATCH"


def test_invoices_are_not_changed_or_deleted_here(twins: Shop) -> None:
    row = made(twins.invoice(twins.make()))
    for method in ("PUT", "DELETE"):
        response = twins.box.fsm(method, f"/Invoices/{row['id']}", {"data": [{"Name": "x"}]})
        assert (response.status_code, response.json()["code"]) == (400, "INVALID_MODULE")


# Trouble on the way


@pytest.mark.parametrize("kind", ["reply_lost", "5xx", "malformed"])
def test_the_invoice_is_there_though_the_answer_is_not(twins: Shop, kind: str) -> None:
    order = twins.make()
    fault = {"kind": kind, "applied": "after", "match": {"method": "POST", "path": "/Invoices$"}}
    twins.box.control(FSM, "POST", "faults", fault)
    try:
        assert twins.invoice(order).status_code in (201, 503)
    except httpx.TransportError:
        assert kind == "reply_lost"
    assert len(at_books(twins.box)) == 1
    assert complaint(twins.invoice(order)) == (200, "ERROR", "2031")
    line = twins.box.in_fsm("Work_Orders", order["id"])["Service_Line_Items"][0]
    link = twins.box.in_fsm("Invoices", line["Invoice_Id"])
    assert link["ZBilling_InvoiceId"] == at_books(twins.box)[0]["invoice_id"]


@pytest.mark.parametrize("kind", ["429", "5xx", "expired_token"])
def test_a_refused_call_makes_nothing(twins: Shop, kind: str) -> None:
    order = twins.make()
    twins.box.control(FSM, "POST", "faults", {"kind": kind, "match": {"method": "POST", "path": "/Invoices$"}})
    assert twins.invoice(order).status_code in (429, 503, 401)
    assert at_books(twins.box) == []


# Who the customer is, and which the items


def test_a_customer_without_a_twin_is_refused(shop: Shop) -> None:
    shop.in_books(customer=False)
    assert complaint(shop.invoice(shop.make())) == (400, "ERROR", "2032")
    assert at_books(shop.box) == []


def test_an_item_without_a_twin_is_refused(shop: Shop) -> None:
    shop.in_books(items=False)
    order = shop.make()
    assert complaint(shop.invoice(order)) == (400, "ERROR", "2032")
    assert shop.box.in_fsm("Work_Orders", order["id"])["Billing_Status"] == "Not yet Invoiced"


@pytest.mark.parametrize("how", ["inactive", "vendor", "individual"])
def test_who_is_no_twin(shop: Shop, how: str) -> None:
    shop.in_books(customer=False)
    kind = {"vendor": {"contact_type": "vendor"}, "individual": {"customer_sub_type": "individual"}}.get(how, {})
    customer = shop.box.make_in_books("contacts", contact_name="Acme", **kind)
    if how == "inactive":
        shop.box.books("POST", f"/contacts/{customer}/inactive")
    assert complaint(shop.invoice(shop.make())) == (400, "ERROR", "2032")


def test_an_id_that_was_set_goes_before_a_name(shop: Shop) -> None:
    shop.in_books()
    other = shop.box.make_in_books("contacts", contact_name="Acme Holding", customer_sub_type="business")
    shop.box.control(FSM, "PUT", f"edits/Companies/{shop.company}", {"ZBilling_Id": other})
    made(shop.invoice(shop.make()))
    assert at_books(shop.box)[0]["customer_name"] == "Acme Holding"


def test_a_contact_without_a_company_is_found_by_email(shop: Shop) -> None:
    shop.in_books(customer=False)
    shop.box.make_in_books(
        "contacts", contact_name="Lucy R", customer_sub_type="individual",
        contact_persons=[{"first_name": "Lucy", "email": "L@x.test", "is_primary_contact": True}],
    )  # fmt: skip
    address = {"City": "Dallas"}
    contact = shop.box.make(
        "Contacts", Last_Name="Rush", Email="l@x.test", Service_Address=address, Billing_Address=address
    )
    own = shop.box.in_fsm("Contacts", contact)
    addresses = {name: {"id": own[name]["id"]} for name in shop.addresses}
    row = made(shop.invoice(shop.make(Company=None, Contact=contact, **addresses)))
    assert at_books(shop.box)[0]["customer_name"] == "Lucy R"
    assert shop.box.in_fsm("Invoices", row["id"])["Contact_Id"] == {"name": "Rush", "id": contact}


def test_by_capability_the_native_sync_pushes_what_is_missing(shop: Shop) -> None:
    shop.box.capable(FSM, native_sync=True)
    made(shop.invoice(shop.make()))
    customer = at_books(shop.box)[0]["customer_id"]
    assert shop.box.in_books("contacts", customer)["contact_name"] == "Acme"
    assert shop.box.in_fsm("Companies", shop.company)["ZBilling_Id"] == customer
    assert {row["name"] for row in shop.box.books("GET", "/items").json()["items"]} == {"Repair", "Bolt"}


def test_taxes_of_lines_are_books_taxes_by_name_and_rate(twins: Shop) -> None:
    tax = {"Taxable": True, "Tax_Name": "County tax", "Tax_Percentage": 3.5}
    line = {"Service": twins.service, "Quantity": 1, "Tax": tax}
    made(twins.invoice(twins.make(Service_Line_Items=[line])))
    assert [(row["total"]) for row in at_books(twins.box)] == [10.87]
    unknown = {**line, "Tax": {**tax, "Tax_Percentage": 4}}
    assert complaint(twins.invoice(twins.make(Service_Line_Items=[unknown]))) == (400, "ERROR", "2")


def test_without_an_accounting_organisation_none_is_made(twins: Shop) -> None:
    assert twins.box.control(FSM, "GET", "accounting")["vendor"] == BOOKS
    twins.box.control(FSM, "POST", "accounting", {"vendor": None})
    assert complaint(twins.invoice(twins.make())) == (400, "ERROR", "INTEGRATION_NOT_ENABLED")


def test_the_call_is_not_one_of_books(twins: Shop) -> None:
    """FSM's own integration asks; it is in no log, and no limit of the API counts it."""
    order = twins.make()
    twins.box.control(BOOKS, "DELETE", "calls")
    made(twins.invoice(order))
    assert twins.box.control(BOOKS, "GET", "calls")["calls"] == []
