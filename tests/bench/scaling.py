"""How much faster four workers are than one, where the vendor is what takes the time: one record a call, 200 ms each.

Measured by the vendor's own log: records ÷ seconds from the arrival of the first write to the answer of the last. So
neither the listing before nor the saving of the last outcomes after is in it, which are one process's work however many
workers there are; nor is the clock of another process. What a worker does between two calls is, and so is the end, when
some threads have no lane left. `steady` leaves the end out: the rate of the writes but the first and the last tenth. It
tells whether workers wait for each other, or the records were too few to keep all threads at work to the end.

The ceiling is threads ÷ latency: 20 records/s of a worker with four threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.stack import Worker
from tests.bench.figures import Found, Json, Row, at_least
from tests.bench.rig import SETTINGS, bench_rig
from tests.bench_vendor.connector import BATCH
from tests.bench_vendor.world import RIGHT

RECORDS, LEAST_RECORDS = 2_000, 160
COUNTS = (1, 2, 4)
THREADS = 4
LATENCY_S = 0.2
LANES = 64
LEAST = 3.4
CONTROL = Worker("worker-control", ("runs", "results", "housekeeping"))
LANES_SETTING = f"BOTHWAYS_SHARDS={LANES}: a lane has one thread at a time; 16 threads share few lanes unevenly"


@dataclass(frozen=True)
class Speed:
    """Records/s: of all writes, and of those but the first and the last tenth."""

    all: float
    steady: float


def measure(folder: Path, size: float) -> Found:
    records = max(LEAST_RECORDS, round(RECORDS * size))
    speeds = {count: _speed(folder / str(count), count, records) for count in COUNTS}
    most = max(COUNTS)
    ratio = speeds[most].all / speeds[1].all
    rows = [
        Row(_workers(count), f"{speeds[count].all:.1f} records/s", f"of {_ceiling(count):.0f}, threads ÷ latency")
        for count in COUNTS
    ]
    rows.append(at_least(f"{most} workers beside one", ratio, LEAST, f"of {most}"))
    rows.append(Row("… without the first and the last tenth", f"{speeds[most].steady / speeds[1].steady:.2f} ×"))
    return Found(_figures(speeds, records, ratio), rows, (*SETTINGS, LANES_SETTING))


def _figures(speeds: Mapping[int, Speed], records: int, ratio: float) -> Json:
    most = max(speeds)
    return {
        **{str(count): round(speed.all, 2) for count, speed in speeds.items()},
        "ratio": round(ratio, 3),
        "steady": {str(count): round(speed.steady, 2) for count, speed in speeds.items()},
        "steady_ratio": round(speeds[most].steady / speeds[1].steady, 3),
        "ceiling": {str(count): _ceiling(count) for count in speeds},
        "records": records,
        "threads": THREADS,
        "latency_s": LATENCY_S,
        "lanes": LANES,
    }


def _speed(folder: Path, count: int, records: int) -> Speed:
    """That of so many event workers. A stack of its own, for what was just bound is read again by the next sync."""
    workers = [Worker(f"worker-events-{number}", ("events",), threads=THREADS) for number in range(count)]
    # One record a call at both sides: where one of them takes more, the engine's batches are as large as that one's.
    with bench_rig(
        folder, batch=1, left={BATCH: 1}, workers=(*workers, CONTROL), env={"BOTHWAYS_SHARDS": str(LANES)}
    ) as rig:
        rig.seed(records)
        rig.fetch()
        rig.bench.forget()
        rig.bench.limits(RIGHT, latency_s=LATENCY_S)
        rig.sync()
        return speed(rig.bench.log(RIGHT), records)


def speed(log: Sequence[Json], records: int) -> Speed:
    """Of the writes in a bench vendor's log, which must be of that many records, each written once."""
    writes = [row for row in log if row["asks"] == "write"]
    written = sum(row["records"] for row in writes if row["status"] == 200)
    assert (written, len(writes)) == (records, records), f"{written} records in {len(writes)} calls, not {records}"
    arrived = sorted(row["at"] for row in writes)
    took_s = max(row["ended"] for row in writes) - arrived[0]
    middle = arrived[records // 10 : records * 9 // 10]
    return Speed(records / took_s, (len(middle) - 1) / (middle[-1] - middle[0]))


def _ceiling(count: int) -> float:
    return count * THREADS / LATENCY_S


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''} of {THREADS} threads"
