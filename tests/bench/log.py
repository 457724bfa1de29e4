"""The sync logs of a million outcomes: how long each page takes over REST, and what it asks Postgres.

Pages are timed first and their statements counted afterwards, so that counting costs no time. The same is counted of a
small log: a page that asks more often of a large one would grow with it. Files are not among them: they are read a page
at a time, so that their statements do grow, and the time to their first byte says little.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.figures import Found, Row, at_most
from tests.logs.opened import OpenLog, open_log
from tests.logs.pages import pages

OUTCOMES, RUNS = 1_000_000, 2_000
SMALL_OUTCOMES, SMALL_RUNS = 200, 10
LONGEST_MS = 300


def measure(folder: Path, size: float) -> Found:
    outcomes = max(SMALL_OUTCOMES, int(OUTCOMES * size))
    with open_log(folder / "small", outcomes=SMALL_OUTCOMES, runs=SMALL_RUNS, durable=True) as log:
        few = {name: log.queries(path) for name, path in _pages(log).items()}
    with open_log(folder / "full", outcomes=outcomes, runs=RUNS, durable=True) as log:
        ms = {name: log.median_ms(path) for name, path in _pages(log).items()}
        many = {name: log.queries(path) for name, path in _pages(log).items()}
        filled_s = log.filled_s
    figures = {
        "pages": {name: {"ms": round(ms[name], 1), "queries": many[name]} for name in ms},
        "outcomes": outcomes,
        "filled_s": round(filled_s, 1),
        "queries_of_a_small_log": few,
    }
    return Found(figures, [*(_time(name, ms[name], many[name]) for name in ms), _constant(few, many)])


def _pages(log: OpenLog) -> dict[str, str]:
    return {name: path for name, path in pages(log.filled).items() if ".csv" not in path}


def _time(name: str, ms: float, queries: int) -> Row:
    return at_most(name, ms, LONGEST_MS, f"queries: {queries}", unit="ms", digits=0)


def _constant(few: dict[str, int], many: dict[str, int]) -> Row:
    """Of a small log and of the large one."""
    more = [name for name in many if many[name] != few[name]]
    said = f"other: {', '.join(more)}" if more else "constant"
    beside = f"{sum(many.values())} in all, {sum(few.values())} of {SMALL_OUTCOMES} outcomes"
    return Row("queries of a page", said, beside, "constant", not more)
