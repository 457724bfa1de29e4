"""A customer with addresses, services, parts and a work order, made through the vendors' own APIs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.sandbox.support import Box

FINANCE = {"date": "2026-11-02", "payment_terms": 15, "payment_terms_label": "Net 15"}


@dataclass
class Shop:
    """`company`, `service` and `part` are ids at FSM; `addresses` are the two of the company, by their id."""

    box: Box
    company: str
    service: str
    part: str
    addresses: dict[str, dict[str, str]]

    def order(self, **fields: Any) -> dict[str, Any]:
        """What a create sends: two hours of the service with three of the part."""
        parts = [{"Part": self.part, "Quantity": 3}]
        line = {"Service": self.service, "Quantity": 2, "Part_Line_Items": parts}
        own = {"Summary": "Fix it", "Type": "Service", "Company": self.company, "Service_Line_Items": [line]}
        return {**own, **self.addresses, **fields}

    def make(self, **fields: Any) -> dict[str, Any]:
        """A work order, as a single read shows it."""
        return self.box.in_fsm("Work_Orders", self.box.make("Work_Orders", **self.order(**fields)))

    def in_books(self, *, customer: bool = True, items: bool = True) -> None:
        """Twins of the company and of the items, at Books."""
        if customer:
            self.box.make_in_books("contacts", contact_name="Acme", customer_sub_type="business")
        for name in ("Repair", "Bolt") if items else ():
            self.box.make_in_books("items", name=name, rate=1)

    def invoice(self, order: dict[str, Any], *line_ids: str, **more: Any) -> httpx.Response:
        """Of the lines named, or of all."""
        wanted = list(line_ids) or [line["id"] for line in order["Service_Line_Items"]]
        row = {"Work_Order": order["id"], "$Service_Line_Items": wanted, "$finance_data": FINANCE, **more}
        row = {name: value for name, value in row.items() if value is not None}
        return self.box.fsm("POST", "/Invoices", {"data": [row]})


def open_shop(box: Box) -> Shop:
    address = {"Street_1": "1 Main St", "City": "Austin"}
    company = box.make("Companies", Company_Name="Acme", Service_Address=address, Billing_Address=address)
    service = box.make("Service_And_Parts", Name="Repair", Unit_Price=10.5, Type="Service")
    part = box.make("Service_And_Parts", Name="Bolt", Unit_Price=0.335, Type="Part")
    shown = box.in_fsm("Companies", company)
    addresses = {name: {"id": shown[name]["id"]} for name in ("Service_Address", "Billing_Address")}
    return Shop(box, company, service, part, addresses)
