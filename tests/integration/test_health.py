"""Health is that work flows: a canary per queue, the age of what waits, and the last guard of a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from shared.bus import LIVE, Lane
from shared.engine.watchdog import EXIT_CODE, Watchdog
from shared.services.health import work_health
from shared.wake import QUEUES
from tests.integration.crew import await_that
from tests.integration.test_doors import serving
from tests.integration.world import Office
from workers import health
from workers.single import Single

pytestmark = pytest.mark.rule("P7")


@pytest.fixture
def door(office: Office) -> Iterator[httpx.Client]:
    with serving(office.settings) as client:
        yield client


def test_a_queue_whose_canary_is_silent_is_stalled(office: Office, door: httpx.Client) -> None:
    for queue in QUEUES[:-1]:
        office.bus.sing(queue)
    answer = door.get("/workz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
    assert answer.json()["stalled"] == [QUEUES[-1]]
    office.bus.sing(QUEUES[-1])
    told = door.get("/workz")
    assert told.status_code == 200
    rest = {"status": "ok", "stalled": [], "events": 0, "oldest_s": 0.0, "mail_set_up": False}
    assert told.json() == {**rest, "queues": told.json()["queues"]}
    assert all(0 <= seconds < 60 for seconds in told.json()["queues"].values())


def test_a_canary_of_long_ago_counts_as_silence(office: Office) -> None:
    for queue in QUEUES:
        office.bus.sing(queue)
        office.bus.redis.pexpire(f"bw:canary:{queue}", (86_400 - 61) * 1000)
    found = work_health(office.bus, office.settings)
    assert found.stalled == QUEUES
    assert all(seconds is not None and seconds >= 61 for seconds in found.queues.values())


def test_what_waits_is_counted_with_its_age(office: Office) -> None:
    lane = Lane(1, LIVE, 0)
    old_ms = int(time.time() * 1000) - 90_000
    office.bus.redis.xadd(lane.key, {"e": "{}"}, id=f"{old_ms}-0")
    office.bus.add([(lane, "{}")])
    found = work_health(office.bus, office.settings)
    assert found.events == 2
    assert 85 <= found.oldest_s <= 150


def test_the_health_check_of_a_container(
    office: Office, monkeypatch: pytest.MonkeyPatch, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert health.main(["events"]) == 1
    assert "No task of events was run for 60 s." in capsys.readouterr().err
    office.bus.sing("events")
    assert health.main(["events"]) == 0
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert health.main(["events"]) == 1
    assert capsys.readouterr().err.startswith("UNAVAILABLE: ")


def test_a_push_beyond_its_hard_deadline_ends_the_process() -> None:
    deaths: list[int] = []
    dog = Watchdog(0.0, die=deaths.append)
    dog.look()
    assert deaths == [], "nothing is pushed"
    with dog.over():
        dog.look()
    assert deaths == [EXIT_CODE]
    dog.look()
    assert deaths == [EXIT_CODE], "it is over"
    patient = Watchdog(60.0, die=deaths.append)
    with patient.over():
        patient.look()
    assert deaths == [EXIT_CODE]


def test_who_comes_while_it_runs_leaves_word_and_goes() -> None:
    single, begun, go = Single(), threading.Event(), threading.Event()
    runs: list[str] = []

    def work() -> None:
        runs.append(threading.current_thread().name)
        begun.set()
        go.wait(10)

    first = threading.Thread(target=lambda: single.run(work), name="first")
    first.start()
    assert begun.wait(10)
    for _ in range(3):
        single.run(work)  # returns at once
    assert runs == ["first"]
    go.set()
    first.join(10)
    assert runs == ["first", "first"], "once more, for all who came"


def test_work_that_fails_leaves_the_place_free() -> None:
    single = Single()

    def fails() -> None:
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        single.run(fails)
    done: list[int] = []
    single.run(lambda: done.append(1))
    await_that(lambda: done == [1], "the next one runs")
