"""Records a second of a first sync: the engine, a textbook Celery pipeline, and the engine's vendor calls alone.

Twice: to a vendor that takes 100 records a call (the bench vendor), and to one that takes one (the sandbox's Zoho FSM
to Zoho Books, items). The engine's figure is of the sync log: records ÷ seconds from the first event's making to the
last outcome's commit; what comes before (listing, matching) is told beside it as part of the whole sync. The bare loop
makes as many write calls, of as many records each, with as many threads as the event workers have.

The textbook pipeline runs on the same Postgres and the same Valkey with 16 threads, one record a call at either vendor;
its rate is that of its log's rows, first to last.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery

from deploy.local.stack import Stack, Worker
from tests.bench import textbook
from tests.bench.bare import Call, seconds
from tests.bench.figures import Found, Json, Row, at_least
from tests.bench.rig import ENV, SETTINGS, Rig, bench_rig
from tests.bench.zoho import SETTINGS as ZOHO_SETTINGS
from tests.bench.zoho import zoho
from tests.bench_vendor.world import LEFT, RIGHT
from tests.e2e.world import BOOKS, FSM, World

RECORDS = 20_000
WORKERS = (
    Worker("worker-events-1", ("events",), threads=4),
    Worker("worker-events-2", ("events",), threads=4),
    Worker("worker-control", ("runs", "results", "housekeeping")),
)
LAYOUT = "two event workers of 4 threads: by default there is one of 8, and a process of Python uses one core"
LANES = {"BOTHWAYS_SHARDS": "2", "BOTHWAYS_LANE_BOUND": "4000"}
LANES_TOLD = (
    "100 a call: BOTHWAYS_SHARDS=2 (by default 4), a lane for each event worker, for a second thread at work in a "
    "process of Python slows the first; and BOTHWAYS_LANE_BOUND=4000 (2000), so that their batches are full"
)
THREADS = sum(worker.threads for worker in WORKERS if "events" in worker.queues)
TEXTBOOK_THREADS = 16
STANDSTILL_S, LEAST_SHARE = 20.0, 0.99
BATCH = 100
WITHIN_S = 600
CONTACTS, ITEMS = "contacts", "Service_And_Parts"
FLOORS = {"batch": (15.0, 0.15), "single": (2.0, 0.6)}
"""Least multiple of the textbook pipeline, least share of the bare loop."""


def measure(folder: Path, size: float) -> Found:
    records = max(200, round(RECORDS * size))
    figures: Json = {"batch": _batch(folder / "batch", records), "single": _single(folder / "single", records)}
    rows = [row for name, found in figures.items() for row in _rows(name, found)]
    return Found({**figures, "records": records}, rows, (*SETTINGS, *ZOHO_SETTINGS, LAYOUT, LANES_TOLD))


def _rows(name: str, found: Json) -> Iterator[Row]:
    times, part = FLOORS[name]
    yield Row(f"{name}: engine", f"{found['engine']:.0f} records/s", f"whole sync {found['whole_sync']:.0f} records/s")
    beside = f"{found['textbook']:.0f} records/s"
    yield at_least(f"{name}: beside textbook Celery", found["engine"] / found["textbook"], times, beside)
    beside = f"{found['bare']:.0f} records/s, {found['calls']} calls"
    yield at_least(f"{name}: beside its calls alone", found["engine"] / found["bare"], part, beside)


def _figures(engine: float, whole_s: float, textbook_rate: float, bare_s: float, records: int, calls: int) -> Json:
    return {
        "engine": round(engine, 1),
        "textbook": round(textbook_rate, 1),
        "bare": round(records / bare_s, 1),
        "whole_sync": round(records / whole_s, 1),
        "calls": calls,
    }


LOGGED = (
    "SELECT count(*) AS n, extract(epoch FROM max(at) - min(received_at))::float8 AS s FROM outcome WHERE run_id = :run"
)


# Many records a call


def _batch(folder: Path, records: int) -> Json:
    with bench_rig(folder, batch=BATCH, workers=WORKERS, env=LANES) as rig:
        ids = rig.seed(records)
        rig.fetch()
        rig.bench.forget()
        run, whole_s = rig.sync()
        engine = _rate(rig.sql(LOGGED, run=run)[0], records)
        writes = [row for row in rig.bench.log(RIGHT) if row["asks"] == "write"]
        assert sum(row["records"] for row in writes) == records == len(rig.bench.rows(RIGHT))
        rig.bench.forget()
        bare_s = seconds(_bench_calls(rig, [row["records"] for row in writes]), THREADS)
        rate = _textbook(rig.stack, folder, _bench_told(rig), ids)
    return _figures(engine, whole_s, rate, bare_s, records, len(writes))


def _bench_calls(rig: Rig, sizes: Sequence[int]) -> Iterator[Call]:
    """To an org of their own, since the bench vendor refuses a second record of a name."""
    numbers = itertools.count()
    url = f"{rig.bench.url}/bare/{CONTACTS}"
    rig.bench.no_limits("bare")

    def posting(size: int) -> Call:
        rows = [{"name": f"Customer {next(numbers):06}", "city": "Zürich", "phone": None} for _ in range(size)]
        return lambda http: http.post(url, json={"rows": rows}, headers={"Authorization": "Bearer bench"})

    return (posting(size) for size in sizes)


def _bench_told(rig: Rig) -> textbook.Told:
    rig.bench.no_limits("textbook")
    return textbook.Told(
        broker=_broker(rig.stack),
        database=_database(rig.stack),
        shape="bench",
        source=f"{rig.bench.url}/{LEFT}/{CONTACTS}",
        target=f"{rig.bench.url}/textbook/{CONTACTS}",
        source_headers={"Authorization": "Bearer bench"},
        target_headers={"Authorization": "Bearer bench"},
    )


# One record a call


def _single(folder: Path, records: int) -> Json:
    with zoho(folder, env=ENV, workers=WORKERS) as world:
        for vendor in (FSM, BOOKS):
            world.control("DELETE", vendor, "webhooks")
        ids: list[str] = []
        for start in range(0, records, 2_000):
            numbers = range(start, min(records, start + 2_000))
            ids += world.seed(FSM, ITEMS, [_item(f"Item {number:06}") for number in numbers])
        world.ended(world.start("fetch"), WITHIN_S)
        world.forget_calls()
        began = time.monotonic()
        run = world.ended(world.start("sync"), WITHIN_S)
        whole_s = time.monotonic() - began
        (counted,) = world.sql(LOGGED.replace(":run", str(int(run["id"]))))
        engine = _rate({"n": counted[0], "s": counted[1]}, records)
        calls = sum(1 for call in world.ours(BOOKS) if call["write"])
        made = len(world.records(BOOKS, "items"))
        assert (calls, made) == (records, records), f"{made} items in {calls} calls, not {records}"
        bare_s = seconds(_zoho_calls(world, records), THREADS)
        rate = _textbook(world.stack, folder, _zoho_told(world), ids)
    return _figures(engine, whole_s, rate, bare_s, records, calls)


def _item(name: str) -> Json:
    return {"Name": name, "Unit_Price": 12.5, "Type": "Service"}


def _zoho_calls(world: World, count: int) -> Iterator[Call]:
    """Books refuses a second item of a name: these have others than the engine's."""
    url, headers = _books(world)

    def posting(number: int) -> Call:
        body = {"name": f"Bare {number:06}", "rate": 12.5, "product_type": "service"}
        return lambda http: http.post(url, json=body, headers=headers)

    return (posting(number) for number in range(count))


def _books(world: World) -> tuple[str, dict[str, str]]:
    person = world.people[BOOKS]
    url = f"{person.base}/items?organization_id={person.org}"
    return url, {"Authorization": f"Zoho-oauthtoken {person.token}"}


def _zoho_told(world: World) -> textbook.Told:
    """Before it begins the items that the engine made are taken away."""
    url, headers = _books(world)
    world.control("POST", BOOKS, "reset")
    person = world.people[FSM]
    return textbook.Told(
        broker=_broker(world.stack),
        database=_database(world.stack),
        shape="zoho",
        source=f"{person.base}/{ITEMS}",
        target=url,
        source_headers={"Authorization": f"Zoho-oauthtoken {person.token}"},
        target_headers=headers,
    )


# Both


def _rate(counted: Mapping[str, Any], records: int) -> float:
    assert counted["n"] == records, f"{counted['n']} outcomes of {records} records"
    return records / float(counted["s"])


def _broker(stack: Stack) -> str:
    """Another database of the same server."""
    return stack.env["REDIS_URL"].rstrip("/").rsplit("/", 1)[0] + "/9"


def _database(stack: Stack) -> str:
    return stack.env["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://")


def _textbook(stack: Stack, folder: Path, told: textbook.Told, ids: Sequence[str]) -> float:
    """Records/s."""
    with psycopg.connect(told.database, autocommit=True) as log, _celery(stack, folder, told):
        log.execute(textbook.LOG)

        def written() -> int:
            row = log.execute("SELECT count(*) FROM textbook_log").fetchone()
            return int(row[0]) if row else 0

        with Celery("sender", broker=told.broker, set_as_current=False) as sender:
            for record_id in ids:
                sender.send_task(textbook.TASK, (record_id,))
        _all_or_no_more(written, len(ids))
        row = log.execute("SELECT count(*), extract(epoch FROM max(at) - min(at))::float8 FROM textbook_log").fetchone()
    assert row is not None
    return float(row[0]) / float(row[1])


def _all_or_no_more(written: Callable[[], int], records: int) -> None:
    """It loses a record where a call fails, or Celery a message: that is how it is, and nothing to wait for."""
    seen, since = -1, time.monotonic()
    while (found := written()) < records:
        if found != seen:
            seen, since = found, time.monotonic()
        if time.monotonic() - since > STANDSTILL_S:
            if found < records * LEAST_SHARE:
                raise SystemExit(f"the textbook pipeline stands still at {found} of {records} records")
            print(f"  the textbook pipeline lost {records - found} of {records} records")
            return
        time.sleep(0.2)


@contextmanager
def _celery(stack: Stack, folder: Path, told: textbook.Told) -> Iterator[None]:
    command = [
        *(sys.executable, "-m", "celery", "-A", "tests.bench.textbook", "worker", "-P", "threads"),
        *("-c", str(TEXTBOOK_THREADS), "-l", "WARNING", "-n", "textbook@%h"),
    ]
    with (folder / "textbook.log").open("wb") as log:
        process = subprocess.Popen(command, env={**stack.env, **told.env()}, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
