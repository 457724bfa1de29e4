"""What people do at the vendors while everything runs: planned beforehand, then done at the pace of people."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from deploy.demo.errors import StopAsked
from deploy.demo.northwind import Cast
from deploy.demo.shapes import COMPANY, KINDS, PRODUCT, VENDORS, Kind, Values, fold
from deploy.demo.vendors import Person

_SEED = 1996
UPDATES = {COMPANY.label: 14, PRODUCT.label: 12}
"""By each of the two people; with the records held back that makes 32 changes in each direction."""
PAUSE_S = (0.05, 0.25)


@dataclass
class Change:
    """One change of one record by a person at `vendor`. `key` is the folded name of before.

    `record_id` and `twin_id` are those of the changed record and its twin; unknown beforehand where it is new.
    `delay_ms` None: it has not arrived.
    """

    vendor: str
    kind: Kind
    key: str
    name: str
    values: Values
    new: bool = False
    record_id: str = ""
    twin_id: str = ""
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_ms: float | None = None
    delay_ms: float | None = None

    @property
    def what(self) -> str:
        if self.new:
            return "new"
        labels = [self.kind.label_of(name) for name in self.values]
        if len(labels) == 1 and next(iter(self.values.values())) == "":
            return f"{labels[0]} cleared"
        return labels[0] if len(labels) < 3 else f"{labels[0]} and {len(labels) - 1} more"

    @property
    def key_after(self) -> str:
        return fold(str(self.values.get("name", self.name)))


def plan(cast: Cast) -> dict[str, list[Change]]:
    """By vendor, in the order they are done; every change is of another record. The same every time."""
    dice = random.Random(_SEED)  # noqa: S311  no secret
    planned: dict[str, list[Change]] = {
        vendor: [
            Change(vendor, entry.kind, fold(entry.name), entry.name, dict(entry.values), new=True)
            for entry in cast.held_back[vendor]
        ]
        for vendor in VENDORS
    }
    for kind in KINDS:
        keys = [key for label, key in cast.truth if label == kind.label]
        dice.shuffle(keys)
        count = UPDATES[kind.label]
        for place, vendor in enumerate(VENDORS):
            for number, key in enumerate(keys[place * count : (place + 1) * count]):
                before = cast.truth[kind.label, key]
                planned[vendor].append(
                    Change(vendor, kind, key, str(before["name"]), _edit(kind, before, number, vendor))
                )
    for listed in planned.values():
        dice.shuffle(listed)
    return planned


def _edit(kind: Kind, before: Values, number: int, vendor: str) -> Values:
    return _company_edit(before, number, vendor) if kind is COMPANY else _product_edit(before, number)


def _company_edit(before: Values, number: int, vendor: str) -> Values:
    house = 10 + 7 * number
    edits: tuple[Values, ...] = (
        {"website": f"{before['website']}/welcome"},
        {"service.street1": f"{house} Market Street"},
        {"billing.street1": f"{house} Bank Square", "billing.street2": f"Suite {number + 1}"},
        {"service.street1": f"{house} Harbour Road", "service.city": "Malmö", "service.zip": f"211 {house:02}"},
        {"billing.zip": f"{10_000 + house}"},
    )
    if number == 5:
        return {"name": f"{before['name']} {'Group' if vendor == VENDORS[0] else 'Holding'}"}
    return {"website": ""} if number == 6 else edits[number % len(edits)]


def _product_edit(before: Values, number: int) -> Values:
    price = Decimal(before["price"])
    edits: tuple[Values, ...] = (
        {"price": price + Decimal("1.25")},
        {"description": f"{before['description']}. New harvest."},
        {"unit": f"{before['unit']}, boxed"},
        {"price": price + Decimal("0.49"), "description": f"{before['description']}. Now fair trade."},
    )
    return {"name": f"{before['name']} No. 2"} if number == 5 else edits[number % len(edits)]


class Shift:
    """The people at work, each on a thread of their own, at the same time."""

    def __init__(self, planned: dict[str, list[Change]], people: dict[str, Person], stop: threading.Event) -> None:
        self._stop = stop
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(people[vendor], listed, place), daemon=True)
            for place, (vendor, listed) in enumerate(planned.items())
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def over(self) -> bool:
        """Raises what went wrong for one of them."""
        if self._errors:
            raise self._errors[0]
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, person: Person, listed: Sequence[Change], place: int) -> None:
        dice = random.Random(_SEED + place)  # noqa: S311  no secret
        try:
            for change in listed:
                if self._stop.wait(dice.uniform(*PAUSE_S)):
                    return
                self._do(person, change)
        except StopAsked:
            return
        except Exception as error:  # noqa: BLE001  raised where it is waited for
            self._errors.append(error)

    def _do(self, person: Person, change: Change) -> None:
        if change.new:
            fields = change.kind.new(person.vendor, change.values)
            change.record_id = person.create(change.kind, fields, change.request_id)
        else:
            module = change.kind.module(person.vendor)
            fields = change.kind.written(person.vendor, change.values)
            person.update(module, change.record_id, fields, change.request_id)


def settle(cast: Cast, planned: dict[str, list[Change]]) -> None:
    """The truth after the changes."""
    for listed in planned.values():
        for change in listed:
            before = {} if change.new else cast.truth.pop((change.kind.label, change.key))
            cast.truth[change.kind.label, change.key_after] = {**before, **change.values}
