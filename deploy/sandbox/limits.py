"""Call limits of a vendor: per minute, per day, at once. All off until the control turns them on."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from deploy.sandbox.jsonio import JsonObject

DAY_S = 86_400


@dataclass(slots=True)
class Verdict:
    """`exceeded` is None, "minute", "day" or "concurrent"; the numbers are those of the minute."""

    exceeded: str | None
    limit: int | None = None
    remaining: int = 0
    reset_s: int = 0


class Limits:
    """The minute is a rolling window [I]; `window_s` shortens it for tests. A refused call is not counted [I]."""

    def __init__(self, published: JsonObject) -> None:
        self._published = published
        self.settings: JsonObject = {}
        self._minute: defaultdict[str, deque[float]] = defaultdict(deque)
        self._day: dict[str, tuple[float, int]] = {}
        self._inside: Counter[str] = Counter()

    def configure(self, given: JsonObject) -> JsonObject:
        settings = dict(self._published) if given.get("published") else {}
        settings.update({key: value for key, value in given.items() if key != "published"})
        unknown = set(settings) - {"per_minute", "per_day", "concurrent", "window_s"}
        if unknown:
            raise ValueError(f"unknown limits {sorted(unknown)}")
        self.settings = settings
        self._minute.clear()
        self._day.clear()
        return settings

    def enter(self, key: str) -> Verdict:
        """Counts the call. When `exceeded` is None the caller must call `leave`."""
        if not self.settings:
            self._inside[key] += 1
            return Verdict(None)
        now = time.monotonic()
        verdict = self._minute_verdict(key, now)
        if self._over("concurrent", self._inside[key]):
            verdict.exceeded = "concurrent"
        elif self._over("per_day", self._today(key, now)):
            verdict.exceeded = "day"
        if verdict.exceeded is None:
            self._count(key, now)
            verdict.remaining -= 1
        return verdict

    def leave(self, key: str) -> None:
        self._inside[key] -= 1

    def _over(self, name: str, used: int) -> bool:
        limit = self.settings.get(name)
        return limit is not None and used >= int(limit)

    def _count(self, key: str, now: float) -> None:
        self._minute[key].append(now)
        start, used = self._day.get(key, (now, 0))
        self._day[key] = (start, used + 1)
        self._inside[key] += 1

    def _today(self, key: str, now: float) -> int:
        start, used = self._day.get(key, (now, 0))
        if now - start >= DAY_S:
            del self._day[key]
            return 0
        return used

    def _minute_verdict(self, key: str, now: float) -> Verdict:
        limit = self.settings.get("per_minute")
        if limit is None:
            return Verdict(None)
        window_s = float(self.settings.get("window_s", 60))
        stamps = self._minute[key]
        while stamps and now - stamps[0] >= window_s:
            stamps.popleft()
        reset_s = math.ceil(window_s - (now - stamps[0])) if stamps else math.ceil(window_s)
        over = len(stamps) >= int(limit)
        return Verdict("minute" if over else None, int(limit), max(0, int(limit) - len(stamps)), reset_s)
