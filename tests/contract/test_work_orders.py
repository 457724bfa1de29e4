"""Work orders of the field-service vendor and the invoices that it makes of them, against the running sandboxes."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.connectors.base import (
    AlreadyInvoiced,
    Capabilities,
    Draft,
    Edit,
    InvoiceLink,
    InvoiceMade,
    Invoicer,
    ListOrder,
    Rejected,
    Unsure,
    WorkOrder,
)
from shared.errors import BothwaysError, ConfigError, RateLimited, RetryableError
from shared.sync.model import ModuleName, RecordId
from tests.contract.support import CASES, Sandbox, SpyLimiter, World, delivery_body, signed_delivery, world_of

WORK_ORDERS = ModuleName("Work_Orders")
ON = date(2026, 11, 2)
GONE = RecordId("1011000000999999")
ADDRESS = {"Street_1": "1 Main St", "City": "Austin"}


@dataclass
class Shop:
    """A company, a service, a part and a work order at FSM; `world` is FSM's."""

    sandbox: Sandbox
    world: World
    order_id: RecordId
    company: str
    service: str
    part: str

    @property
    def fsm(self) -> Invoicer:
        connector = self.world.connector
        assert isinstance(connector, Invoicer)
        return connector

    def order(self) -> WorkOrder:
        found = self.fsm.work_order(self.order_id)
        assert found is not None
        return found

    def lines(self) -> list[RecordId]:
        return [line.id for line in self.order().lines]

    def invoiced(self, days: int = 15) -> Any:
        return self.fsm.make_invoice(self.order_id, self.lines(), ON, days)

    def twins(self) -> None:
        """The customer and the items, at Books."""
        customer = {"contact_name": "Acme", "contact_type": "customer", "customer_sub_type": "business"}
        items = [{"name": "Repair", "rate": 1}, {"name": "Bolt", "rate": 1}]
        self.sandbox.control("zoho_books", "POST", "seed", {"contacts": [customer], "items": items})

    def at_books(self) -> list[dict[str, Any]]:
        return self.sandbox.rows("zoho_books", "invoices")

    def fault(self, kind: str, **more: object) -> None:
        """Of the next call that makes an invoice."""
        self.sandbox.fault("zoho_fsm", kind, match={"method": "POST", "path": "/Invoices$"}, **more)


@pytest.fixture
def shop(sandbox: Sandbox) -> Iterator[Shop]:
    world = world_of(sandbox, CASES[0])
    company = {"Company_Name": "Acme", "Service_Address": ADDRESS, "Billing_Address": ADDRESS}
    items = [
        {"Name": "Repair", "Unit_Price": 10.5, "Type": "Service"},
        {"Name": "Bolt", "Unit_Price": 0.335, "Type": "Goods"},
    ]
    made = sandbox.control("zoho_fsm", "POST", "seed", {"Companies": [company], "Service_And_Parts": items})["seeded"]
    (company_id,), (service, part) = made["Companies"], made["Service_And_Parts"]
    line = {"Service": service, "Quantity": 2, "Part_Line_Items": [{"Part": part, "Quantity": 3}]}
    row = {"Summary": "Fix", "Type": "Service", "Company": company_id, "Status": "Completed", "Priority": "High"}
    row |= {"Service_Line_Items": [line], "Service_Address": ADDRESS, "Billing_Address": ADDRESS}
    order = sandbox.control("zoho_fsm", "POST", "seed", {"Work_Orders": [row]})["seeded"]["Work_Orders"][0]
    yield Shop(sandbox, world, RecordId(order), company_id, service, part)
    world.connector.close()


# Reading


@pytest.mark.rule("TR-7")
def test_a_work_order_is_read_with_its_lines_and_parts(shop: Shop) -> None:
    order = shop.order()
    assert (order.id, order.name, order.status) == (shop.order_id, "WO1", "Completed")
    assert order.customers == {"Companies": shop.company}
    assert order.grand_total == Decimal("22.01")
    assert order.modified_at is not None
    assert order.modified_at.utcoffset() == timedelta(0)
    (line,) = order.lines
    assert line.item_id == shop.service
    assert [line.quantity, line.unit_price, line.amount] == [Decimal(2), Decimal("10.5"), Decimal(21)]
    assert (line.invoice_id, line.invoiced) == (None, False)
    (part,) = line.parts
    assert part.item_id == shop.part
    assert [part.quantity, part.amount] == [Decimal(3), Decimal("1.01")]


@pytest.mark.rule("FM-6", "FM-7")
def test_its_fields_are_those_that_a_mapping_may_name(shop: Shop) -> None:
    shop.sandbox.control("zoho_fsm", "POST", "custom_fields", {"Work_Orders": [{"label": "Site"}]})
    shop.sandbox.edit("zoho_fsm", "Work_Orders", shop.order_id, Site__C="roof")
    facts = shop.world.connector.facts.modules[WORK_ORDERS]
    record = shop.order().record
    assert record.complete
    assert set(facts.fields) <= set(record.fields)
    assert all(field.read_only for field in facts.fields.values())
    assert (record.get("Company.name"), record.get("Priority"), record.get("Site__C")) == ("Acme", "High", "roof")
    assert record.get("Service_Address.City") == "Austin"
    assert record == shop.world.connector.fetch(WORK_ORDERS, [shop.order_id])[shop.order_id]


def test_a_work_order_that_is_gone(shop: Shop) -> None:
    shop.sandbox.delete("zoho_fsm", "Work_Orders", shop.order_id)
    assert shop.fsm.work_order(shop.order_id) is None
    assert shop.fsm.work_order(GONE) is None


@pytest.mark.rule("TR-5")
@pytest.mark.parametrize("searches", [False, True])
def test_work_orders_are_listed_newest_first_or_by_what_changed(shop: Shop, searches: bool) -> None:
    capabilities = {"modified_time_search": searches}
    case = replace(CASES[0], capabilities=capabilities, switches=capabilities)
    world = world_of(shop.sandbox, case)
    times = dict.fromkeys(("Created_Time", "Modified_Time"), "2026-01-01T10:00:00-08:00")
    shop.sandbox.control(
        "zoho_fsm", "POST", "seed", {"Work_Orders": [{"Summary": "Old", "Company": shop.company, **times}]}
    )
    since = datetime(2026, 1, 2, tzinfo=UTC)
    rows = world.connector.list_page(WORK_ORDERS, cursor=None, since=since).rows
    assert [row.get("Name") for row in rows] == (["WO1"] if searches else ["WO1", "WO2"])
    facts = world.connector.facts.modules[WORK_ORDERS]
    assert facts.order is (ListOrder.SINCE if searches else ListOrder.WHOLE)
    assert all(row.complete and row.modified_at is not None for row in rows)
    assert rows[0] == shop.order().record
    world.connector.close()


def test_work_orders_are_made_and_changed_by_nobody_here(shop: Shop) -> None:
    connector = shop.world.connector
    assert not connector.facts.modules[WORK_ORDERS].creates
    with pytest.raises(ValueError, match="read only"):
        connector.create(WORK_ORDERS, [Draft({"Summary": "x"})])
    with pytest.raises(ValueError, match="read only"):
        connector.update(WORK_ORDERS, [Edit(shop.order().record, ())])


@pytest.mark.rule("TR-1")
def test_a_webhook_of_a_work_order_is_a_hint(shop: Shop) -> None:
    case = replace(CASES[0], module=WORK_ORDERS)
    (hint,) = shop.world.vendor.webhooks.parse(signed_delivery("zoho_fsm", delivery_body(case, shop.order_id)))
    assert (hint.module, hint.id) == (WORK_ORDERS, shop.order_id)


@pytest.mark.rule("OP-3")
def test_a_grant_from_before_there_were_work_orders_is_probed_all_the_same(shop: Shop) -> None:
    """What is synced does not hang on the scopes of work orders."""
    shop.sandbox.switch("zoho_fsm", modified_time_search=True)
    match = {"path": "/Work_Orders"}
    shop.sandbox.fault("zoho_fsm", "expired_token", match=match, count=4)
    assert shop.world.connector.probe().on("modified_time_search")


# Invoices


@pytest.mark.rule("TR-7")
def test_an_invoice_is_made_and_found(shop: Shop) -> None:
    shop.twins()
    made = shop.invoiced()
    assert isinstance(made, InvoiceMade)
    (row,) = shop.at_books()
    assert made.accounting_id == row["invoice_id"]
    assert (row["total"], row["date"], row["due_date"]) == (22.01, "2026-11-02", "2026-11-17")
    assert (row["payment_terms_label"], row["reference_number"]) == ("Net 15", "WO1")
    assert made.invoice_id is not None
    link = shop.fsm.invoice(made.invoice_id)
    assert link == InvoiceLink(made.invoice_id, shop.order_id, made.accounting_id)
    (line,) = shop.order().lines
    assert (line.invoice_id, line.invoiced) == (made.invoice_id, True)


@pytest.mark.rule("TR-7")
def test_an_invoice_due_at_once(shop: Shop) -> None:
    shop.twins()
    shop.invoiced(days=0)
    (row,) = shop.at_books()
    assert (row["due_date"], row["payment_terms_label"]) == ("2026-11-02", "Due on Receipt")


@pytest.mark.rule("TR-7")
def test_lines_that_are_invoiced_are_told_as_that_and_not_as_a_success(shop: Shop) -> None:
    shop.twins()
    shop.invoiced()
    assert isinstance(shop.invoiced(), AlreadyInvoiced)
    assert len(shop.at_books()) == 1


@pytest.mark.rule("TR-7", "LG-4")
def test_a_customer_without_a_twin_is_a_refusal(shop: Shop) -> None:
    result = shop.invoiced()
    assert isinstance(result, Rejected)
    assert (result.code, result.vendor_code) == ("VENDOR_REJECTED", "2032")
    assert "acme" not in repr(result).lower()
    assert shop.at_books() == []


def test_an_unknown_work_order_is_a_refusal(shop: Shop) -> None:
    result = shop.fsm.make_invoice(GONE, shop.lines(), ON, 0)
    assert isinstance(result, Rejected)


def test_without_lines_nothing_is_sent(shop: Shop) -> None:
    shop.world.link.tokens.token()
    with pytest.raises(ValueError, match="lines"):
        shop.fsm.make_invoice(shop.order_id, [], ON, 0)
    assert [call for call in shop.sandbox.calls("zoho_fsm") if call["write"]] == []


@pytest.mark.rule("P3", "TR-7")
@pytest.mark.parametrize(
    ("kind", "more", "kept"),
    [("reply_lost", {}, 1), ("malformed", {}, 1), ("truncated_body", {}, 1), ("5xx", {"applied": "after"}, 1),
     ("5xx", {"applied": "before"}, 0)],
)  # fmt: skip
def test_an_unclear_answer_is_unsure_and_what_was_made_is_found_by_the_lines(
    shop: Shop, kind: str, more: dict[str, object], kept: int
) -> None:
    shop.twins()
    shop.order()
    shop.fault(kind, **more)
    assert isinstance(shop.invoiced(), Unsure)
    assert len(shop.at_books()) == kept
    posts = [call for call in shop.sandbox.calls("zoho_fsm") if call["write"]]
    assert len(posts) == 1, "nothing is sent twice"
    (line,) = shop.order().lines
    assert line.invoiced is bool(kept)
    if not kept:
        return
    assert isinstance(shop.invoiced(), AlreadyInvoiced)
    assert line.invoice_id is not None
    link = shop.fsm.invoice(line.invoice_id)
    assert link is not None
    assert link.accounting_id == shop.at_books()[0]["invoice_id"]


@pytest.mark.rule("P3")
def test_a_call_that_takes_too_long_is_unsure(shop: Shop, sandbox: Sandbox) -> None:
    shop.twins()
    lines = shop.lines()
    world = world_of(sandbox, CASES[0], call_s=0.4)
    world.link.tokens.token()
    assert isinstance(world.connector, Invoicer)
    shop.fault("latency", ms=1_500)
    assert isinstance(world.connector.make_invoice(shop.order_id, lines, ON, 0), Unsure)
    world.connector.close()


@pytest.mark.rule("TR-7")
def test_2031_by_a_fault_before_anything_was_made_is_no_success(shop: Shop) -> None:
    shop.twins()
    shop.fault("body_code", code="2031")
    assert isinstance(shop.invoiced(), AlreadyInvoiced)
    assert shop.at_books() == []
    assert not shop.order().lines[0].invoiced


@pytest.mark.rule("OP-4")
def test_over_the_limit_nothing_is_made(shop: Shop) -> None:
    shop.twins()
    lines = shop.lines()
    shop.fault("429")
    with pytest.raises(RateLimited):
        shop.fsm.make_invoice(shop.order_id, lines, ON, 0)
    assert isinstance(shop.world.link.limiter, SpyLimiter)
    assert len(shop.world.link.limiter.blocked_s) == 1
    assert shop.at_books() == []


@pytest.mark.rule("SU-1")
def test_a_grant_without_the_scope_is_a_matter_for_an_admin(shop: Shop) -> None:
    """As one was made before invoices were known."""
    shop.twins()
    lines = shop.lines()
    info = shop.sandbox.info
    redirect = "http://127.0.0.1:9/callback"
    query = {
        "response_type": "code",
        "client_id": info["client_id"],
        "redirect_uri": redirect,
        "access_type": "offline",
    }
    asked = shop.sandbox.http.get("/zoho_accounts/oauth/v2/auth", params={**query, "scope": "ZohoFSM.modules.all"})
    code = asked.headers["location"].partition("code=")[2].partition("&")[0]
    sign_in = shop.world.vendor.sign_in
    grant = sign_in.exchange(shop.world.centre, shop.sandbox.client, code=code, redirect_uri=redirect)
    assert grant.refresh_token is not None
    shop.world.grants.held = replace(shop.world.grants.held, refresh_token=grant.refresh_token)
    shop.world.link.tokens.invalidate(shop.world.grants.held.version)
    with pytest.raises(ConfigError) as raised:
        shop.fsm.make_invoice(shop.order_id, lines, ON, 0)
    assert raised.value.code == "SCOPE_MISSING"
    assert shop.at_books() == []


def test_an_invoice_that_is_not_there(shop: Shop) -> None:
    assert shop.fsm.invoice(GONE) is None
    shop.sandbox.fault("zoho_fsm", "5xx")
    with pytest.raises(RetryableError):
        shop.fsm.invoice(GONE)


def test_who_makes_invoices_of_work_orders(shop: Shop, sandbox: Sandbox) -> None:
    books = world_of(sandbox, CASES[2])
    assert not isinstance(books.connector, Invoicer)
    assert isinstance(shop.world.connector, Invoicer)
    books.connector.close()


@pytest.mark.rule("P14")
def test_no_value_is_raised_or_shown(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    shown = [repr(shop.invoiced())]
    for kind in ("5xx", "body_code", "429"):
        shop.fault(kind)
        try:
            shown.append(repr(shop.invoiced()))
        except BothwaysError as error:
            shown += traceback.format_exception(error)
    text = "\n".join([*shown, *caplog.messages])
    assert "Acme" not in text
    assert shop.order_id not in text


def test_capabilities_do_not_make_work_orders_writable(shop: Shop) -> None:
    flags: dict[str, bool | int | str] = {"zbilling_id_writable": True, "inactive_writable": True, "create_batch": 50}
    facts = shop.world.vendor.facts(Capabilities(flags)).modules[WORK_ORDERS]
    assert (facts.stamp_field, facts.state_field, facts.create_batch) == (None, None, 1)
    assert "ZBilling_Id" not in facts.fields
