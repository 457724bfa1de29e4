"""A backfill by the whole stack at the true limits: `python -m tests.bench_vendor.measure [--minutes 4] [--batch 100]`.

Real processes (API, workers, beat, Postgres, Valkey) fill an org that allows 60 calls a minute. Measured, and asserted:
what part of the allowed calls was used in the vendor's windows after the first two, refusals in that time, and how long
single records take that a person syncs meanwhile. Takes about two minutes more than it measures; prints a line of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from api.ports import Doors, open_doors
from deploy.local.stack import Stack, StackOptions
from shared.settings import Settings
from tests.bench_vendor.connector import BATCH
from tests.bench_vendor.integration import PAIR
from tests.bench_vendor.world import LEFT, RIGHT, Bench, bench_process, connect, registered
from tests.callers import Carrying, token_of

CALLS, WINDOW_S, WARM_UP_WINDOWS = 60, 60.0, 2
LATENCY_S = 0.1
PERSON_EVERY_S = 7.0
USED_LEAST, PERSON_MOST_S = 0.95, 3.0

Json = dict[str, Any]


def measure(minutes: int, batch: int, folder: Path) -> Json:
    """Shapes: used (0 to 1, of all calls allowed), refused, windows (calls each), person_s (each record's seconds)."""
    with bench_process(WINDOW_S) as bench, registered():
        options = StackOptions(
            data_dir=folder,
            flower=False,
            env={"BOTHWAYS_TEST_HOOK": "tests.bench_vendor.plug:register", "BOTHWAYS_SANDBOX_URL": bench.url},
        )
        with Stack.start(options) as stack:
            doors = open_doors(_settings(stack, bench), threads=4)
            try:
                return _measured(bench, stack, doors, minutes, batch)
            finally:
                doors.close()


def _settings(stack: Stack, bench: Bench) -> Settings:
    return Settings(
        database_url=SecretStr(stack.env["DATABASE_URL"]),
        redis_url=SecretStr(stack.env["REDIS_URL"]),
        key_file=Path(stack.env["BOTHWAYS_KEY_FILE"]),
        sandbox_url=bench.url,
    )


def _measured(bench: Bench, stack: Stack, doors: Doors, minutes: int, batch: int) -> Json:
    actor = doors.host()
    integration, _ = connect(doors.connections, doors.db, doors.integrations, actor, **{BATCH: batch})
    bench.no_limits(LEFT)
    bench.limits(RIGHT, latency_s=LATENCY_S)
    windows = minutes + WARM_UP_WINDOWS
    ids: list[str] = []
    for part in _parts((windows + 1) * CALLS * batch):
        ids += bench.seed(LEFT, [f"Customer {number:06}" for number in part])
    _say(f"{len(ids)} records at the source; Fetch …")
    fetch = doors.runs.fetch(actor, integration)
    _until(lambda: doors.runs.get(actor, fetch).ended, "Fetch ends", 300)
    sync = doors.runs.sync_now(actor, integration)
    _until(lambda: len(bench.log(RIGHT)) > CALLS // 4, "the backfill writes", 300)
    began = bench.whole_log()
    first = int((began["now"] - began["began"]) / WINDOW_S) + 1 + WARM_UP_WINDOWS
    _say(f"The backfill is on; windows {first} to {first + minutes - 1} of the vendor's are measured.")
    person_s = _people(
        bench, stack, token_of(doors.db), integration, ids, until=began["began"] + (first + minutes) * WINDOW_S
    )
    if doors.runs.get(actor, sync).ended:
        raise SystemExit("the backfill ended too early to be measured")
    log = [row for row in bench.log(RIGHT) if first <= row["window"] < first + minutes]
    counts = Counter(row["window"] for row in log if row["status"] == 200)
    times = sorted(row["at"] for row in bench.log(RIGHT) if row["status"] == 200)
    return {
        "used": round(sum(counts.values()) / (minutes * CALLS), 4),
        "refused": sum(row["status"] == 429 for row in log),
        "windows": [counts[one] for one in range(first, first + minutes)],
        "tightest_s": round(min(b - a for a, b in zip(times, times[CALLS:], strict=False)), 2),
        "calls": dict(Counter(row["method"] for row in log)),
        "records_written": sum(row["records"] for row in log if row["method"] == "POST"),
        "person_s": [round(one, 2) for one in person_s],
        "person_written_s": _written_s(doors),
    }


def _written_s(doors: Doors) -> list[float]:
    """The same, to the end of the vendor's call alone."""
    with doors.db.transaction() as session:
        rows = session.execute(
            text(
                "SELECT extract(epoch FROM written_at - received_at)::float8 AS s FROM outcome "
                "WHERE origin = 'manual' AND written_at IS NOT NULL ORDER BY id"
            )
        ).all()
    return [round(row.s, 2) for row in rows]


def _parts(total: int) -> list[range]:
    return [range(start, min(start + 5000, total)) for start in range(0, total, 5000)]


def _people(bench: Bench, stack: Stack, token: str, integration: int, ids: list[str], *, until: float) -> list[float]:
    """A record that is bound is edited and synced through the API, again and again; seconds from asking to outcome."""
    taken: list[float] = []
    left = {row["name"]: row["id"] for row in bench.rows(LEFT)}
    base, auth = f"{stack.api_url}/api/v1/integrations/{integration}", Carrying(stack.api_url, token)
    with httpx.Client(base_url=base, auth=auth, timeout=60) as api:
        for number in itertools.count():
            if bench.whole_log()["now"] >= until:
                return taken
            bound = bench.rows(RIGHT)[number]["name"]
            bench.edit(LEFT, left[bound], phone=f"044 {number:07}")
            began = time.monotonic()
            path = f"/records/{PAIR}/left/{left[bound]}/sync"
            event = api.post(path).raise_for_status().json()["event_id"]

            def ended(path: str = path, event: str = event) -> object:
                return api.get(f"{path}/{event}").json()["outcome"]

            _until(ended, "the record has its outcome", 60, 0.02)
            taken.append(time.monotonic() - began)
            while time.monotonic() < began + PERSON_EVERY_S:
                time.sleep(0.1)
    return taken


def _until(condition: Callable[[], object], what: str, within_s: float, every_s: float = 0.5) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit(f"never came true: {what}")
        time.sleep(every_s)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures budgets at the bench vendor's true limits.")
    parser.add_argument("--minutes", type=int, default=4, help="the vendor's windows to measure")
    parser.add_argument("--batch", type=int, default=100, help="records a call: fewer ask less of this machine")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bothways-measure-") as folder:
        found = measure(given.minutes, given.batch, Path(folder))
    print(json.dumps(found))
    assert found["used"] >= USED_LEAST, "too little of what is allowed was used"
    assert found["refused"] == 0, "calls were refused"
    assert max(found["person_s"]) <= PERSON_MOST_S, "a person waited too long"
    return 0


if __name__ == "__main__":
    sys.exit(main())
