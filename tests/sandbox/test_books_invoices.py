"""Zoho Books: invoices, what they come to, their numbers, status, lists and upserts."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.sandbox.zoho_books.totals import Line, Part, Terms, totals_of
from tests.sandbox.support import BOOKS, Box, Receiver, refusal

pytestmark = pytest.mark.rule("OP-3")
FILE = Path(__file__).parents[3] / "shared" / "vendors" / "specs" / "zoho-books-v3" / "invoices.yml"


@pytest.fixture
def customer(box: Box) -> str:
    return box.make_in_books("contacts", contact_name="Acme", customer_sub_type="business")


@pytest.fixture
def item(box: Box) -> str:
    return box.make_in_books("items", name="Repair", rate=10.5, unit="h", description="by the hour")


def bill(customer: str, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"customer_id": customer, "line_items": list(lines) or [{"name": "Work", "rate": 10, "quantity": 2}], **more}


def make(box: Box, body: dict[str, Any], **params: Any) -> dict[str, Any]:
    response = box.books("POST", "/invoices", body, params=params)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()["invoice"]
    return made


def refused(box: Box, body: dict[str, Any], **params: Any) -> tuple[int, int]:
    return refusal(box.books("POST", "/invoices", body, params=params))


def numbers(box: Box, **params: Any) -> list[str]:
    return [row["invoice_number"] for row in box.books("GET", "/invoices", params=params).json()["invoices"]]


# Making one


def test_what_an_invoice_says_of_itself(box: Box, customer: str, item: str) -> None:
    made = make(box, bill(customer, {"item_id": item, "quantity": 3}, date="2026-11-02", payment_terms=15))
    assert (made["invoice_number"], made["status"], made["customer_name"]) == ("INV-000001", "draft", "Acme")
    assert (made["date"], made["due_date"], made["payment_terms_label"]) == ("2026-11-02", "2026-11-17", "Net 15")
    (line,) = made["line_items"]
    assert (line["name"], line["unit"], line["description"]) == ("Repair", "h", "by the hour")
    assert (line["rate"], line["item_total"], made["total"], made["balance"]) == (10.5, 31.5, 31.5, 31.5)
    assert made["currency_code"] == "USD"


def test_a_line_may_have_no_item(box: Box, customer: str) -> None:
    made = make(box, bill(customer, {"name": "Work", "description": "d", "rate": 2.5, "quantity": 1.5}))
    assert made["total"] == 3.75


@pytest.mark.parametrize(
    ("more", "code"),
    [({"customer_id": ""}, 4), ({"customer_id": "1"}, 2), ({"line_items": []}, 4), ({"line_items": [{}]}, 4),
     ({"line_items": [{"item_id": "1"}]}, 2), ({"line_items": [{"name": "x", "quantity": 0}]}, 2),
     ({"line_items": [{"name": "x", "rate": "much"}]}, 2), ({"date": "02.11.2026"}, 2), ({"payment_terms": 101}, 2),
     ({"discount": "-1"}, 2), ({"discount": "1e"}, 2), ({"discount_type": "half"}, 2),
     ({"custom_fields": [{"api_name": "cf_none", "value": 1}]}, 2), ({"reference_number": "x" * 101}, 15),
     ({"line_items": [{"name": "x", "tax_id": "1"}]}, 2)],
)  # fmt: skip
def test_invoices_that_are_refused(box: Box, customer: str, more: dict[str, Any], code: int) -> None:
    assert refused(box, {**bill(customer), **more}) == (400, code)
    assert numbers(box) == []


def test_who_and_what_is_inactive_is_not_invoiced(box: Box, customer: str, item: str) -> None:
    box.books("POST", f"/items/{item}/inactive")
    assert refused(box, bill(customer, {"item_id": item})) == (400, 2)
    box.books("POST", f"/contacts/{customer}/inactive")
    assert refused(box, bill(customer)) == (400, 2)


def test_a_vendor_is_not_invoiced(box: Box) -> None:
    vendor = box.make_in_books("contacts", contact_name="Supplies", contact_type="vendor")
    assert refused(box, bill(vendor)) == (400, 2)


def test_a_customer_and_an_item_of_an_invoice_are_not_deleted(box: Box, customer: str, item: str) -> None:
    make(box, bill(customer, {"item_id": item}))
    assert refusal(box.books("DELETE", f"/contacts/{customer}")) == (400, 2049)
    assert refusal(box.books("DELETE", f"/items/{item}")) == (400, 2049)


# Numbers


def test_numbers_count_up_and_are_not_given_twice(box: Box, customer: str) -> None:
    first = make(box, bill(customer))
    box.books("DELETE", f"/invoices/{first['invoice_id']}")
    assert make(box, bill(customer))["invoice_number"] == "INV-000002"


def test_a_number_of_one_s_own_must_be_asked_for(box: Box, customer: str) -> None:
    own = bill(customer, invoice_number="A-1")
    assert refused(box, own)[0] == 400
    assert refused(box, bill(customer), ignore_auto_number_generation="true") == (400, 4)
    assert make(box, own, ignore_auto_number_generation="true")["invoice_number"] == "A-1"
    assert refused(box, bill(customer, invoice_number="a-1 "), ignore_auto_number_generation="true") == (400, 1001)
    assert make(box, bill(customer))["invoice_number"] == "INV-000001"


# What it comes to


def cents(*amounts: str) -> list[Decimal]:
    return [Decimal(amount) for amount in amounts]


TEN, ODD = Line(Decimal(1), Decimal(10)), Line(Decimal(3), Decimal("0.335"))
TAXED = Line(Decimal(1), Decimal(100), tax="t", tax_percent=Decimal("12.5"))


@pytest.mark.parametrize(
    ("lines", "terms", "expected"),
    [
        ([TEN, ODD], Terms(), cents("11.01", "0.00", "11.01")),
        ([TAXED], Terms(), cents("100.00", "12.50", "112.50")),
        ([TAXED], Terms(inclusive=True), cents("100.00", "11.11", "100.00")),
        ([TAXED], Terms(Part(Decimal(20))), cents("100.00", "10.00", "90.00")),
        ([TAXED], Terms(Part(Decimal(20), percent=True)), cents("100.00", "10.00", "90.00")),
        ([TAXED], Terms(Part(Decimal(20)), before_tax=False), cents("100.00", "12.50", "92.50")),
        ([TAXED, TEN], Terms(Part(Decimal(11))), cents("110.00", "11.25", "110.25")),
        ([TEN], Terms(shipping=Decimal("2.5"), adjustment=Decimal("-0.01")), cents("10.00", "0.00", "12.49")),
        (
            [Line(Decimal(1), Decimal(100), Part(Decimal(10), percent=True), "t", Decimal(10)), TEN],
            Terms(entity_level=False),
            cents("100.00", "9.00", "109.00"),
        ),
        (
            [Line(Decimal(1), Decimal(100), Part(Decimal(10)), "t", Decimal(10))],
            Terms(entity_level=False, before_tax=False),
            cents("90.00", "10.00", "100.00"),
        ),
        ([Line(Decimal(1), Decimal(100), Part(Decimal(10)))], Terms(), cents("100.00", "0.00", "100.00")),
        (
            [Line(Decimal(1), Decimal("0.05"), tax="t", tax_percent=Decimal(10))] * 3,
            Terms(),
            cents("0.15", "0.02", "0.17"),
        ),
        (
            [Line(Decimal(1), Decimal("0.05"), tax=tax, tax_percent=Decimal(10)) for tax in "ab"],
            Terms(),
            cents("0.10", "0.02", "0.12"),
        ),
    ],
)
def test_totals_to_the_cent(lines: list[Line], terms: Terms, expected: list[Decimal]) -> None:
    """Sub-total, tax, total."""
    found = totals_of(lines, terms)
    assert [found.sub_total, found.tax_total, found.total] == expected


def test_the_wire_s_terms_reach_the_sums(box: Box, customer: str) -> None:
    tax = box.books("GET", "/settings/taxes").json()["taxes"][0]["tax_id"]
    lines = [{"name": "A", "rate": 99.99, "quantity": 3, "tax_id": tax}, {"name": "B", "rate": 0.5}]
    made = make(box, bill(customer, *lines, discount="10%", shipping_charge=5, adjustment=-0.03))
    assert (made["sub_total"], made["tax_total"], made["total"]) == (300.47, 9.45, 284.84)
    assert made["taxes"] == [{"tax_name": "County tax (3.5%)", "tax_amount": 9.45}]
    assert made["discount"] == "10%"
    inclusive = make(box, bill(customer, lines[0], is_inclusive_tax=True))
    assert (inclusive["total"], inclusive["tax_total"]) == (299.97, 10.14)
    item_level = make(box, bill(customer, {**lines[1], "discount": "50%"}, discount_type="item_level"))
    assert (item_level["total"], item_level["line_items"][0]["discount_amount"]) == (0.25, 0.25)


def test_an_item_s_tax_is_taken_unless_the_customer_is_not_taxable(box: Box, customer: str) -> None:
    tax = box.books("GET", "/settings/taxes").json()["taxes"][0]["tax_id"]
    item = box.make_in_books("items", name="Taxed", rate=100, tax_id=tax)
    assert make(box, bill(customer, {"item_id": item}))["total"] == 103.5
    box.control(BOOKS, "PUT", f"edits/contacts/{customer}", {"is_taxable": False})
    assert make(box, bill(customer, {"item_id": item}))["total"] == 100
    box.capable(BOOKS, taxes_enabled=False)
    assert refused(box, bill(customer, {"name": "x", "tax_id": tax})) == (400, 2)


# Changing one


def test_an_update_replaces_the_lines(box: Box, customer: str) -> None:
    made = make(box, bill(customer, {"name": "A", "rate": 1}, {"name": "B", "rate": 2}))
    kept = made["line_items"][1]["line_item_id"]
    path = f"/invoices/{made['invoice_id']}"
    body = bill(customer, {"line_item_id": kept, "quantity": 3}, {"name": "C", "rate": 4})
    after = box.books("PUT", path, body).json()["invoice"]
    assert [(line["name"], line["item_total"]) for line in after["line_items"]] == [("B", 6), ("C", 4)]
    assert (after["total"], after["invoice_number"]) == (10, "INV-000001")
    assert refusal(box.books("PUT", path, bill(customer, {"line_item_id": "1"}))) == (400, 2)


def test_custom_fields_are_written_with_an_invoice_and_by_their_own_call(box: Box, customer: str) -> None:
    fields = {"invoice": [{"label": "Site"}, {"label": "Gate", "data_type": "number"}]}
    box.control(BOOKS, "POST", "custom_fields", fields)
    made = make(box, bill(customer, custom_fields=[{"api_name": "cf_site", "value": "roof"}]))
    assert made["custom_field_hash"] == {"cf_site": "roof"}
    path = f"/invoice/{made['invoice_id']}/customfields"
    assert box.books("PUT", path, [{"api_name": "cf_gate", "value": "4"}]).json()["code"] == 0
    assert box.books("PUT", path, {"custom_fields": [{"api_name": "cf_site", "value": "attic"}]}).json()["code"] == 0
    shown = box.in_books("invoices", made["invoice_id"])
    assert shown["custom_field_hash"] == {"cf_site": "attic", "cf_gate": 4}
    assert (shown["line_items"], shown["total"]) == (made["line_items"], made["total"])
    assert refusal(box.books("PUT", path, [{"api_name": "cf_gate", "value": "x"}])) == (400, 2)


def test_an_invoice_is_upserted_by_a_unique_custom_field(box: Box, customer: str) -> None:
    box.control(BOOKS, "POST", "custom_fields", {"invoice": [{"label": "Order", "unique": True}]})
    headers = {
        "X-Unique-Identifier-Key": "cf_order",
        "X-Unique-Identifier-Value": "WO1",
        "X-Upsert": "true",
    }
    ids = {box.books("PUT", "/invoices", bill(customer), headers=headers).json()["invoice"]["invoice_id"] for _ in "12"}
    assert len(ids) == 1
    assert numbers(box) == ["INV-000001"]
    del headers["X-Upsert"]
    headers["X-Unique-Identifier-Value"] = "WO2"
    assert refusal(box.books("PUT", "/invoices", bill(customer), headers=headers)) == (404, 1002)


# Status and deletion


def status(box: Box, invoice_id: str) -> str:
    return str(box.in_books("invoices", invoice_id)["status"])


def test_a_status_is_moved_by_calls_of_its_own(box: Box, customer: str) -> None:
    made = make(box, bill(customer))["invoice_id"]
    for wanted in ("sent", "void", "draft"):
        assert box.books("POST", f"/invoices/{made}/status/{wanted}").json()["code"] == 0
        shown = box.in_books("invoices", made)
        assert (shown["status"], shown["balance"]) == (wanted, 0 if wanted == "void" else 20)
    assert refusal(box.books("POST", f"/invoices/{made}/status/draft"))[0] == 200
    assert status(box, make(box, bill(customer), send="true")["invoice_id"]) == "sent"


def test_steps_that_are_refused(box: Box, customer: str) -> None:
    sent, void = (make(box, bill(customer))["invoice_id"] for _ in range(2))
    box.books("POST", f"/invoices/{sent}/status/sent")
    box.books("POST", f"/invoices/{void}/status/void")
    assert refusal(box.books("POST", f"/invoices/{sent}/status/draft"))[0] == 400
    assert refusal(box.books("POST", f"/invoices/{void}/status/sent"))[0] == 400
    assert refusal(box.books("PUT", f"/invoices/{void}", bill(customer)))[0] == 400
    assert refusal(box.books("DELETE", f"/invoices/{sent}"))[0] == 400


def test_many_are_moved_or_deleted_at_once(box: Box, customer: str) -> None:
    ids = [make(box, bill(customer))["invoice_id"] for _ in range(2)]
    params = {"invoice_ids": ",".join(ids)}
    assert box.books("POST", "/invoices/status/sent", params=params).json()["code"] == 0
    assert [status(box, one) for one in ids] == ["sent", "sent"]
    assert box.books("POST", "/invoices/status/void", params=params).json()["code"] == 0
    assert box.books("DELETE", "/invoices", params=params).json()["code"] == 0
    assert numbers(box) == []


def test_what_was_sent_is_overdue_once_its_day_has_passed(box: Box, customer: str) -> None:
    made = make(box, bill(customer, date="2020-01-01"), send="true")["invoice_id"]
    assert status(box, made) == "overdue"
    assert numbers(box, status="overdue") == numbers(box, filter_by="Status.OverDue") == ["INV-000001"]
    assert numbers(box, status="unpaid") == ["INV-000001"]
    assert numbers(box, status="draft") == []


# Lists


def test_lists_filter_by_what_changed_after_a_time(box: Box, customer: str) -> None:
    for number, day in (("A", 1), ("B", 2)):
        row = bill(customer, invoice_number=number, last_modified_time=f"2026-01-0{day}T10:00:00-0800")
        box.seed(BOOKS, invoices=[row])
    assert numbers(box, last_modified_time="2026-01-01T10:00:00-0800") == ["B"]
    assert numbers(box, last_modified_time="2026-01-01T09:59:59-0800") == ["A", "B"]
    assert refusal(box.books("GET", "/invoices", params={"last_modified_time": "2026-01-01T10:00:00Z"})) == (400, 2)
    changed = numbers(box, sort_column="last_modified_time", sort_order="D")
    assert changed == ["A", "B"], "that column is not among the documented ones and is ignored"


def test_lists_sort_and_filter(box: Box, customer: str) -> None:
    rows = [
        bill(customer, {"name": "x", "rate": rate}, invoice_number=f"N{rate}", date=f"2026-01-0{rate}")
        for rate in (2, 1, 3)
    ]
    box.seed(BOOKS, invoices=rows)
    assert numbers(box, sort_column="total", sort_order="D") == ["N3", "N2", "N1"]
    assert numbers(box, sort_column="date") == ["N1", "N2", "N3"]
    assert numbers(box, invoice_number="n2") == ["N2"]
    assert numbers(box, invoice_number_startswith="N", total="3") == ["N3"]
    assert numbers(box, date_start="2026-01-02", date_end="2026-01-02") == ["N2"]
    assert numbers(box, date_after="2026-01-02") == ["N3"]
    assert numbers(box, customer_id="1") == []
    assert numbers(box, search_text="acme", sort_column="date") == ["N1", "N2", "N3"]
    assert refusal(box.books("GET", "/invoices", params={"filter_by": "Status.Odd"})) == (400, 2)


def test_rows_have_no_lines(box: Box, customer: str) -> None:
    make(box, bill(customer))
    (row,) = box.books("GET", "/invoices").json()["invoices"]
    assert (row["total"], row["status"]) == (20, "draft")
    assert "line_items" not in row


@pytest.mark.parametrize(("verb", "read", "made"), [("READ", 200, 401), ("CREATE", 401, 201), ("ALL", 200, 201)])
def test_the_scope_of_invoices(box: Box, customer: str, verb: str, read: int, made: int) -> None:
    token = box.granted(f"ZohoBooks.invoices.{verb}")["access_token"]
    assert box.books("GET", "/invoices", token=token).status_code == read
    assert box.books("POST", "/invoices", bill(customer), token=token).status_code == made


def test_webhooks_of_the_entity_invoice(box: Box, customer: str, receiver: Receiver) -> None:
    hook = {"webhook_name": "w", "url": receiver.url, "entity": "invoice", "secret": "0123456789abcdef"}
    hook_id = box.books("POST", "/settings/webhooks", hook).json()["webhook"]["webhook_id"]
    actions = [{"action_type": "webhook", "action_id": hook_id}]
    workflow = {"workflow_name": "w", "entity": "invoice", "events": ["created", "edited"], "actions": actions}
    assert box.books("POST", "/settings/workflows", workflow).status_code == 201
    made = make(box, bill(customer))["invoice_id"]
    box.books("POST", f"/invoices/{made}/status/sent")
    told = [json.loads(one.body) for one in receiver.wait_for(2)]
    assert [(one["invoice"]["invoice_id"], one["invoice"]["status"]) for one in told] == [
        (made, "draft"),
        (made, "sent"),
    ]
    assert told[0]["organization_id"] == box.info["orgs"][BOOKS]


# The vendor's own file


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    if not FILE.is_file():
        pytest.skip("the vendor's OpenAPI files are not beside this checkout")
    loaded = yaml.load(FILE.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    found: dict[str, Any] = loaded["components"]["schemas"]
    return found


UNDECLARED = {"custom_field_hash"}
"""[T]: by name, beside the list that the file has."""


def properties(schemas: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        value = schemas[value["$ref"].rpartition("/")[2]]
    if value.get("type") == "array":
        return properties(schemas, value["items"])
    found: dict[str, Any] = value["properties"]
    return found


def test_what_is_shown_is_what_the_file_shows(box: Box, customer: str, item: str, schemas: dict[str, Any]) -> None:
    made = make(box, bill(customer, {"item_id": item}))
    whole = properties(schemas, properties(schemas, schemas["get-an-invoice-response"])["invoice"])
    assert set(made) - UNDECLARED <= set(whole), set(made) - set(whole)
    lines = properties(schemas, whole["line_items"])
    assert set(made["line_items"][0]) <= set(lines), set(made["line_items"][0]) - set(lines)
    assert set(made["taxes"][:1]) <= set(properties(schemas, whole["taxes"]))
    rows = properties(schemas, properties(schemas, schemas["list-invoices-response"])["invoices"])
    (row,) = box.books("GET", "/invoices").json()["invoices"]
    assert set(row) <= set(rows), set(row) - set(rows)


def test_what_is_taken_is_what_the_file_takes(box: Box, customer: str, item: str, schemas: dict[str, Any]) -> None:
    body = bill(
        customer, {"item_id": item, "quantity": 2, "rate": 3, "discount": 0, "description": "d", "tax_id": ""},
        date="2026-11-02", payment_terms=15, payment_terms_label="Net 15", due_date="2026-11-17", reference_number="r",
        discount=1, discount_type="entity_level", is_discount_before_tax=True, is_inclusive_tax=False,
        shipping_charge=1, adjustment=1, adjustment_description="a", exchange_rate=1, notes="n", terms="t",
        custom_fields=[],
    )  # fmt: skip
    make(box, body)
    known = properties(schemas, schemas["create-an-invoice-request"])
    assert set(body) <= set(known)
    assert set(body["line_items"][0]) <= set(properties(schemas, known["line_items"]))
