"""People who work at both vendors while the faults come: seeded, and every deed goes into the auditor's journal.

They edit past the API (control), so that a fault aimed at the product never hits them. Each field of a record belongs
to the people of one side, so their edits never clash unless a cell asks for it.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.auditor.journal import Edit, Journal
from tests.chaos.rig import Json, Rig
from tests.e2e.world import BOOKS, FSM

COMPANIES, ITEMS, CONTACTS, BOOKS_ITEMS = "Companies", "Service_And_Parts", "contacts", "items"
FSM_CONTACTS, PERSONS = "Contacts", "contact_persons"


@dataclass(frozen=True)
class Desk:
    """A record that a person may edit, and what they write there."""

    vendor: str
    module: str
    record_id: str
    write: Callable[[int], Json]


def company(name: str, n: int) -> Json:
    return {"Company_Name": name, "Website": f"https://{n}.test", "Service_Address": {"Street_1": f"{n} High Street"}}


def customer(name: str, n: int) -> Json:
    return {
        "contact_name": name,
        "contact_type": "customer",
        "website": f"https://{n}.test",
        "billing_address": {"address": f"{n} Low Road", "city": "York"},
    }


def service(name: str, n: int) -> Json:
    return {"Name": name, "Unit_Price": n + 0.5, "Type": "Service", "Description": f"No. {n}"}


def item(name: str, n: int) -> Json:
    return {"name": name, "rate": n + 0.25, "product_type": "service", "description": f"No. {n}"}


def contact(name: str, n: int, company: str | None) -> Json:
    home = {"Company": {"id": company}} if company else {}
    return {"First_Name": "Cy", "Last_Name": f"{name} {n}", "Email": _mail(name, n), **home}


def individual(name: str, n: int) -> Json:
    return {
        "contact_name": f"Cy {name} {n}",
        "contact_type": "customer",
        "customer_sub_type": "individual",
        "contact_persons": [person(name, n)],
    }


def person(name: str, n: int) -> Json:
    return {"first_name": "Cy", "last_name": f"{name} {n}", "email": _mail(name, n)}


def _mail(name: str, n: int) -> str:
    return f"{name.replace(' ', '-').lower()}-{n}@people.test"


def _number(word: str) -> str:
    """A telephone number that nobody else has."""
    return f"+44 {zlib.crc32(word.encode())}"


MAKERS: dict[tuple[str, str], Callable[[str, int], Json]] = {
    (FSM, COMPANIES): company,
    (BOOKS, CONTACTS): customer,
    (FSM, ITEMS): service,
    (BOOKS, BOOKS_ITEMS): item,
}
# What the people of each side write, by module. The two ends of a pair share no field here.
WRITES: dict[tuple[str, str], tuple[Callable[[str], Json], ...]] = {
    (FSM, COMPANIES): (
        lambda word: {"Website": f"https://{word}.test"},
        lambda word: {"Service_Address": {"City": word}},
    ),
    (BOOKS, CONTACTS): (lambda word: {"billing_address": {"city": word}},),
    (FSM, FSM_CONTACTS): (lambda word: {"Phone": _number(word)},),
    (BOOKS, PERSONS): (lambda word: {"mobile": _number(word)},),
    (FSM, ITEMS): (lambda word: {"Description": word},),
    (BOOKS, BOOKS_ITEMS): (lambda word: {"sku": word},),
}


class People:
    def __init__(self, rig: Rig, journal: Journal, name: str, seed: int) -> None:
        """`name` is in every value they write, so that no two cells share one."""
        self.rig = rig
        self.journal = journal
        self.name = name
        self.chance = random.Random(seed)
        self.desks = self._base()
        self.edits = 0
        self.brought = 0
        self.trouble: list[BaseException] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _base(self) -> list[tuple[str, str, str]]:
        """The base set's records at both sides."""
        found = []
        for kept in (self.rig.base, self.rig.contacts):
            for (vendor, module), ids in kept.items():
                found += [(vendor, module, record_id) for record_id in ids]
        return found

    # Single deeds

    def bring(self, each: int) -> None:
        """So many new records at every module of both sides, unknown to the product; those who made them edit them."""
        numbers = range(self.brought, self.brought + each)
        self.brought += each
        for (vendor, module), make in MAKERS.items():
            side = "left" if vendor == FSM else "right"
            names = [f"{self.name} {side} {n}" for n in numbers]
            rows = [make(name, n) for n, name in enumerate(names)]
            if self.rig.contacts and (vendor, module) == (BOOKS, CONTACTS):
                rows += self._with_contacts(rows, f"{self.name} {side}", numbers)
            ids = self.rig.seed(vendor, module, rows)
            self.desks += [(vendor, module, record_id) for record_id in ids]
            if self.rig.contacts and (vendor, module) == (FSM, COMPANIES):
                self._bring_contacts(ids, f"{self.name} {side}", numbers)

    def _with_contacts(self, customers: list[Json], name: str, numbers: range) -> list[Json]:
        """Every third customer gets a person; as many individuals more."""
        for n, customer in list(zip(numbers, customers, strict=True))[::3]:
            customer["contact_persons"] = [person(f"{name} inner", n)]
        return [individual(f"{name} alone", n) for n in numbers[::3]]

    def _bring_contacts(self, companies: list[str], name: str, numbers: range) -> None:
        """Every third company gets a contact; as many contacts without a company more."""
        rows = [
            contact(f"{name} {kind}", n, home if kind == "inner" else None)
            for n, home in list(zip(numbers, companies, strict=True))[::3]
            for kind in ("inner", "alone")
        ]
        ids = self.rig.seed(FSM, FSM_CONTACTS, rows)
        self.desks += [(FSM, FSM_CONTACTS, record_id) for record_id in ids]

    def make(self, vendor: str, module: str, fields: Json) -> str:
        """A new record by a person; its webhook fires."""
        begin = time.time() * 1000
        made = self.rig.control("POST", vendor, f"edits/{module}", fields)
        record_id = _id_of(made)
        fields = {name: _printable(value) for name, value in fields.items()}
        self.journal.append(Edit(vendor, module, record_id, fields, begin, time.time() * 1000, kind="create"))
        return record_id

    def edit(self, vendor: str, module: str, record_id: str, fields: Json) -> None:
        """A person is named with their customer, as in `Rig.contacts`."""
        begin = time.time() * 1000
        self.rig.control("PUT", vendor, f"edits/{module}/{record_id.rpartition('.')[2]}", fields)
        self.journal.append(Edit(vendor, module, record_id, fields, begin, time.time() * 1000))

    def delete(self, vendor: str, module: str, record_id: str) -> None:
        begin = time.time() * 1000
        self.rig.control("DELETE", vendor, f"edits/{module}/{record_id}")
        self.journal.append(Edit(vendor, module, record_id, {}, begin, time.time() * 1000, kind="delete"))
        self.desks = [desk for desk in self.desks if desk[2] != record_id]

    def some_edit(self) -> None:
        """Whatever comes to somebody's mind."""
        vendor, module, record_id = self.chance.choice(self.desks)
        write = self.chance.choice(WRITES[vendor, module])
        self.edits += 1
        self.edit(vendor, module, record_id, write(f"{self.name.replace(' ', '-')}-{self.edits}"))

    # All the time

    def start(self, per_s: float = 12.0) -> None:
        self._thread = threading.Thread(target=self._work, args=(1 / per_s,), name="people", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Safe to call twice. Raises what went wrong among them."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
        if self.trouble:
            raise self.trouble[0]

    def _work(self, every_s: float) -> None:
        try:
            while not self._stop.wait(every_s):
                self.some_edit()
        except Exception as error:  # noqa: BLE001  (told by `stop`, on the cell's own thread)
            self.trouble.append(error)


def _printable(value: object) -> object:
    """For the journal: a text that is no UTF-8 cannot be kept there."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _id_of(made: Json) -> str:
    record = made.get("record", made)
    return str(record.get("id") or record.get("contact_id") or record["item_id"])
