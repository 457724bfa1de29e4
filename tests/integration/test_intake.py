"""Deliveries in groups on a real Redis: each is answered for itself, and none is lost with, or for, its neighbours."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from pydantic import SecretStr

from deploy.local.valkey import ValkeyServer
from shared import intake as intake_module
from shared.bus import LIVE, Items, Lane, make_async_redis, make_redis
from shared.errors import Unavailable
from shared.intake import Intake, WakeDrain
from shared.services import events
from shared.settings import Settings
from tests.conftest import MakeSettings
from tests.integration.crew import await_that
from tests.integration.test_doors import BODIES, Door, serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P1", "TR-1")

LANE, OTHER, FULL = Lane(7, LIVE, 0), Lane(7, LIVE, 1), Lane(8, LIVE, 0)
BOUND = 10
TIMEOUT_S = 1.0


class Woken:
    """`hold`: wake-ups hang until it is set."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.hold: threading.Event | None = None

    def drain(self, lane: Lane) -> None:
        if self.hold is not None:
            self.hold.wait(20)
        self.lanes.append(lane)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as name:
        server = ValkeyServer.start(Path(name), durable=True)
        yield server
        server.destroy()


@pytest.fixture
def own(make_settings: MakeSettings, server: ValkeyServer) -> Settings:
    return make_settings(redis_url=server.url)


@pytest.fixture
def lanes(own: Settings) -> Iterator[Any]:
    with make_redis(own) as client:
        yield client


@asynccontextmanager
async def taking(settings: Settings, wake: WakeDrain) -> AsyncIterator[Intake]:
    intake = Intake(make_async_redis(settings, timeout_s=TIMEOUT_S), wake, BOUND)
    try:
        yield intake
    finally:
        await intake.close()


def of(lane: Lane, *payloads: str) -> Items:
    return [(lane, payload) for payload in payloads]


def on(lanes: Any, lane: Lane) -> list[str]:
    return [body["e"] for _, body in lanes.xrange(lane.key)]


def scripts(lanes: Any) -> int:
    return int(lanes.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


async def answers(*puts: Any) -> list[str]:
    """Of each: "kept", or after how many seconds to come again."""
    told = await asyncio.gather(*puts, return_exceptions=True)
    assert all(one is None or isinstance(one, Unavailable) for one in told), told
    return [f"{one.retry_after_s} s" if isinstance(one, Unavailable) else "kept" for one in told]


# Groups.


def test_those_that_come_together_go_in_one_script(own: Settings, lanes: Any) -> None:
    woken = Woken()

    async def come() -> None:
        async with taking(own, woken) as intake:
            await intake.put(of(LANE, "first"))  # it loads the script
            before = scripts(lanes)
            assert await answers(*(intake.put(of(LANE, f"a{n}", f"b{n}")) for n in range(4))) == ["kept"] * 4
            assert scripts(lanes) == before + 1

    asyncio.run(come())
    assert on(lanes, LANE) == ["first", *(f"{letter}{n}" for n in range(4) for letter in "ab")]
    assert woken.lanes == [LANE], "idle once"


def test_a_group_has_a_most_and_one_delivery_is_never_cut(
    own: Settings, lanes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MOST_ENTRIES", 3)

    async def come() -> None:
        async with taking(own, Woken()) as intake:
            await intake.put(of(OTHER, "first"))
            before = scripts(lanes)
            sizes = (1, 2, 1, 5, 1)
            puts = (intake.put(of(LANE, *map(str, range(size)))) for size in sizes)
            assert await answers(*puts) == ["kept"] * 5
            assert scripts(lanes) == before + 4, "1 and 2, 1, 5, 1"

    asyncio.run(come())
    assert len(on(lanes, LANE)) == 10


@pytest.mark.rule("P8", "P13")
def test_one_that_is_over_the_bound_is_refused_and_its_neighbours_are_kept(own: Settings, lanes: Any) -> None:
    """Whole or not at all; the bound is for the lanes of a delivery in all, and those before it in the group count."""
    for number in range(BOUND + 1):
        lanes.xadd(FULL.key, {"e": str(number)})
    for number in range(BOUND - 1):
        lanes.xadd(OTHER.key, {"e": str(number)})
    puts = (
        of(LANE, "a"),
        of(FULL, "over"),
        of(OTHER, "b", "c"),  # nine wait
        [*of(LANE, "over"), *of(FULL, "over")],
        of(OTHER, "over"),  # eleven wait by now
        of(LANE, "d", "e"),
        [*of(LANE, "over"), *of(OTHER, "over")],
    )

    async def come() -> None:
        async with taking(own, Woken()) as intake:
            told = await answers(*(intake.put(items) for items in puts))
            assert told == ["kept", "60 s", "kept", "60 s", "60 s", "kept", "60 s"]

    asyncio.run(come())
    assert on(lanes, LANE) == ["a", "d", "e"]
    assert on(lanes, OTHER)[BOUND - 1 :] == ["b", "c"]
    assert len(on(lanes, FULL)) == BOUND + 1


@pytest.mark.rule("P7")
@pytest.mark.parametrize("kill", [False, True], ids=["frozen", "killed"])
def test_a_group_that_is_not_kept_fails_each_of_it_and_the_next_is_sent(
    own: Settings, server: ValkeyServer, kill: bool
) -> None:
    async def come() -> None:
        async with taking(own, Woken()) as intake:
            await intake.put(of(LANE, "first"))
            server.freeze()
            out = [asyncio.create_task(answers(intake.put(of(LANE, f"out {n}")))) for n in range(3)]
            await asyncio.sleep(0.1)
            waiting = [asyncio.create_task(answers(intake.put(of(LANE, f"waits {n}")))) for n in range(3)]
            await asyncio.sleep(0.1)
            if kill:
                server.kill()
            async with asyncio.timeout(3 * TIMEOUT_S):
                assert await asyncio.gather(*out, *waiting) == [["5 s"]] * 6
            server.restart() if kill else server.thaw()
            await intake.put(of(LANE, "after"))

    asyncio.run(come())


def test_a_mistake_fails_its_group_and_no_other(own: Settings, lanes: Any) -> None:
    lanes.set(FULL.key, "no stream")

    async def come() -> None:
        async with taking(own, Woken()) as intake:
            assert await answers(intake.put(of(FULL, "a")), intake.put(of(LANE, "b"))) == ["5 s", "5 s"]
            assert await answers(intake.put(of(LANE, "c"))) == ["kept"]

    asyncio.run(come())
    assert on(lanes, LANE) == ["c"]


def test_whoever_goes_away_neither_loses_nor_doubles_a_neighbour_s_delivery(
    own: Settings, server: ValkeyServer, lanes: Any
) -> None:
    woken = Woken()

    async def come() -> None:
        async with taking(own, woken) as intake:
            await intake.put(of(OTHER, "first"))
            server.freeze()
            out = [asyncio.create_task(intake.put(of(LANE, f"out {n}"))) for n in range(3)]
            await asyncio.sleep(0.1)
            waiting = [asyncio.create_task(intake.put(of(LANE, f"waits {n}"))) for n in range(3)]
            await asyncio.sleep(0.1)
            for gone in (out[0], waiting[0]):
                gone.cancel()
            server.thaw()
            told = await asyncio.gather(*out, *waiting, return_exceptions=True)
            assert [type(one) for one in told] == [asyncio.CancelledError, type(None), type(None)] * 2

    asyncio.run(come())
    assert on(lanes, LANE) == ["out 0", "out 1", "out 2", "waits 1", "waits 2"], "who waited and left is not sent"
    assert woken.lanes == [OTHER, LANE], "whoever left was the first of the lane"


@pytest.mark.rule("P7")
def test_a_wake_up_that_hangs_holds_no_answer(own: Settings, lanes: Any) -> None:
    woken = Woken()
    woken.hold = threading.Event()

    async def come() -> None:
        async with taking(own, woken) as intake:
            async with asyncio.timeout(5):
                for lane in (LANE, OTHER):
                    await intake.put(of(lane, "a"))
            assert woken.lanes == []
            assert woken.hold is not None
            woken.hold.set()

    asyncio.run(come())
    assert woken.lanes == [LANE, OTHER], "and is sent before the door closes"


# The door.


@pytest.mark.rule("P13")
def test_only_what_may_wait_costs_a_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Postgres must be asked for, and long bodies; a stranger's wrong signature does not."""
    world.office.crew.deaf = True
    threads: list[object] = []
    run_sync = to_thread.run_sync

    async def counted(call: Callable[[], Any], **more: Any) -> Any:
        threads.append(call)
        return await run_sync(call, **more)

    monkeypatch.setattr(events, "CACHE_S", 600.0)
    monkeypatch.setattr(to_thread, "run_sync", counted)
    long = BODIES[FSM][:-1] + b', "x": "' + b"a" * events.MOST_INLINE_BYTES + b'"}'
    # Without a token: asking whose it is takes a thread as well.
    with serving(world.office.settings, token="") as client:
        door = Door(world, client)
        seen = []
        for body, secret in ((BODIES[FSM], None), (BODIES[FSM], None), (BODIES[FSM], "wrong"), (long, None)):
            before = len(threads)
            status = door.deliver(FSM, body, secret=secret).status_code
            seen.append((status, len(threads) - before))
        assert seen == [(200, 1), (200, 0), (401, 0), (200, 1)]
    assert len(door.entries()) == 3


def test_of_many_at_once_each_is_on_its_lane_when_it_is_answered_and_once(world: World) -> None:
    world.office.crew.deaf = True
    with serving(world.office.settings) as client, ThreadPoolExecutor(16) as pool:
        door = Door(world, client)
        path, secret = door.path(BOOKS), door.secret(BOOKS)

        def deliver(number: int) -> bool:
            body = json.dumps({"contact": {"contact_id": str(number)}}).encode()
            answer = client.post(path, content=body, headers=door.signed(BOOKS, body, secret))
            assert answer.status_code == 200
            return str(number) in {event.record_id for event in door.entries()}

        assert all(pool.map(deliver, range(100)))
    assert Counter(event.record_id for event in door.entries()) == Counter(map(str, range(100)))


@pytest.mark.rule("P7")
@pytest.mark.parametrize("kill", [False, True], ids=["frozen", "killed"])
def test_without_redis_all_who_wait_are_told_in_time(world: World, server: ValkeyServer, kill: bool) -> None:
    """Those whose group is out, and those behind it."""
    settings = world.office.settings.model_copy(update={"redis_url": SecretStr(server.url)})
    with serving(settings) as client, ThreadPoolExecutor(20) as pool:
        door = Door(world, client)
        path, headers = door.path(FSM), door.signed(FSM, BODIES[FSM])
        client.headers.update(headers)

        def deliver(_: int) -> tuple[int, bool]:
            began = time.monotonic()
            answer = client.post(path, content=BODIES[FSM], timeout=10)
            return answer.status_code, time.monotonic() - began < 5.0  # told at 4.5, by a machine that is busy

        assert deliver(0) == (200, True)
        server.freeze()
        first = pool.submit(deliver, 0)
        time.sleep(0.2)
        rest = [pool.submit(deliver, number) for number in range(15)]
        if kill:
            time.sleep(0.2)
            server.kill()
        assert [one.result() for one in (first, *rest)] == [(503, True)] * 16
        server.restart() if kill else server.thaw()
        await_that(lambda: deliver(0) == (200, True), "it works again", 10)


def test_a_slow_body_holds_nobody_else(world: World) -> None:
    world.office.crew.deaf = True
    with serving(world.office.settings) as client, ExitStack() as opened:
        door = Door(world, client)
        body = BODIES[BOOKS]
        signature = door.signed(BOOKS, body)["X-Zoho-Webhook-Signature"]
        head = f"POST {door.path(BOOKS)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        lines = [opened.enter_context(_connected(client)) for _ in range(50)]
        for line in lines:
            line.sendall(f"{head}X-Zoho-Webhook-Signature: {signature}\r\n\r\n".encode() + body[:5])
        for _ in range(5):
            assert door.deliver(FSM, BODIES[FSM], timeout=5).status_code == 200
        assert len(door.entries()) == 5
        for line in lines:
            line.sendall(body[5:])
        assert {line.recv(65_536)[:13] for line in lines} == {b"HTTP/1.1 200 "}
    assert len(door.entries()) == 55


def test_whoever_leaves_in_the_middle_of_its_body_is_no_mistake_of_ours(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Or anybody could fill the log."""
    with serving(world.office.settings) as client:
        path = Door(world, client).path(FSM)
        with _connected(client) as line:
            line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert client.get("/healthz").status_code == 200
    assert [one.message for one in caplog.records if one.name.startswith("uvicorn")] == []


def _connected(client: httpx.Client) -> socket.socket:
    base = client.base_url
    return socket.create_connection((base.host, base.port or 0), timeout=20)
