"""`python -m tests.mutants`: each mutant must be caught, and the product as it is be green. Exit 1 where one is not."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tests.chaos.rig import Rig
from tests.chaos.runner import say
from tests.mutants.cells import CELLS, Small
from tests.mutants.mutants import MUTANTS
from tests.mutants.play import Verdict, catch, confirm, shape_of

Job = Callable[[], list[Verdict]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="mutants, or cells, by comma")
    parser.add_argument("--green", action="store_true", help="only the product as it is")
    parser.add_argument("--lanes", type=int, default=2, help="stacks side by side")
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    evidence = Path(tempfile.mkdtemp(prefix="bothways-mutants-evidence-"))
    began, stop = time.monotonic(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    wanted = {one.strip() for one in given.only.split(",") if one.strip()}
    jobs, expected = _jobs(wanted, evidence, green_only=given.green)
    verdicts = _run(jobs, given.lanes, stop)
    verdicts.sort(key=lambda one: (one.mutant is None, int(one.mutant.promise[1:]) if one.mutant else 0, one.name))
    given.out.write_text(json.dumps([one.as_dict() for one in verdicts], indent=1) + "\n")
    print("\n".join(_table(verdicts)))
    bad = [one for one in verdicts if not one.ok]
    print(
        f"{sum(one.mutant is not None and one.ok for one in verdicts)} mutants caught, "
        f"{sum(one.mutant is None and one.ok for one in verdicts)} cells green, {len(bad)} not as they must be, "
        f"{time.monotonic() - began:.0f} s; written to {given.out}"
    )
    if bad:
        print(f"evidence of them: {evidence}")
    return 1 if bad or len(verdicts) < expected else 0


def _jobs(wanted: set[str], evidence: Path, *, green_only: bool) -> tuple[deque[Job], int]:
    """Without a mutant, cells of one shape share a stack. How many verdicts there must be, too."""
    caught = [
        (small, name)
        for small in CELLS
        for name in small.mutants
        if not green_only and (not wanted or wanted & {small.name, name})
    ]
    cells = [small for small in CELLS if not wanted or wanted & {small.name, *small.mutants}]
    groups: dict[object, list[Small]] = {}
    for small in cells:
        groups.setdefault(small.shape, []).append(small)
    jobs: deque[Job] = deque(lambda own=own: _confirm(own, evidence) for own in groups.values())  # type: ignore[misc]
    jobs.extend(lambda small=small, name=name: [catch(small, MUTANTS[name], evidence / name)] for small, name in caught)  # type: ignore[misc]
    return jobs, len(cells) + len(caught)


def _confirm(cells: list[Small], evidence: Path) -> list[Verdict]:
    """A red cell leaves no stack to the next."""
    verdicts: list[Verdict] = []
    left = deque(cells)
    while left:
        try:
            with Rig.start(shape_of(left[0], None)) as rig:
                while left:
                    small = left.popleft()
                    verdicts.append(confirm(rig, small, evidence / small.name.replace(" ", "_")))
                    _say(verdicts[-1])
                    if not verdicts[-1].ok:
                        break
        except Exception:  # noqa: BLE001  (told in the table)
            if len(verdicts) == len(cells) - len(left):  # none was under way
                left.popleft()
            small = cells[len(verdicts)] if len(verdicts) < len(cells) else cells[-1]
            verdicts.append(Verdict(small, None, failed="the rig failed: " + traceback.format_exc(limit=-4)))
    return verdicts


def _run(jobs: deque[Job], lanes: int, stop: threading.Event) -> list[Verdict]:
    found: list[Verdict] = []
    lock = threading.Lock()

    def lane() -> None:
        while not stop.is_set():
            try:
                job = jobs.popleft()
            except IndexError:
                return
            own = job()
            with lock:
                found.extend(own)
                for one in own:
                    if one.mutant is not None:
                        _say(one)

    threads = [threading.Thread(target=lane, name=f"lane-{n}", daemon=True) for n in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    return found


def _say(one: Verdict) -> None:
    say(f"{'ok ' if one.ok else 'BAD'} {one.name:<22} {one.small.name:<27} {one.took_s:5.1f} s  {one.told()}")
    last = one.played[-1] if one.played else None
    if last is not None and not one.ok:
        for finding in [*last.findings[:6], *filter(None, [last.missed])]:
            say(f"      {finding}")


def _table(verdicts: list[Verdict]) -> list[str]:
    rows = [f"{'mutant':<22} {'promise':<8} {'cell':<27} verdict"]
    for one in verdicts:
        promise = one.mutant.promise if one.mutant else ""
        rows.append(f"{one.name:<22} {promise:<8} {one.small.name:<27} {one.told().splitlines()[0]}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
