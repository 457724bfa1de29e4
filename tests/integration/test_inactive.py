"""TR-9: made inactive in Books, so in FSM, and active again where that was by us. FSM's own inactive records are left
alone; how FSM takes it by API is not established, so it is a setting."""

from __future__ import annotations

import json

import pytest

from tests.integration.test_families import told
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("TR-9")


def writable(world: World) -> None:
    world.sandbox.switch(FSM, inactive_writable=True)
    more = json.dumps({"limits": {"per_minute": False}, "capabilities": {"inactive_writable": True}})
    world.office.sql("UPDATE org SET settings = CAST(:more AS jsonb) WHERE vendor = 'zoho_fsm'", more=more)
    world.office.sql("UPDATE connection SET updated_at = clock_timestamp()")  # opened anew, as after a probe


@pytest.fixture
def bound(world: World) -> tuple[World, str, str]:
    """A company and its customer, in step."""
    mine = world.company("Zylker", Website="old")
    world.fetch()
    world.sync()
    world.forget_calls()
    return world, mine, world.twin(mine) or ""


def state(world: World, customer: str, status: str) -> None:
    world.sandbox.edit(BOOKS, "contacts", customer, status=status)


def last(world: World) -> tuple[str, str, str]:
    row = world.office.sql("SELECT outcome, reason, detail FROM outcome ORDER BY id DESC LIMIT 1")[0]
    return row["outcome"], row["reason"], row["detail"]


@pytest.mark.parametrize("by", ["webhook", "sync"])
def test_what_is_made_inactive_in_books_is_made_so_in_fsm_and_back(bound: tuple[World, str, str], by: str) -> None:
    world, mine, theirs = bound
    writable(world)
    state(world, theirs, "inactive")
    if by == "webhook":
        told(world, BOOKS, theirs)
    else:
        world.sync()
    assert world.fsm(mine)["$inactive"] is True
    assert last(world) == ("deactivated", "", "")
    world.sandbox.edit(BOOKS, "contacts", theirs, website="meanwhile")
    told(world, BOOKS, theirs)
    assert last(world) == ("skipped", "INACTIVE", "")
    assert world.fsm(mine)["Website"] == "old", "nothing is carried while it is inactive"
    state(world, theirs, "active")
    if by == "webhook":
        told(world, BOOKS, theirs)
    else:
        world.sync()
    now = world.fsm(mine)
    assert (now["$inactive"], now["Website"]) == (False, "meanwhile"), "and it goes on from the old base"
    assert last(world)[0] == "updated"


def test_what_a_person_made_inactive_in_fsm_stays_so(bound: tuple[World, str, str]) -> None:
    world, mine, theirs = bound
    writable(world)
    world.sandbox.edit(FSM, "Companies", mine, **{"$inactive": True})
    world.sandbox.edit(BOOKS, "contacts", theirs, website="new")
    told(world, BOOKS, theirs)
    assert last(world) == ("skipped", "INACTIVE", "")
    assert world.writes() == []
    world.sandbox.edit(FSM, "Companies", mine, **{"$inactive": False})
    world.sync()
    assert world.fsm(mine)["Website"] == "new", "due as soon as it is active, from its old base"


def test_without_a_way_a_person_is_told_what_to_do(bound: tuple[World, str, str]) -> None:
    world, mine, theirs = bound
    state(world, theirs, "inactive")
    told(world, BOOKS, theirs)
    assert last(world) == ("failed", "MANUAL_STEP_NEEDED", "make the record inactive")
    world.sync()
    assert last(world)[1] == "MANUAL_STEP_NEEDED", "said again as long as it is so"
    assert world.writes() == []
    world.sandbox.edit(FSM, "Companies", mine, **{"$inactive": True})
    world.sync()
    assert last(world) == ("skipped", "INACTIVE", "")
    assert world.office.value("SELECT count(*) FROM due") == 0


def test_what_is_inactive_on_both_sides_costs_no_call_and_no_row(bound: tuple[World, str, str]) -> None:
    world, _, theirs = bound
    writable(world)
    state(world, theirs, "inactive")
    world.sync()
    world.sync()
    world.office.sql("UPDATE binding SET left_seen_at = NULL, right_seen_at = NULL")
    world.forget_calls()
    run = world.sync()
    assert world.outcomes(run.id) == []
    assert [call for call in world.calls() if call["record"]] == []


def test_an_inactive_record_that_is_new_is_ignored_until_it_is_active(world: World) -> None:
    world.fetch()
    made = world.customer("Sleeping", status="inactive")
    told(world, BOOKS, made)
    world.sync()
    assert world.sandbox.rows(FSM, "Companies") == []
    state(world, made, "active")
    told(world, BOOKS, made)
    assert [one["Company_Name"] for one in world.sandbox.rows(FSM, "Companies")] == ["Sleeping"]
