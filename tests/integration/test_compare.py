"""Full comparisons (TR-13): what was deleted without a word is found, and much at once is not believed."""

from __future__ import annotations

import pytest

from shared.engine import epoch
from shared.services.integrations import IntegrationService, IntegrationView
from shared.services.runs import RunView
from tests.callers import token_of
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("TR-13", "TR-9")


def synced(world: World, size: int) -> tuple[list[str], list[str]]:
    """So many companies and their customers, agreed."""
    left = [world.company(f"Company {n}") for n in range(size)]
    world.fetch()
    world.sync()
    # A version that was seen within two seconds is looked at once more.
    world.office.sql("UPDATE binding SET left_seen_at = NULL, right_seen_at = NULL")
    right = [world.twin(one) or "" for one in left]
    world.forget_calls()
    return left, right


def compared(world: World, **asked: bool) -> RunView:
    return world.ended(world.runs.sync_now(world.actor, world.integration, **({"compare": True} | asked)))


def states(world: World) -> dict[str, str]:
    return {row["left_id"]: row["state"] for row in world.office.sql("SELECT left_id, state FROM binding")}


def integration(world: World) -> IntegrationView:
    return IntegrationService(world.office.db, world.office.settings).get(world.actor, world.integration)


def test_deletions_on_either_side_are_found_and_nothing_is_deleted_or_made_for_them(world: World) -> None:
    left, right = synced(world, 6)
    world.sandbox.delete(FSM, "Companies", left[0])
    world.sandbox.delete(BOOKS, "contacts", right[1])
    world.sync()
    assert set(states(world).values()) == {"live"}, "no list shows what is not there"
    run = compared(world)
    assert {one: state for one, state in states(world).items() if state != "live"} == {
        left[0]: "left_deleted",
        left[1]: "right_deleted",
    }
    assert world.writes() == []
    found = {row["record_id"]: row["reason"] for row in world.outcomes(run.id, "skipped")}
    assert found.items() >= {left[0]: "SOURCE_DELETED", right[1]: "SOURCE_DELETED"}.items()
    assert found.keys() <= {left[0], right[0], left[1], right[1]}
    assert "held_back" not in run.report
    world.forget_calls()
    again = compared(world)
    looked = {row["record_id"] for row in world.outcomes(again.id)}
    assert left[0] not in looked, "what is known to be gone is not looked for again"
    assert right[1] not in looked


@pytest.mark.rule("DU-7", "P6")
def test_one_that_finds_nothing_costs_lists_alone_and_counts_each_record_once(world: World) -> None:
    synced(world, 5)
    run = compared(world)
    assert {(call["method"], call["record"]) for call in world.calls()} == {("GET", None)}
    counted = {(one.direction, one.pair, one.outcome): one.records for one in run.counts}
    assert counted == {
        (f"{FSM}>{BOOKS}", "companies", "unchanged"): 5,
        (f"{BOOKS}>{FSM}", "companies", "unchanged"): 5,
    }
    assert (run.total, run.settled, run.listed) == (0, 0, 10)


def test_records_that_a_list_left_out_are_read_and_live(world: World) -> None:
    """A page that shifts, a filter, a vendor whose lists lag: they alone do not say that anything is gone."""
    world.sandbox.control(BOOKS, "POST", "visibility", {"new_records_hidden_ms": 600_000})
    left, right = synced(world, 3)
    run = compared(world)
    assert states(world) == dict.fromkeys(left, "live")
    assert {call["record"] for call in world.calls() if call["vendor"] == BOOKS} == {None, *right}
    assert {row["outcome"] for row in world.outcomes(run.id)} <= {"unchanged", "echo"}
    assert world.writes() == []


def test_much_at_once_is_held_back_until_a_person_says_that_it_is_so(world: World) -> None:
    left, right = synced(world, 12)
    for one in left[:4]:
        world.sandbox.delete(FSM, "Companies", one)
    for one in right[4:7]:
        world.sandbox.delete(BOOKS, "contacts", one)
    run = compared(world)
    held = {"companies/left": {"missing": 4, "of": 12}}
    assert run.report["held_back"] == held
    assert integration(world).held_back == held
    gone = {one for one, state in states(world).items() if state != "live"}
    assert gone == set(left[4:7]), "three are read, however large their share"
    assert compared(world).report["held_back"] == held
    confirmed = compared(world, confirm_deletions=True)
    assert "held_back" not in confirmed.report
    assert integration(world).held_back == {}
    assert {one for one, state in states(world).items() if state == "left_deleted"} == set(left[:4])
    assert world.writes() == []


def test_it_comes_by_itself_after_a_week_and_after_redis_lost_its_data(world: World) -> None:
    def compares(run: RunView) -> bool:
        return bool(world.office.value("SELECT compares FROM run WHERE id = :id", id=run.id))

    world.company("Zylker")
    world.fetch()
    assert compares(world.sync()), "the first"
    assert not compares(world.sync())
    world.office.sql("UPDATE integration SET compared_at = compared_at - interval '8 days'")
    assert compares(world.sync())
    assert not compares(world.sync())
    with world.office.db.transaction() as session:
        epoch._all_due(session)
    assert compares(world.sync())


def test_one_that_failed_is_still_due(world: World) -> None:
    synced(world, 1)
    world.office.crew.deaf = True
    run = world.runs.sync_now(world.actor, world.integration, compare=True)
    world.office.sql("UPDATE connection SET status = 'broken', broken_reason = 'x' WHERE vendor = :v", v=BOOKS)
    world.office.crew.deaf = False
    world.office.crew.run(run)
    world.office.crew.until(lambda: world.runs.get(world.actor, run).ended, "it ends")
    assert world.runs.get(world.actor, run).state == "failed"
    world.office.sql("UPDATE connection SET status = 'live', broken_reason = NULL")
    assert world.office.value("SELECT compares FROM run WHERE id = :id", id=world.sync().id)


def test_over_rest(world: World) -> None:
    left, _ = synced(world, 8)
    for one in left[:5]:
        world.sandbox.delete(FSM, "Companies", one)
    with serving(world.office.settings, token=token_of(world.office.db)) as http:
        path = f"/api/v1/integrations/{world.integration}"
        world.ended(http.post(f"{path}/sync", params={"compare": True}).json()["sync_id"])
        assert http.get(path).json()["held_back"] == {"companies/left": {"missing": 5, "of": 8}}
        world.ended(http.post(f"{path}/sync", params={"confirm_deletions": True}).json()["sync_id"])
        assert http.get(path).json()["held_back"] == {}
    assert list(states(world).values()).count("left_deleted") == 5
