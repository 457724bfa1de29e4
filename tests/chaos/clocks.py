"""Wrong clocks in our own processes, without libfaketime: their wall clocks are off by what a file says, and may jump.

Only what Python code asks for is off (`time.time`, `datetime.now`): that is all the wall time that the product's own
code reads. Postgres, Redis and the vendors keep theirs, and the monotonic clock stays as it is.
"""

from __future__ import annotations

import datetime as real
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.chaos import strike

FILE = "clock.json"
HOOK = "tests.chaos.clocks:install"
PACKAGES = ("shared.connectors", "shared.engine", "shared.services.connections")
"""Where the product asks for the wall time as a datetime. Elsewhere the class stands for types, which must stay."""
FRESH_S = 0.02

_time = time.time


class _Offset:
    """Of this process, read again when the file may have changed. "" in the file stands for every process."""

    def __init__(self, path: Path, process: str) -> None:
        self._path = path
        self._process = process
        self._until = 0.0
        self._seconds = 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + FRESH_S
            try:
                told: Mapping[str, float] = json.loads(self._path.read_text())
            except FileNotFoundError:
                told = {}
            self._seconds = float(told.get(self._process, told.get("", 0.0)))
        return self._seconds


def set_offsets(folder: Path, offsets: Mapping[str, float]) -> None:
    """Seconds by process name; "" is everybody else. Empty: all are right."""
    fresh = folder / f".{FILE}.new"
    fresh.write_text(json.dumps(dict(offsets)))
    fresh.replace(folder / FILE)


def install() -> None:
    """The hook, in place of that of the strikes, which it calls."""
    strike.install()
    offset = _Offset(Path(os.environ[strike.FOLDER]).parent / FILE, strike.process_name())
    time.time = lambda: _time() + offset()
    shifted = _shifted(offset)
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGES) and getattr(module, "datetime", None) is real.datetime:
            module.datetime = shifted  # type: ignore[attr-defined]


def _shifted(offset: _Offset) -> type[real.datetime]:
    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real.datetime)

    class Shifted(real.datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: real.tzinfo | None = None) -> Any:
            return real.datetime.now(tz) + real.timedelta(seconds=offset())

        @classmethod
        def __get_pydantic_core_schema__(cls, source: object, handler: Callable[[object], object]) -> object:
            """Where it stands for a type after all: in what a route answers, looked at when it is first asked."""
            return handler(real.datetime)

    return Shifted
