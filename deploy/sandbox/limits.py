"""Call limits of a vendor: per minute, per day, at once. All off until the control turns them on."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from deploy.sandbox.jsonio import JsonObject

MINUTE_S = 60
DAY_S = 86_400
NAMES = frozenset({"per_minute", "per_day", "concurrent", "window_s", "day_s"})


@dataclass(slots=True)
class Verdict:
    """`exceeded` is None, "minute", "day" or "concurrent"; the numbers are those of the minute."""

    exceeded: str | None
    limit: int | None = None
    remaining: int = 0
    reset_s: int = 0


class Limits:
    """The minute is a rolling window, the day a fixed one from the first call on [I]; `window_s` and `day_s` shorten
    them for tests. A refused call uses nothing up [I]."""

    def __init__(self, published: JsonObject) -> None:
        self._published = published
        self.settings: JsonObject = {}
        self._minute: defaultdict[str, deque[float]] = defaultdict(deque)
        self._day: dict[str, tuple[float, int]] = {}
        self._inside: Counter[str] = Counter()
        self._most_inside: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def configure(self, given: JsonObject) -> JsonObject:
        settings = dict(self._published) if given.get("published") else {}
        settings.update({key: value for key, value in given.items() if key != "published"})
        unknown = set(settings) - NAMES
        if unknown:
            raise ValueError(f"unknown limits {sorted(unknown)}")
        for name in ("window_s", "day_s"):
            if float(settings.get(name, 1)) <= 0:
                raise ValueError(f"{name} is above 0")
        self.settings = settings
        self._minute.clear()
        self._day.clear()
        self._most_inside.clear()
        return settings

    def reset(self) -> None:
        self.configure({})
        self.allowed.clear()
        self.refused.clear()

    def usage(self) -> JsonObject:
        """By whose limit it is: what is used and left now of each limit that is on; `most` were inside at once."""
        now = time.monotonic()
        return {key: self._usage_of(key, now) for key in sorted({*self._day, *+self._inside})}

    def _usage_of(self, key: str, now: float) -> JsonObject:
        minute = self._minute_verdict(key, now)
        used = {
            "per_minute": (minute.limit or 0) - minute.remaining,
            "per_day": self._today(key, now),
            "concurrent": self._inside[key],
        }
        shown: JsonObject = {}
        for name, count in used.items():
            if self.settings.get(name) is not None:
                limit = int(self.settings[name])
                shown[name] = {"limit": limit, "used": count, "remaining": max(0, limit - count)}
        if "per_minute" in shown:
            shown["per_minute"]["reset_s"] = minute.reset_s
        if "per_day" in shown:
            shown["per_day"]["reset_s"] = self._day_reset_s(key, now)
        if "concurrent" in shown:
            shown["concurrent"]["most"] = self._most_inside[key]
        return shown

    def _day_reset_s(self, key: str, now: float) -> int:
        start, _ = self._day.get(key, (now, 0))
        return math.ceil(self._day_s - (now - start))

    @property
    def _day_s(self) -> float:
        return float(self.settings.get("day_s", DAY_S))

    def enter(self, key: str) -> Verdict:
        """Counts the call. When `exceeded` is None the caller must call `leave`."""
        if not self.settings:
            self._inside[key] += 1
            self.allowed[key] += 1
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
        else:
            self.refused[verdict.exceeded] += 1
        return verdict

    def leave(self, key: str) -> None:
        self._inside[key] -= 1

    def _over(self, name: str, used: int) -> bool:
        limit = self.settings.get(name)
        return limit is not None and used >= int(limit)

    def _count(self, key: str, now: float) -> None:
        if self.settings.get("per_minute") is not None:
            self._minute[key].append(now)
        start, used = self._day.get(key, (now, 0))
        self._day[key] = (start, used + 1)
        self._inside[key] += 1
        self._most_inside[key] = max(self._most_inside[key], self._inside[key])
        self.allowed[key] += 1

    def _today(self, key: str, now: float) -> int:
        start, used = self._day.get(key, (now, 0))
        if now - start >= self._day_s:
            self._day.pop(key, None)
            return 0
        return used

    def _minute_verdict(self, key: str, now: float) -> Verdict:
        limit = self.settings.get("per_minute")
        if limit is None:
            return Verdict(None)
        window_s = float(self.settings.get("window_s", MINUTE_S))
        stamps = self._minute[key]
        while stamps and now - stamps[0] >= window_s:
            stamps.popleft()
        reset_s = math.ceil(window_s - (now - stamps[0])) if stamps else math.ceil(window_s)
        over = len(stamps) >= int(limit)
        return Verdict("minute" if over else None, int(limit), max(0, int(limit) - len(stamps)), reset_s)
