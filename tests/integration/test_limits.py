"""The budget of calls on a real Valkey: several processes together never exceed a window."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event

import pytest
from redis import Redis

from shared.connectors.base import CallClass, Limit
from shared.connectors.limits import RedisLimiter, redis_client
from shared.connectors.vendor import limits_in_force
from shared.errors import RateLimited, Unavailable

pytestmark = pytest.mark.rule("OP-4")

RUN = CallClass.RUN
FIVE = Limit("per_second", 5, 1)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = redis_client(redis_url)
    for key in client.scan_iter("bw:limit:*"):
        client.delete(key)
    yield client
    client.close()


def taken(limiter: RedisLimiter, tries: int) -> int:
    done = 0
    for _ in range(tries):
        try:
            limiter.acquire(RUN, wait_s=0)
        except RateLimited:
            continue
        done += 1
    return done


def test_a_window_takes_as_many_as_it_says_and_no_more(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 5, 60)])
    assert taken(limiter, 20) == 5
    with pytest.raises(RateLimited) as raised:
        limiter.acquire(RUN, wait_s=0)
    assert raised.value.retry_after_s is not None
    assert 50 < raised.value.retry_after_s <= 60.1


def test_each_org_has_its_own(redis: Redis) -> None:
    assert [taken(RedisLimiter(redis, org, [FIVE]), 9) for org in ("a", "b")] == [5, 5]


def test_every_limit_must_have_room_and_a_refused_call_takes_none(redis: Redis) -> None:
    day = Limit("per_day", 3, 86_400)
    both = RedisLimiter(redis, "org", [Limit("per_minute", 5, 60), day])
    assert taken(both, 9) == 3
    assert taken(RedisLimiter(redis, "org", [Limit("per_minute", 5, 60)]), 9) == 2


def test_waiting_gets_in_when_the_oldest_call_leaves_the_window(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [FIVE])
    began = time.monotonic()
    for _ in range(7):
        limiter.acquire(RUN, wait_s=5)
    assert 0.9 <= time.monotonic() - began < 2


def test_waiting_in_vain_is_refused_at_once(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [Limit("per_minute", 1, 60)])
    limiter.acquire(RUN, wait_s=0)
    began = time.monotonic()
    with pytest.raises(RateLimited):
        limiter.acquire(RUN, wait_s=10)
    assert time.monotonic() - began < 1


def test_the_vendor_s_remaining_corrects_downward_only_and_its_own_limit_only(redis: Redis) -> None:
    minute = Limit("per_minute", 10, 60)
    limiter = RedisLimiter(redis, "org", [minute])
    limiter.acquire(RUN, wait_s=0)
    limiter.correct(limit=10, remaining=9)
    limiter.correct(limit=2_000, remaining=0)
    assert taken(limiter, 1) == 1
    limiter.correct(limit=10, remaining=3)
    limiter.correct(limit=10, remaining=9)
    assert taken(limiter, 9) == 3


def test_a_429_blocks_every_call_of_the_org(redis: Redis) -> None:
    limiter = RedisLimiter(redis, "org", [FIVE])
    limiter.block(30)
    limiter.block(1)
    with pytest.raises(RateLimited) as raised:
        limiter.acquire(RUN, wait_s=2)
    assert raised.value.retry_after_s is not None
    assert 25 < raised.value.retry_after_s <= 30
    assert taken(RedisLimiter(redis, "other", [FIVE]), 1) == 1


def test_without_redis_no_call_is_made() -> None:
    limiter = RedisLimiter(redis_client("redis://127.0.0.1:1/0"), "org", [FIVE])
    with pytest.raises(Unavailable) as raised:
        limiter.acquire(RUN, wait_s=0)
    assert raised.value.__context__ is None


def test_a_setting_changes_adds_or_ends_a_limit() -> None:
    published = [Limit("per_minute", 100, 60)]
    assert limits_in_force(published, {}) == tuple(published)
    assert limits_in_force(published, {"limits": {"per_minute": 50}}) == (Limit("per_minute", 50, 60),)
    assert limits_in_force(published, {"limits": {"per_minute": False}}) == ()
    daily = {"limits": {"per_day": {"calls": 1_000, "window_s": 86_400}}}
    assert limits_in_force(published, daily) == (*published, Limit("per_day", 1_000, 86_400))
    assert limits_in_force(published, {"limits": {"per_minute": True, "other": 7}}) == tuple(published)


def _hammer(url: str, go: Event, times: list[float], until_s: float) -> None:
    """Takes what it gets for a while, and notes Redis' time of each call that was let through."""
    client = redis_client(url)
    limiter = RedisLimiter(client, "shared", [Limit("burst", 40, 1)])
    go.wait()
    end = time.monotonic() + until_s
    while time.monotonic() < end:
        try:
            limiter.acquire(RUN, wait_s=0.05)
        except RateLimited:
            continue
        times.append(time.monotonic())


def test_two_processes_with_threads_never_exceed_the_window(redis: Redis, redis_url: str) -> None:
    """CLOCK_MONOTONIC is one for all processes of a machine. A note is made after the call was let through, so two
    notes may come closer than the calls did: by the few ms that a reply takes."""
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
    times = sorted(at for note in taken_by for at in note)
    assert len(times) >= 80
    tightest = min(late - early for early, late in zip(times, times[40:], strict=False))
    assert tightest >= 0.9


def _hammer_threads(url: str, go: Event, times: list[float], until_s: float) -> None:
    threads = [threading.Thread(target=_hammer, args=(url, go, times, until_s)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
