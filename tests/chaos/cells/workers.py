"""Processes of ours that are killed, stopped or frozen: workers, beat, api."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.local.folder import free_port
from deploy.local.process import Child
from deploy.local.stack import Worker
from deploy.local.supervisor import ROOT
from tests.chaos.cell import OTHER_HOLDER_S, Cell, Scene
from tests.chaos.rig import ACCOUNTS, VENDORS, Rig
from tests.chaos.shapes import CREW, PLAIN, TRUE, TRUE_CREW
from tests.chaos.strike import EXIT, FREEZE, SLEEP
from tests.e2e.world import BOOKS

Body = Callable[[Scene], None]
EVENTS, CONTROL = "worker-events", "worker-control"

# Letters of the matrix, the point, whose it is, and which passing may be struck (the seed chooses).
STEPS: tuple[tuple[str, str, str, int], ...] = (
    ("c", "wake.sent", "worker", 6),
    ("d", "batch.claimed", EVENTS, 8),
    ("e", "source.read", EVENTS, 8),
    ("f", "intent.committed", EVENTS, 8),
    ("g", "request.sent", EVENTS, 30),
    ("h", "reply.lost", EVENTS, 1),
    ("i", "reply.read", EVENTS, 20),
    ("j", "results.taken", CONTROL, 8),
    ("j handed", "results.handed", EVENTS, 8),
    ("k", "results.committed", CONTROL, 8),
    ("l taken", "lease.taken", "worker", 6),
    ("l renewed", "lease.renewed", "worker", 1),
    ("l released", "lease.released", CONTROL, 1),
    ("m", "token.granted", "worker", 1),
    ("n", "page.saved", CONTROL, 4),
    ("o", "watermark.saved", CONTROL, 1),
)


def _prepare(scene: Scene, step: str) -> None:
    """What must be so that the step is passed at all."""
    if step == "h":
        for vendor in VENDORS:
            scene.rig.fault(vendor, "reply_lost", count=2, match={"method": "POST"})
    if step == "m":
        scene.rig.control("POST", ACCOUNTS, "expire")
    if step == "l renewed":  # a beat is a second here, a run not much more
        for vendor in VENDORS:
            scene.rig.fault(vendor, "latency", ms=60, share=1.0)


def killed_at(step: str, point: str, process: str, most: int, *, times: int = 1) -> Body:
    def body(scene: Scene) -> None:
        _prepare(scene, step)
        n = scene.chance.randint(1, most)
        scene.rig.strikes.arm(point, EXIT, n=n, times=times, process=process)
        scene.load()
        scene.struck(point, times)
        scene.rig.await_all_live()
        scene.over()

    return body


def all_killed(scene: Scene) -> None:
    """Every worker at once, in the middle of its work."""
    scene.load()
    scene.await_writes(scene.chance.randint(3, 30))
    scene.rig.kill(*scene.rig.workers)
    time.sleep(0.1)
    scene.rig.await_all_live()
    scene.over()


def killed_at_random(scene: Scene) -> None:
    """Three times, whoever it hits."""
    scene.load()
    for _ in range(3):
        time.sleep(scene.chance.uniform(0.05, 0.8))
        name = scene.chance.choice(scene.rig.workers)
        scene.rig.kill(name)
        time.sleep(0.05)
        scene.rig.await_all_live()
    scene.over()


# SIGTERM


def term_loop(scene: Scene) -> None:
    """Each worker in turn is asked to stop, under load, and comes back."""
    scene.load(20)
    for name in [*scene.rig.workers, *scene.rig.workers]:
        time.sleep(scene.chance.uniform(0.05, 0.4))
        _term(scene, name)
    scene.rig.await_all_live()
    scene.over()


def _term(scene: Scene, name: str) -> None:
    process = scene.rig.process(name)
    pid, starts, asked = process.pid, process.starts, time.monotonic()
    scene.rig.kill(name, number=signal.SIGTERM)
    scene.rig.wait(lambda: process.starts > starts, f"{name} ({pid}) ends and is started again", 60)
    took_s = time.monotonic() - asked
    scene.must(took_s <= 30.5, f"P10 {name} took {took_s:.1f} s to stop")
    scene.rig.await_all_live()


def term_at(step: str, point: str, process: str) -> Body:
    """SIGTERM while it is at the step: what is open ends, or becomes in doubt."""

    def body(scene: Scene) -> None:
        def term() -> None:
            (strike,) = scene.rig.strikes.came(point)
            _term(scene, strike.process)

        scene.held(point, term, ms=300, n=scene.chance.randint(1, 6), process=process)
        scene.over()

    return body


def rolling_restart(scene: Scene) -> None:
    """A new worker of each kind comes before an old one goes."""
    scene.load(20)
    for number, name in enumerate(list(scene.rig.workers)):
        old = scene.rig.process(name)
        queues = ("events",) if name.startswith(EVENTS) else ("runs", "results", "housekeeping")
        fresh = f"{name}-new{number}"
        if fresh not in scene.rig.stack.processes:
            scene.rig.stack.add_worker(Worker(fresh, queues, threads=8))
        asked = time.monotonic()
        old.stop()
        took_s = time.monotonic() - asked
        scene.must(took_s <= 31, f"P10 {name} took {took_s:.1f} s to stop")
    scene.over()


# SIGSTOP

TTL_S, FREEZE_S = 60.0, 120.0


def frozen_at(step: str, point: str, process: str, most: int) -> Body:
    """Frozen for twice the lease and let go on: it commits nothing and stops, the others have gone on long ago."""

    def body(scene: Scene) -> None:
        scene.rig.strikes.arm(point, FREEZE, n=scene.chance.randint(1, most), process=process)
        _slow_vendor(scene)
        scene.load()
        (strike,) = scene.struck(point)
        scene.over()  # another worker lives: the fault does not last for the run
        scene.sleep(FREEZE_S)
        scene.frozen(strike)
        scene.rig.thaw(strike.pid)

    return body


def everything_frozen(scene: Scene) -> None:
    """All of our processes, as when the machine sleeps; the lease has long ended when they go on."""
    _slow_vendor(scene)
    scene.load()
    scene.await_writes(scene.chance.randint(3, 20))
    for name in scene.rig.workers:
        scene.rig.freeze(name)
    frozen_ms = time.time() * 1000
    scene.sleep(FREEZE_S)
    scene.expect["frozen_ms"] = ((frozen_ms, time.time() * 1000),)
    scene.rig.thaw()
    scene.over()


def heartbeat_frozen(scene: Scene) -> None:
    """Only the thread that renews stops: the work must not go on under a lease that is gone."""
    _slow_vendor(scene, ms=100)
    scene.rig.strikes.arm("lease.renewed", SLEEP, ms=int(scene.scaled(FREEZE_S) * 1000), times=4, process="worker")
    scene.load(20)
    scene.struck("lease.renewed")
    scene.over()
    scene.sleep(FREEZE_S)


def _slow_vendor(scene: Scene, ms: int = 20) -> None:
    for vendor in VENDORS:
        scene.rig.fault(vendor, "latency", ms=ms, share=1.0)


# Beat and api


def beat_killed(scene: Scene) -> None:
    scene.load()
    for _ in range(3):
        time.sleep(scene.chance.uniform(0.1, 0.5))
        scene.rig.kill("beat")
        time.sleep(0.1)
        scene.rig.await_all_live()
    scene.over()


_numbers = itertools.count()


@contextmanager
def second(rig: Rig, name: str, *argv: str, **env: str) -> Iterator[Child]:
    """One more process of the product."""
    log = rig.folder / "logs" / f"{name}.log"
    child = Child([sys.executable, "-m", *argv], cwd=ROOT, env={**rig.stack.env, **env}, log=log)
    try:
        yield child
    finally:
        child.kill()


def two_beats(scene: Scene) -> None:
    """Ticks come twice; what is due is done once."""
    schedule = str(scene.rig.folder / f"beat-{next(_numbers)}")
    argv = ("celery", "-A", "workers.app", "beat", "-s", schedule, "--pidfile=")
    with second(scene.rig, "beat-two", *argv) as beat:
        rig = scene.rig
        rig.wait(lambda: "beat: Starting" in (rig.folder / "logs" / "beat-two.log").read_text(), "a second beat", 30)
        rig.sql("UPDATE integration SET next_run_at = clock_timestamp()")
        rig.wait(lambda: rig.sql("SELECT 1 FROM run WHERE kind = 'sync' AND ended_at IS NULL"), "a run by schedule", 30)
        ((scene.sync_id,),) = rig.sql("SELECT max(id) FROM run WHERE kind = 'sync'")
        scene.people.bring(8)
        scene.people.start()
        scene.sleep(30)
        scene.must_strike(beat.running, "the second beat has ended")
    runs = scene.rig.sql("SELECT count(*) FROM run WHERE kind = 'sync' AND id > %s", scene.sync_id - 1)[0][0]
    scene.must(runs == 1, f"P7 two beats began {runs} runs of one due time")
    scene.closing_sync = True


def api_killed_at(step: str, point: str) -> Body:
    def body(scene: Scene) -> None:
        scene.rig.strikes.arm(point, EXIT, n=scene.chance.randint(1, 8), process="api")
        scene.load()
        scene.struck(point)
        scene.rig.await_all_live()
        scene.over()

    return body


def api_killed(scene: Scene) -> None:
    scene.load(per_s=30)
    for _ in range(3):
        time.sleep(scene.chance.uniform(0.05, 0.5))
        scene.rig.kill("api")
        time.sleep(0.1)
        scene.rig.await_all_live()
    scene.over()


def two_apis(scene: Scene) -> None:
    """Each delivery comes to two doors; one of them is killed meanwhile."""
    port = free_port()
    with second(scene.rig, "api-two", "api", BOTHWAYS_API_PORT=str(port)) as api:
        hook = scene.rig.world.hooks[BOOKS]
        other = {**hook, "id": "second", "url": hook["url"].replace(scene.rig.api_url, f"http://127.0.0.1:{port}")}
        scene.rig.control("POST", BOOKS, "webhooks", [hook, other])
        try:
            scene.load(per_s=20)
            scene.rig.wait(lambda: _taken_by(scene, f":{port}/") > 3, "the second door takes deliveries", 30)
            scene.rig.kill("api")
            time.sleep(0.3)
            api.signal(signal.SIGKILL)
            scene.rig.await_all_live()
        finally:
            scene.rig.hooks_on(BOOKS, hook)
    scene.over()


def _taken_by(scene: Scene, port: str) -> int:
    found = scene.rig.deliveries(BOOKS, scene.delivery_mark[BOOKS])
    return sum(bool(one["accepted"]) for one in found if port in one["url"])


def _kills() -> Iterator[Cell]:
    for step, point, process, most in STEPS:
        if step == "m":  # the claim on a refresh outlives its call, whose 30 s are not scaled
            continue
        for seed in (1, 2) if step == "g" else (1,):
            yield Cell("worker_kill", step, seed, killed_at(step, point, process, most), PLAIN)
    yield Cell("worker_kill", "g twice", 1, killed_at("g", "request.sent", EVENTS, 4, times=2), PLAIN)
    yield Cell("worker_kill", "all", 1, all_killed, PLAIN)
    for seed in (1, 2):
        yield Cell("worker_kill", "any", seed, killed_at_random, PLAIN)
    yield Cell("worker_kill", "m", 2, killed_at("m", "token.granted", "worker", 1), TRUE)
    yield Cell("worker_kill", "g", 3, killed_at("g", "request.sent", EVENTS, 30), TRUE)


CELLS: list[Cell] = [
    *_kills(),
    Cell("worker_term", "any", 1, term_loop, PLAIN),
    Cell("worker_term", "g", 1, term_at("g", "request.sent", EVENTS), PLAIN),
    Cell("worker_term", "k", 1, term_at("k", "results.committed", CONTROL), PLAIN),
    Cell("worker_term", "rolling", 1, rolling_restart, CREW, fresh=True),
    Cell("worker_term", "any", 3, term_loop, TRUE),
    *(
        Cell("worker_freeze", step, 1, frozen_at(step, point, process, most), CREW, bound_s=OTHER_HOLDER_S)
        for step, point, process, most in (
            ("e", "source.read", EVENTS, 8),
            ("f", "intent.committed", EVENTS, 8),
            ("g", "request.sent", EVENTS, 20),
            ("i", "reply.read", EVENTS, 20),
            ("k", "results.committed", CONTROL, 8),
        )
    ),
    Cell("worker_freeze", "all", 1, everything_frozen, CREW, bound_s=OTHER_HOLDER_S),
    Cell("worker_freeze", "heartbeat", 1, heartbeat_frozen, CREW, bound_s=OTHER_HOLDER_S),
    Cell("worker_freeze", "g", 2, frozen_at("g", "request.sent", EVENTS, 20), TRUE_CREW, bound_s=OTHER_HOLDER_S),
    Cell("beat_kill", "any", 1, beat_killed, PLAIN),
    Cell("beat_kill", "two", 1, two_beats, PLAIN),
    Cell("api_kill", "a", 1, api_killed_at("a", "door.received"), PLAIN),
    Cell("api_kill", "b", 1, api_killed_at("b", "door.kept"), PLAIN),
    Cell("api_kill", "any", 1, api_killed, PLAIN),
    Cell("api_kill", "two", 1, two_apis, PLAIN),
    Cell("api_kill", "b", 2, api_killed_at("b", "door.kept"), TRUE),
]
