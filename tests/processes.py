"""What the process table shows of others."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def command_lines(pids: Iterable[int]) -> dict[int, str]:
    """By pid, of those that still live when they are looked at: helpers of Postgres come and go."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return found
