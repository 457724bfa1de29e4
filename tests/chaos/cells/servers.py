"""Redis and Postgres: killed, frozen, emptied, full, restored from an old copy."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.server import EmbeddedServer
from tests.chaos.cell import OTHER_HOLDER_S, Cell, Scene
from tests.chaos.rig import VENDORS, RigError
from tests.chaos.shapes import PLAIN, TRUE

Body = Callable[[Scene], None]
EVENTS, CONTROL = "worker-events", "worker-control"
HELD_MS = 150
ANSWERS_MS = 500
"""What a door that was held needs at most to answer, where the machine is busy."""
DOOR_S = 5.5
"""The door answers within five seconds whatever Redis does, and a busy machine adds to it."""


def _server(scene: Scene, name: str) -> EmbeddedServer:
    return scene.rig.valkey if name == "redis" else scene.rig.postgres


def killed(name: str, *, down_s: float = 0.0, times: int = 1) -> Body:
    """kill -9 and start again, in the middle of the work."""

    def body(scene: Scene) -> None:
        scene.load()
        scene.await_writes(scene.chance.randint(2, 25))
        for _ in range(times):
            _server(scene, name).kill()
            scene.sleep(down_s)
            _server(scene, name).restart()
            time.sleep(scene.chance.uniform(0.0, 0.5) if times > 1 else 0.0)
        scene.over()

    return body


def killed_at(name: str, point: str, process: str, most: int) -> Body:
    """While somebody is at the step, and goes on with a server that was away."""

    def body(scene: Scene) -> None:
        scene.held(point, _server(scene, name).restart, ms=500, n=scene.chance.randint(1, most), process=process)
        scene.over()

    return body


def frozen(name: str, seconds: float) -> Body:
    """`seconds` are ours: sockets' timeouts are not scaled."""

    def body(scene: Scene) -> None:
        scene.load()
        scene.await_writes(scene.chance.randint(2, 20))
        _allow(scene, name, seconds)
        with _frozen(_server(scene, name)):
            time.sleep(seconds)
        scene.over()
        if name == "redis":
            _door_was_honest(scene)

    return body


def frozen_at(name: str, point: str, process: str, seconds: float) -> Body:
    def body(scene: Scene) -> None:
        _allow(scene, name, seconds)

        def fault() -> None:
            with _frozen(_server(scene, name)):
                time.sleep(seconds)

        scene.held(point, fault, n=scene.chance.randint(1, 4), process=process)
        scene.over()

    return body


def _allow(scene: Scene, name: str, seconds: float) -> None:
    """A transaction that has looked at its fence, and stands still with Postgres, ends before others get the org."""
    if name == "postgres":
        scene.expect["transaction_ms"] = 1000.0 + seconds * 1000


@contextmanager
def _frozen(server: EmbeddedServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def _door_was_honest(scene: Scene) -> None:
    """What was not kept was refused with 503, in time (P1)."""
    sent = [one for vendor in VENDORS for one in scene.rig.deliveries(vendor, scene.delivery_mark[vendor])]
    refused = [one for one in sent if one["status"] not in (None, 200)]
    late = [one for one in sent if one["ms"] is not None and one["ms"] > DOOR_S * 1000]
    scene.must_strike(bool(refused), "no delivery met the trouble")
    scene.must({one["status"] for one in refused} <= {503}, f"P13 the door answered {[o['status'] for o in refused]}")
    scene.must(not late, f"P1 the door took {[round(one['ms']) for one in late]} ms")


# Redis alone


def redis_clients_killed(scene: Scene) -> None:
    scene.load()
    scene.await_writes(3)
    killed = 0
    for _ in range(5):
        killed += int(scene.rig.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
        time.sleep(scene.chance.uniform(0.02, 0.2))
    scene.must_strike(killed > 5, f"{killed} clients")
    scene.over()


def redis_clients_killed_at(point: str, process: str, most: int) -> Body:
    def body(scene: Scene) -> None:
        def fault() -> None:
            killed = int(scene.rig.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
            scene.must_strike(killed > 0, "no client")

        scene.held(point, fault, ms=200, n=scene.chance.randint(1, most), process=process)
        scene.over()

    return body


def redis_full(scene: Scene) -> None:
    """It refuses what would make it grow, for a while; the door says so."""
    scene.load(per_s=10)
    scene.await_writes(3)
    scene.rig.redis.config_set("maxmemory", 1)
    try:
        scene.rig.wait(lambda: _oom(scene) > 0, "a write is refused", 20)
        time.sleep(2)
    finally:
        scene.rig.redis.config_set("maxmemory", 0)
    scene.over()
    _door_was_honest(scene)


def _oom(scene: Scene) -> int:
    stats = scene.rig.redis.info("errorstats")
    return int(stats.get("errorstat_OOM", {}).get("count", 0))


def redis_flush(scene: Scene) -> None:
    scene.load()
    scene.await_writes(scene.chance.randint(2, 30))
    _flush(scene)
    scene.over()


def redis_flush_at(point: str, process: str, most: int) -> Body:
    def body(scene: Scene) -> None:
        def flush() -> None:
            _flush(scene, HELD_MS + ANSWERS_MS)

        scene.held(point, flush, ms=HELD_MS, n=scene.chance.randint(1, most), process=process)
        scene.over()

    return body


def _flush(scene: Scene, after_ms: float = ANSWERS_MS) -> None:
    """`after_ms`: so much later a door may answer for what it kept before."""
    scene.rig.redis.flushall()
    scene.expect["history_lost_ms"] = ((0.0, time.time() * 1000 + after_ms),)


def redis_old_copy(scene: Scene) -> None:
    """Yesterday's append-only file comes back: what was done since is forgotten, what was open then is there again."""
    valkey, copy = scene.rig.valkey, scene.rig.folder / "old-aof"
    shutil.rmtree(copy, ignore_errors=True)
    scene.people.bring(4)
    for _ in range(20):
        scene.people.some_edit()
    valkey.kill()
    copied_ms = time.time() * 1000
    _copy(valkey.append_only_dir, copy)
    valkey.restart()
    scene.load()
    scene.await_writes(scene.chance.randint(10, 40))
    valkey.kill()
    scene.expect["history_lost_ms"] = ((copied_ms, time.time() * 1000),)
    _replace(copy, valkey.append_only_dir)
    valkey.restart()
    scene.over()


def redis_torn_tail(scene: Scene) -> None:
    """The power goes in the middle of a write: half a command ends the file. What was answered is before it."""
    scene.load(per_s=10)
    scene.await_writes(scene.chance.randint(2, 25))
    valkey = scene.rig.valkey
    valkey.kill()
    newest = max(valkey.append_only_dir.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    with newest.open("ab") as file:
        file.write(b"*5\r\n$4\r\nXADD\r\n$18\r\nbw:lane:1:liv")
    valkey.restart()
    scene.over()


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


# Postgres alone


def postgres_restored(scene: Scene) -> None:
    """A backup of before the sync comes back: bindings, intents and fences of meanwhile are gone; records are not."""
    postgres, copy = scene.rig.postgres, scene.rig.folder / "backup"
    shutil.rmtree(copy, ignore_errors=True)
    pgdata = postgres._pgdata
    owner = pgdata.stat()
    postgres.kill()
    _copy(pgdata, copy)
    postgres.restart()
    copied_ms = time.time() * 1000
    scene.load()
    scene.await_writes(scene.chance.randint(10, 30))
    postgres.kill()
    _replace(copy, pgdata)
    _give(pgdata, owner.st_uid, owner.st_gid)
    postgres.restart()
    # Until then calls that had begun under a lease went on.
    scene.expect["database_lost_ms"] = ((copied_ms, time.time() * 1000),)
    scene.sync_id = None  # it was never begun
    scene.over()
    scene.closing_sync = True


def _give(folder: Path, uid: int, gid: int) -> None:
    """The copy was made by us; the server runs as somebody else."""
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, uid, gid)


def commit_unknown(scene: Scene) -> None:
    """Every backend is killed at once while result transactions are committed: nobody knows which came through."""
    scene.load()
    scene.await_writes(3)
    killed = 0
    for _ in range(6):
        rows = scene.rig.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'bothways' AND state <> 'idle'"
        )
        killed += len(rows)
        time.sleep(scene.chance.uniform(0.01, 0.1))
    scene.must_strike(killed > 0, "no backend was busy")
    scene.over()


def _guarded(body: Body) -> Body:
    """A server that does not come back is a mistake of ours, not of the product."""

    def guarded(scene: Scene) -> None:
        try:
            body(scene)
        except OSError as error:
            raise RigError(f"the server's files: {error}") from error

    return guarded


CELLS: list[Cell] = [
    Cell("redis_kill", "any", 1, killed("redis"), PLAIN),
    Cell("redis_kill", "any thrice", 1, killed("redis", times=3), PLAIN),
    Cell("redis_kill", "b", 1, killed_at("redis", "door.kept", "api", 6), PLAIN),
    Cell("redis_kill", "d", 1, killed_at("redis", "batch.claimed", EVENTS, 6), PLAIN),
    Cell("redis_kill", "k", 1, killed_at("redis", "results.committed", CONTROL, 6), PLAIN),
    Cell("redis_kill", "torn tail", 1, _guarded(redis_torn_tail), PLAIN),
    Cell("redis_kill", "any", 4, killed("redis", down_s=5), TRUE),
    Cell("redis_freeze", "5 s", 1, frozen("redis", 5), PLAIN),
    Cell("redis_freeze", "30 s", 1, frozen("redis", 30), PLAIN),
    Cell("redis_freeze", "k", 1, frozen_at("redis", "results.committed", CONTROL, 6), PLAIN),
    Cell("redis_flush", "any", 1, redis_flush, PLAIN),
    Cell("redis_flush", "d", 1, redis_flush_at("batch.claimed", EVENTS, 6), PLAIN),
    Cell("redis_flush", "k", 1, redis_flush_at("results.committed", CONTROL, 6), PLAIN),
    Cell("redis_flush", "b", 1, redis_flush_at("door.kept", "api", 6), PLAIN),
    Cell("redis_flush", "old copy", 1, _guarded(redis_old_copy), PLAIN, fresh=True),
    Cell("redis_clients_killed", "any", 1, redis_clients_killed, PLAIN),
    Cell("redis_clients_killed", "b", 1, redis_clients_killed_at("door.received", "api", 6), PLAIN),
    Cell("redis_clients_killed", "d", 1, redis_clients_killed_at("batch.claimed", EVENTS, 6), PLAIN),
    Cell("redis_full", "any", 1, redis_full, PLAIN),
    Cell("postgres_kill", "any", 1, killed("postgres"), PLAIN),
    Cell("postgres_kill", "f", 1, killed_at("postgres", "intent.committed", EVENTS, 6), PLAIN),
    Cell("postgres_kill", "g", 1, killed_at("postgres", "request.sent", EVENTS, 20), PLAIN),
    Cell("postgres_kill", "j", 1, killed_at("postgres", "results.taken", CONTROL, 6), PLAIN),
    Cell("postgres_kill", "k", 1, killed_at("postgres", "results.committed", CONTROL, 6), PLAIN),
    Cell("postgres_kill", "l", 1, killed_at("postgres", "lease.taken", "worker", 4), PLAIN),
    Cell("postgres_kill", "o", 1, killed_at("postgres", "watermark.saved", CONTROL, 1), PLAIN),
    Cell("postgres_kill", "commit unknown", 1, commit_unknown, PLAIN),
    Cell("postgres_kill", "any", 3, killed("postgres", down_s=5), TRUE),
    Cell("postgres_freeze", "5 s", 1, frozen("postgres", 5), PLAIN),
    Cell("postgres_freeze", "past the lease", 1, frozen("postgres", 12), PLAIN, bound_s=OTHER_HOLDER_S),
    Cell("postgres_freeze", "k", 1, frozen_at("postgres", "results.taken", CONTROL, 4), PLAIN),
    Cell("postgres_restore", "any", 1, _guarded(postgres_restored), PLAIN, fresh=True),
]
