"""Many worker processes (tests/integration/hand.py), and killing some of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs to read the same settings."""
    given = settings.model_dump(exclude_unset=True)
    found = {key: value for key, value in os.environ.items() if not key.startswith("BOTHWAYS_")}
    for name, value in given.items():
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        found[name.upper() if name in ("database_url", "redis_url") else f"BOTHWAYS_{name.upper()}"] = text
    return found


@contextmanager
def hands(settings: Settings, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """That many, all ready; they are gone after the block."""
    command = [sys.executable, "-m", "tests.integration.hand"]
    made = [
        subprocess.Popen(
            command, env=environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(number)
    ]  # fmt: skip
    try:
        for one in made:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        yield made
    finally:
        for one in made:
            one.kill()
        for one in made:
            one.wait(10)
            for pipe in (one.stdin, one.stdout):
                if pipe is not None:
                    pipe.close()
