"""The log of the calls that reached a vendor; a test reads it to say what was, or was not, asked."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from itertools import dropwhile

from deploy.sandbox.jsonio import JsonObject

KEPT = 200_000


@dataclass(slots=True)
class Call:
    """`at` is epoch milliseconds when the call arrived; `status` 0 means cut without an answer."""

    seq: int
    request_id: str
    at: float
    method: str
    path: str
    query: dict[str, str]
    status: int
    ms: float
    module: str | None
    record: str | None
    write: bool
    applied: bool
    fault: str | None
    user: str | None


class CallLog:
    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._last = 0

    def next_seq(self) -> int:
        self._last += 1
        return self._last

    def add(self, call: Call) -> None:
        self._calls.append(call)

    def since(self, seq: int) -> list[JsonObject]:
        return [asdict(call) for call in dropwhile(lambda call: call.seq <= seq, self._calls)]

    def clear(self) -> None:
        self._calls.clear()
