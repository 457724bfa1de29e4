"""FSM with Zoho Invoice on the accounting side: the same engine, the org's own vendor in every name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.errors import Refused
from shared.services.integrations import IntegrationService
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE, WORKER_GONE_S
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World, connect, opened

INVOICE = "zoho_invoice"


@pytest.fixture
def world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Iterator[World]:
    settings = make_settings(
        database_url=database_url,
        redis_url=redis_url,
        time_scale=TIME_SCALE,
        sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S,
        doubt_span_s=20.0,
    )
    with opened(settings) as office:
        yield connect(office, sandbox, INVOICE)


def fill(world: World) -> None:
    """Six companies and six services at each side; three of each are the same."""
    for n in range(6):
        world.company(f"Company {n}", Website=f"www.{n}.test", Service_Address={"Street_1": f"{n} Road"})
        world.service(f"Service {n}", Unit_Price=n + 0.5)
    for n in range(3, 9):
        world.customer(f"Company {n}", shipping_address={"city": "Pune"})
        world.item(f"Service {n}", rate=n + 0.25, sku=f"SKU-{n}")


@pytest.mark.rule("DU-1", "P3", "P9")
def test_both_sides_come_to_hold_the_same_and_changes_go_both_ways(world: World) -> None:
    fill(world)
    assert world.fetch().state == "completed"
    run = world.sync()
    assert run.state == "completed"
    assert {one.direction for one in run.counts} == {f"{FSM}>{INVOICE}", f"{INVOICE}>{FSM}"}
    world.check_agree()
    assert len(world.sandbox.rows(INVOICE, "contacts")) == 9
    assert world.sandbox.rows(BOOKS, "contacts") == []

    company = world.seed_of("Company 1")
    customer = world.twin(company)
    assert customer is not None
    world.sandbox.edit(FSM, "Companies", company, Website="www.fsm.test")
    item = next(str(row["item_id"]) for row in world.sandbox.rows(INVOICE, "items") if row["name"] == "Service 8")
    world.sandbox.edit(INVOICE, "items", item, description="from the other side")
    world.sync()
    assert world.books(customer)["website"] == "www.fsm.test"
    service = world.twin(item)
    assert service is not None
    assert world.fsm(service, "Service_And_Parts")["Description"] == "from the other side"
    world.check_agree()

    world.forget_calls()
    again = world.sync()
    assert again.state == "completed"
    assert world.writes() == []
    assert world.sandbox.calls(BOOKS) == []


@pytest.mark.rule("TR-1", "DU-7")
def test_a_webhook_of_zoho_invoice_reaches_fsm(world: World) -> None:
    world.fetch()
    customer = world.customer("Acme", website="www.a.test")
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[INVOICE].connection_id)
    body = {"contact": {"contact_id": customer}, "organization_id": world.sandbox.info["orgs"][INVOICE]}
    request = delivery(INVOICE, body, setup.secret)
    assert world.accept_webhook(INVOICE, setup.path.rsplit("/", 1)[1], request) == 1
    world.quiet()
    assert world.fsm(world.seed_of("Acme"))["Website"] == "www.a.test"


@pytest.mark.rule("SU-1")
def test_zoho_invoice_is_no_field_service(world: World) -> None:
    service = IntegrationService(world.office.db, world.office.settings)
    invoice = world.orgs[INVOICE].org_id
    with pytest.raises(Refused, match="an org of zoho_fsm on the left side") as raised:
        service.create(world.actor, "fsm_books", invoice, invoice)
    assert raised.value.code == "WRONG_VENDOR"
