"""Workers as processes, and files with bad rows in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.settings import Settings

BAD = ('"{n},open quote\n', "Bad {n},not a number\n", ",{n}\n", "Bad {n},1,too,many\n")
"""Rows that fail for four reasons."""
BAD_EVERY = 25


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """For a worker with the settings of a test."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    found = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "BOTHWAYS_KEY_FILE": str(settings.key_file),
        "BOTHWAYS_SANDBOX_URL": str(settings.sandbox_url),
        "BOTHWAYS_TIME_SCALE": str(settings.time_scale),
        "BOTHWAYS_DOUBT_SPAN_S": str(settings.doubt_span_s),
        "BOTHWAYS_WORKER_GONE_S": str(settings.worker_gone_s),
        "BOTHWAYS_LOG_LEVEL": "WARNING",
        **more,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOTHWAYS_")}
    return {**kept, **found}


@contextmanager
def worker(env: dict[str, str], import_id: int) -> Iterator[subprocess.Popen[bytes]]:
    """Killed with the block, if it has not ended by then."""
    command = [sys.executable, "-m", "tests.imports.worker", str(import_id)]
    with subprocess.Popen(command, env=env, cwd=Path(__file__).resolve().parents[2]) as process:
        try:
            yield process
        finally:
            process.kill()


def rows(count: int) -> Iterator[str]:
    """Lines of a file of items (name, price): each 25th is bad, by turns for each reason."""
    for n in range(count):
        yield BAD[n // BAD_EVERY % len(BAD)].format(n=n) if n % BAD_EVERY == BAD_EVERY - 1 else f"Item {n:06},{n}.5\n"


def bad_rows(count: int) -> int:
    return count // BAD_EVERY


def resident_kib(pid: int) -> int:
    """VmRSS of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
