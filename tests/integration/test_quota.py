"""LK-4: a run that waits long for quota gives its orgs back, and goes on from its checkpoint under the same Sync ID."""

from __future__ import annotations

import pytest

from shared.engine import housekeeping
from shared.lease import Held, Holder
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("LK-4", "OP-4", "P9")

LONG_S = 900.0


def waits_for_quota(world: World, run: int) -> None:
    parked = "SELECT 1 FROM run WHERE id = :run AND resume_at > clock_timestamp() + interval '10 minutes'"
    world.office.crew.until(lambda: world.office.sql(parked, run=run), "it waits for quota")
    view = world.runs.get(world.actor, run)
    assert view.waiting_for is not None
    assert view.waiting_for.startswith("quota until 20")
    assert not view.ended


def others_get_the_orgs(world: World) -> None:
    office = world.office
    orgs = [world.orgs[FSM].org_id, world.orgs[BOOKS].org_id]
    with office.db.transaction() as session:
        got = office.ports.leases.take(session, orgs, Holder("import:1", "import", world.integration, world.workspace))
        assert not isinstance(got, Held)
        office.ports.leases.release(session, got)


def quota_is_back(world: World, run: int) -> None:
    world.sandbox.control(BOOKS, "DELETE", "faults")
    for key in world.office.bus.redis.keys("bw:limit*"):
        world.office.bus.redis.delete(key)
    world.office.sql("UPDATE due SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()")
    world.office.sql("UPDATE run SET resume_at = clock_timestamp(), claimed_until = NULL WHERE id = :run", run=run)


@pytest.mark.parametrize("when", ["listing", "draining"])
def test_a_run_out_of_quota_gives_its_orgs_back_and_goes_on_later(world: World, when: str) -> None:
    for n in range(12):
        world.company(f"Company {n:02}")
    world.fetch()
    match = {"method": "GET" if when == "listing" else "POST", "path": "contacts"}
    world.sandbox.fault(BOOKS, "429", match=match, count=100, retry_after_s=LONG_S)
    run = world.runs.sync_now(world.actor, world.integration)
    waits_for_quota(world, run)
    assert world.office.value("SELECT state FROM run WHERE id = :run", run=run) == when
    others_get_the_orgs(world)
    housekeeping.tick(world.office.ports)
    world.office.crew.rest()
    assert world.sandbox.rows(BOOKS, "contacts") == []
    assert world.office.sql("SELECT 1 FROM outcome o WHERE o.run_id <> :run AND o.outcome <> 'bound'", run=run) == []

    quota_is_back(world, run)
    world.office.crew.until(lambda: world.runs.get(world.actor, run).ended, "it goes on and ends")
    world.quiet()
    assert len(world.outcomes(run, "created")) == 12, "all under its own Sync ID"
    world.check_agree()


def test_a_run_that_waits_a_short_while_keeps_its_orgs(world: World) -> None:
    world.company("Zylker")
    world.fetch()
    world.sandbox.fault(BOOKS, "429", match={"method": "GET", "path": "contacts"}, count=1, retry_after_s=1)
    run = world.sync()
    assert run.state == "completed"
    assert world.office.value("SELECT count(*) FROM lease_log WHERE holder = :h", h=f"run:{run.id}") == 2, "once, both"
