"""What people change at both vendors while `latency` looks on: items, at a steady pace, whatever the product does."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.e2e.world import BOOKS, FSM, Json, Person

PER_S = 20.0
RECORDS = 401
"""Bound from the start. 18 edits a second go round all of them in 22 s: of one record the product works on a webhook a
second at most (debounce_s). An odd number, so that each is edited at the one side, then at the other."""
NEW = (0, 11)
"""Of each twenty changes, those that make a new record: one at each side."""
MODULES = {FSM: "Service_And_Parts", BOOKS: "items"}


def other(vendor: str) -> str:
    return BOOKS if vendor == FSM else FSM


@dataclass(frozen=True)
class Change:
    """`price` is no other change's, so that the last one of a record can be told by it."""

    due_s: float
    vendor: str
    name: str
    price: float
    new: bool

    @property
    def fields(self) -> Json:
        """Books refuses an item without its name and price, also where one of them stays."""
        if self.vendor == FSM:
            return {"Name": self.name, "Unit_Price": self.price}
        return {"name": self.name, "rate": self.price}


def item(number: int, price: float) -> dict[str, Json]:
    """By vendor, the same item."""
    return {
        FSM: {"Name": f"Item {number:04}", "Unit_Price": price, "Type": "Service"},
        BOOKS: {"name": f"Item {number:04}", "rate": price, "product_type": "service"},
    }


def planned(count: int) -> list[Change]:
    """The vendors take turns; nine in ten are edits, which go round all bound records."""
    changes, edits = [], 0
    for number in range(count):
        new = number % 20 in NEW
        name = f"New item {number:05}" if new else f"Item {edits % RECORDS:04}"
        edits += not new
        changes.append(Change(number / PER_S, (FSM, BOOKS)[number % 2], name, 1000 + number / 4, new))
    return changes


def make(people: Mapping[str, Person], ids: Mapping[tuple[str, str], str], changes: Sequence[Change]) -> float:
    """Each vendor's changes in order on a thread of its own, so that one vendor's answer delays nobody at the other.

    `ids` by (vendor, name). Returns how late the latest call was begun, in seconds. Raises what a call raised.
    """
    late_s: list[float] = []
    errors: list[Exception] = []
    began = time.monotonic() + 0.2

    def work(vendor: str) -> None:
        try:
            for change in changes:
                if change.vendor == vendor:
                    time.sleep(max(0.0, began + change.due_s - time.monotonic()))
                    late_s.append(time.monotonic() - began - change.due_s)
                    _do(people[vendor], change, ids)
        except Exception as error:  # noqa: BLE001  raised below, where it is waited for
            errors.append(error)

    threads = [threading.Thread(target=work, args=(vendor,)) for vendor in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return max(late_s)


def _do(person: Person, change: Change, ids: Mapping[tuple[str, str], str]) -> None:
    module = MODULES[change.vendor]
    if change.new:
        kind = {"Type": "Service"} if change.vendor == FSM else {"product_type": "service"}
        person.post(module, {**change.fields, **kind})
    else:
        person.put(module, ids[change.vendor, change.name], change.fields)
