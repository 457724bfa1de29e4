"""Which of our batches a vendor's call belongs to: told to the vendor as X-Request-Id, to lay both logs side by side.

"<fence>.<batch>": ids of ours, nothing of anybody's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("correlation", default="")


@contextmanager
def calls_of(fence: int, batch_id: str) -> Iterator[None]:
    token = _current.set(f"{fence}.{batch_id[:12]}")
    try:
        yield
    finally:
        _current.reset(token)


def request_id() -> str:
    """Empty outside a batch."""
    return _current.get()
