"""The budget of calls on a real Valkey: windows, calls at the same time, classes, and what the vendor says of them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Event

import pytest
from redis import Redis

from shared.connectors.base import CallClass, Limit, LimitScope
from shared.connectors.limits import RedisLimiter, kept, redis_client, reserved, used_by_vendor
from shared.connectors.vendor import limits_in_force
from shared.errors import RateLimited, Unavailable
from tests.integration.crew import await_that

pytestmark = pytest.mark.rule("OP-4")

RUN, PERSON = CallClass.RUN, CallClass.PERSON
FIVE = Limit("per_second", 5, 1)
AT_ONCE = Limit("concurrent", 2, 0)
XERO = [
    Limit("per_minute", 60, 60, remaining_header="x-minlimit-remaining", problem="minute"),
    Limit("per_day", 5_000, 86_400, remaining_header="x-daylimit-remaining", problem="day"),
    Limit("concurrent", 5, 0, problem="concurrent"),
    Limit(
        "app_per_minute", 10_000, 60, LimitScope.APP, remaining_header="x-appminlimit-remaining", problem="appminute"
    ),
]


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = redis_client(redis_url)
    for key in client.scan_iter("bw:limit:*"):
        client.delete(key)
    yield client
    client.close()


def call(
    limiter: RedisLimiter, cls: CallClass = RUN, *, wait_s: float = 0, headers: dict[str, str] | None = None
) -> None:
    limiter.release(limiter.acquire(cls, wait_s=wait_s), headers=headers)


def taken(limiter: RedisLimiter, tries: int, cls: CallClass = RUN) -> int:
    """Calls that were made at once, of so many tries."""
    done = 0
    for _ in range(tries):
        try:
            call(limiter, cls)
        except RateLimited:
            continue
        done += 1
    return done


def refused(limiter: RedisLimiter, cls: CallClass = RUN, *, wait_s: float = 0) -> RateLimited:
    with pytest.raises(RateLimited) as raised:
        limiter.acquire(cls, wait_s=wait_s)
    return raised.value


# Windows.


def test_a_window_takes_as_many_as_it_says_and_no_more(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 5, 60)])
    assert taken(limiter, 20, PERSON) == 5
    error = refused(limiter, PERSON)
    assert error.limit == "per_minute"
    assert error.retry_after_s is not None
    assert 50 < error.retry_after_s <= 60.2


def test_a_call_under_way_counts_too(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 2, 60)])
    limiter.acquire(PERSON, wait_s=0)
    assert taken(limiter, 5, PERSON) == 1


def test_each_org_has_its_own(redis: Redis) -> None:
    assert [taken(RedisLimiter(redis, org, [FIVE]), 9, PERSON) for org in ("v:a", "v:b")] == [5, 5]


def test_all_orgs_of_an_app_share_the_app_s_limit(redis: Redis) -> None:
    app = Limit("app_per_minute", 5, 60, LimitScope.APP)
    limits = [Limit("per_minute", 4, 60), app]
    first, second, other = (
        RedisLimiter(redis, org, limits, app_key=app_key) for org, app_key in (("v:a", "1"), ("v:b", "1"), ("v:c", "2"))
    )
    assert [taken(one, 9, PERSON) for one in (first, second, other)] == [4, 1, 4]
    assert refused(second, PERSON).limit == "app_per_minute"


def test_every_limit_must_have_room_and_a_refused_call_takes_none(redis: Redis) -> None:
    day = Limit("per_day", 3, 86_400)
    both = RedisLimiter(redis, "org", [Limit("per_minute", 5, 60), day])
    assert taken(both, 9, PERSON) == 3
    assert refused(both, PERSON).limit == "per_day"
    assert taken(RedisLimiter(redis, "org", [Limit("per_minute", 5, 60)]), 9, PERSON) == 2


def test_waiting_gets_in_when_the_oldest_call_leaves_the_window(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [FIVE])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    patient = RedisLimiter(redis, "org", [FIVE], sleep=sleep)
    assert taken(limiter, 5, PERSON) == 5
    for _ in range(2):
        call(patient, PERSON, wait_s=5)
    assert 0.5 < sum(slept) < 2


def test_waiting_in_vain_is_refused_at_once(redis: Redis) -> None:
    slept: list[float] = []
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 1, 60)], sleep=slept.append)
    call(limiter, PERSON)
    refused(limiter, PERSON, wait_s=10)
    assert slept == []


def test_a_call_counts_from_its_end(redis: Redis) -> None:
    """The vendor may have counted it as late as that."""
    limiter = RedisLimiter(redis, "org", [Limit("per_second", 1, 1)])
    token = limiter.acquire(PERSON, wait_s=0)
    began = time.monotonic()
    await_that(lambda: time.monotonic() - began > 0.6, "the call takes its time")
    limiter.release(token)
    error = refused(limiter, PERSON)
    assert error.retry_after_s is not None
    assert error.retry_after_s > 0.9


def test_a_call_that_was_not_sent_is_given_back(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_day", 1, 86_400), AT_ONCE])
    limiter.release(limiter.acquire(PERSON, wait_s=0), sent=False)
    assert taken(limiter, 2, PERSON) == 1


def test_a_long_window_takes_no_more_memory_than_a_short_one(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_day", 100_000, 86_400)])
    assert taken(limiter, 300, PERSON) == 300
    assert redis.llen("bw:limit:{org}:org:org:per_day:calls") <= 2
    assert redis.hget("bw:limit:{org}:org:org:per_day", "n") == b"300"


# At the same time.


def test_so_many_calls_at_the_same_time_and_a_place_is_given_back(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [AT_ONCE])
    tokens = [limiter.acquire(RUN, wait_s=0) for _ in range(2)]
    assert refused(limiter, PERSON).limit == "concurrent"
    limiter.release(tokens[0])
    assert taken(limiter, 9) == 9
    limiter.release(tokens[0])
    limiter.acquire(RUN, wait_s=0)
    refused(limiter)  # given back once, whoever says it twice


def test_whoever_waits_for_a_place_gets_it_when_one_is_free(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [AT_ONCE])
    tokens = [limiter.acquire(RUN, wait_s=0) for _ in range(2)]
    late = threading.Timer(0.1, limiter.release, [tokens[1]])
    late.start()
    call(limiter, wait_s=5)
    late.join()


def _hold(url: str, held: Event) -> None:
    limiter = RedisLimiter(redis_client(url), "org", [Limit("concurrent", 1, 0), Limit("per_minute", 9, 60)])
    limiter.acquire(RUN, wait_s=0, hold_s=0.5)
    held.set()
    signal.pause()


def test_the_place_of_a_killed_process_comes_back_and_its_call_stays_counted(redis: Redis, redis_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(redis_url, held))
    process.start()
    assert held.wait(20)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    limiter = RedisLimiter(redis, "org", [Limit("concurrent", 1, 0), Limit("per_minute", 9, 60)])
    refused(limiter, PERSON)
    call(limiter, PERSON, wait_s=10)
    assert taken(limiter, 20, PERSON) == 7


# What the vendor says.


def test_the_vendor_s_remaining_corrects_downward_only_and_its_own_limit_only(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 10, 60), AT_ONCE])
    call(limiter, PERSON, headers={"x-rate-limit-limit": "10", "x-rate-limit-remaining": "9"})
    call(limiter, PERSON, headers={"x-ratelimit-limit": "2000", "x-ratelimit-remaining": "0"})
    call(limiter, PERSON, headers={"x-rate-limit-limit": "10", "x-rate-limit-remaining": "5"})
    call(limiter, PERSON, headers={"x-rate-limit-limit": "10", "x-rate-limit-remaining": "9"})
    assert taken(limiter, 9, PERSON) == 4


def test_headers_that_name_their_limit(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "xero:a", XERO)
    call(limiter, headers={"x-minlimit-remaining": "58", "x-daylimit-remaining": "1"})
    assert taken(limiter, 9, PERSON) == 1
    assert refused(limiter, PERSON).limit == "per_day"


def test_the_vendor_s_figure_is_read_against_its_own_limit_where_ours_is_lower() -> None:
    (minute,) = limits_in_force([Limit("per_minute", 60, 60, remaining_header="left")], {"limits": {"per_minute": 20}})
    assert used_by_vendor([minute], {"left": "50"}) == {"per_minute": 10}


def test_what_the_vendor_counted_of_a_day_is_asked_again_each_hour(redis: Redis) -> None:
    """Its day may begin anew long before our window has rolled over."""
    limiter = RedisLimiter(redis, "xero:a", XERO)
    call(limiter, headers={"x-daylimit-remaining": "0"})
    error = refused(limiter, PERSON)
    assert error.retry_after_s is not None
    assert 3_500 < error.retry_after_s <= 3_601


def block(limiter: RedisLimiter, problem: str = "", said_s: float | None = None, **more: object) -> tuple[str, float]:
    return limiter.block(limit=str(more.get("limit", "")), problem=problem, said_s=said_s, otherwise_s=2)


def test_a_429_blocks_the_limit_that_it_names(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "xero:a", XERO, app_key="1")
    assert block(limiter, "Minute", 30) == ("per_minute", 30)
    assert block(limiter, "minute", 1)[1] > 25
    error = refused(limiter, PERSON, wait_s=2)
    assert error.limit == "per_minute"
    assert error.retry_after_s is not None
    assert 25 < error.retry_after_s <= 30
    assert taken(RedisLimiter(redis, "xero:b", XERO, app_key="1"), 1) == 1


def test_a_429_of_the_app_blocks_all_its_orgs(redis: Redis) -> None:
    block(RedisLimiter(redis, "xero:a", XERO, app_key="1"), "appMinute", 30)
    assert refused(RedisLimiter(redis, "xero:b", XERO, app_key="1"), PERSON).limit == "app_per_minute"
    assert taken(RedisLimiter(redis, "xero:b", XERO, app_key="2"), 1) == 1


def test_a_429_of_a_limit_that_is_not_held_blocks_as_well(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [FIVE])
    assert block(limiter, limit="per_day") == ("per_day", 2)
    assert refused(limiter, PERSON).limit == "per_day"


def test_refusals_without_a_word_block_longer_each_time_and_a_word_ends_that(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "xero:a", XERO)
    blocked_s = []
    for said_s in (None, None, None, None, None, None, 1.0, None):
        blocked_s.append(block(limiter, "concurrent", said_s)[1])
        redis.hset("bw:limit:{xero}:org:xero:a:blocks", "until:concurrent", "1")  # it is over
        if said_s is None:
            redis.hset("bw:limit:{xero}:org:xero:a:blocks", "until:concurrent", _now_ms(redis))
    assert blocked_s == [2, 4, 8, 16, 16, 16, 1, 2]


def _now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def test_several_refusals_of_calls_sent_together_are_one(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "xero:a", XERO)
    block(limiter, "concurrent")
    assert block(limiter, "concurrent")[1] <= 2


def test_without_redis_no_call_is_made_and_none_that_was_is_lost() -> None:
    limiter = RedisLimiter(redis_client("redis://127.0.0.1:1/0"), "org", [FIVE])
    with pytest.raises(Unavailable) as raised:
        limiter.acquire(RUN, wait_s=0)
    assert raised.value.__context__ is None
    limiter.release("x")
    assert block(limiter, said_s=7) == ("unknown", 7)


def test_a_setting_changes_adds_or_ends_a_limit() -> None:
    published = [Limit("per_minute", 100, 60)]
    assert limits_in_force(published, {}) == tuple(published)
    assert limits_in_force(published, {"limits": {"per_minute": 50}}) == (Limit("per_minute", 50, 60, published=100),)
    assert limits_in_force(published, {"limits": {"per_minute": False}}) == ()
    assert limits_in_force([*published, AT_ONCE], {"limits": False}) == ()
    daily = {"limits": {"per_day": {"calls": 1_000, "window_s": 86_400}}}
    assert limits_in_force(published, daily) == (*published, Limit("per_day", 1_000, 86_400))
    at_once = {"limits": {"concurrent": {"calls": 3, "window_s": 0}}}
    assert limits_in_force(published, at_once) == (*published, Limit("concurrent", 3, 0))
    assert limits_in_force(published, {"limits": {"per_minute": True, "other": 7}}) == tuple(published)


# Classes.


@pytest.mark.parametrize("calls", [1, 5, 19, 20, 60, 100, 5_000, 100_000])
def test_reserves_together_are_at_most_five_percent_and_grow_downwards(calls: int) -> None:
    shares = [kept(calls, cls) for cls in CallClass]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] <= reserved(calls) <= calls * 0.05


def test_with_the_window_used_up_by_runs_others_go_at_once_each_to_its_reserve(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_day", 100, 86_400)])
    assert [taken(limiter, 200, cls) for cls in reversed(CallClass)] == [95, 0, 2, 1, 2]


def test_reserves_are_given_free_while_as_many_calls_come_back_soon(redis: Redis) -> None:
    """A burst comes back in a burst: a little before that, and not sooner, runs get what was kept."""
    for name in ("first", "second", "third"):  # whoever stands still for the last moment of a burst has not seen it
        limiter = RedisLimiter(redis, name, [Limit("burst", 40, 3)])
        assert taken(limiter, 38, PERSON) == 38
        assert taken(limiter, 5) == 0
        limiter.acquire(RUN, wait_s=3)
        if int(redis.hget(f"bw:limit:{{{name}}}:org:{name}:burst", "n") or 0) >= 38:
            return
    pytest.fail("it was given after the burst had come back, each time")


def test_a_person_goes_before_runs_that_wait_longer(redis: Redis) -> None:
    limits = [Limit("concurrent", 1, 0)]
    holder = RedisLimiter(redis, "org", limits)
    token = holder.acquire(RUN, wait_s=0)
    order: list[str] = []
    waiting: list[threading.Thread] = []
    for number, cls in enumerate((CallClass.AUDIT, RUN, RUN, CallClass.WEBHOOK, PERSON)):
        thread = threading.Thread(target=_queue, args=(redis, limits, cls, order))
        thread.start()
        waiting.append(thread)
        await_that(lambda n=number: redis.zcard("bw:limit:{org}:org:org:wait") == n + 1, "it waits")  # type: ignore[misc]
    holder.release(token)
    for thread in waiting:
        thread.join(10)
    assert order == ["person", "webhook", "run", "run", "audit"]


def _queue(redis: Redis, limits: Sequence[Limit], cls: CallClass, order: list[str]) -> None:
    limiter = RedisLimiter(redis, "org", limits)
    token = limiter.acquire(cls, wait_s=10)
    order.append(cls.value)
    limiter.release(token)


def test_from_a_quarter_of_a_window_on_runs_go_at_its_pace_and_people_do_not(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 60, 60)])
    # A quarter of it at once, and one or two a little early.
    assert 15 <= taken(limiter, 60) <= 18
    error = refused(limiter)
    assert error.retry_after_s is not None
    assert error.retry_after_s <= 3
    ahead_ms = int(redis.hget("bw:limit:{org}:org:org:per_minute", "pace") or 0) - _now_ms(redis)
    assert ahead_ms > 1_200, "what is left lasts until the burst comes back: more than a second a call"
    assert taken(limiter, 60, PERSON) >= 42


def test_a_waiter_that_died_holds_nobody_up(redis: Redis) -> None:
    limits = [Limit("concurrent", 1, 0)]
    redis.zadd("bw:limit:{org}:org:org:wait", {"0:000000000000001:dead": _now_ms(redis) + 300})
    assert taken(RedisLimiter(redis, "org", limits), 1) == 0
    call(RedisLimiter(redis, "org", limits), wait_s=5)


# Several processes.


def _hammer(url: str, go: Event, times: list[tuple[float, float]], until_s: float) -> None:
    """Takes what it gets for a while, and notes when each call began and ended."""
    client = redis_client(url)
    limiter = RedisLimiter(client, "shared", [Limit("burst", 40, 1), Limit("concurrent", 5, 0)])
    go.wait()
    end = time.monotonic() + until_s
    while time.monotonic() < end:
        try:
            token = limiter.acquire(PERSON, wait_s=0.05)
        except RateLimited:
            continue
        began = time.monotonic()
        time.sleep(0.002)
        times.append((began, time.monotonic()))
        limiter.release(token)


def test_two_processes_with_threads_never_exceed_a_window_nor_the_places(redis: Redis, redis_url: str) -> None:
    """CLOCK_MONOTONIC is one for all processes of a machine. Whenever the vendor counts a call, between its beginning
    and its end: no second holds more than forty."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        go, notes = context.Event(), [manager.list() for _ in range(2)]
        args = [(redis_url, go, note, 2.5) for note in notes]
        processes = [context.Process(target=_hammer_threads, args=one) for one in args]
        for process in processes:
            process.start()
        go.set()
        for process in processes:
            process.join(20)
        taken_by = [list(note) for note in notes]
    assert all(taken_by), "both took part"
    calls = sorted(one for note in taken_by for one in note)
    assert len(calls) >= 80
    ends = sorted(end for _, end in calls)
    begins = [begin for begin, _ in calls]
    assert min(late - early for early, late in zip(ends, begins[40:], strict=False)) >= 1.0
    steps = sorted([(begin, 1) for begin, _ in calls] + [(end, -1) for _, end in calls], key=lambda one: one)
    assert max(itertools.accumulate(step for _, step in steps)) <= 5


def _hammer_threads(url: str, go: Event, times: list[tuple[float, float]], until_s: float) -> None:
    threads = [threading.Thread(target=_hammer, args=(url, go, times, until_s)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
