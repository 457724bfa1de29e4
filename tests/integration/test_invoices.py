"""Invoices of work orders (TR-7, FM-6): made once, after their customer and items; filled once; never followed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis

from shared.connectors import zoho_fsm
from shared.connectors.zoho_fsm.auth import SIGN_IN
from shared.errors import NotFound, Refused
from shared.integrations.defaults import Line
from shared.services.integrations import IntegrationService
from shared.services.invoicing import InvoicingService
from shared.services.mappings import MappingService
from shared.services.org_settings import OrgSettingsService
from shared.services.records import RecordService
from shared.services.runs import RunView
from shared.sync.model import FieldFlow, Side
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE, WORKER_GONE_S
from tests.integration.crew import await_that
from tests.integration.hands import hands
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World, connect, opened

pytestmark = pytest.mark.rule("TR-7")

ORDERS = "work_orders"
Json = dict[str, Any]


@pytest.fixture
def world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Iterator[World]:
    """Invoices are made of what is completed."""
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S, doubt_span_s=20.0,
    )  # fmt: skip
    with opened(settings) as office:
        world = connect(office, sandbox)
        InvoicingService(office.db).set(world.actor, world.integration, on=True)
        world.fetch()
        yield world


class Shop:
    """A company, a service and a part at FSM, unknown to Books; and work orders of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.company = world.company("Zylker")
        self.service = world.service("Repair", Unit_Price=10.5)
        self.part = world.service("Bolt", Unit_Price=0.335, Type="Goods")

    def order(self, status: str = "Completed", quantity: int = 2, lines: int = 1, **fields: object) -> str:
        """Two hours of the service, with three of the part."""
        line = {
            "Service": {"id": self.service},
            "Quantity": quantity,
            "Part_Line_Items": [{"Part": {"id": self.part}, "Quantity": 3}],
        }
        row = {
            "Summary": "Fix it", "Type": "Service", "Company": {"id": self.company}, "Status": status,
            "Service_Line_Items": [line] * lines, **fields,
        }  # fmt: skip
        return self.world.seed(FSM, "Work_Orders", row)[0]

    def move(self, order: str, status: str) -> None:
        self.world.sandbox.edit(FSM, "Work_Orders", order, Status=status)

    def at_fsm(self, order: str) -> Json:
        return self.world.fsm(order, "Work_Orders")


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def invoices(world: World) -> list[Json]:
    return world.sandbox.rows(BOOKS, "invoices")


def of_orders(world: World, run: RunView) -> list[tuple[str, str]]:
    return [(row["outcome"], row["reason"]) for row in world.outcomes(run.id) if row["pair"] == ORDERS]


def applied(world: World) -> list[str]:
    """What was written, in order, by the end of its path."""
    calls = [call for call in world.calls(write=True) if call["applied"]]
    return [call["path"].rsplit("/", 1)[-1] for call in sorted(calls, key=lambda call: call["at"])]


def tell(world: World, order: str) -> None:
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
    request = delivery(FSM, {"module": "Work_Orders", "event": "edit", "id": order}, setup.secret)
    assert world.accept_webhook(FSM, setup.path.rsplit("/", 1)[1], request) == 1


def by_hand(world: World, order: str) -> str:
    asked = world.events.sync_record(world.actor, world.integration, ORDERS, Side.LEFT, order)
    ended = "SELECT outcome FROM outcome o JOIN event_done d ON d.outcome_event = o.event_id WHERE d.event_id = :id"
    world.office.crew.until(lambda: world.office.sql(ended, id=asked.event_id), "it has its outcome")
    return str(world.office.value(ended, id=asked.event_id))


# Made.


def test_a_completed_work_order_is_invoiced_after_its_customer_and_items(world: World, shop: Shop) -> None:
    order = shop.order()
    run = world.sync()
    (invoice,) = invoices(world)
    assert invoice["customer_name"] == "Zylker"
    assert [line["name"] for line in invoice["line_items"]] == ["Repair", "Bolt"]
    assert Decimal(str(invoice["total"])) == Decimal(str(shop.at_fsm(order)["Grand_Total"])) == Decimal("22.01")
    assert of_orders(world, run) == [("created", "INVOICED")]
    assert sorted(applied(world)[:-1]) == ["contacts", "items", "items"], "first they are pushed"
    assert applied(world)[-1] == "Invoices"


@pytest.mark.parametrize("status", ["New", "In Progress", "Cancelled"])
def test_what_is_not_completed_is_not_invoiced(world: World, shop: Shop, status: str) -> None:
    shop.order(status)
    run = world.sync()
    assert invoices(world) == []
    assert [(one.outcome, one.records) for one in run.counts if one.pair == ORDERS] == [("unchanged", 1)]


def test_it_is_invoiced_when_it_reaches_the_status(world: World, shop: Shop) -> None:
    order = shop.order("In Progress")
    world.sync()
    tell(world, order)
    world.quiet()
    assert invoices(world) == []
    shop.move(order, "Completed")
    tell(world, order)
    world.quiet()
    assert len(invoices(world)) == 1


def test_again_changes_nothing_and_costs_a_list(world: World, shop: Shop) -> None:
    order = shop.order()
    world.sync()
    world.forget_calls()
    world.sync()
    tell(world, order)
    world.quiet()
    assert world.writes() == []
    assert len(invoices(world)) == 1
    of = [call["path"] for call in world.calls() if "Work_Orders" in call["path"]]
    assert len([path for path in of if path.endswith("Work_Orders")]) == 1, "the list of the sync"
    assert len(of) == 2, "and the read for the webhook"


def test_lines_that_came_later_are_invoiced_by_themselves(world: World, shop: Shop) -> None:
    order = shop.order()
    world.sync()
    line = {"Service": {"id": shop.service}, "Quantity": 5}
    held = shop.at_fsm(order)["Service_Line_Items"]
    world.sandbox.edit(FSM, "Work_Orders", order, Service_Line_Items=[*held, line])
    run = world.sync()
    assert of_orders(world, run) == [("created", "INVOICED")]
    assert sorted(Decimal(str(one["total"])) for one in invoices(world)) == [Decimal("22.01"), Decimal("52.5")]


def test_later_edits_voids_and_payments_are_not_followed(world: World, shop: Shop) -> None:
    shop.order()
    world.sync()
    (invoice,) = invoices(world)
    world.sandbox.edit(BOOKS, "invoices", str(invoice["invoice_id"]), notes="paid in cash")
    world.forget_calls()
    run = world.sync()
    assert world.writes() == []
    assert of_orders(world, run) == []


# What must be there first.


def test_an_item_that_cannot_be_pushed_fails_the_work_order_and_nothing_is_made(world: World, shop: Shop) -> None:
    world.sandbox.edit(FSM, "Service_And_Parts", shop.part, Name="n" * 101)  # Books takes 100
    shop.order()
    run = world.sync()
    assert of_orders(world, run) == [("failed", "PARENT_NOT_SYNCED")]
    assert invoices(world) == []
    world.sandbox.edit(FSM, "Service_And_Parts", shop.part, Name="Nut")
    world.sync()
    world.quiet()
    assert len(invoices(world)) == 1, "as soon as it is there"


def test_by_a_webhook_alone_its_customer_and_items_are_sent_for(world: World, shop: Shop) -> None:
    order = shop.order()
    tell(world, order)
    world.quiet()
    assert len(invoices(world)) == 1
    assert world.twin(shop.company) is not None


def test_without_a_customer_that_is_synced_it_fails_with_the_reason(world: World, shop: Shop) -> None:
    """Sync type I: companies alone."""
    contact = world.seed(FSM, "Contacts", {"Last_Name": "Lovelace", "Email": "ada@l.test"})[0]
    shop.order(Company=None, Contact={"id": contact})
    run = world.sync()
    assert of_orders(world, run) == [("failed", "CUSTOMER_NOT_NAMED")]
    assert invoices(world) == []


# By hand, and settings.


def test_by_hand_whatever_its_status_and_age(world: World, shop: Shop) -> None:
    order = shop.order("New")
    world.sync()
    assert by_hand(world, order) == "created"
    assert by_hand(world, order) == "unchanged", "there is no line left"
    assert len(invoices(world)) == 1


def test_other_statuses_and_days_may_be_chosen(world: World, shop: Shop) -> None:
    service = InvoicingService(world.office.db)
    service.set(world.actor, world.integration, statuses=["Closed"], terms_days=30)
    shop.order("Completed")
    shop.order("Closed")
    world.sync()
    (invoice,) = invoices(world)
    assert invoice["payment_terms"] == 30
    assert service.get(world.actor, world.integration).made == 1


def test_what_was_completed_before_it_was_switched_on_is_left_to_people(world: World, shop: Shop) -> None:
    service = InvoicingService(world.office.db)
    service.set(world.actor, world.integration, on=False)
    world.sandbox.control(FSM, "POST", "clock", {"offset_s": -3600})
    order = shop.order()
    world.sandbox.control(FSM, "POST", "clock", {"offset_s": 0})
    world.sync()
    assert invoices(world) == []
    with pytest.raises(NotFound):
        world.events.sync_record(world.actor, world.integration, ORDERS, Side.LEFT, order)
    world.office.sql("""UPDATE integration SET invoicing = invoicing || '{"since": "2020-01-01T00:00:00+00:00"}'""")
    view = service.set(world.actor, world.integration, on=True)
    assert view.since is not None
    assert view.since.year > 2020
    world.sync()
    assert invoices(world) == []
    assert by_hand(world, order) == "created"


def test_events_that_came_before_it_was_switched_off_end_as_skipped(world: World, shop: Shop) -> None:
    order = shop.order()
    IntegrationService(world.office.db, world.office.settings).pause(world.actor, world.integration)
    tell(world, order)
    InvoicingService(world.office.db).set(world.actor, world.integration, on=False)
    IntegrationService(world.office.db, world.office.settings).enable(world.actor, world.integration)
    world.quiet()
    ended = world.office.sql("SELECT outcome, reason FROM outcome WHERE record_id = :id", id=order)
    assert ended == [{"outcome": "skipped", "reason": "OUTSIDE_MAPPING"}]
    assert invoices(world) == []


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"statuses": [" "]}, "BAD_STATUSES"),
        ({"statuses": ["x"] * 21}, "BAD_STATUSES"),
        ({"terms_days": 366}, "BAD_TERMS"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(world: World, wanted: Json, code: str) -> None:
    with pytest.raises(Refused) as caught:
        InvoicingService(world.office.db).set(world.actor, world.integration, **wanted)
    assert caught.value.code == code


def test_a_grant_without_the_scope_is_told_of_before_anything_runs(world: World) -> None:
    InvoicingService(world.office.db).set(world.actor, world.integration, on=False)
    world.office.sql("UPDATE connection SET scopes = '[\"ZohoFSM.modules.all\"]' WHERE vendor = 'zoho_fsm'")
    with pytest.raises(Refused) as caught:
        InvoicingService(world.office.db).set(world.actor, world.integration, on=True)
    assert caught.value.code == "SCOPE_MISSING"
    assert "ZohoFSM.modules.custom" in str(caught.value)


def test_a_grant_that_does_not_hold_what_it_said_fails_the_invoices_alone(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S,
    )  # fmt: skip
    with opened(settings) as office:
        with monkeypatch.context() as patch:
            patch.setattr(zoho_fsm.CONNECTOR, "sign_in", replace(SIGN_IN, scopes=SIGN_IN.scopes[:-1]))
            world = connect(office, sandbox)
        scopes = json.dumps(list(SIGN_IN.scopes))
        office.sql("UPDATE connection SET scopes = CAST(:s AS jsonb) WHERE vendor = 'zoho_fsm'", s=scopes)
        InvoicingService(office.db).set(world.actor, world.integration, on=True)
        world.fetch()
        Shop(world).order()
        run = world.sync()
        assert of_orders(world, run) == [("failed", "SCOPE_MISSING")]
        assert invoices(world) == []
        assert len(world.sandbox.rows(BOOKS, "contacts")) == 1, "the rest goes on"


# Filled.


def mapped(world: World) -> None:
    """Two custom fields of invoices, and the work order's summary and a field of its own to them."""
    for label in ("Job", "Crew"):
        field = {"label": label, "api_name": f"cf_{label.lower()}", "data_type": "string"}
        world.sandbox.control(BOOKS, "POST", "custom_fields", {"invoice": [field]})
    world.office.connections.probe(world.actor, world.orgs[BOOKS].connection_id)
    lines = [
        Line(left="Summary", right="cf_job", flow=FieldFlow.TO_RIGHT),
        Line(left="Name", right="cf_crew", flow=FieldFlow.TO_RIGHT, transforms=("upper",)),
    ]
    MappingService(world.office.db).save(world.actor, world.integration, ORDERS, lines)


@pytest.mark.rule("FM-6")
def test_mapped_fields_are_written_once(world: World, shop: Shop) -> None:
    mapped(world)
    order = shop.order(Summary="Mend the roof")
    run = world.sync()
    (invoice,) = invoices(world)
    held = {one["api_name"]: one["value"] for one in invoice["custom_fields"]}
    assert held["cf_job"] == "Mend the roof"
    assert held["cf_crew"] == shop.at_fsm(order)["Name"].upper()
    (row,) = [row for row in world.outcomes(run.id) if row["pair"] == ORDERS]
    assert [one["field"] for one in row["changes"]] == ["cf_job", "cf_crew"]
    world.sandbox.edit(FSM, "Work_Orders", order, Summary="Mend the floor")
    tell(world, order)
    world.quiet()
    (invoice,) = invoices(world)
    held = {one["api_name"]: one["value"] for one in invoice["custom_fields"]}
    assert held["cf_job"] == "Mend the roof"


@pytest.mark.rule("FM-6")
def test_only_custom_fields_of_invoices_can_be_mapped(world: World) -> None:
    service = MappingService(world.office.db)
    with pytest.raises(Refused) as caught:
        service.save(
            world.actor, world.integration, ORDERS, [Line(left="Summary", right="notes", flow=FieldFlow.TO_RIGHT)]
        )
    assert caught.value.code == "MAPPING_REFUSED"
    assert service.save(world.actor, world.integration, ORDERS, []).problems == ()


@pytest.mark.rule("FM-6")
def test_a_refused_field_fails_it_and_the_next_sync_writes_it(world: World, shop: Shop) -> None:
    mapped(world)
    shop.order()
    refused = {"method": "PUT", "path": "/books/v3/invoice/"}
    world.sandbox.fault(BOOKS, "body_code", match=refused, code=15)
    run = world.sync()
    assert of_orders(world, run) == [("failed", "FIELD_TOO_LONG")]
    assert len(invoices(world)) == 1
    run = world.sync()
    assert of_orders(world, run) == [("created", "INVOICED")]
    (invoice,) = invoices(world)
    assert {one["api_name"] for one in invoice["custom_fields"] if one["value"]} == {"cf_job", "cf_crew"}


# Once.


@pytest.mark.parametrize(
    ("kind", "more"),
    [("reply_lost", {}), ("5xx", {"applied": "after"}), ("malformed", {}), ("latency", {"ms": 4500})],
    ids=["reply lost", "5xx after", "malformed", "slow"],
)
def test_an_unclear_answer_is_looked_up_and_nothing_is_made_twice(
    world: World, shop: Shop, kind: str, more: Json
) -> None:
    shop.order()
    world.sandbox.fault(FSM, kind, match={"method": "POST", "path": "/fsm/v1/Invoices"}, **more)
    world.hurry()
    world.sync()
    assert len(invoices(world)) == 1
    assert [call for call in world.calls() if call["fault"]]
    assert world.office.sql("SELECT record_id FROM intent") == []


def test_what_was_not_made_is_made_after_it_was_looked_for(world: World, shop: Shop) -> None:
    shop.order()
    world.sandbox.fault(FSM, "5xx", match={"method": "POST", "path": "/fsm/v1/Invoices"})
    world.hurry()
    world.sync()
    assert len(invoices(world)) == 1


def test_what_somebody_invoiced_meanwhile_is_left_alone(world: World, shop: Shop) -> None:
    """Between our read and our call: the vendor refuses the line."""
    order = shop.order()
    world.sync()
    (row,) = world.office.sql("SELECT accounting_id FROM invoice")
    world.office.sql("DELETE FROM invoice")
    view = RecordService(world.office.db, IntegrationService(world.office.db, world.office.settings)).get(
        world.actor, world.integration, ORDERS, Side.LEFT, order
    )
    assert view.twin_id is None
    assert by_hand(world, order) == "unchanged"
    assert len(invoices(world)) == 1
    assert row["accounting_id"] == str(invoices(world)[0]["invoice_id"])


def test_its_page_names_the_invoice_and_links_to_it(world: World, shop: Shop) -> None:
    template = {"record_url": "https://books.test/{org}/{page}/{id}"}
    settings = OrgSettingsService(world.office.db, world.office.connections)
    settings.set_capabilities(world.actor, world.orgs[BOOKS].connection_id, template)
    order = shop.order()
    world.sync()
    service = RecordService(world.office.db, IntegrationService(world.office.db, world.office.settings))
    view = service.get(world.actor, world.integration, ORDERS, Side.LEFT, order)
    assert view.twin_id == str(invoices(world)[0]["invoice_id"])
    assert view.twin_url == f"https://books.test/10234695/invoices/{view.twin_id}"
    assert "not followed" in view.history[0]["sentence"]
    with pytest.raises(NotFound):
        service.get(world.actor, world.integration, ORDERS, Side.RIGHT, str(view.twin_id))


def about_to_be_made(world: World) -> bool:
    return bool(world.office.value("SELECT count(*) FROM intent"))


@pytest.mark.rule("P3")
def test_ten_workers_and_replies_dropped_at_random_make_one_invoice_each(world: World, shop: Shop) -> None:
    """Ten processes, some of them killed; each work order told of by webhooks, by a sync and by people at once."""
    chance = random.Random(7)
    orders = [shop.order(quantity=n + 1, lines=2) for n in range(12)]
    world.office.crew.deaf = True  # nobody works here
    for kind, share in (("reply_lost", 0.4), ("5xx", 0.2)):
        world.sandbox.fault(FSM, kind, match={"method": "POST", "path": "/fsm/v1/Invoices"}, share=share)
    with hands(world.office.settings, 10) as workers:
        world.runs.sync_now(world.actor, world.integration)
        for order in orders * 2:
            tell(world, order)
            world.events.sync_record(world.actor, world.integration, ORDERS, Side.LEFT, order)
        for victim in chance.sample(workers, 3):
            await_that(lambda: about_to_be_made(world) or len(invoices(world)) == len(orders), "one is being made", 30)
            victim.kill()
        made = "SELECT count(*) FROM invoice WHERE filled"
        waits = "SELECT count(*) FROM due WHERE pair = 'work_orders' AND why <> 'failed'"
        await_that(lambda: world.office.value(made) == len(orders), "each has its invoice", 120)
        world.sandbox.control(FSM, "DELETE", "faults")
        await_that(lambda: not world.office.value(waits), "nobody waits", 120)
        ended = "SELECT count(*) FROM run WHERE kind = 'sync' AND ended_at IS NULL"
        await_that(lambda: not world.office.value(ended), "the sync ends", 120)
    found = invoices(world)
    assert len(found) == len(orders), "none twice"
    totals = {str(shop.at_fsm(order)["Grand_Total"]) for order in orders}
    assert {str(one["total"]) for one in found} == totals, "to the cent"
    assert {one["customer_name"] for one in found} == {"Zylker"}
    before = applied(world)[: applied(world).index("Invoices")]
    assert sorted(before)[:3] == ["contacts", "items", "items"]
    assert world.office.value("SELECT count(*) FROM outcome WHERE pair = 'work_orders' AND outcome = 'failed'") == 0
