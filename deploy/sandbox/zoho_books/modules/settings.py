"""Currencies, taxes and custom fields: read by the product, set by seeds and the control."""

from __future__ import annotations

from decimal import Decimal

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.zoho_books import errors, wire
from deploy.sandbox.zoho_books.office import ORG, Office
from deploy.sandbox.zoho_books.resource import BASE

US_DOLLAR: JsonObject = {
    "currency_id": ORG["currency_id"], "currency_code": "USD", "currency_name": "USD- United States Dollar",
    "currency_symbol": "$", "price_precision": 2, "currency_format": "1,234,567.89", "is_base_currency": True,
    "exchange_rate": 1, "effective_date": "",
}  # fmt: skip
EURO: JsonObject = {
    **US_DOLLAR, "currency_id": "460000000000099", "currency_code": "EUR", "currency_name": "EUR- Euro",
    "currency_symbol": "€", "is_base_currency": False,
}  # fmt: skip
COUNTY_TAX: JsonObject = {
    "tax_id": "460000000566009", "tax_name": "County tax", "tax_percentage": Decimal("3.5"), "tax_type": "tax",
    "is_value_added": False, "is_default_tax": False, "is_editable": True,
}  # fmt: skip


class PlainTable:
    """A list that only seeds and the control change."""

    def __init__(self, office: Office, plural: str, id_key: str, start: list[JsonObject], first_id: int) -> None:
        self._plural, self._id_key, self._start, self._next = plural, id_key, start, first_id
        self.clear()
        office.router.add("GET", f"{BASE}/settings/{plural}", self._list, "settings.read")
        office.modules[plural] = self

    def clear(self) -> None:
        self._rows = {row[self._id_key]: dict(row) for row in self._start}

    def forget_renderings(self) -> None:
        """Nothing is kept rendered."""

    def _list(self, request: Request) -> Answer:
        rows = list(self._rows.values())
        context = {"page": 1, "per_page": 200, "has_more_page": False}
        return Answer.of({"code": 0, "message": "success", self._plural: rows, "page_context": context})

    def seed(self, given: JsonObject) -> str:
        self._next += 1
        row_id = str(given.get(self._id_key) or self._next)
        self._rows[row_id] = {**self._start[0], **given, self._id_key: row_id}
        return row_id

    def internal(self) -> list[JsonObject]:
        return list(self._rows.values())

    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        if method == "DELETE":
            return self._rows.pop(record_id or "")
        held = self._rows[record_id] if record_id else {}
        key = self.seed({**held, **fields})
        return self._rows[key]


class FieldSettings:
    """`/settings/fields?entity=contact` [T]."""

    def __init__(self, office: Office) -> None:
        self._fields = office.custom_fields
        office.router.add("GET", f"{BASE}/settings/fields", self._list, "settings.read")
        office.router.add("POST", f"{BASE}/settings/fields", self._create, "settings.create")

    def _list(self, request: Request) -> Answer:
        shown = [field.describe() for field in self._fields.of(request.query.get("entity", ""))]
        return Answer.of({"code": 0, "message": "success", "fields": shown})

    def _create(self, request: Request) -> Answer:
        entity, given = request.query.get("entity", ""), wire.body_of(request)
        if entity not in ("contact", "item"):
            raise errors.bad_value("entity")
        if not given.get("label"):
            raise errors.empty("label")
        made = self._fields.define(entity, given)
        request.touch("fields", made.id, applied=True)
        return Answer.of({"code": 0, "message": "The custom field has been created.", "field": made.describe()}, 201)


def register(office: Office) -> None:
    PlainTable(office, "currencies", "currency_id", [US_DOLLAR, EURO], 460000000000200)
    PlainTable(office, "taxes", "tax_id", [COUNTY_TAX], 460000000566100)
    FieldSettings(office)
