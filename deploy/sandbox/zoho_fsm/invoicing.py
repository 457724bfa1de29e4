"""Invoices of work orders: made in the accounting organisation behind this one, and linked here. Source: create-invoice
and get-invoices [V], with the answers that third parties met [T]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.ledger import Article, Bill, BillLine, Ledger, LedgerRefusal, Party
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_fsm import errors, lines
from deploy.sandbox.zoho_fsm.lines import LINES, PART, SERVICE
from deploy.sandbox.zoho_fsm.records import Records
from deploy.sandbox.zoho_fsm.work_orders import ITEMS, WorkOrders

if TYPE_CHECKING:
    from deploy.sandbox.zoho_fsm.server import ZohoFsm

ALREADY = "One or more line items are already invoiced"
ASKED_LINES, FINANCE = "$Service_Line_Items", "$finance_data"


class Invoices(Records):
    """`payload` is what the accounting organisation tells of one, by its id there."""

    payload: Callable[[str], JsonObject | None]

    def detail(self, record: Record) -> orjson.Fragment:
        """The accounting organisation's own record, wrapped in a few fields of FSM [T]. Read afresh each time."""
        return orjson.Fragment(jsonio.dumps_raw(self.show(record)))

    def listed(self, record: Record, timed: bool) -> orjson.Fragment:
        """A list shows FSM's own fields alone, by its sample [V]."""
        return orjson.Fragment(jsonio.dumps_raw(super().show(self._fresh(record), timed)))

    def show(self, record: Record, times: bool = True) -> JsonObject:
        payload = self._payload(record) or {}
        return {**payload, **super().show(self._fresh(record), times)}

    def _payload(self, record: Record) -> JsonObject | None:
        return self.payload(str(record.data.get("ZBilling_InvoiceId") or ""))

    def _fresh(self, record: Record) -> Record:
        """Number and status follow the accounting organisation [I]; of an invoice that is gone there they stay."""
        told = self._payload(record)
        if told is None:
            return record
        status = str(told["status"]).replace("_", " ").title()
        return replace(record, data={**record.data, "Name": told["invoice_number"], "Status": status})


class Invoicing:
    def __init__(self, vendor: ZohoFsm) -> None:
        self._vendor = vendor

    @property
    def _orders(self) -> WorkOrders:
        found = self._vendor.records["Work_Orders"]
        assert isinstance(found, WorkOrders)  # noqa: S101
        return found

    def create(self, request: Request) -> Answer:
        """One row a call. The odd answers are those that were met, in the order in which they must come: without line
        ids 500, before anything is looked at [T]; without `$finance_data` 2031 inside a 200 [T]."""
        vendor = self._vendor
        invoices = vendor.scoped(request, "CREATE", "Invoices")
        request.touch("Invoices", None)
        rows = vendor.rows(request)
        if len(rows) != 1:
            raise errors.invalid_data("data", maximum_length=1)
        given = rows[0]
        if not given.get(ASKED_LINES):
            raise Refusal(vendor.server_error(500))
        order = self._order(given.get("Work_Order"))
        wanted = self._wanted(order, given[ASKED_LINES])
        if FINANCE not in given or any(line.get("Invoice_Id") for line in wanted):
            raise Refusal(_already())
        accounting_id = self._made(order, wanted, given[FINANCE])
        invoice = self._linked(invoices, order, accounting_id)
        self._orders.bill(order, [line["id"] for line in wanted], invoice.id)
        vendor.emit(invoices, invoice, "create")
        vendor.emit(self._orders, order, "update")
        request.touch("Invoices", invoice.id, applied=True)
        return self._answer(invoices, invoice, accounting_id)

    def _order(self, given: Any) -> Record:
        order_id = str(given.get("id") if isinstance(given, dict) else given or "")
        if not order_id:
            raise errors.missing("Work_Order")
        order = self._orders.table.records.get(order_id)
        if order is None:
            raise errors.invalid_data("Work_Order", expected_data_type="bigint")
        return order

    def _wanted(self, order: Record, given: Any) -> list[JsonObject]:
        """Lines of another work order, unknown ones and one named twice are refused [I]."""
        ids = [str(one) for one in given] if isinstance(given, list) else []
        known = {line["id"]: line for line in order.data[LINES]}
        if not ids or len(set(ids)) != len(ids) or not set(ids) <= known.keys():
            raise errors.invalid_data(ASKED_LINES, expected_data_type="bigint")
        return [known[one] for one in ids]

    def _answer(self, invoices: Records, invoice: Record, accounting_id: str) -> Answer:
        told = {
            "code": "2030", "Invoice_Id": accounting_id, "message": "Invoice Created Successfully", "status": "success",
        }  # fmt: skip
        row = {
            "finance_data": told, "UID": "Invoices_0", **invoices.stamps(invoice), "id": invoice.id,
            "TabName": "Invoices",
        }  # fmt: skip
        body = {"result": "success", "code": "SUCCESS", "data": {"Invoices": [row]}, "status": "success"}
        return Answer.of(body, 201)

    # In the accounting organisation

    def _ledger(self) -> Ledger:
        ledger = self._vendor.ledgers.get(self._vendor.accounting or "")
        if ledger is None:
            raise _refused("INTEGRATION_NOT_ENABLED", "the integration is not enabled")
        return ledger

    def payload(self, accounting_id: str) -> JsonObject | None:
        ledger = self._vendor.ledgers.get(self._vendor.accounting or "")
        return ledger.invoice(accounting_id) if ledger and accounting_id else None

    def _made(self, order: Record, wanted: list[JsonObject], finance: Any) -> str:
        """Its id there. Customer and items must have twins; with the native sync on those that lack one are pushed."""
        if not isinstance(finance, dict):
            raise errors.invalid_data(FINANCE, expected_data_type="jsonobject")
        ledger = self._ledger()
        try:
            customer = self._customer(ledger, order)
            billed = tuple(self._line(ledger, one) for line in wanted for one in lines.with_parts(line))
            return ledger.make_invoice(_bill(customer, billed, str(order.data["Name"]), finance))
        except LedgerRefusal as refusal:
            code, message = refusal.code, refusal.message
        raise _refused(code, message)

    def _customer(self, ledger: Ledger, order: Record) -> str:
        """The company, or the contact where there is none [I]."""
        module, name = ("Companies", "Company") if order.data.get("Company") else ("Contacts", "Contact")
        record = self._vendor.records[module].table.records.get((order.data.get(name) or {}).get("id", ""))
        if record is None:
            raise LedgerRefusal("2032", "The customer of the work order is not there.")
        party = _party(record, is_person=module == "Contacts")
        found = ledger.customer(party)
        if found is None:
            found = self._pushed(module, record, lambda: ledger.add_customer(replace(party, own_id=None)))
        return found

    def _line(self, ledger: Ledger, line: JsonObject) -> BillLine:
        kind = SERVICE if SERVICE.key in line else PART
        record = self._vendor.records[ITEMS].table.records.get(line[kind.key])
        if record is None:
            raise LedgerRefusal("2032", "An item of the work order is not there.")
        article = _article(record)
        found = ledger.item(article)
        if found is None:
            found = self._pushed(ITEMS, record, lambda: ledger.add_item(replace(article, own_id=None)))
        description = str(line.get("Description") or "")
        quantity, price = Decimal(line["Quantity"]), Decimal(line["List_Price"])
        return BillLine(found, quantity, price, description, lines.tax_of(line))

    def _pushed(self, module: str, record: Record, add: Callable[[], str]) -> str:
        """Linked as by actions/process_sync [I]. Without the native sync it is refused [I for code and text]."""
        if not self._vendor.capabilities["native_sync"]:
            raise LedgerRefusal("2032", f"A record of {module} is not synced with Zoho Finance.")
        made = add()
        records = self._vendor.records[module]
        records.update(record, {"ZBilling_Id": made})
        self._vendor.emit(records, record, "update")
        return made

    def _linked(self, invoices: Records, order: Record, accounting_id: str) -> Record:
        told = self.payload(accounting_id) or {}
        return invoices.create(
            {
                "Name": told.get("invoice_number"), "Status": "Draft", "Work_Order": {"id": order.id},
                "Contact_Id": order.data.get("Contact"), "ZBilling_InvoiceId": accounting_id,
                "Date": told.get("date"), "Due_Date": told.get("due_date"), "Currency": told.get("currency_code"),
                "Exchange_Rate": told.get("exchange_rate", 1),
            }
        )  # fmt: skip


def _already() -> Answer:
    """HTTP 200 [T]; in the form in which some calls complain [I for this one]."""
    details = {"code": "2031", "message": ALREADY}
    return Answer.of({"code": "ERROR", "details": details, "message": ALREADY, "status": "error"}, 200)


def _refused(code: str, message: str) -> Refusal:
    """In the form that some calls use [T; I that this is one of them]."""
    return errors.refuse(400, "ERROR", "error occurred", {"code": code, "message": message})


def _party(record: Record, is_person: bool) -> Party:
    data = record.data
    first, last = str(data.get("First_Name") or ""), str(data.get("Last_Name") or "")
    name = f"{first} {last}".strip() if is_person else str(data.get("Company_Name") or "")
    return Party(
        data.get("ZBilling_Id") or None, name, str(data.get("Email") or ""), is_person, first, last,
        str(data.get("Phone") or ""),
    )  # fmt: skip


def _article(record: Record) -> Article:
    data = record.data
    return Article(
        data.get("ZBilling_Id") or None, str(data["Name"]), Decimal(data.get("Unit_Price") or 0),
        data.get("Type") == "Service", str(data.get("Description") or ""), str(data.get("Unit") or ""),
    )  # fmt: skip


def _bill(customer: str, billed: tuple[BillLine, ...], reference: str, finance: JsonObject) -> Bill:
    """{date, payment_terms, payment_terms_label, due_date, discount_preference: {Discount, Adjustment, Discount_Type}},
    each of them optional [V]."""
    preference = finance.get("discount_preference") or {}
    discount = preference.get("Discount") or 0
    percent = "%" if preference.get("Discount_Type") == "Percent" else ""
    return Bill(
        customer, billed, reference, str(finance.get("date") or ""), str(finance.get("due_date") or ""),
        finance.get("payment_terms"), str(finance.get("payment_terms_label") or ""),
        f"{discount}{percent}" if discount else "", Decimal(preference.get("Adjustment") or 0),
    )  # fmt: skip
