"""The log of the calls that reached a vendor; a test reads it to say what was, or was not, asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

KEPT = 200_000


@dataclass(slots=True)
class Call:
    """`at` is epoch milliseconds when the call arrived, `ms` how long it took; `status` 0 means cut without an answer.
    `inner`: the contact person, of a call about one; `record` is the contact then.

    `replied`: the whole answer was handed to a connection that still stood. `seq` counts the calls as they ended, so
    that whoever reads on from the last one misses none that took long."""

    request_id: str
    at: float
    method: str
    path: str
    query: dict[str, str]
    write: bool
    seq: int = 0
    status: int = 0
    ms: float = 0.0
    module: str | None = None
    record: str | None = None
    inner: str | None = None
    applied: bool = False
    fault: str | None = None
    user: str | None = None
    replied: bool = False


class CallLog:
    """The newest are kept, without a gap: `seq` of neighbours differs by one."""

    def __init__(self, kept: int = KEPT) -> None:
        self._calls: deque[Call] = deque(maxlen=kept)
        self.last = 0
        self._cleared = 0

    def add(self, call: Call) -> None:
        self.last += 1
        call.seq = self.last
        self._calls.append(call)

    def since(self, seq: int) -> list[Call]:
        """Those that ended after `seq`, as they ended."""
        first = self.last - len(self._calls)
        return list(islice(self._calls, max(0, seq - first), None))

    def dropped(self, seq: int) -> int:
        """How many ended after `seq` and are no longer kept, though nobody cleared them."""
        return max(0, self.last - len(self._calls) - max(seq, self._cleared))

    def clear(self) -> None:
        self._calls.clear()
        self._cleared = self.last
