"""Work orders with their lines, and the invoices that FSM makes of them in the accounting org behind it.

Source: get-a-work-order, create-invoice, get-invoices [V]; the answers that the pages do not show [T] (zoho-fsm.md,
section 5, "Invoices").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.connectors import wire
from shared.connectors.base import (
    AlreadyInvoiced,
    InvoiceLink,
    InvoiceMade,
    InvoiceResult,
    Rejected,
    Unsure,
    WorkOrder,
    WorkOrderLine,
    WorkOrderPart,
)
from shared.connectors.errors import Answer, complaint_error, unclear
from shared.connectors.http import VendorHttp
from shared.connectors.zoho_fsm import schemas
from shared.connectors.zoho_fsm.errors import RULES, complaint_in
from shared.connectors.zoho_fsm.modules import COMPANIES, CONTACTS, INVOICES, LINES, MODULES, PARTS, WORK_ORDERS
from shared.connectors.zoho_fsm.schemas import Row
from shared.errors import BothwaysError, RecordRejected, UnsureWrite
from shared.sync.model import RecordId

MADE, ALREADY = "2030", "2031"
INVOICED = "Invoiced"
CUSTOMERS = ((COMPANIES, "Company"), (CONTACTS, "Contact"))
"""Whom a work order may be for, by module, and the field that names them."""


class FinanceData(BaseModel):
    """What an element of the answer tells of the accounting org. Shape: {code, Invoice_Id, message, status}."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    code: str = ""
    Invoice_Id: str | None = None


def work_order_of(row: Row) -> WorkOrder:
    """Raises ValueError where it shows no lines, or a line without id or amounts: an invoice is made by them."""
    record = schemas.record_of(MODULES[WORK_ORDERS], row)
    return WorkOrder(
        id=record.id,
        name=wire.text(row.get("Name")) or "",
        status=wire.text(row.get("Status")) or "",
        modified_at=record.modified_at,
        customers={module: found for module, name in CUSTOMERS if (found := _id_in(row.get(name))) is not None},
        lines=tuple(_line(line) for line in _rows(row, LINES)),
        grand_total=_number(row, "Grand_Total"),
        record=record,
    )


def _rows(row: Mapping[str, object], name: str) -> list[Row]:
    rows = row.get(name)
    if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
        raise ValueError(f"no {name}")
    return rows


def _line(row: Row) -> WorkOrderLine:
    """A line that bears an invoice's id is invoiced, whatever its status says, and the other way round."""
    part = _part(row, "Service")
    invoice_id = wire.text(row.get("Invoice_Id"))
    return WorkOrderLine(
        id=part.id,
        item_id=part.item_id,
        quantity=part.quantity,
        unit_price=part.unit_price,
        amount=part.amount,
        invoice_id=RecordId(invoice_id) if invoice_id else None,
        invoiced=invoice_id is not None or row.get("Billing_Status") == INVOICED,
        parts=tuple(_part(one, "Part") for one in (_rows(row, PARTS) if row.get(PARTS) is not None else ())),
    )


def _part(row: Row, item: str) -> WorkOrderPart:
    line_id = wire.text(row.get("id"))
    if line_id is None:
        raise ValueError("a line without id")
    quantity, price = _number(row, "Quantity"), _number(row, "List_Price")
    amount = _number(row, "Amount") if row.get("Amount") is not None else quantity * price
    return WorkOrderPart(RecordId(line_id), _id_in(row.get(item)), quantity, price, amount)


def _number(row: Mapping[str, object], name: str) -> Decimal:
    value = wire.number(row.get(name))
    if not isinstance(value, Decimal):
        raise ValueError(f"no number {name}")  # noqa: TRY004  like every other shape that is not the vendor's
    return value


def _id_in(value: object) -> RecordId | None:
    """Of a lookup {id, name}, or of its bare id."""
    found = wire.text(value.get("id")) if isinstance(value, Mapping) else wire.text(value)
    return RecordId(found) if found else None


def invoice_row(work_order_id: RecordId, line_ids: Sequence[RecordId], on: date, payment_terms_days: int) -> Row:
    """All three keys go with every call: without the lines it is a 500, without `$finance_data` a 2031 [T]."""
    return {
        "Work_Order": work_order_id,
        "$Service_Line_Items": list(line_ids),
        "$finance_data": {
            "date": on.isoformat(),
            "payment_terms": payment_terms_days,
            "payment_terms_label": f"Net {payment_terms_days}" if payment_terms_days else "Due on Receipt",
            "due_date": (on + timedelta(days=payment_terms_days)).isoformat(),
            "discount_preference": {"Discount": 0, "Adjustment": 0, "Discount_Type": "Currency"},
        },
    }


def make_invoice(http: VendorHttp, row: Row) -> InvoiceResult:
    """Made only where the answer names the accounting org's invoice. 2031 is told as it is, in whichever of its forms;
    every other answer that is no refusal leaves it open."""
    try:
        answer = http.call("POST", f"/{INVOICES}", json={"data": [row]})
    except (RecordRejected, UnsureWrite) as error:
        return _refused(error)
    return _result(answer, row)


def _refused(error: BothwaysError) -> InvoiceResult:
    if isinstance(error, UnsureWrite):
        return Unsure(str(error))
    if not isinstance(error, RecordRejected):
        raise error
    if error.vendor_code == ALREADY:
        return AlreadyInvoiced()
    code = "VENDOR_REJECTED" if error.code == "TARGET_GONE" else error.code
    return Rejected(code, error.vendor_code or "", error.vendor_message or "")


def _result(answer: Answer, row: Row) -> InvoiceResult:
    open_ = Unsure(str(unclear(RULES.vendor, True, "accepted an invoice with an answer that cannot be read")))
    try:
        elements = schemas.elements_of(_invoices_alone(answer.body or {}))
        (element,) = elements
        told = FinanceData.model_validate(element.get("finance_data") or {})
    except (ValueError, ValidationError):
        return open_
    complaint = complaint_in(element)
    if complaint is not None:
        return _refused(complaint_error(RULES, complaint, status=400, answer=answer, sent=wire.leaves(row)))
    if told.code == ALREADY:
        return AlreadyInvoiced()
    if told.code != MADE or not told.Invoice_Id:
        return open_
    own_id = wire.text(element.get("id"))
    return InvoiceMade(RecordId(own_id) if own_id else None, RecordId(told.Invoice_Id))


def _invoices_alone(body: Row) -> Row:
    """What else the answer may tell beside the invoices is left out."""
    data = body.get("data")
    return {"data": {INVOICES: data[INVOICES]}} if isinstance(data, dict) and INVOICES in data else body


def link_of(rows: Iterable[Row]) -> InvoiceLink:
    """Raises ValueError where the first row has no id."""
    row = next(iter(rows), {})
    own_id = wire.text(row.get("id"))
    if own_id is None:
        raise ValueError("an invoice without id")
    accounting_id = wire.text(row.get("ZBilling_InvoiceId"))
    return InvoiceLink(
        RecordId(own_id), _id_in(row.get("Work_Order")), RecordId(accounting_id) if accounting_id else None
    )
