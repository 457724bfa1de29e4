"""Budgets against the bench vendor, which has Xero's limits: what it allows is used, never more; people go first."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event

import pytest
from pydantic import SecretStr
from redis import Redis

from shared.connectors.base import Capabilities
from shared.connectors.limits import RedisLimiter, redis_client
from shared.connectors.tokens import FixedToken
from shared.connectors.vendor import AccessToken, Link
from shared.engine import housekeeping
from shared.errors import RateLimited
from shared.services.events import EventService
from shared.services.integrations import IntegrationService
from shared.services.runs import RunService
from shared.services.workspaces import host_actor
from shared.sync.access import Actor
from shared.sync.model import Side
from tests.bench_vendor.connector import BATCH, BOOKS, CALLS, CONTACTS, WINDOW_S, limits
from tests.bench_vendor.integration import PAIR
from tests.bench_vendor.world import LEFT, RIGHT, Bench, bench_process, connect, registered
from tests.conftest import MakeSettings
from tests.integration.conftest import TIME_SCALE
from tests.integration.world import Office, check_counters, opened

pytestmark = pytest.mark.rule("OP-4")

MINUTE, SHORT_S = 60, 6
"""Calls in the vendor's minute, which is as long as this in these tests."""


@pytest.fixture(scope="module")
def bench_vendor() -> Iterator[Bench]:
    with bench_process(SHORT_S) as bench, registered():
        yield bench


@pytest.fixture
def bench(bench_vendor: Bench) -> Bench:
    bench_vendor.reset()
    return bench_vendor


# The limiter at the vendor's own count.


def _call_on(redis_url: str, url: str, ready: Event, go: Event, seconds: float) -> None:
    """Three threads that always want a call."""
    found = limits(Capabilities({CALLS: MINUTE, WINDOW_S: SHORT_S}))
    token = FixedToken(AccessToken(SecretStr("bench"), datetime.now(UTC) + timedelta(days=1), 1))
    limiter = RedisLimiter(redis_client(redis_url), f"{BOOKS.name}:bench:{RIGHT}", found, app_key="1")
    connector = BOOKS.connect(Link(RIGHT, url, token, limiter))
    ready.set()
    go.wait()
    ends = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < ends:
            try:
                connector.list_page(CONTACTS, cursor=None, since=None)
            except RateLimited as error:
                time.sleep(min(error.retry_after_s or 0.1, 0.1))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_with_work_waiting_what_is_allowed_is_used_and_nothing_is_refused(
    bench: Bench, redis: Redis, redis_url: str
) -> None:
    """Two processes, one budget. A share of what is allowed, by the vendor's log, not a time."""
    bench.limits(RIGHT, minute=MINUTE, latency_s=0.01)
    context = multiprocessing.get_context("spawn")
    ready, go = [context.Event() for _ in range(2)], context.Event()
    processes = [
        context.Process(target=_call_on, args=(redis_url, bench.url, one, go, 3.2 * SHORT_S), daemon=True)
        for one in ready
    ]
    for process in processes:
        process.start()
    assert all(one.wait(120) for one in ready)
    bench.reset()
    bench.limits(RIGHT, minute=MINUTE, latency_s=0.01)
    go.set()
    for process in processes:
        process.join(60)
    log = bench.log(RIGHT)
    assert Counter(row["status"] for row in log) == {200: len(log)}, "none was refused"
    assert max(row["inside"] for row in log) <= 5
    times = [row["at"] for row in log]
    assert min(late - early for early, late in zip(times, times[MINUTE:], strict=False)) >= SHORT_S, "in any window"
    windows = Counter(row["window"] for row in log)
    # The better of two: in so short a minute, a machine that others use as well is late by a call or two.
    assert max(windows[1], windows[2]) / MINUTE >= 0.95, windows


# The engine.


@dataclass
class Scene:
    office: Office
    bench: Bench
    actor: Actor
    integration: int
    right: int
    """The connection of the limited org."""

    @property
    def runs(self) -> RunService:
        return RunService(
            self.office.db,
            self.office.crew,
            IntegrationService(self.office.db, self.office.settings),
            self.office.settings,
        )

    @property
    def events(self) -> EventService:
        return self.office.events()

    def ended(self, run_id: int) -> None:
        self.office.crew.until(lambda: self.runs.get(self.actor, run_id).ended, f"run {run_id} ends", 60)
        view = self.runs.get(self.actor, run_id)
        assert view.state == "completed", (view.state, view.error_code, view.error_detail)

    def person_syncs(self, record_id: str) -> str:
        """The outcome of a person's "sync this record now"."""
        asked = self.events.sync_record(self.actor, self.integration, PAIR, Side.LEFT, record_id)

        def stands() -> str | None:
            args = (self.actor, self.integration, PAIR, Side.LEFT, record_id, asked.event_id)
            return self.events.record_sync(*args).outcome

        self.office.crew.until(stands, "the person's record has its outcome")
        return stands() or ""


def scene_of(office: Office, bench: Bench, **flags: int) -> Scene:
    actor = host_actor(office.db)
    integrations = IntegrationService(office.db, office.settings)
    integration, made = connect(office.connections, office.db, integrations, actor, **flags)
    bench.no_limits(LEFT)
    return Scene(office, bench, actor, integration, made[RIGHT].connection_id)


@pytest.fixture
def office(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, bench: Bench
) -> Iterator[Office]:
    urls = {"database_url": database_url, "redis_url": redis_url, "sandbox_url": bench.url}
    # Of budgets alone: a lease that a stalled machine lost would have hundreds of records looked for once more.
    with opened(make_settings(**urls, time_scale=TIME_SCALE, lease_ttl_s=600.0)) as office:
        yield office


def test_a_backfill_takes_the_vendor_s_batches_and_is_never_refused(office: Office, bench: Bench) -> None:
    scene = scene_of(office, bench, **{CALLS: 5, WINDOW_S: SHORT_S})
    bench.limits(RIGHT, minute=5, latency_s=0.002)
    bench.seed(LEFT, [f"Customer {number}" for number in range(600)])
    scene.ended(scene.runs.fetch(scene.actor, scene.integration))
    bench.forget()
    scene.ended(scene.runs.sync_now(scene.actor, scene.integration))
    log = bench.log(RIGHT)
    assert Counter(row["status"] for row in log) == {200: len(log)}
    posts = [row["records"] for row in log if row["method"] == "POST"]
    assert sum(posts) == 600
    # Four lanes, six hundreds; a lane that is drained while it is still being filled gives smaller ones in between.
    assert len(posts) <= 16, posts
    check_counters(office)


@pytest.mark.rule("LK-4")
def test_what_waited_for_quota_is_neither_read_nor_searched_again(office: Office, bench: Bench) -> None:
    """Three calls a day: Fetch lists, the run lists and creates once; the rest waits, and goes as if it had not."""
    scene = scene_of(office, bench)
    office.connections.set_limits(
        scene.actor, scene.right, {"per_day": {"calls": 3, "window_s": 86_400}, "per_minute": False}
    )
    bench.seed(LEFT, [f"Customer {number:03}" for number in range(400)])
    scene.ended(scene.runs.fetch(scene.actor, scene.integration))
    run_id = scene.runs.sync_now(scene.actor, scene.integration)
    office.crew.until(lambda: _refused(office) >= 250, "most of it waits")
    bench.forget()
    office.connections.set_limits(scene.actor, scene.right, False)

    def beat() -> None:
        office.sql("UPDATE due SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()")
        office.sql("UPDATE run SET resume_at = clock_timestamp() WHERE resume_at > clock_timestamp()")
        for key in office.bus.redis.keys("bw:lane:*:paused"):
            office.bus.redis.delete(key)
        housekeeping.tick(office.ports)

    office.crew.beat = beat
    scene.ended(run_id)
    assert len(bench.rows(RIGHT)) == 400
    assert {row["method"] for row in bench.log(RIGHT)} == {"POST"}
    assert bench.log(LEFT) == []


@pytest.mark.rule("TR-6")
def test_a_person_s_record_goes_when_a_run_has_used_up_its_budget(office: Office, bench: Bench) -> None:
    """Of sixty calls a day a run leaves three. One record a call: a run of a hundred cannot end that day."""
    scene = scene_of(office, bench, **{BATCH: 1})
    office.connections.set_limits(
        scene.actor, scene.right, {"per_day": {"calls": 60, "window_s": 86_400}, "per_minute": False}
    )
    ids = bench.seed(LEFT, [f"Customer {number:03}" for number in range(100)])
    scene.ended(scene.runs.fetch(scene.actor, scene.integration))
    run_id = scene.runs.sync_now(scene.actor, scene.integration)
    office.crew.until(lambda: len(bench.rows(RIGHT)) and _refused(office), "the run has used up its budget")
    made = {row["name"]: row for row in bench.rows(RIGHT)}
    bound = next(one for one, row in zip(ids, bench.rows(LEFT), strict=True) if row["name"] in made)
    bench.edit(LEFT, bound, phone="044 111 22 33")
    assert scene.person_syncs(bound) == "updated"
    assert not scene.runs.get(scene.actor, run_id).ended
    assert "044 111 22 33" in [row.get("phone") for row in bench.rows(RIGHT)]
    assert 57 < len(bench.log(RIGHT)) <= 60


def _refused(office: Office) -> int:
    return int(office.value("SELECT count(*) FROM due WHERE reason = 'RATE_LIMITED'"))
