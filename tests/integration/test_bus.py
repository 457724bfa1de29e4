"""The lanes on a real Redis: nothing is lost between arrival and acknowledgement, and nothing stays behind it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from deploy.local.valkey import ValkeyServer
from shared.bus import BULK, GROUP, LANES, LIVE, LIVE_RESULTS, RESULTS, Bus, Lane, TakenResult, make_redis
from shared.errors import ConfigError, Unavailable
from shared.settings import Settings
from tests.conftest import MakeSettings
from tests.integration.crew import await_that

pytestmark = pytest.mark.rule("P1", "LK-3")

LANE = Lane(7, LIVE, 3)
OTHER = Lane(7, BULK, 0)

Hire = Callable[[str], Bus]


@pytest.fixture
def settings(make_settings: MakeSettings, redis_url: str, redis: Redis) -> Settings:
    return make_settings(redis_url=redis_url)


@pytest.fixture
def hire(settings: Settings) -> Iterator[Hire]:
    """A bus of a worker process that beats."""
    made: list[Bus] = []

    def hired(worker: str) -> Bus:
        bus = Bus(make_redis(settings), settings, worker)
        bus.beat()
        for stream in (LANE.key, LIVE_RESULTS, RESULTS):
            bus.ensure_group(stream)
        made.append(bus)
        return bus

    yield hired
    for bus in made:
        bus.redis.close()


@pytest.fixture
def bus(hire: Hire) -> Bus:
    return hire("w1")


def dies(bus: Bus) -> None:
    bus.redis.delete(f"bw:worker:{bus.worker}")


def put(bus: Bus, *payloads: str, lane: Lane = LANE) -> list[Lane]:
    return bus.add([(lane, payload) for payload in payloads])


def keys(redis: Redis, but: str = "bw:worker:*") -> set[str]:
    return {str(key) for key in set(redis.keys("*")) - set(redis.keys(but))}


# Arriving.


def test_events_of_a_lane_are_read_in_the_order_in_which_they_came(bus: Bus) -> None:
    names = [f"e{n}" for n in range(1200)]  # more than one script call takes
    bus.add([(LANE if n % 2 else OTHER, name) for n, name in enumerate(names)])
    bus.ensure_group(OTHER.key)
    assert [e.payload for e in bus.read_new(LANE, 2000)] == names[1::2]
    assert [e.payload for e in bus.read_new(OTHER, 2000)] == names[0::2]


def test_an_idle_lane_is_woken_once(bus: Bus) -> None:
    assert bus.add([(LANE, "a"), (OTHER, "b"), (LANE, "c")]) == [LANE, OTHER]
    assert put(bus, "d") == []
    bus.clear_woken(LANE)
    assert put(bus, "e") == [LANE]
    assert bus.length([LANE, OTHER]) == 5


def test_the_wake_flag_lapses(bus: Bus) -> None:
    """A wake-up that is lost delays a lane until the flag lapses, or the sweep comes; it never stops it."""
    put(bus, "a")
    assert 0 < bus.redis.pttl(f"{LANE.key}:woken") <= 60_000


def test_lanes_are_named(bus: Bus) -> None:
    assert Lane.parse(str(LANE)) == Lane.parse(LANE.key) == LANE
    for name in ("7:other:3", "x:live:3", "7:live"):
        with pytest.raises(ValueError, match=r".*"):
            Lane.parse(name)


# The drainer of a lane.


def test_one_drainer_per_lane_and_who_finds_it_locked_knocks(bus: Bus, hire: Hire) -> None:
    other = hire("w2")
    mine, theirs = bus.new_token(), other.new_token()
    assert bus.lock_lane(LANE, mine, 60)
    assert bus.lock_lane(LANE, mine, 60), "one's own lock counts as got: its reply may have been lost"
    assert not other.lock_lane(LANE, theirs, 60)
    assert bus.unlock_lane(LANE, mine), "somebody knocked, so the lane must be looked at again"
    assert other.lock_lane(LANE, theirs, 60)
    assert not other.unlock_lane(LANE, theirs), "nobody knocked"


def test_only_the_owner_unlocks(bus: Bus, hire: Hire) -> None:
    mine = bus.new_token()
    assert bus.lock_lane(LANE, mine, 60)
    bus.unlock_lane(LANE, hire("w2").new_token())
    assert bus.redis.get(f"{LANE.key}:drainer") == mine


def test_the_lock_of_a_dead_worker_is_broken_at_once(bus: Bus, hire: Hire) -> None:
    other = hire("w2")
    assert bus.lock_lane(LANE, bus.new_token(), 60)
    dies(bus)
    assert other.lock_lane(LANE, other.new_token(), 60)


def test_racing_drainers_get_one_lock(hire: Hire) -> None:
    buses = [hire(f"w{n}") for n in range(4)]
    tokens = [bus.new_token() for bus in buses]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda pair: pair[0].lock_lane(LANE, pair[1], 60), zip(buses, tokens, strict=True)))
    assert sum(got) == 1
    assert buses[0].redis.get(f"{LANE.key}:drainer") == tokens[got.index(True)]


def test_paused_lanes_rest(bus: Bus) -> None:
    put(bus, "a")
    assert bus.idle_lanes() == [LANE]
    bus.pause(LANE, 60)
    assert bus.paused(LANE)
    assert bus.idle_lanes() == []
    bus.redis.delete(f"{LANE.key}:paused")
    assert bus.idle_lanes() == [LANE]


def test_the_sweep_finds_lanes_with_entries_and_no_live_drainer(bus: Bus, hire: Hire) -> None:
    other = hire("w2")
    put(bus, "a")
    put(bus, "b", lane=OTHER)
    other.lock_lane(LANE, other.new_token(), 60)
    assert bus.idle_lanes() == [OTHER]
    dies(other)
    assert sorted(bus.idle_lanes()) == sorted([LANE, OTHER])
    bus.ack(LANE, [e.id for e in bus.read_new(LANE, 10)])
    assert bus.idle_lanes() == [OTHER]


# Being worked on.


def test_what_a_drainer_left_is_claimed_in_order_before_anything_new(bus: Bus, hire: Hire) -> None:
    put(bus, *[f"e{n}" for n in range(700)])  # more than one claim takes
    assert len(bus.read_new(LANE, 650)) == 650
    other = hire("w2")
    assert [e.payload for e in other.claim_orphans(LANE)] == [f"e{n}" for n in range(650)]
    assert [e.payload for e in other.read_new(LANE, 100)] == [f"e{n}" for n in range(650, 700)]


@pytest.mark.rule("P8")
def test_tries_are_counted_before_the_work_and_not_while_it_waits(bus: Bus, hire: Hire) -> None:
    put(bus, "a", "b")
    first, second = bus.read_new(LANE, 10)
    assert (first.tries, second.tries) == (0, 0)
    bus.begin(LANE, [first, second])
    bus.give_back(LANE, [second])
    other = hire("w2")
    other.begin(LANE, other.claim_orphans(LANE)[:1])
    assert [e.tries for e in hire("w3").claim_orphans(LANE)] == [2, 0]


def test_what_is_settling_is_nobodys_to_claim(bus: Bus, hire: Hire) -> None:
    put(bus, "a", "b")
    first, second = bus.read_new(LANE, 10)
    assert bus.settle(LANE, [first.id], "w1/t", "{}"), "the result task is woken"
    assert not bus.settle(LANE, [], "w1/u", "{}"), "it is woken already"
    assert [e.id for e in hire("w2").claim_orphans(LANE)] == [second.id]
    bus.unsettle(LANE, "w1/t")
    assert [e.id for e in hire("w2").claim_orphans(LANE)] == [first.id, second.id]


def test_acknowledging_leaves_nothing_behind(bus: Bus, redis: Redis) -> None:
    put(bus, *[f"e{n}" for n in range(1500)])
    entries = bus.read_new(LANE, 2000)
    bus.begin(LANE, entries)
    roots = [f"r{n}" for n in range(5)]
    assert all(bus.lock_roots(roots, "w1/t"))
    bus.settle(LANE, [e.id for e in entries], "w1/t", "{}")
    bus.ack(LANE, [e.id for e in entries], "w1/t")
    bus.unlock_roots(roots, "w1/t", settled=True)
    for taken in bus.read_results(10):
        bus.drop_result(taken)
    assert bus.length([LANE]) == redis.xlen(LIVE_RESULTS) == 0
    assert redis.xpending(LANE.key, GROUP)["pending"] == 0
    assert keys(redis) == {LANE.key, f"{LANE.key}:woken", LANES, LIVE_RESULTS, RESULTS, f"{RESULTS}:woken"}


def test_acknowledging_twice_is_harmless(bus: Bus) -> None:
    put(bus, "a")
    ids = [e.id for e in bus.read_new(LANE, 10)]
    bus.ack(LANE, ids)
    bus.ack(LANE, ids)
    assert bus.claim_orphans(LANE) == []


def test_a_lane_of_nobody_is_forgotten_whole(bus: Bus, redis: Redis) -> None:
    put(bus, "a", "b")
    bus.begin(LANE, bus.read_new(LANE, 10))
    bus.settle(LANE, ["1-1"], "w1/t", "{}")
    bus.forget_lane(LANE)
    assert not [key for key in redis.keys("*") if LANE.key in str(key)]
    assert bus.idle_lanes() == []


# Debounce.


def test_a_record_that_was_worked_on_is_quiet_for_a_while(bus: Bus) -> None:
    assert bus.quiet_for(["7:items:left:1", "7:items:left:2"]) == [0, 0]
    bus.note_worked(["7:items:left:2"], 60)
    first, second = bus.quiet_for(["7:items:left:1", "7:items:left:2"])
    assert first == 0
    assert 0 < second <= 60
    bus.note_worked(["7:items:left:1"], 0.001)
    await_that(lambda: bus.quiet_for(["7:items:left:1"]) == [0], "the quiet time ends")


# Roots.


@pytest.mark.rule("P5")
def test_a_root_is_held_until_its_results_are_saved(bus: Bus, hire: Hire) -> None:
    other = hire("w2")
    assert bus.lock_roots(["a", "b"], "w1/t") == [True, True]
    assert other.lock_roots(["b", "c"], "w2/t") == [False, True]
    bus.settle(LANE, [], "w1/t", "{}")
    assert other.lock_roots(["a"], "w2/t") == [False]
    dies(bus)
    bus.unlock_roots(["a"], "w1/t")
    assert other.lock_roots(["a"], "w2/t") == [False], "its results live on without it, and keep what they were given"
    bus.unlock_roots(["a"], "w1/t", settled=True)
    assert other.lock_roots(["a"], "w2/t") == [True]
    bus.unlock_roots(["a"], "w1/t", settled=True)
    assert hire("w3").lock_roots(["a"], "w3/t") == [False], "only the owner unlocks"


@pytest.mark.rule("P5")
def test_roots_that_the_version_before_handed_over_are_kept_and_unlocked(bus: Bus) -> None:
    bus.redis.set("bw:root:a", "results:w0/t")
    assert bus.lock_roots(["a"], "w1/t") == [False]
    bus.unlock_roots(["a"], "w0/t", settled=True)
    assert bus.lock_roots(["a"], "w1/t") == [True]


@pytest.mark.rule("P7")
def test_the_root_of_a_dead_worker_is_broken_at_once(bus: Bus, hire: Hire) -> None:
    bus.lock_roots(["a"], "w1/t")
    dies(bus)
    assert hire("w2").lock_roots(["a"], "w2/t") == [True]
    bus.settle(LANE, [], "w1/t", "{}")  # it was only frozen
    assert bus.redis.get("bw:root:a") == "w2/t"


# Results.


def test_results_come_once_in_order(bus: Bus) -> None:
    for n in range(5):
        bus.settle(LANE, [], "w1/t", json.dumps(n))
    assert [taken.payload for taken in bus.read_results(3)] == ["0", "1", "2"]
    assert [taken.payload for taken in bus.read_results(3)] == ["3", "4"]
    assert bus.read_results(3) == []
    assert bus.results_waiting()


def test_results_of_people_are_taken_before_a_backlog_of_a_run(bus: Bus) -> None:
    for n in range(3):
        bus.settle(OTHER, [], "w1/t", f"run {n}")
    bus.settle(LANE, [], "w1/t", "person 0")
    assert [taken.payload for taken in bus.read_results(16)] == ["person 0", "run 0"]
    bus.settle(LANE, [], "w1/t", "person 1")
    assert [taken.payload for taken in bus.read_results(16)] == ["person 1", "run 1"]
    assert [taken.payload for taken in bus.read_results(16)] == ["run 2"]
    assert [taken.payload for taken in bus.retry_results(16)] == ["person 0", "person 1", "run 0", "run 1", "run 2"]


def test_what_could_not_be_saved_is_tried_again_by_the_same_worker(bus: Bus) -> None:
    bus.settle(LANE, [], "w1/t", "a")
    taken = bus.read_results(10)
    assert bus.retry_results(10) == taken
    bus.drop_result(taken[0])
    assert bus.retry_results(10) == []
    assert not bus.results_waiting()


@pytest.mark.rule("P7")
def test_the_results_of_a_dead_worker_are_taken_over(bus: Bus, hire: Hire) -> None:
    other = hire("w2")
    bus.settle(LANE, [], "w1/t", "a")
    taken = bus.read_results(10)
    assert other.read_results(10) == [], "it lives"
    dies(bus)
    assert other.read_results(10) == taken
    assert other.retry_results(10) == taken


def test_a_dead_worker_without_results_is_no_trouble(bus: Bus, hire: Hire) -> None:
    bus.settle(LANE, [], "w1/t", "a")
    for taken in bus.read_results(10):
        bus.drop_result(taken)
    dies(bus)
    assert hire("w2").read_results(10) == []


# Redis away.


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as name:
        server = ValkeyServer.start(Path(name), durable=False)
        yield server
        server.destroy()


@pytest.mark.rule("P7")
def test_without_redis_every_door_says_unavailable_and_then_goes_on(
    own_server: ValkeyServer, make_settings: MakeSettings
) -> None:
    settings = make_settings(redis_url=own_server.url)
    bus = Bus(make_redis(settings), settings, "w1")
    bus.ensure_group(LANE.key)
    bus.ensure_results()
    put(bus, "kept")
    entry = bus.read_new(LANE, 1)[0]
    own_server.kill()
    for call in (
        lambda: put(bus, "a"),
        lambda: bus.length([LANE]),
        lambda: bus.lock_lane(LANE, "w1/t", 1),
        lambda: bus.unlock_lane(LANE, "w1/t"),
        lambda: bus.clear_woken(LANE),
        lambda: bus.pause(LANE, 1),
        lambda: bus.paused(LANE),
        lambda: bus.ensure_group(LANE.key),
        lambda: bus.claim_orphans(LANE),
        lambda: bus.read_new(LANE, 1),
        lambda: bus.read_new(LANE, 1, block_ms=50),
        lambda: bus.begin(LANE, [entry]),
        lambda: bus.give_back(LANE, [entry]),
        lambda: bus.ack(LANE, [entry.id]),
        lambda: bus.quiet_for(["r"]),
        lambda: bus.note_worked(["r"], 1),
        lambda: bus.lock_roots(["r"], "w1/t"),
        lambda: bus.unlock_roots(["r"], "w1/t"),
        lambda: bus.settle(LANE, [entry.id], "w1/t", "{}"),
        lambda: bus.read_results(1),
        lambda: bus.retry_results(1),
        lambda: bus.drop_result(TakenResult(RESULTS, "1-1", "")),
        lambda: bus.unsettle(LANE, "w1/t"),
        lambda: bus.clear_results_woken(),
        lambda: bus.forget_lane(OTHER),
        lambda: bus.beat(),
        lambda: bus.alive("w1"),
        lambda: bus.idle_lanes(),
        lambda: bus.results_waiting(),
    ):
        with pytest.raises(Unavailable):
            call()
    own_server.restart()
    assert [e.payload for e in bus.claim_orphans(LANE)] == ["kept"], "and the scripts are loaded again"
    put(bus, "after")
    assert [e.payload for e in bus.read_new(LANE, 10)] == ["after"]
    bus.redis.close()


@pytest.mark.rule("P13")
def test_a_full_redis_is_unavailable_not_silent(own_server: ValkeyServer, make_settings: MakeSettings) -> None:
    settings = make_settings(redis_url=own_server.url)
    bus = Bus(make_redis(settings), settings, "w1")
    put(bus, "kept")
    bus.redis.config_set("maxmemory", "1")
    with pytest.raises(Unavailable):
        put(bus, "refused")
    bus.redis.config_set("maxmemory", "0")
    assert bus.length([LANE]) == 1, "what was there is there, what was refused is not"
    bus.redis.close()


def test_without_an_address_it_says_so() -> None:
    with pytest.raises(ConfigError, match="REDIS_URL"):
        make_redis(Settings(redis_url=None))
