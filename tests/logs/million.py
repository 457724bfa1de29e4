"""`python -m tests.logs.million`: a million outcomes in a database of its own, and how long each page of them takes.

Over REST, by HTTP on this machine, with a token: the median of nine. Of a CSV the time to its first bytes; then once to
its first rows, and how long all of it took and how much more memory that held. Exit code 1: one took over 300 ms.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.logs.opened import OpenLog, open_log
from tests.logs.pages import pages

LONGEST_MS = 300


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2_000)
    chosen = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="bothways-") as folder,
        open_log(Path(folder), outcomes=chosen.outcomes, runs=chosen.runs) as log,
    ):
        print(f"{chosen.outcomes} outcomes of {chosen.runs} syncs, filled in {log.filled_s:.0f} s")
        return measure(log)


def measure(log: OpenLog) -> int:
    slow = []
    for name, path in pages(log.filled).items():
        median = log.median_ms(path)
        print(f"{median:7.1f} ms  {name}{_whole(log.http, path) if '.csv' in path else ''}")
        if median > LONGEST_MS:
            slow.append(name)
    for name in slow:
        print(f"Longer than {LONGEST_MS} ms: {name}")
    return 1 if slow else 0


def _whole(client: httpx.Client, path: str) -> str:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, rows, first_ms = time.perf_counter(), 0, 0.0
    with client.stream("GET", path) as answer:
        for part in answer.iter_bytes():
            rows += part.count(b"\r\n")
            if rows > 1 and not first_ms:
                first_ms = (time.perf_counter() - began) * 1000
    took_s, more_kb = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    how = f"its first rows after {first_ms:.0f} ms, all {rows - 1} in {took_s:.1f} s"
    return f" ({how}, with {more_kb / 1024:.0f} MB more)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
