"""Whether a worker's memory grows with the number of records: the peak of its resident size in a first sync.

The peak is the kernel's own (VmHWM, of /proc), from the worker's start through Fetch and the sync to its end, so no
sample can miss it. A fresh stack for each number of records, all of them at one side, created at the other in batches
of 100. A worker is one process of several threads; what is held against the floor is the larger of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.local.stack import DEFAULT_WORKERS, Stack
from tests.bench.figures import Found, Json, Row, at_most
from tests.bench.rig import SETTINGS, bench_rig
from tests.bench_vendor.world import RIGHT

RECORDS = (2_000, 20_000, 200_000)
MOST = 1.3
KIB_PER_MIB = 1024


def measure(folder: Path, size: float) -> Found:
    """With a small `size` the smallest number of records stays, for the others are held against it."""
    counts = sorted({max(min(RECORDS), round(count * size)) for count in RECORDS})
    peaks: dict[int, Mapping[str, float]] = {}
    took_s: dict[int, float] = {}
    for count in counts:
        peaks[count], took_s[count] = _peaks(folder / str(count), count)
    largest = {count: max(found.values()) for count, found in peaks.items()}
    ratio = largest[counts[-1]] / largest[counts[0]]
    rows = [
        Row(f"peak of a first sync of {count:,}", f"{largest[count]:.0f} MiB", _each(peaks[count])) for count in counts
    ]
    rows.append(at_most(f"{counts[-1]:,} records beside {counts[0]:,}", ratio, MOST))
    figures: Json = {
        **{str(count): round(largest[count], 1) for count in counts},
        "ratio": round(ratio, 3),
        "workers": {str(count): {name: round(mib, 1) for name, mib in peaks[count].items()} for count in counts},
        "sync_s": {str(count): round(took_s[count], 1) for count in counts},
    }
    return Found(figures, rows, SETTINGS)


def _peaks(folder: Path, count: int) -> tuple[Mapping[str, float], float]:
    """(MiB by worker, seconds of the sync)."""
    with bench_rig(folder) as rig:
        rig.seed(count)
        rig.fetch()
        _, took_s = rig.sync()
        made = sum(row["records"] for row in rig.bench.log(RIGHT) if row["asks"] == "write")
        assert made == count, f"{made} records were made of {count}"
        return {worker.name: _peak_mib(rig.stack, worker.name) for worker in DEFAULT_WORKERS}, took_s


def _peak_mib(stack: Stack, name: str) -> float:
    process = stack.processes[name]
    assert process.starts == 1, f"{name} was started {process.starts} times: its peak is not of the whole sync"
    return high_water_mib(Path(f"/proc/{process.pid}/status").read_text())


def high_water_mib(status: str) -> float:
    """MiB, of a process's status as the kernel tells it: "VmHWM:     123456 kB", which are KiB."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / KIB_PER_MIB


def _each(peaks: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('worker-')} {mib:.0f}" for name, mib in peaks.items())
