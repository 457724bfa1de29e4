"""Zoho FSM: how work orders and the answers about invoices are read, in each of their forms."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from shared.connectors.base import AlreadyInvoiced, InvoiceLink, InvoiceMade, Invoicer, InvoiceResult, Rejected, Unsure
from shared.errors import RetryableError
from shared.sync.model import RecordId
from tests.connectors.support import canned, each, js

ORDER: dict[str, Any] = {
    "id": "1",
    "Name": "WO1",
    "Status": "Closed",
    "Grand_Total": 12.5,
    "Company": {"name": "Acme", "id": "2"},
    "Contact": None,
    "Service_Address": None,
    "Billing_Address": None,
    "Service_Line_Items": [{"id": "3", "Service": {"id": "4"}, "Quantity": 1, "List_Price": 12.5, "Amount": 12.5}],
}
TOLD = {"code": "2030", "Invoice_Id": "46", "message": "Invoice Created Successfully", "status": "success"}
TEXT = "One or more line items are already invoiced"


def read(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    with canned(monkeypatch, "zoho_fsm", each(js(200, {"data": [{**ORDER, **changes}]}))) as (connector, _):
        assert isinstance(connector, Invoicer)
        return connector.work_order(RecordId("1"))


def line(**changes: Any) -> list[dict[str, Any]]:
    return [{**ORDER["Service_Line_Items"][0], **changes}]


def made(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response) -> tuple[InvoiceResult, list[httpx.Request]]:
    with canned(monkeypatch, "zoho_fsm", each(answer)) as (connector, sent):
        assert isinstance(connector, Invoicer)
        return connector.make_invoice(RecordId("1"), [RecordId("3")], date(2026, 1, 31), 30), sent


def test_what_a_create_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """[V] create-invoice; [T] all three keys are needed."""
    _, sent = made(monkeypatch, js(201, {"data": {"Invoices": [{"id": "9", "finance_data": TOLD}]}}))
    (request,) = sent
    assert (request.method, request.url.path) == ("POST", "/fsm/v1/Invoices")
    assert json.loads(request.content) == {
        "data": [
            {
                "Work_Order": "1",
                "$Service_Line_Items": ["3"],
                "$finance_data": {
                    "date": "2026-01-31",
                    "payment_terms": 30,
                    "payment_terms_label": "Net 30",
                    "due_date": "2026-03-02",
                    "discount_preference": {"Discount": 0, "Adjustment": 0, "Discount_Type": "Currency"},
                },
            }
        ]
    }


@pytest.mark.rule("TR-7")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"result": "success", "data": {"Invoices": [{"id": "9", "finance_data": TOLD}]}},
            InvoiceMade(RecordId("9"), RecordId("46")),
        ),
        (
            {"data": [{"id": "9", "finance_data": {"code": 2030, "Invoice_Id": 46}}]},
            InvoiceMade(RecordId("9"), RecordId("46")),
        ),
        ({"data": {"Invoices": [{"finance_data": TOLD}], "Other": []}}, InvoiceMade(None, RecordId("46"))),
    ],
    ids=["vendor's page", "numbers", "without its own id"],
)
def test_answers_that_say_that_it_was_made(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], expected: InvoiceMade
) -> None:
    assert made(monkeypatch, js(201, body))[0] == expected


@pytest.mark.rule("TR-7")
@pytest.mark.parametrize(
    "body",
    [
        {"code": "ERROR", "details": {"code": "2031", "message": TEXT}, "message": TEXT, "status": "error"},
        {"code": "2031", "message": TEXT, "status": "error"},
        {"code": "2031", "message": TEXT},
        {"data": {"Invoices": [{"finance_data": {"code": "2031", "message": TEXT, "status": "error"}}]}},
        {"data": [{"code": "ERROR", "details": {"code": "2031", "message": TEXT}, "status": "error"}]},
        {"data": [{"code": "2031", "details": {}, "message": TEXT, "status": "error"}]},
    ],
)
def test_2031_in_whichever_form_is_no_success(monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]) -> None:
    assert isinstance(made(monkeypatch, js(200, body))[0], AlreadyInvoiced)


@pytest.mark.rule("P3")
@pytest.mark.parametrize(
    "answer",
    [
        js(201, {"data": {"Invoices": [{"id": "9"}]}}),
        js(201, {"data": {"Invoices": [{"id": "9", "finance_data": {"code": "2030"}}]}}),
        js(201, {"data": {"Invoices": [{"id": "9", "finance_data": {"code": "2099", "Invoice_Id": "46"}}]}}),
        js(201, {"data": {"Invoices": [{"id": "9", "finance_data": "odd"}]}}),
        js(201, {"data": {"Invoices": []}}),
        js(200, {"data": {}}),
        httpx.Response(204),
        httpx.Response(201, content=b"{"),
        js(500, {"code": "INTERNAL_ERROR", "details": {}, "message": "Internal Server Error", "status": "error"}),
        js(200, {"code": "INTERNAL_ERROR", "details": {}, "status": "error"}),
    ],
    ids=lambda answer: answer.content.decode()[:40],
)
def test_every_other_answer_leaves_it_open(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response) -> None:
    assert isinstance(made(monkeypatch, answer)[0], Unsure)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (
            js(
                400, {"code": "INVALID_DATA", "details": {"api_name": "Work_Order"}, "message": "no", "status": "error"}
            ),
            "INVALID_DATA",
        ),
        (js(400, {"code": "ERROR", "details": {"code": "77", "message": "no"}, "status": "error"}), "77"),
        (
            js(200, {"data": [{"code": "INVALID_DATA", "details": {}, "message": "no", "status": "error"}]}),
            "INVALID_DATA",
        ),
    ],
)
def test_a_refusal_is_a_refusal(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response, code: str) -> None:
    result = made(monkeypatch, answer)[0]
    assert isinstance(result, Rejected)
    assert result.vendor_code == code


def test_a_gone_work_order_is_no_gone_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = js(404, {"code": "INVALID_DATA", "details": {"api_name": "id"}, "message": "no", "status": "error"})
    result = made(monkeypatch, answer)[0]
    assert isinstance(result, Rejected)
    assert result.code == "VENDOR_REJECTED"


# Work orders


@pytest.mark.parametrize(
    ("changes", "invoiced", "invoice_id"),
    [
        ({}, False, None),
        ({"Billing_Status": "Not yet Invoiced"}, False, None),
        ({"Billing_Status": "Invoiced"}, True, None),
        ({"Invoice_Id": 8}, True, "8"),
        ({"Invoice_Id": ""}, False, None),
    ],
)
def test_when_a_line_is_invoiced(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], invoiced: bool, invoice_id: str | None
) -> None:
    (found,) = read(monkeypatch, Service_Line_Items=line(**changes)).lines
    assert (found.invoiced, found.invoice_id) == (invoiced, invoice_id)


def test_a_line_without_an_amount_is_priced_by_quantity(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = read(monkeypatch, Service_Line_Items=line(Amount=None, Quantity="1.5", Service=None)).lines
    assert (found.amount, found.quantity, found.item_id) == (Decimal("18.75"), Decimal("1.5"), None)


def test_lookups_may_be_bare_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    order = read(monkeypatch, Contact="5", Service_Line_Items=line(Service="4"))
    assert (order.customers, order.lines[0].item_id) == ({"Contacts": "5", "Companies": "2"}, "4")


@pytest.mark.rule("P3")
@pytest.mark.parametrize(
    "changes",
    [
        {"Service_Line_Items": None},
        {"Service_Line_Items": ["3"]},
        {"Service_Line_Items": line(id=None)},
        {"Service_Line_Items": line(Quantity="some")},
        {"Grand_Total": None},
        {"id": None},
        {"Service_Line_Items": line(Part_Line_Items=[{"id": "6"}])},
    ],
)
def test_a_work_order_that_cannot_be_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    with pytest.raises(RetryableError, match="another shape"):
        read(monkeypatch, **changes)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"id": 9, "Work_Order": {"id": "1", "name": "WO1"}, "ZBilling_InvoiceId": "46"},
            InvoiceLink(RecordId("9"), RecordId("1"), RecordId("46")),
        ),
        ({"id": "9", "Work_Order": None, "ZBilling_InvoiceId": None}, InvoiceLink(RecordId("9"), None, None)),
    ],
)
def test_an_invoice_is_a_link(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], expected: InvoiceLink) -> None:
    """[T]: one that was made by hand may not have reached the accounting org."""
    with canned(monkeypatch, "zoho_fsm", each(js(200, {"data": [row]}))) as (connector, _):
        assert isinstance(connector, Invoicer)
        assert connector.invoice(RecordId("9")) == expected


def test_a_link_without_an_id_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(monkeypatch, "zoho_fsm", each(js(200, {"data": [{}]}))) as (connector, _):
        assert isinstance(connector, Invoicer)
        with pytest.raises(RetryableError):
            connector.invoice(RecordId("9"))
