"""A store that went back in time is noticed and repaired without a person: an old Redis, a Postgres of a backup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from shared.bus import EPOCH
from shared.engine import housekeeping
from shared.engine.epoch import FENCE_JUMP, RESTORED, Epoch
from shared.errors import Unavailable
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE
from tests.integration.world import BOOKS, FSM, World, connect, opened

pytestmark = pytest.mark.rule("P2", "P3", "P4", "P7")


@pytest.fixture
def own(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox, tmp_path: Path
) -> Iterator[World]:
    """A world whose machine keeps the epoch in a file, and where only the test beats."""
    settings = make_settings(
        database_url=database_url,
        redis_url=redis_url,
        time_scale=TIME_SCALE,
        sandbox_url=sandbox.base_url,
        epoch_file=tmp_path / "epoch",
    )
    with opened(settings, beat=False) as office:
        world = connect(office, sandbox)
        world.office.sql("UPDATE integration SET fetched_at = clock_timestamp()")
        world.office.sql("UPDATE integration SET schedule_on = false, next_run_at = NULL")
        yield world


def tick(world: World, times: int = 1) -> None:
    for _ in range(times):
        world.office.ports.epoch.tick()


def is_due(world: World) -> bool:
    return bool(world.office.value("SELECT next_run_at IS NOT NULL FROM integration"))


def test_healthy_stores_are_left_alone(own: World) -> None:
    tick(own, 3)
    assert not is_due(own)
    assert own.office.value("SELECT epoch FROM installation") == 3
    assert int(own.office.bus.redis.get(EPOCH)) == 3
    assert own.office.settings.epoch_file is not None
    assert own.office.settings.epoch_file.read_text() == "3\n"


def test_a_tick_that_dies_before_its_commit_is_no_fault_of_a_store(own: World) -> None:
    tick(own, 3)
    for _ in range(3):
        own.office.bus.mirror_epoch(4, "m")
        own.office.sql("UPDATE installation SET epoch = 3, redis_marker = 'm'")
        own.office.bus.redis.set("bw:marker", "m")
        tick(own)
        assert own.office.value("SELECT epoch FROM installation") == 4
    assert not is_due(own)
    assert own.office.value("SELECT count(*) FROM run") == 0


def test_an_old_copy_of_redis_is_noticed_though_it_has_the_marker(own: World) -> None:
    tick(own, 2)
    old = own.office.bus.redis.get(EPOCH)
    tick(own, 2)
    own.office.bus.redis.set(EPOCH, old)
    tick(own)
    assert is_due(own)
    own.office.sql("UPDATE integration SET next_run_at = NULL")
    tick(own)
    assert not is_due(own), "once"


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_redis_started_anew_is_trusted_only_if_it_syncs_each_write(own: World, policy: str) -> None:
    redis = own.office.bus.redis
    before = redis.config_get("appendfsync", "appendonly")
    try:
        redis.config_set("appendonly", "yes")
        redis.config_set("appendfsync", policy)
        tick(own)
        own.office.sql("UPDATE installation SET redis_server = 'the one before'")
        tick(own)
        assert is_due(own) is (policy == "everysec")
    finally:
        redis.config_set("appendfsync", before["appendfsync"])
        redis.config_set("appendonly", before["appendonly"])


def test_results_notice_a_flushed_redis_before_the_next_tick(own: World) -> None:
    mine = own.company("Zylker")
    own.sync()
    tick(own)
    own.office.bus.redis.delete("bw:marker")
    own.office.sql("UPDATE integration SET next_run_at = NULL")
    own.sandbox.edit(FSM, "Companies", mine, Website="www.new.test")
    own.office.sql("UPDATE run SET state = 'cancelled', ended_at = clock_timestamp() WHERE ended_at IS NULL")
    run = own.runs.sync_now(own.actor, own.integration)
    own.office.crew.until(lambda: own.runs.get(own.actor, run).ended, "the sync ends")
    assert is_due(own), "acknowledging found the marker gone, with no beat"


@pytest.mark.parametrize("mirror", ["redis", "file"])
def test_a_restored_database_is_noticed_and_fetches_before_it_creates(own: World, mirror: str) -> None:
    names = [f"Company {n}" for n in range(6)]
    for name in names[:3]:
        own.company(name)
    own.sync()
    tick(own, 5)
    held = own.office.value("SELECT last_value FROM fence_seq")
    # What a backup from before that sync looks like: nothing bound, nothing logged, an early epoch, low sequences.
    for table in ("binding", "outcome", "event_done", "run_count", "watermark", "lease_log", "run"):
        own.office.sql(f"DELETE FROM {table}")
    own.office.sql("UPDATE installation SET epoch = 1")
    own.office.sql("SELECT setval('fence_seq', 1)")
    own.office.sql("SELECT setval(pg_get_serial_sequence('run', 'id'), 1)")
    own.office.sql("UPDATE org_lease SET holder = 'run:1', kind = 'run', fence = 1, "
                   "expires_at = clock_timestamp() + interval '1 hour'")  # fmt: skip
    if mirror == "file":
        own.office.bus.redis.flushall()
    for name in names[3:]:
        own.company(name)

    with own.office.db.transaction() as session, pytest.raises(Unavailable, match="went back in time"):
        own.office.ports.epoch.check(session)
    own.office.crew.beat = lambda: housekeeping.tick(own.office.ports)
    own.office.crew.until(lambda: len(own.sandbox.rows(BOOKS, "contacts")) == 6, "the three new ones are created")
    own.quiet()
    own.office.crew.until(lambda: own.office.value("SELECT count(*) FROM run WHERE ended_at IS NULL") == 0, "it ends")
    own.check_agree()
    runs = own.office.sql("SELECT id, kind, trigger FROM run WHERE kind <> 'webhook' ORDER BY id")
    assert [(run["kind"], run["trigger"]) for run in runs] == [("fetch", "restored"), ("sync", "scheduled")]
    assert runs[0]["id"] > 100_000, "no Sync ID means two syncs"
    assert own.office.value("SELECT min(fence) FROM binding") > max(FENCE_JUMP, held)


def test_a_run_of_the_backup_ends_with_its_reason(own: World) -> None:
    tick(own, 5)
    run = own.runs.sync_now(own.actor, own.integration)
    own.office.sql("UPDATE run SET claimed_until = clock_timestamp() + interval '1 hour' WHERE id = :id", id=run)
    own.office.crew.rest()
    own.office.sql("UPDATE installation SET epoch = 1")
    tick(own)
    row = own.office.sql("SELECT state, error_code FROM run WHERE id = :id", id=run)[0]
    assert row == {"state": "failed", "error_code": RESTORED}


def test_another_process_takes_no_lease_from_a_database_older_than_what_redis_told_it(own: World) -> None:
    tick(own, 5)
    late = Epoch(own.office.db, own.office.bus, None)
    late.note()  # its heartbeat
    own.office.sql("UPDATE installation SET epoch = 1")
    with own.office.db.transaction() as session, pytest.raises(Unavailable):
        late.check(session)
