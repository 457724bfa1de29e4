"""Plays cells on as few rigs as will do, several rigs side by side, and writes down what came out as it comes."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.cell import Cell, Line, play
from tests.chaos.rig import Rig, Shape

CELLS_PER_RIG = 14
"""Then a fresh one: each cell leaves its records behind, and lists grow."""


@dataclass
class Plan:
    """Cells of one shape, to be played one after another. Lanes take whole groups."""

    shape: Shape
    cells: deque[Cell]


@dataclass
class Results:
    say: Callable[[str], None]
    lines: list[Line] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, line: Line, cell: Cell) -> None:
        with self.lock:
            self.lines.append(line)
            healed = "-" if line.healed_s is None else f"{line.healed_s:.0f}"
            quiet = "-" if line.quiet_s is None else f"{line.quiet_s:.0f}"
            verdict = "ok " if line.ok else "RED"
            self.say(f"{verdict} {cell.name:<38} healed {healed:>4} quiet {quiet:>4}  took {line.took_s:5.1f} s")
            for finding in line.findings[:6]:
                self.say(f"      {finding}")
            if len(line.findings) > 6:
                self.say(f"      … {len(line.findings) - 6} more")
            if line.evidence:
                self.say(f"      evidence: {line.evidence}")


def grouped(cells: Iterable[Cell]) -> list[Plan]:
    """By shape, in groups of a rig's length; those with a rig of their own alone."""
    plans: list[Plan] = []
    open_plans: dict[Shape, Plan] = {}
    for cell in cells:
        if cell.fresh:
            plans.append(Plan(cell.shape, deque([cell])))
            continue
        plan = open_plans.get(cell.shape)
        if plan is None or len(plan.cells) >= CELLS_PER_RIG:
            plan = open_plans[cell.shape] = Plan(cell.shape, deque())
            plans.append(plan)
        plan.cells.append(cell)
    return plans


def run(
    cells: list[Cell], *, lanes: int, evidence: Path, say: Callable[[str], None], stop: threading.Event
) -> list[Line]:
    """True-scale cells mostly wait, so they have a lane of their own beside the others'."""
    results = Results(say)
    slow = grouped(cell for cell in cells if cell.shape.scale >= 1)
    quick = grouped(cell for cell in cells if cell.shape.scale < 1)
    waiting = [(deque(quick), lanes), (deque(slow), 1 if slow else 0)]
    threads = [
        threading.Thread(target=_lane, args=(plans, results, evidence, stop), name=f"lane-{n}", daemon=True)
        for plans, number in waiting
        for n in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    _again(results, cells, evidence, stop)
    return results.lines


def _again(results: Results, cells: list[Cell], evidence: Path, stop: threading.Event) -> None:
    """Cells that were only slow are played once more, alone: side by side they measure the machine. The second counts,
    and it is said that it was one."""
    slow = [line for line in results.lines if line.only_slow]
    names = {(line.fault, line.step, line.seed, line.scale) for line in slow}
    for line in slow:
        results.lines.remove(line)
    chosen = [cell for cell in cells if (cell.fault, cell.step, cell.seed, cell.shape.scale) in names]
    if chosen:
        results.say(f"{len(chosen)} cells were only slow: once more, one at a time")
    before = len(results.lines)
    for plan in grouped(chosen):
        _play_all(plan, results, evidence, stop)
    for line in results.lines[before:]:
        line.again = True
    played = {(line.fault, line.step, line.seed, line.scale) for line in results.lines}
    results.lines += [line for line in slow if (line.fault, line.step, line.seed, line.scale) not in played]


def _lane(plans: deque[Plan], results: Results, evidence: Path, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            plan = plans.popleft()
        except IndexError:
            return
        _play_all(plan, results, evidence, stop)


def _play_all(plan: Plan, results: Results, evidence: Path, stop: threading.Event) -> None:
    """After a red cell the rig is thrown away: what it left behind must not colour the next."""
    failures = 0
    while plan.cells and not stop.is_set():
        left = len(plan.cells)
        try:
            with Rig.start(plan.shape) as rig:
                _play_on(rig, plan, results, evidence, stop)
        except Exception:  # noqa: BLE001  (a rig that does not start, or stop, is a red cell of its own)
            failures = failures + 1 if len(plan.cells) == left else 0
            why = "the rig failed: " + traceback.format_exc(limit=-4)
            # One may have met bad luck; three in a row say that nothing of this shape starts.
            for _ in range(len(plan.cells) if failures == 3 else min(1, len(plan.cells))):
                cell = plan.cells.popleft()
                results.add(Line(cell.fault, cell.step, cell.seed, cell.shape.scale, findings=[why]), cell)


def _play_on(rig: Rig, plan: Plan, results: Results, evidence: Path, stop: threading.Event) -> None:
    while plan.cells and not stop.is_set():
        cell = plan.cells.popleft()
        line = play(rig, cell, evidence)
        results.add(line, cell)
        if not line.ok:
            return


def table(lines: list[Line]) -> list[str]:
    """Fault × promise × seeds."""
    by_fault: dict[str, list[Line]] = {}
    for line in lines:
        by_fault.setdefault(line.fault, []).append(line)
    rows = [
        f"{'fault':<22} {'cells':>5} {'red':>4} {'lost':>5} {'doubled':>8} {'stale':>6} {'healed':>7}  broken; seeds"
    ]
    for fault, own in by_fault.items():
        healed = max((line.healed_s or 0.0 for line in own), default=0.0)
        broken = sorted({promise for line in own for promise in line.promises}, key=lambda p: int(p[1:]))
        seeds = ",".join(str(seed) for seed in sorted({line.seed for line in own}))
        rows.append(
            f"{fault:<22} {len(own):>5} {sum(not line.ok for line in own):>4} {sum(line.lost for line in own):>5} "
            f"{sum(line.doubled for line in own):>8} {sum(line.stale_writes for line in own):>6} {healed:>6.0f}s  "
            f"{' '.join(broken) or '-'}; {seeds}"
        )
    return rows


def write_json(lines: list[Line], path: Path) -> None:
    told = [
        {
            "fault": line.fault,
            "step": line.step,
            "seed": line.seed,
            "lost": line.lost,
            "doubled": line.doubled,
            "stale_writes": line.stale_writes,
            "healed_s": None if line.healed_s is None else round(line.healed_s, 1),
            "quiet_s": None if line.quiet_s is None else round(line.quiet_s, 1),
            "scale": line.scale,
            "ok": line.ok,
            "again": line.again,
            "findings": line.findings,
        }
        for line in lines
    ]
    path.write_text(json.dumps(told, indent=1) + "\n")


def say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()
