"""Each vendor's call limits, held by all processes together on Redis: in a window of time, and at the same time.

Windows roll, and a call counts from its end: whatever way a vendor counts (Xero's windows are fixed, where they begin
is not known; Zoho's are not documented) none of its windows ever holds more calls than it allows, and with work waiting
each call is followed by another one window later, which is as much as a fixed window gives.

Classes are served in their order (`CallClass`), by arrival within one. Each keeps a share of a limit from those below
it, 5 % of it in all; the shares are given free bit by bit in the last 5 s of a minute (in proportion of other windows):
while as many calls as are reserved come back within that time, somebody who needs them waits for seconds at most. From
a quarter of a window on, runs and audits are paced, so that what is left lasts until calls come back: calls that were
made in a burst come back in a burst, a window later, and until then there would be none for anybody. (Simulated at 60
a minute, with somebody who needs two calls every 7 to 20 s: they wait 2.3 s at worst, and 97 % of the calls are used.
Paced from half a window on it is 8 s, at an even pace that does not ask when calls come back 26 s, without pace 38 s.)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.connectors.base import CallClass, Limit, LimitScope
from shared.connectors.limit_scripts import ACQUIRE, BLOCK, RELEASE
from shared.errors import RateLimited, Unavailable

RESERVED_PERCENT = 5
_KEPT = {
    CallClass.PERSON: 0.0,
    CallClass.WEBHOOK: 0.4,
    CallClass.RETRY: 0.65,
    CallClass.RUN: 0.9,
    CallClass.AUDIT: 1.0,
}
"""Which part of the reserves a class leaves to those above it."""
_PACED = (CallClass.RUN, CallClass.AUDIT)
_PACED_WINDOW_MOST_S = 600
"""A day's limit is not spread over the day: a first sync would take one."""
POLL_MOST_S = 0.5
"""How long a waiter sleeps before it asks again: room may come sooner than was known."""
_LAPSE_S = 1.0
"""After a call's own deadline: then its process is dead, or frozen."""
_BLOCK_MOST_TIMES = 8
"""Refusals without a word double the wait up to so many times the first one."""


def redis_client(url: str) -> Redis:
    """A client that repeats nothing: a script whose reply was lost must not run a second time unseen."""
    return Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=5, socket_connect_timeout=3, health_check_interval=10
    )


def reserved(calls: int) -> int:
    """Calls of a limit that all reserves together keep from the lowest class."""
    return calls * RESERVED_PERCENT // 100


def kept(calls: int, cls: CallClass) -> int:
    """Calls of a limit that a class leaves to those above it."""
    return int(_KEPT[cls] * reserved(calls) + 0.5)


def figures(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """(limit, remaining) of headers that do not name their limit. Zoho's products spell them in two ways."""
    for prefix in ("x-rate-limit", "x-ratelimit"):
        limit, remaining = _figure(headers, f"{prefix}-limit"), _figure(headers, f"{prefix}-remaining")
        if limit is not None and remaining is not None:
            return limit, remaining
    return None


def used_by_vendor(limits: Iterable[Limit], headers: Mapping[str, str]) -> dict[str, int]:
    """Calls that the vendor has counted, by limit, where its headers tell. A limit without a header of its own is known
    by its figure only."""
    unnamed = figures(headers)
    found = {}
    for limit in limits:
        published = limit.published or limit.calls
        if limit.remaining_header:
            remaining = _figure(headers, limit.remaining_header)
        else:
            remaining = unnamed[1] if unnamed and unnamed[0] == published and limit.window_s else None
        if remaining is not None:
            found[limit.name] = max(0, published - remaining)
    return found


def _figure(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """`for_s` 0: taken. `limit` is the one to wait for longest; `arrival` the place among those that wait."""

    for_s: float
    limit: str
    arrival: str


class RedisLimiter:
    """The budget of one org. `org_key` names the vendor's org, its first part (to ":") the vendor: two connections of
    an org share its budget, all orgs of `app_key` the limits of the app."""

    def __init__(
        self,
        redis: Redis,
        org_key: str,
        limits: Sequence[Limit],
        *,
        app_key: str = "",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = tuple(limits)
        self._has_app = any(limit.scope is LimitScope.APP for limit in limits)
        self._sleep = sleep
        self._clock = clock
        # The braces keep a vendor's keys on one slot of a cluster, which a script needs.
        family = f"bw:limit:{{{org_key.partition(':')[0]}}}"
        self._scopes = {LimitScope.ORG: f"{family}:org:{org_key}", LimitScope.APP: f"{family}:app:{app_key}"}
        org, app = self._scopes[LimitScope.ORG], self._scopes[LimitScope.APP]
        self._keys = [f"{org}:in", f"{org}:wait", f"{org}:blocks", f"{app}:in", f"{app}:blocks"]
        for limit in limits:
            key = f"{self._scopes[limit.scope]}:{limit.name}"
            self._keys += [key, f"{key}:calls"]
        self._acquire = redis.register_script(ACQUIRE)
        self._release = redis.register_script(RELEASE)
        self._block = redis.register_script(BLOCK)

    def acquire(self, cls: CallClass, *, wait_s: float, hold_s: float = 30.0) -> str:
        """As the protocol says. `retry_after_s` of RateLimited is when a try may succeed; it is raised at once where
        waiting would be in vain."""
        token = secrets.token_hex(6)
        until = self._clock() + wait_s
        arrival = ""
        while True:
            left_s = max(0.0, until - self._clock())
            waiting = self._try(cls, token, arrival, left_s, hold_s + _LAPSE_S)
            if waiting.for_s == 0:
                return token
            if waiting.for_s > left_s:
                raise RateLimited(
                    f"The budget of calls for this org is used up for the moment ({waiting.limit}).",
                    retry_after_s=waiting.for_s,
                    limit=waiting.limit,
                )
            arrival = waiting.arrival
            self._sleep(min(waiting.for_s, POLL_MOST_S))

    def _try(self, cls: CallClass, token: str, arrival: str, left_s: float, hold_s: float) -> _Waiting:
        args: list[str | int] = [token, _RANK[cls], arrival, _ms(left_s), _ms(hold_s), _ms(POLL_MOST_S)]
        args += [len(self._limits), int(self._has_app)]
        for limit in self._limits:
            paced = cls in _PACED and 0 < limit.window_s <= _PACED_WINDOW_MOST_S
            args += [*_figures_of(limit), kept(limit.calls, cls), reserved(limit.calls), int(paced)]
        try:
            wait_ms, which, place, name = self._acquire(keys=self._keys, args=args)
        except RedisError:
            pass
        else:
            what = self._limits[which - 1].name if which > 0 else _text(name)
            return _Waiting(wait_ms / 1000, what, _text(place))
        raise Unavailable("Redis does not answer; no call is made without its budget.")

    def release(self, token: str, *, sent: bool = True, headers: Mapping[str, str] | None = None) -> None:
        used = used_by_vendor(self._limits, headers or {})
        args: list[str | int] = [token, int(sent), len(self._limits)]
        for limit in self._limits:
            args += [*_figures_of(limit), used.get(limit.name, -1)]
        with suppress(RedisError):  # it lapses by itself
            self._release(keys=self._keys, args=args)

    def block(self, *, limit: str, problem: str, said_s: float | None, otherwise_s: float) -> tuple[str, float]:
        found = self._named(limit, problem)
        scope = found.scope if found else LimitScope.ORG
        name = found.name if found else limit or problem.strip().lower() or "unknown"
        first_s = said_s or otherwise_s
        args: list[str | int] = [name, _ms(said_s or 0), _ms(otherwise_s), _ms(otherwise_s * _BLOCK_MOST_TIMES)]
        try:
            blocked_ms = self._block(keys=[f"{self._scopes[scope]}:blocks"], args=args)
        except RedisError:
            return name, first_s
        return name, blocked_ms / 1000

    def _named(self, limit: str, problem: str) -> Limit | None:
        wanted = problem.strip().lower()
        for one in self._limits:
            if one.problem == wanted if wanted else one.name == limit:
                return one
        return None


_RANK = {cls: str(rank) for rank, cls in enumerate(CallClass)}
_SCOPE = {LimitScope.ORG: 1, LimitScope.APP: 2}


def _figures_of(limit: Limit) -> list[int]:
    return [limit.calls, limit.window_s * 1000, _SCOPE[limit.scope]]


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Unlimited:
    """No budget: for sign-in, where no org is known yet, and where a setting switches all limits off."""

    def acquire(self, cls: CallClass, *, wait_s: float, hold_s: float = 30.0) -> str:
        return ""

    def release(self, token: str, *, sent: bool = True, headers: Mapping[str, str] | None = None) -> None:
        return

    def block(self, *, limit: str, problem: str, said_s: float | None, otherwise_s: float) -> tuple[str, float]:
        return limit, said_s or otherwise_s
