"""A create of which the reply was lost, at a vendor where the new record bears the id of ours (a stamp)."""

from __future__ import annotations

import json

import pytest

from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P3")


@pytest.fixture
def stamped(world: World) -> World:
    """FSM takes ZBilling_Id by API, and the product is told so."""
    world.sandbox.switch(FSM, zbilling_id_writable=True)
    told = json.dumps({"limits": {"per_minute": False}, "capabilities": {"zbilling_id_writable": True}})
    world.office.sql("UPDATE org SET settings = CAST(:told AS jsonb) WHERE vendor = 'zoho_fsm'", told=told)
    world.customer("Acme")
    world.fetch()
    world.sandbox.fault(FSM, "reply_lost", match={"method": "POST"}, count=1)
    return world


def made(world: World) -> list[str]:
    return [str(row["Company_Name"]) for row in world.sandbox.rows(FSM, "Companies")]


def test_it_is_found_by_its_stamp_whatever_it_is_called_since(stamped: World) -> None:
    run = stamped.runs.sync_now(stamped.actor, stamped.integration)
    stamped.office.crew.until(lambda: made(stamped), "the twin is there, its answer was lost")
    mine = str(stamped.sandbox.rows(FSM, "Companies")[0]["id"])
    stamped.sandbox.edit(FSM, "Companies", mine, Company_Name="Renamed")
    stamped.ended(run)
    stamped.quiet()
    stamped.sync()
    assert made(stamped) == ["Renamed"]
    assert [row["contact_name"] for row in stamped.sandbox.rows(BOOKS, "contacts")] == ["Renamed"]


def test_where_a_search_lags_its_absence_is_not_believed(stamped: World) -> None:
    stamped.sandbox.switch(FSM, list_lag_ms=1500)
    stamped.sync()
    stamped.quiet()
    assert made(stamped) == ["Acme"]
