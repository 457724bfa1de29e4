"""Token buckets: so many a second, and a burst. Of one process, without I/O."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

MOST_ADDRESSES = 10_000


class Bucket:
    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._left = burst
        self._at = clock()

    def take(self) -> bool:
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Addresses:
    """A bucket per address, of those that were seen last: whoever has more addresses than that is not held by this."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._new = partial(Bucket, per_s, burst, clock)
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str) -> bool:
        key = network_of(address)
        with self._lock:
            bucket = self._buckets.setdefault(key, self._new())
            self._buckets.move_to_end(key)
            if len(self._buckets) > MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        return bucket.take()


def network_of(address: str) -> str:
    """Whoever has one IPv6 address has all 2**64 beside it; they count as one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped or ipaddress.ip_network((found.packed, 64), strict=False))
