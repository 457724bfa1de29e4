"""Invoices of the accounting vendor: they are read, and their custom fields written (FM-6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.connectors.base import Capabilities, Draft, Edit, ListOrder, Rejected, Unsure, Written
from shared.sync.model import Change, ModuleName, Record, RecordId, Value
from tests.contract.books_openapi import Seen
from tests.contract.support import CASES, Sandbox, World, delivery_body, signed_delivery, world_of

INVOICES = ModuleName("invoices")
BOOKS = CASES[2]
FIELDS = [{"label": "Site"}, {"label": "Gate", "data_type": "number"}, {"label": "Day", "data_type": "date"}]


@pytest.fixture
def books(sandbox: Sandbox) -> Iterator[World]:
    """With three custom fields of invoices, which a probe found."""
    sandbox.control(BOOKS.vendor, "POST", "custom_fields", {"invoice": FIELDS})
    customer = {"contact_name": "Acme", "customer_sub_type": "business", "contact_id": "77"}
    sandbox.control(BOOKS.vendor, "POST", "seed", {"contacts": [customer]})
    looking = world_of(sandbox, replace(BOOKS, module=INVOICES))
    found = looking.connector.probe()
    looking.connector.close()
    world = world_of(sandbox, replace(BOOKS, module=INVOICES), capabilities=found)
    yield world
    world.connector.close()


def seeded(world: World, **more: Any) -> RecordId:
    row = {"customer_id": "77", "line_items": [{"name": "Work", "rate": 10.25, "quantity": 2}], **more}
    made = world.sandbox.control(BOOKS.vendor, "POST", "seed", {"invoices": [row]})["seeded"]["invoices"][0]
    return RecordId(str(made))


def at(day: int, second: int = 0) -> str:
    return f"2026-01-0{day}T10:00:0{second}-0800"


def edited(world: World, record: Record, **values: Value) -> Any:
    changes = tuple(Change(name, record.get(name), value) for name, value in values.items())
    return world.connector.update(INVOICES, [Edit(record, changes)])[0]


@pytest.mark.rule("FM-6", "FM-7")
def test_an_invoice_is_read_with_its_totals_and_custom_fields(books: World) -> None:
    made = seeded(books, custom_field_hash={"cf_site": "roof", "cf_gate": 4})
    record = books.fetch(made)
    facts = books.connector.facts.modules[INVOICES]
    assert record.complete
    assert set(facts.fields) <= set(record.fields)
    assert (record.get("total"), record.get("balance"), record.get("sub_total")) == (Decimal("20.5"),) * 3
    assert (record.get("customer_name"), record.get("status"), record.get("currency_code")) == ("Acme", "draft", "USD")
    assert (record.get("cf_site"), record.get("cf_gate"), record.get("cf_day")) == ("roof", Decimal(4), None)
    writable = {name for name, field in facts.fields.items() if not field.read_only}
    assert writable == {"cf_site", "cf_gate", "cf_day"}


@pytest.mark.rule("TR-5")
def test_lists_hold_what_changed_at_or_after_a_time(books: World) -> None:
    for day in (1, 2, 3):
        seeded(books, invoice_number=f"N{day}", created_time=at(4 - day), last_modified_time=at(day))
    facts = books.connector.facts.modules[INVOICES]
    assert (facts.order, facts.list_modified) == (ListOrder.SINCE, True)
    second_day = datetime(2026, 1, 2, 18, 0, 0, 500_000, tzinfo=UTC)
    rows = books.listed(since=second_day)
    assert [row.get("invoice_number") for row in rows] == ["N3", "N2"], "a closed range, in the order of making"
    assert len(books.listed()) == 3


@pytest.mark.rule("TR-5")
def test_a_list_is_read_to_its_end(books: World) -> None:
    rows = [{"customer_id": "77", "invoice_number": f"N{number:03}"} for number in range(203)]
    books.sandbox.control(BOOKS.vendor, "POST", "seed", {"invoices": rows})
    assert len({row.id for row in books.listed()}) == 203


def test_list_rows_hold_what_the_facts_say(books: World) -> None:
    made = seeded(books)
    facts = books.connector.facts.modules[INVOICES]
    (row,) = books.listed()
    record = books.fetch(made)
    assert not row.complete
    assert facts.list_fields is not None
    assert {name: row.get(name) for name in facts.list_fields} == {name: record.get(name) for name in facts.list_fields}
    assert row.modified_at == record.modified_at


def test_an_invoice_is_found_by_its_number(books: World) -> None:
    made = seeded(books, invoice_number="INV-7")
    seeded(books, invoice_number="INV-71")
    assert [row.id for row in books.connector.find(INVOICES, "invoice_number", "INV-7")] == [made]
    assert books.connector.find(INVOICES, "invoice_number", "INV-8") == ()


@pytest.mark.rule("TR-9")
def test_an_invoice_that_is_gone(books: World) -> None:
    made = seeded(books)
    record = books.fetch(made)
    books.sandbox.delete(BOOKS.vendor, "invoices", made)
    assert books.connector.fetch(INVOICES, [made]) == {made: None}
    result = edited(books, record, cf_site="x")
    assert isinstance(result, Rejected)
    assert result.code == "TARGET_GONE"


@pytest.mark.rule("FM-6")
def test_custom_fields_are_written_and_nothing_else_is_touched(books: World, books_calls: list[Seen]) -> None:
    made = seeded(books, custom_field_hash={"cf_site": "roof", "cf_gate": 4})
    before = books.fetch(made)
    assert edited(books, before, cf_site="attic", cf_day="2026-11-02") == Written(made, None, None)
    after = books.fetch(made)
    assert {name for name in after.fields if after.get(name) != before.get(name)} == {"cf_site", "cf_day"}
    (shown,) = books.stored()
    assert (shown["line_items"][0]["rate"], shown["total"]) == (10.25, 20.5)
    (write,) = (call for call in books_calls if call.method != "get")
    assert (write.method, write.path) == ("put", f"/invoice/{made}/customfields")
    sent = sorted(row["value"] for row in json.loads(write.content))
    assert sent == ["2026-11-02", "4", "attic"], "all of them together: what a part would do to the rest is not known"


def test_a_custom_field_is_cleared(books: World) -> None:
    made = seeded(books, custom_field_hash={"cf_site": "roof"})
    assert isinstance(edited(books, books.fetch(made), cf_site=None), Written)
    assert books.fetch(made).get("cf_site") is None


def test_other_fields_are_not_written_and_none_is_made(books: World) -> None:
    record = books.fetch(seeded(books))
    with pytest.raises(ValueError, match="custom fields alone"):
        edited(books, record, notes="x")
    with pytest.raises(ValueError, match="not made here"):
        books.connector.create(INVOICES, [Draft({"customer_id": "77"})])
    assert not books.connector.facts.modules[INVOICES].creates


@pytest.mark.rule("P3", "LG-4")
def test_trouble_of_a_write(books: World) -> None:
    record = books.fetch(seeded(books))
    refused = edited(books, record, cf_gate="no number")
    assert isinstance(refused, Rejected)
    assert "no number" not in repr(refused)
    books.sandbox.fault(BOOKS.vendor, "reply_lost")
    assert isinstance(edited(books, record, cf_site="attic"), Unsure)
    assert books.fetch(record.id).get("cf_site") == "attic"


@pytest.mark.rule("TR-1")
def test_a_webhook_of_an_invoice_is_a_hint(books: World) -> None:
    case = replace(BOOKS, module=INVOICES, own_id="invoice_id")
    (hint,) = books.vendor.webhooks.parse(signed_delivery(BOOKS.vendor, delivery_body(case, "46000")))
    assert (hint.module, hint.id) == (INVOICES, "46000")


def test_without_custom_fields_nothing_of_an_invoice_is_writable(books: World) -> None:
    facts = books.vendor.facts(Capabilities()).modules[INVOICES]
    assert all(field.read_only for field in facts.fields.values())
