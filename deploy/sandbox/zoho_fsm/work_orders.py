"""Work orders: a number of their own, addresses of the customer, lines with money, a status that a blueprint moves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_fsm import errors, lines
from deploy.sandbox.zoho_fsm.lines import LINES
from deploy.sandbox.zoho_fsm.records import Records

ADDRESSES = ("Service_Address", "Billing_Address")
CUSTOMERS = ("Company", "Contact")
ITEMS = "Service_And_Parts"
FIRST_LINE_ID = 1011000000581001


class WorkOrders(Records):
    def clear(self) -> None:
        super().clear()
        self._last_number = 0
        self._lines = lines.Lines(self._item, FIRST_LINE_ID)

    def _item(self, item_id: str) -> JsonObject | None:
        record = self._others[ITEMS].table.records.get(item_id)
        return record.data if record else None

    # Writing

    def cleaned(self, given: JsonObject, held: JsonObject | None, writable: frozenset[str]) -> JsonObject:
        """A contact or a company is needed; which of them by the sync type [V], so that either will do here [I]. Both
        addresses are needed, each by the id that it has with that customer [V]."""
        changes = super().cleaned(given, held, writable - set(ADDRESSES))
        after = {**(held or {}), **changes}
        if not any(after.get(name) for name in CUSTOMERS):
            raise errors.missing("Contact")
        for name in ADDRESSES:
            if name in given or held is None:
                changes[name] = self._customer_address(name, given.get(name), after)
        if given.get(LINES) or held is None:
            if not given.get(LINES):
                raise errors.missing(LINES)
            changes.update(self._with_lines(self._lines.changed((held or {}).get(LINES, []), given[LINES])))
        if {*CUSTOMERS} & changes.keys():
            changes.update(self._money_of(after))
        return changes

    def _customer_address(self, name: str, given: Any, after: JsonObject) -> JsonObject:
        """A copy: what becomes of the customer's address does not reach the work order [I]."""
        wanted = given.get("id") if isinstance(given, dict) else None
        if not wanted:
            raise errors.missing("id", name)
        for customer in self._customers(after):
            for kind in ADDRESSES:
                if (held := customer.data.get(kind)) and held["id"] == str(wanted):
                    return dict(held)
        raise errors.invalid_data("id", name)

    def _customers(self, data: JsonObject) -> list[Record]:
        modules = {"Company": "Companies", "Contact": "Contacts"}
        named = [(modules[name], data[name]["id"]) for name in CUSTOMERS if data.get(name)]
        tables = [(self._others[module].table.records, record_id) for module, record_id in named]
        return [records[record_id] for records, record_id in tables if record_id in records]

    def _money_of(self, data: JsonObject) -> JsonObject:
        """In the customer's currency [I]."""
        for customer in self._customers(data)[:1]:
            return {name: customer.data[name] for name in ("Currency", "Exchange_Rate") if name in customer.data}
        return {}

    def _with_lines(self, after: list[JsonObject]) -> JsonObject:
        return {LINES: after, **lines.totals(after), "Billing_Status": lines.billing_status(after)}

    def put_new(self, record_id: str, data: JsonObject, created_at: datetime, modified_at: datetime) -> Record:
        self._last_number += 1
        empty = {"Name": f"WO{self._last_number}", **self._with_lines([])}
        return super().put_new(record_id, {**empty, **data}, created_at, modified_at)

    def made_inside(self, made: list[Record]) -> JsonObject:
        """The ids of the lines are told beside those of the work orders [T]."""
        return {LINES: [{"id": line["id"]} for record in made for line in record.data[LINES]]}

    def move(self, record: Record, status: str) -> None:
        self.update(record, {"Status": status})

    def bill(self, record: Record, line_ids: list[str], invoice_id: str) -> None:
        """The lines bear the id of the FSM invoice [T]. That it moves the work order's time is [I]."""
        told = {"Invoice_Id": invoice_id, "Billing_Status": lines.INVOICED}
        after = [{**line, **(told if line["id"] in line_ids else {})} for line in record.data[LINES]]
        self.update(record, self._with_lines(after))

    def loose(self, given: JsonObject, held: JsonObject | None = None) -> JsonObject:
        changes = super().loose({name: value for name, value in given.items() if name != LINES}, held)
        if given.get(LINES) is not None:
            after = self._lines.changed((held or {}).get(LINES, []), given[LINES], checked=False)
            changes = {**self._with_lines(after), **changes}
        return changes

    # Reading

    def listed(self, record: Record, timed: bool) -> orjson.Fragment:
        """Without lines, by the sample of the list [V]."""
        kind = f"listed-{timed}"
        if kind not in record.rendered:
            shown = {name: value for name, value in self.show(record, timed).items() if name != LINES}
            record.rendered[kind] = orjson.Fragment(jsonio.dumps_raw(shown))
        return record.rendered[kind]

    def show(self, record: Record, times: bool = True) -> JsonObject:
        named = self._others[ITEMS].as_lookup
        return {**super().show(record, times), LINES: [lines.shown(line, named) for line in record.data[LINES]]}
