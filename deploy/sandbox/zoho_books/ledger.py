"""The organisation as what stands behind a field-service one. None of this is a call of the API: no limit counts it,
and no call is logged."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.ledger import Article, Bill, BillLine, LedgerRefusal, Party
from deploy.sandbox.messages import Refusal
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books.modules.invoices import Invoices
from deploy.sandbox.zoho_books.office import Office
from deploy.sandbox.zoho_books.resource import Resource


class BooksLedger:
    def __init__(self, office: Office) -> None:
        self._office = office

    def _resource(self, name: str) -> Resource:
        found = self._office.modules[name]
        assert isinstance(found, Resource)  # noqa: S101
        return found

    def customer(self, party: Party) -> str | None:
        contacts = self._resource("contacts")
        index, key = ("email", party.email) if party.is_person else ("name", party.name)
        kind = "individual" if party.is_person else "business"

        def fits(record: Record) -> bool:
            return bool(record.data["contact_type"] == "customer" and record.data["customer_sub_type"] == kind)

        return _twin(contacts, party.own_id, index, key, fits)

    def item(self, article: Article) -> str | None:
        return _twin(self._resource("items"), article.own_id, "name", f"n{article.name.strip()}", lambda record: True)

    def add_customer(self, party: Party) -> str:
        person = {"first_name": party.first_name, "last_name": party.last_name, "email": party.email}
        given: JsonObject = {
            "contact_name": party.name, "contact_type": "customer",
            "customer_sub_type": "individual" if party.is_person else "business",
            "company_name": "" if party.is_person else party.name,
        }  # fmt: skip
        if party.is_person:
            given["contact_persons"] = [{**person, "phone": party.phone, "is_primary_contact": True}]
        return self._added("contacts", given)

    def add_item(self, article: Article) -> str:
        given: JsonObject = {
            "name": article.name, "rate": article.price, "unit": article.unit, "description": article.description,
            "product_type": "service" if article.is_service else "goods",
        }  # fmt: skip
        return self._added("items", given)

    def _added(self, module: str, given: JsonObject) -> str:
        return _refusing(lambda: self._resource(module).added(given)).id

    def make_invoice(self, bill: Bill) -> str:
        invoices = self._office.modules["invoices"]
        assert isinstance(invoices, Invoices)  # noqa: S101
        given: JsonObject = {
            "customer_id": bill.customer_id, "reference_number": bill.reference,
            "line_items": [self._line(line) for line in bill.lines], "adjustment": bill.adjustment,
            "discount": bill.discount or 0, "discount_type": "entity_level",
        }  # fmt: skip
        for name in ("date", "due_date", "payment_terms_label"):
            if getattr(bill, name):
                given[name] = getattr(bill, name)
        if bill.payment_terms is not None:
            given["payment_terms"] = bill.payment_terms
        return _refusing(lambda: invoices.added(given)).id

    def _line(self, line: BillLine) -> JsonObject:
        """A tax is found by name and percentage; one that the organisation lacks is refused [I]. A line that names none
        has none, whatever its item has [I]."""
        tax_id = ""
        if line.tax is not None:
            rows = self._office.modules["taxes"].internal() if self._office.capabilities["taxes_enabled"] else []
            tax_id = next((str(row["tax_id"]) for row in rows if _is_tax(row, line.tax)), "")
            if not tax_id:
                raise LedgerRefusal("2", "The tax of a line item is not there.")
        return {
            "item_id": line.item_id, "quantity": line.quantity, "rate": line.rate, "tax_id": tax_id,
            "description": line.description,
        }  # fmt: skip

    def invoice(self, invoice_id: str) -> JsonObject | None:
        invoices = self._resource("invoices")
        record = invoices.table.records.get(invoice_id)
        return invoices.detail(record) if record is not None else None


def _twin(module: Resource, own_id: str | None, index: str, key: str, fits: Callable[[Record], bool]) -> str | None:
    if own_id:
        record = module.table.records.get(own_id)
        return record.id if record is not None and record.data["status"] == "active" else None
    if not key.strip():
        return None
    found = [
        record
        for record in module.table.find(index, key.strip().casefold())
        if record.data["status"] == "active" and fits(record)
    ]
    return found[0].id if len(found) == 1 else None


def _is_tax(row: JsonObject, wanted: tuple[str, Decimal]) -> bool:
    return bool(row["tax_name"] == wanted[0] and Decimal(row["tax_percentage"]) == wanted[1])


def _refusing(make: Callable[[], Record]) -> Record:
    try:
        return make()
    except Refusal as refusal:
        said = jsonio.loads_object(refusal.answer.body)
    raise LedgerRefusal(str(said["code"]), str(said["message"]))
