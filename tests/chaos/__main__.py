"""`python -m tests.chaos`: the whole matrix, or a part of it. Exit 1 when any cell is red."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.cell import Cell
from tests.chaos.cells import NOT_RUN, SLUGS, all_cells
from tests.chaos.runner import run, say, table, write_json


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", default="", help="slugs, or slug/step, by comma")
    parser.add_argument("--short", action="store_true", help="one seed of each step, no cell at true scale")
    parser.add_argument("--seed", type=int, help="added to every cell's seed")
    parser.add_argument("--lanes", type=int, default=2, help="rigs side by side")
    parser.add_argument("--out", type=Path, default=Path("chaos.json"))
    parser.add_argument("--list", action="store_true", help="name the cells and go")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    cells = chosen(all_cells(), given.only, short=given.short, seed=given.seed)
    if given.list:
        for cell in cells:
            print(cell.name)
        return 0
    evidence = Path(tempfile.mkdtemp(prefix="bothways-chaos-evidence-"))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    began = time.monotonic()
    say(f"{len(cells)} cells, {len({cell.fault for cell in cells})} faults; evidence of red cells in {evidence}")
    lines = run(cells, lanes=given.lanes, evidence=evidence, say=say, stop=stop)
    write_json(lines, given.out)
    lines.sort(key=lambda line: (SLUGS.index(line.fault), line.scale, line.step, line.seed))
    print("\n".join(table(lines)))
    for what, why in NOT_RUN.items():
        print(f"not run: {what}: {why}")
    red = [line for line in lines if not line.ok]
    print(
        f"{len(lines)} of {len(cells)} cells, {len({line.fault for line in lines})} faults, {len(red)} red, "
        f"{time.monotonic() - began:.0f} s; written to {given.out}"
    )
    return 1 if red or len(lines) < len(cells) else 0


def chosen(cells: list[Cell], only: str, *, short: bool, seed: int | None) -> list[Cell]:
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    if wanted:
        cells = [
            cell
            for cell in cells
            if any(cell.name == word or f"{cell.fault}/{cell.step}/".startswith(word + "/") for word in wanted)
        ]
    if short:
        firsts: dict[tuple[str, str], Cell] = {}
        for cell in cells:
            if cell.shape.scale < 1:
                firsts.setdefault((cell.fault, cell.step), cell)
        cells = list(firsts.values())
    return [replace(cell, seed=cell.seed + seed) for cell in cells] if seed else cells


if __name__ == "__main__":
    sys.exit(main())
