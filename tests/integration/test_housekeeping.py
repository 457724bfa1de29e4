"""What was lost is found again: wake-ups, sendings, Redis itself. Nothing depends on a Celery message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis

from shared.bus import LIVE, MARKER, RESULTS, Lane
from shared.engine import housekeeping
from shared.engine.context import lane_of
from shared.settings import Settings
from shared.sync.events import ChangeEvent, Hint, Origin, decode, encode
from shared.sync.model import RecordId, Side
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE
from tests.integration.crew import await_that
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World, connect, opened

pytestmark = pytest.mark.rule("P2", "P7", "LK-3")


@pytest.fixture
def quiet_world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Iterator[World]:
    """Without a beat: only what the test calls happens."""
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url
    )
    with opened(settings, beat=False) as office:
        yield connect(office, sandbox)


def edited(world: World, record: str) -> None:
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
    body = {"module": "Companies", "event": "edit", "id": record}
    world.accept_webhook(FSM, setup.path.rsplit("/", 1)[1], delivery(FSM, body, setup.secret))


def due(world: World, record: str, *, in_s: float, sent_s_ago: float | None = None, why: str = "retry") -> Lane:
    event = ChangeEvent(
        f"e-{record}", "c", world.integration, "companies", Side.LEFT, RecordId(record), Hint.UPSERT, Origin.RETRY, 0
    )
    world.office.sql(
        "INSERT INTO due (workspace_id, integration_id, pair, side, record_id, why, due_at, sent_at, event) VALUES "
        "(:w, :i, 'companies', 'left', :r, :why, clock_timestamp() + make_interval(secs => :s), "
        "clock_timestamp() - make_interval(secs => CAST(:ago AS float8)), CAST(:e AS jsonb))",
        w=world.workspace,
        i=world.integration,
        r=record,
        why=why,
        s=in_s,
        ago=sent_s_ago,
        e=json.dumps(encode(event)),
    )
    return lane_of(world.integration, LIVE, "companies", Side.LEFT, record, world.office.settings.shards)


def sent(world: World) -> list[str]:
    redis = world.office.bus.redis
    keys = sorted(redis.smembers("bw:lanes"))
    return [decode(json.loads(body["e"])).record_id for key in keys for _, body in redis.xrange(key)]


# Wake-ups.


@pytest.mark.rule("P1")
def test_lost_wake_ups_of_lanes_runs_and_results_are_repaired(quiet_world: World) -> None:
    """Every message is lost, at every step; ticks alone bring the work to its end."""
    world = quiet_world
    crew = world.office.crew
    mine = world.company("Zylker")
    crew.deaf = True
    run_id = world.runs.fetch(world.actor, world.integration)
    edited(world, mine)

    def step() -> None:
        crew.deaf = False
        housekeeping.tick(world.office.ports)
        crew.deaf = True
        crew.rest()

    def ticked_until(condition: object) -> None:
        def reached() -> bool:
            step()
            return bool(condition())  # type: ignore[operator]

        await_that(reached, "ticks alone bring it to its end")

    ticked_until(lambda: world.runs.get(world.actor, run_id).ended)
    ticked_until(lambda: world.twin(mine))
    run_id = world.runs.sync_now(world.actor, world.integration)
    ticked_until(lambda: world.runs.get(world.actor, run_id).ended)
    assert world.runs.get(world.actor, run_id).state == "completed"
    world.check_agree()


def test_results_that_nobody_was_woken_for_are_saved(quiet_world: World) -> None:
    world = quiet_world
    woken = world.office.crew.woken
    housekeeping.wake_results(world.office.ports)
    assert ("results", None) not in woken
    world.office.crew.deaf = True
    world.office.bus.redis.xadd(RESULTS, {"r": "{}"})
    housekeeping.wake_results(world.office.ports)
    assert ("results", None) in woken


def test_a_run_that_somebody_works_on_is_left_alone(quiet_world: World) -> None:
    world = quiet_world
    world.office.crew.deaf = True
    run_id = world.runs.fetch(world.actor, world.integration)
    world.office.crew.woken.clear()
    world.office.sql("UPDATE run SET claimed_by = 'w', claimed_until = clock_timestamp() + interval '1 hour'")
    housekeeping.wake_runs(world.office.ports)
    assert world.office.crew.woken == []
    world.office.sql("UPDATE run SET claimed_until = clock_timestamp() - interval '1 s'")
    housekeeping.wake_runs(world.office.ports)
    assert world.office.crew.woken == [("run", run_id)]


@pytest.mark.rule("P7")
def test_trouble_of_one_step_does_not_keep_the_others_from_theirs(quiet_world: World) -> None:
    world = quiet_world
    world.fetch()
    world.office.crew.deaf = True
    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp()")
    world.office.sql("INSERT INTO due (workspace_id, integration_id, pair, side, record_id, why, due_at, event) VALUES "
                     "(1, 1, 'p', 'left', 'r', 'retry', clock_timestamp(), '{}')")  # fmt: skip
    housekeeping.tick(world.office.ports)
    assert world.runs.recent(world.actor)[0]["trigger"] == "scheduled"


# Due rows.


def test_what_is_due_is_sent_and_what_is_not_waits(quiet_world: World) -> None:
    world = quiet_world
    world.office.crew.deaf = True
    lane = due(world, "now", in_s=-1)
    due(world, "later", in_s=3600)
    due(world, "next-run", in_s=-1, why="failed")
    housekeeping.send_due(world.office.ports)
    assert sent(world) == ["now"]
    assert ("drain", lane) in world.office.crew.woken
    housekeeping.send_due(world.office.ports)
    assert sent(world) == ["now"], "it was sent a moment ago"


def test_what_was_sent_and_lost_goes_again_but_not_while_its_lane_has_entries(quiet_world: World) -> None:
    world = quiet_world
    world.office.crew.deaf = True
    minute = world.office.settings.scaled(60.0)
    lane = due(world, "lost", in_s=-100, sent_s_ago=minute + 1)
    housekeeping.send_due(world.office.ports)
    assert sent(world) == ["lost"]
    again = "UPDATE due SET sent_at = clock_timestamp() - make_interval(secs => :s)"
    world.office.sql(again, s=minute + 1)
    housekeeping.send_due(world.office.ports)
    assert sent(world) == ["lost"], "it lies there behind an org that is held: copies would pile up"
    world.office.bus.redis.delete(lane.key)
    world.office.sql(again, s=minute + 1)
    housekeeping.send_due(world.office.ports)
    assert sent(world) == ["lost"]


def test_two_beats_send_it_once(quiet_world: World, settings: Settings) -> None:
    world = quiet_world
    world.office.crew.deaf = True
    for n in range(20):
        due(world, f"r{n}", in_s=-1)
    with opened(settings, threads=0, beat=False) as other:
        housekeeping.send_due(world.office.ports)
        housekeeping.send_due(other.ports)
    assert sorted(sent(world)) == sorted(f"r{n}" for n in range(20))


# Redis loses its data.


def test_the_marker_is_made_once_and_kept(quiet_world: World) -> None:
    world = quiet_world
    for _ in range(2):
        housekeeping.check_stores(world.office.ports)
    marker = world.office.value("SELECT redis_marker FROM installation")
    assert world.office.bus.redis.get(MARKER) == marker
    assert world.office.value("SELECT count(*) FROM integration WHERE next_run_at IS NOT NULL") == 0, "nothing was lost"


@pytest.mark.parametrize("scheduled", [True, False])
def test_a_redis_that_lost_everything_is_noticed_and_every_integration_is_due(world: World, scheduled: bool) -> None:
    mine = world.company("Zylker")
    world.fetch()
    world.sync()
    housekeeping.check_stores(world.office.ports)  # beats since the first start
    world.office.sql("UPDATE integration SET schedule_on = :on, next_run_at = NULL", on=scheduled)
    world.office.crew.deaf = True
    world.sandbox.edit(FSM, "Companies", mine, Website="www.lost.test")
    edited(world, mine)
    before = world.runs.recent(world.actor)[0]["id"]
    world.office.bus.redis.flushall()  # the event with it
    world.office.crew.deaf = False
    world.office.crew.until(lambda: world.runs.recent(world.actor)[0]["id"] > before, "a run of its own begins")
    world.ended(world.runs.recent(world.actor)[0]["id"])
    assert world.books(world.twin(mine) or "")["website"] == "www.lost.test"
    planned = world.office.value("SELECT next_run_at IS NOT NULL FROM integration")
    assert planned is scheduled
    newest = world.runs.recent(world.actor)[0]["id"]
    housekeeping.tick(world.office.ports)
    assert world.runs.recent(world.actor)[0]["id"] == newest, "once"


def test_a_run_that_redis_was_lost_under_goes_on_and_another_follows(world: World) -> None:
    for n in range(30):
        world.company(f"Company {n:02}")
    world.fetch()
    housekeeping.check_stores(world.office.ports)
    run_id = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.sandbox.rows(BOOKS, "contacts"), "it has begun to write")
    world.office.bus.redis.flushall()
    world.office.crew.until(lambda: world.runs.get(world.actor, run_id).ended, "it ends", within_s=30)
    assert world.runs.get(world.actor, run_id).state == "completed"
    world.office.crew.until(lambda: world.runs.recent(world.actor)[0]["id"] > run_id, "another follows")
    world.ended(world.runs.recent(world.actor)[0]["id"])
    world.quiet()
    world.check_agree()


# By the hour.


@pytest.mark.rule("LG-1")
def test_webhook_work_of_an_hour_is_closed_when_the_hour_is_over(quiet_world: World) -> None:
    world = quiet_world
    for hours, outcome in ((0, "updated"), (1, "updated"), (2, "failed")):
        run = world.office.value(
            "INSERT INTO run (workspace_id, integration_id, kind, trigger, state, hour) VALUES (:w, :i, 'webhook', "
            "'webhook', 'draining', date_trunc('hour', clock_timestamp()) - make_interval(hours => :h)) RETURNING id",
            w=world.workspace,
            i=world.integration,
            h=hours,
        )
        world.office.sql(
            "INSERT INTO run_count (run_id, direction, pair, outcome, reason, workspace_id, records) "
            "VALUES (:r, 'd', 'p', :o, '', :w, 1)",
            r=run,
            o=outcome,
            w=world.workspace,
        )
    housekeeping.hourly(world.office.ports)
    rows = world.office.sql("SELECT state, ended_at - hour AS lasted FROM run ORDER BY hour DESC")
    assert [row["state"] for row in rows] == ["draining", "completed", "completed_with_failures"]
    assert [row["lasted"] for row in rows] == [None, timedelta(hours=1), timedelta(hours=1)]


@pytest.mark.rule("P13")
def test_what_nobody_asks_for_any_more_is_forgotten(quiet_world: World) -> None:
    world = quiet_world
    world.office.sql(
        "INSERT INTO event_done (event_id, workspace_id, at) VALUES ('old', 1, clock_timestamp() - interval '8 days'), "
        "('new', 1, clock_timestamp() - interval '6 days')"
    )
    world.office.sql(
        "INSERT INTO open_batch (id, workspace_id, integration_id, fence, lane, until) VALUES "
        "('dead', :w, :i, 1, 'l', clock_timestamp() - interval '2 hours'), ('live', :w, :i, 1, 'l', clock_timestamp())",
        w=world.workspace,
        i=world.integration,
    )
    housekeeping.hourly(world.office.ports)
    assert world.office.sql("SELECT event_id FROM event_done") == [{"event_id": "new"}]
    assert world.office.sql("SELECT id FROM open_batch") == [{"id": "live"}]
