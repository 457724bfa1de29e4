"""Where a task meets trouble that passes by itself: one line in the log, and the sweep comes back to it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import BothwaysError

log = logging.getLogger("workers")


@contextmanager
def quietly(task: str) -> Iterator[None]:
    try:
        yield
    except BothwaysError as error:
        log.warning("%s: %s: %s", task, error.code, error)
