"""Service lines of a work order and the parts inside them: checked, priced and summed. Names by the vendor's pages
add-service-to-work-order and add-part-to-work-order [V]; discounts of lines are not built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_fsm import errors

LINES, PARTS = "Service_Line_Items", "Part_Line_Items"
DELETE = "$fsm_delete"
NOT_INVOICED, PARTLY_INVOICED, INVOICED = "Not yet Invoiced", "Partially Invoiced", "Invoiced"
CENT = Decimal("0.01")

# A service or a part by its id: what is kept of it. None: there is none.
Item = Callable[[str], JsonObject | None]


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Kind:
    """`key` names the item of a line, `type` is what that must be [I]."""

    key: str
    type: str
    prefix: str


SERVICE, PART = Kind("Service", "Service", "SVC"), Kind("Part", "Goods", "PRT")


class Lines:
    """Ids and numbers of lines count up over the organisation. Unchecked for seeds and a person's edits."""

    def __init__(self, item: Item, first_id: int) -> None:
        self._item = item
        self._next_id = first_id
        self._numbers = {SERVICE: 0, PART: 0}

    def changed(self, held: list[JsonObject], given: Any, checked: bool = True) -> list[JsonObject]:
        """Lines that a write names by id are changed, `$fsm_delete` takes them out [T]; those without are added, the
        others stay [V]. One that is invoiced is not changed [I]."""
        return self._changed(SERVICE, held, given, checked)

    def _changed(self, kind: Kind, held: list[JsonObject], given: Any, checked: bool) -> list[JsonObject]:
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise errors.invalid_data(LINES, expected_data_type="jsonarray")
        after = {line["id"]: line for line in held}
        for one in given:
            own_id = str(one.get("id") or "")
            line = after.get(own_id)
            if checked and own_id and line is None:
                raise errors.invalid_data("id", LINES)
            if checked and line is not None and line.get("Invoice_Id"):
                raise errors.invalid_data("Billing_Status", LINES)
            if line is not None and one.get(DELETE) is True:
                del after[own_id]
                continue
            made = self._line(kind, line, one, len(after) + 1, checked)
            after[made["id"]] = made
        return sorted(after.values(), key=lambda line: Decimal(line["Sequence"]))

    def _line(self, kind: Kind, held: JsonObject | None, given: JsonObject, place: int, checked: bool) -> JsonObject:
        line = dict(held) if held else self._fresh(kind, given, place, checked)
        for name in ("Quantity", "List_Price", "Sequence"):
            if given.get(name) is not None:
                line[name] = _number(name, given[name])
        if checked and line["Quantity"] <= 0:
            raise errors.invalid_data("Quantity", LINES)
        line.update({name: given[name] for name in ("Description", "Unit", "Tax") if name in given})
        if not checked:
            line.update({name: given[name] for name in ("Status", "Invoice_Id", "Billing_Status") if name in given})
        if kind is SERVICE:
            parts = self._changed(PART, line.get(PARTS, []), given.get(PARTS) or [], checked)
            line[PARTS] = [{**part, "Service_Line_Item": line["id"]} for part in parts]
        return line

    def _fresh(self, kind: Kind, given: JsonObject, place: int, checked: bool) -> JsonObject:
        """What a line does not say is the item's. A quantity is needed [V]."""
        named = given.get(kind.key)
        item_id = str(named.get("id") or "") if isinstance(named, dict) else str(named or "")
        item = self._item(item_id)
        if checked and not item_id:
            raise errors.missing(kind.key, LINES)
        if checked and (item is None or item["Type"] != kind.type):
            raise errors.invalid_data(kind.key, LINES, expected_data_type="bigint")
        if checked and given.get("Quantity") is None:
            raise errors.missing("Quantity", LINES)
        own = item or {}
        self._numbers[kind] += 1
        line: JsonObject = {
            "id": self._new_id(str(given.get("id") or "")), "Name": f"{kind.prefix}-{self._numbers[kind]}",
            kind.key: item_id, "Description": own.get("Description"), "Unit": own.get("Unit"), "Quantity": 1,
            "List_Price": own.get("Unit_Price", 0), "Sequence": place, "Tax": own.get("Tax"),
        }  # fmt: skip
        if kind is SERVICE:
            line.update({"Status": "New", "Invoice_Id": None, "Billing_Status": NOT_INVOICED})
        return line

    def _new_id(self, given: str) -> str:
        if given:
            return given
        self._next_id += 1
        return str(self._next_id)


def _number(name: str, value: Any) -> int | Decimal:
    """A number; a text that is one is taken too [I]."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return Decimal(value)
    raise errors.invalid_data(name, LINES, expected_data_type="double")


# Money


def amount(line: JsonObject) -> Decimal:
    return cents(Decimal(line["Quantity"]) * Decimal(line["List_Price"]))


def tax_of(line: JsonObject) -> tuple[str, Decimal] | None:
    """Name and percentage; None where the line is not taxed."""
    tax = line.get("Tax") or {}
    if tax.get("Taxable") is False or not tax.get("Tax_Name") or tax.get("Tax_Percentage") is None:
        return None
    return str(tax["Tax_Name"]), Decimal(tax["Tax_Percentage"])


def tax_amount(line: JsonObject) -> Decimal:
    tax = tax_of(line)
    return cents(amount(line) * tax[1] / 100) if tax else Decimal("0.00")


def with_parts(line: JsonObject) -> Iterator[JsonObject]:
    yield line
    yield from line.get(PARTS, [])


def totals(lines: list[JsonObject]) -> JsonObject:
    """Before tax, the tax, and both; each line is rounded by itself [I]."""
    every = [one for line in lines for one in with_parts(line)]
    before, tax = sum(map(amount, every), Decimal("0.00")), sum(map(tax_amount, every), Decimal("0.00"))
    return {"Sub_Total": before, "Tax_Amount": tax, "Grand_Total": before + tax}


def billing_status(lines: list[JsonObject]) -> str:
    """`Partially Invoiced` is [I]; the other two [T]."""
    invoiced = [bool(line.get("Invoice_Id")) for line in lines]
    if not any(invoiced):
        return NOT_INVOICED
    return INVOICED if all(invoiced) else PARTLY_INVOICED


def shown(line: JsonObject, named: Callable[[str], JsonObject | None], kind: Kind = SERVICE) -> JsonObject:
    """With its item's name, its amounts and its parts."""
    amounts = {"Amount": amount(line), "Discount": 0, "Discount_Type": "Currency"}
    row = {**line, kind.key: named(line[kind.key]), **amounts, "Line_Item_Amount": amount(line) + tax_amount(line)}
    if kind is SERVICE:
        row[PARTS] = [shown(part, named, PART) for part in line[PARTS]]
    return row
