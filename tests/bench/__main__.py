"""`make bench`: measures each section in turn, prints a table and writes bench.json. Exit code 1: a floor is not held.

Each figure stands beside what bounds it, measured in the same run: machines differ and are shared, ratios do not care.
`--size 0.1` takes a tenth of the records and of the time, for a look; its figures are no result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from tests.bench.figures import Found, table

SECTIONS = ("throughput", "webhooks", "latency", "calls", "scaling", "memory", "idle", "log")
"""In this order; each is a module of this package with `measure(folder, size) -> Found`."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measures the product beside its ceilings.")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section alone; may be repeated")
    parser.add_argument("--size", type=float, default=1.0, help="share of the records and of the time (1.0)")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go (bench.json)")
    chosen = parser.parse_args(arguments)
    found: list[tuple[str, Found]] = []
    took_s: dict[str, float] = {}
    for name in chosen.only or SECTIONS:
        began = time.monotonic()
        _say(f"{name} …")
        with tempfile.TemporaryDirectory(prefix="bothways-bench-") as folder:
            found.append((name, import_module(f"tests.bench.{name}").measure(Path(folder), chosen.size)))
        took_s[name] = round(time.monotonic() - began, 1)
        _say(f"{name}: {took_s[name]:.0f} s")
    print(table(found))
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": chosen.size,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "took_s": took_s,
        "settings": sorted({setting for _, section in found for setting in section.settings}),
    }
    chosen.json.write_text(json.dumps({"about": about, **{name: one.figures for name, one in found}}, indent=1) + "\n")
    missed = [f"{name}: {row.what}" for name, section in found for row in section.rows if row.held is False]
    print(f"\nNot held: {'; '.join(missed)}." if missed else "\nAll floors are held.", f"Written: {chosen.json}")
    return 1 if missed else 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
