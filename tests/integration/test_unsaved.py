"""A write whose outcome was never saved: what stands at the vendor is ours, and what people do meanwhile is theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared import points
from shared.bus import BULK, LIVE, Lane
from shared.engine import run as engine
from shared.engine.context import load_context
from shared.errors import LeaseLost
from shared.lease import Held, run_holder
from tests.integration.crew import await_that
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P3", "P5", "FM-10")


class Crash(Exception):
    """As if the process had ended here, but for the threads that live on."""


@pytest.fixture
def crash_at(world: World) -> Iterator[list[str]]:
    """Points to crash at, each once; the first that passes takes it."""
    left: list[str] = []
    world.office.crew.expected = (Crash,)

    def strike(point: str) -> None:
        if point in left:
            left.remove(point)
            raise Crash(point)

    points.arm(strike)
    yield left
    points.arm(None)


def told(world: World, vendor: str, record: str) -> None:
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[vendor].connection_id)
    edited = {"module": "Companies", "event": "edit", "id": record}
    request = delivery(vendor, edited if vendor == FSM else {"contact": {"contact_id": record}}, setup.secret)
    assert world.accept_webhook(vendor, setup.path.rsplit("/", 1)[1], request) == 1


def both_hold(world: World, company: str, website: str) -> None:
    world.quiet()
    assert world.fsm(company)["Website"] == website
    assert world.books(world.twin(company) or "")["website"] == website
    world.check_agree()


@pytest.mark.parametrize("first", [FSM, BOOKS])
def test_an_edit_made_after_an_update_whose_outcome_was_lost(world: World, crash_at: list[str], first: str) -> None:
    """Both ends differ from the base by then. The twin holds what we had sent: it is no edit of anybody's."""
    company = world.company("Zylker")
    world.fetch()
    world.sync()
    twin = world.twin(company) or ""
    crash_at.append("reply.read")
    world.office.crew.deaf = True  # nobody comes back to it before the second edit
    world.sandbox.edit(FSM, "Companies", company, Website="www.first.test")
    told(world, FSM, company)
    world.office.crew.deaf = False
    world.office.crew.until(lambda: world.books(twin)["website"] == "www.first.test", "the first edit was written")
    world.office.crew.deaf = True
    world.office.crew.until(lambda: not crash_at, "and its outcome lost")
    world.sandbox.edit(FSM, "Companies", company, Website="www.second.test")
    told(world, first, company if first == FSM else twin)
    world.office.crew.deaf = False
    both_hold(world, company, "www.second.test")
    world.office.sql("UPDATE run SET ended_at = clock_timestamp(), state = 'completed' WHERE ended_at IS NULL")
    world.sync()
    both_hold(world, company, "www.second.test")


@pytest.mark.parametrize("first", [FSM, BOOKS])
def test_an_edit_made_after_a_create_whose_outcome_was_lost(world: World, crash_at: list[str], first: str) -> None:
    company = world.company("Zylker", Website="www.first.test")
    world.fetch()
    crash_at.append("reply.read")
    run = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.sandbox.rows(BOOKS, "contacts"), "the twin is made")
    world.office.crew.until(lambda: not crash_at, "and its outcome lost")
    world.sandbox.edit(FSM, "Companies", company, Website="www.second.test")
    twin = str(world.sandbox.rows(BOOKS, "contacts")[0]["contact_id"])
    told(world, first, company if first == FSM else twin)
    world.office.crew.until(lambda: world.runs.get(world.actor, run).ended, "the sync ends")
    both_hold(world, company, "www.second.test")
    world.sync()
    both_hold(world, company, "www.second.test")


@pytest.mark.parametrize("crashes", [1, 2])
def test_a_row_that_was_listed_before_an_edit_that_somebody_has_sent(
    world: World, crash_at: list[str], crashes: int
) -> None:
    """A run's create, whose outcome is lost; then a webhook's batch finds the twin and sends an edit made since, whose
    outcome is lost too, or (one crash) not. The run's event has its turn again, with the row of before the edit."""
    office = world.office
    lanes = {cls: [Lane(world.integration, cls, n) for n in range(office.settings.shards + 1)] for cls in (BULK, LIVE)}
    company = world.company("Zylker")
    world.fetch()
    crashed: list[str] = []

    def crash(point: str) -> None:
        if point == "reply.read" and len(crashed) < crashes:
            for lane in lanes[LIVE if crashed else BULK]:  # it does not come again before we say so
                office.bus.pause(lane, 60)
            crashed.append(point)
            raise Crash(point)

    def go_on(cls: str) -> None:
        for lane in lanes[cls]:
            office.bus.resume(lane)
            office.crew.drain(lane)

    points.arm(crash)
    run = world.runs.sync_now(world.actor, world.integration)
    office.crew.until(lambda: len(crashed) == 1, "the outcome of the create is lost")
    world.sandbox.edit(FSM, "Companies", company, Website="www.second.test")
    told(world, FSM, company)
    twin = str(world.sandbox.rows(BOOKS, "contacts")[0]["contact_id"])
    office.crew.until(lambda: world.books(twin)["website"] == "www.second.test", "the edit is written")
    office.crew.until(lambda: len(crashed) == crashes, "and its outcome lost")
    world.forget_calls()
    go_on(BULK)
    office.crew.until(lambda: world.runs.get(world.actor, run).ended, "the sync ends")
    assert world.writes() == [], "what stands there is newer than the row"
    go_on(LIVE)
    both_hold(world, company, "www.second.test")


@pytest.mark.rule("P7", "LK-2")
def test_who_was_frozen_after_its_claim_takes_no_lease_for_a_run_that_has_ended(world: World) -> None:
    world.company("Zylker")
    world.fetch()
    run = world.sync().id
    office = world.office
    late = engine._RunWork(office.ports, office.keeper, run, world.integration, "a frozen worker")
    late._context = load_context(office.ports, world.integration)
    with pytest.raises(LeaseLost):
        late._take()
    with office.db.transaction() as session:
        got = office.ports.leases.take(session, late._context.org_ids, run_holder(run + 1, world.integration, 1))
    assert not isinstance(got, Held)


@pytest.mark.rule("P4", "P5")
def test_a_process_that_was_silent_pushes_nothing_though_its_lease_is_alive(world: World) -> None:
    keeper = world.office.keeper
    since = keeper.standing()
    keeper.check_standing(since)
    beaten = keeper._beaten_at
    keeper._beaten_at -= keeper.lane_ttl_s
    with pytest.raises(LeaseLost):
        keeper.check_standing(since)
    await_that(lambda: keeper._beaten_at > beaten, "it beats again")
    with pytest.raises(LeaseLost):
        keeper.check_standing(since)
    keeper.check_standing(keeper.standing())


@pytest.mark.rule("P10")
def test_a_worker_that_stops_gives_what_it_has_not_begun_to_another(world: World) -> None:
    """Of eight records the first is written when the stop comes; what is not begun by then comes again elsewhere."""
    for n in range(8):
        world.company(f"Company {n}")
    world.fetch()
    keeper = world.office.keeper
    stopped: list[int] = []

    def strike(point: str) -> None:
        if point == "reply.read" and not stopped:
            stopped.append(1)
            world.office.crew.deaf = True  # a worker that stops takes no more wake-ups
            keeper.stopping.set()

    points.arm(strike)
    try:
        run = world.runs.sync_now(world.actor, world.integration)
        await_that(lambda: bool(stopped) and world.office.crew.idle, "it has stopped")
        made = len(world.sandbox.rows(BOOKS, "contacts"))
        assert 1 <= made < 8
    finally:
        points.arm(None)
        keeper.stopping.clear()  # the next worker
        world.office.crew.deaf = False
    world.ended(run)
    world.quiet()
    world.check_agree()
