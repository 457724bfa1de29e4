"""People rename records while their twins are being made: the match key changes under way, and nothing is doubled."""

from __future__ import annotations

import pytest

from shared.engine import housekeeping
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P3", "P5", "DU-2")

SLOW_MS = 1200


def told(world: World, vendor: str, record: str) -> None:
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[vendor].connection_id)
    edited = {"module": "Companies", "event": "edit", "id": record}
    request = delivery(vendor, edited if vendor == FSM else {"contact": {"contact_id": record}}, setup.secret)
    assert world.accept_webhook(vendor, setup.path.rsplit("/", 1)[1], request) == 1


def slow_creates(world: World, *, applied: str) -> None:
    """Books takes its time to create a contact, or to answer that it did."""
    match = {"method": "POST", "path": "contacts"}
    world.sandbox.fault(BOOKS, "latency", match=match, ms=SLOW_MS, applied=applied)


def settled(world: World) -> None:
    world.quiet()
    world.office.crew.until(lambda: not world.office.sql("SELECT 1 FROM run WHERE kind = 'sync' AND ended_at IS NULL"),
                            "the sync ends")  # fmt: skip
    world.quiet()


def test_a_record_renamed_while_its_twin_is_being_made(world: World) -> None:
    """By two events on two lanes, of which one read it before and one after."""
    record = world.company("Name 2")
    world.fetch()
    slow_creates(world, applied="before")
    world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.office.sql("SELECT 1 FROM intent"), "its twin is being made")
    world.sandbox.edit(FSM, "Companies", record, Company_Name="Name 3")
    told(world, FSM, record)
    settled(world)
    assert [row["contact_name"] for row in world.sandbox.rows(BOOKS, "contacts")] == ["Name 3"]
    world.check_agree()


def test_the_twin_renamed_before_we_know_that_we_made_it(world: World) -> None:
    world.company("Name 2")
    world.fetch()
    slow_creates(world, applied="after")
    world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.sandbox.rows(BOOKS, "contacts"), "the twin is there, its answer is not")
    twin = str(world.sandbox.rows(BOOKS, "contacts")[0]["contact_id"])
    world.sandbox.edit(BOOKS, "contacts", twin, contact_name="Name 3")
    told(world, BOOKS, twin)
    settled(world)
    world.sync()
    assert [row["Company_Name"] for row in world.sandbox.rows(FSM, "Companies")] == ["Name 3"]
    world.check_agree()


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_a_record_renamed_while_its_twin_is_in_doubt(world: World, vendor: str) -> None:
    """The twin was made under the old name and its answer lost: it is looked for under that name too."""
    source, module, name = (BOOKS, "contacts", "contact_name") if vendor == FSM else (FSM, "Companies", "Company_Name")
    record = world.customer("Name 2") if vendor == FSM else world.company("Name 2")
    world.fetch()
    path = "Companies" if vendor == FSM else "contacts"
    world.sandbox.fault(vendor, "reply_lost", match={"method": "POST", "path": path})
    run = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.office.sql("SELECT 1 FROM intent WHERE state = 'in_doubt'"), "it is in doubt")
    world.sandbox.edit(source, module, record, **{name: "Name 3"})
    world.office.crew.until(lambda: world.runs.get(world.actor, run).ended, "the sync ends")
    settled(world)
    for where, rows, field in ((FSM, "Companies", "Company_Name"), (BOOKS, "contacts", "contact_name")):
        assert [row[field] for row in world.sandbox.rows(where, rows)] == ["Name 3"]
    world.check_agree()


@pytest.mark.rule("P13")
def test_a_run_does_not_ask_for_itself_while_a_batch_that_joined_it_is_open(world: World) -> None:
    world.company("Zylker")
    world.fetch()
    run = world.runs.sync_now(world.actor, world.integration)
    fence = "SELECT fence FROM org_lease LIMIT 1"
    world.office.crew.until(lambda: world.office.value(fence), "it has its orgs")
    world.office.sql(
        "INSERT INTO open_batch (id, workspace_id, integration_id, fence, lane, until) SELECT 'of a dead worker', :w, "
        ":i, fence, 'l', clock_timestamp() + interval '1 hour' FROM org_lease LIMIT 1",
        w=world.workspace,
        i=world.integration,
    )
    drained = "SELECT 1 FROM run WHERE id = :run AND state = 'draining' AND queued > 0 AND pending = 0"
    world.office.crew.until(lambda: world.office.sql(drained, run=run), "it waits for that batch alone")
    world.office.crew.rest()
    before = len(world.office.crew.woken)
    housekeeping.wake_runs(world.office.ports)
    world.office.crew.rest()
    assert len(world.office.crew.woken) - before <= 2
    world.office.sql("DELETE FROM open_batch")
    world.ended(run)
