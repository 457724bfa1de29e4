"""What BOTHWAYS_TEST_HOOK names in these stacks: the mutant of this process, then the strikes of the matrix."""

from __future__ import annotations

import os

from tests.chaos import strike
from tests.mutants.mutants import MUTANTS, put

HOOK = "tests.mutants.hook:install"
MUTANT = "BOTHWAYS_MUTANT"
CHUNK = "BOTHWAYS_MUTANTS_CHUNK"


def install() -> None:
    """Without a mutant named, the product stays as it is."""
    if name := os.environ.get(MUTANT):
        put(MUTANTS[name])
    if chunk := os.environ.get(CHUNK):
        _queue_by(int(chunk))
    strike.install()


def _queue_by(records: int) -> None:
    """The poller looks at its bound before each chunk: small ones let a small bound be seen."""
    from shared.engine import queue

    if not isinstance(queue.QUEUE_CHUNK, int):
        raise TypeError("the poller has no chunks any more")
    queue.QUEUE_CHUNK = records
