"""Each vendor's call limits, held by all processes together: a rolling window per org and limit on Redis.

One script decides for all limits of an org at once, by Redis' own clock. A slot that was taken and not used (a lost
reply, a call that was not sent) only makes us slower, so nothing is ever given back.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.connectors.base import CallClass, Limit
from shared.errors import RateLimited, Unavailable

# KEYS: blocked, then a sorted set per limit. ARGV: token, then calls and window (ms) per limit.
# Returns 0 where the call may go, else the milliseconds to wait. Members carry the token: each call has its own.
_ACQUIRE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local wait = redis.call('PTTL', KEYS[1])
if wait < 0 then wait = 0 end
for i = 2, #KEYS do
  local calls, window = tonumber(ARGV[i * 2 - 2]), tonumber(ARGV[i * 2 - 1])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - window)
  local over = redis.call('ZCARD', KEYS[i]) - calls
  if over >= 0 then
    local row = redis.call('ZRANGE', KEYS[i], over, over, 'WITHSCORES')
    wait = math.max(wait, tonumber(row[2]) + window - now + 1)
  end
end
if wait > 0 then return wait end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], now, ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[i * 2 - 1] + 1000)
end
return 0
"""

# KEYS: the limit's sorted set. ARGV: token, used, window (ms). Fills up to what the vendor says is used.
_CORRECT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
local missing = ARGV[2] - redis.call('ZCARD', KEYS[1])
for i = 1, missing do redis.call('ZADD', KEYS[1], now, ARGV[1] .. ':' .. i) end
if missing > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3] + 1000) end
return missing
"""

# KEYS: blocked. ARGV: milliseconds. A longer block that is already there stays.
_BLOCK = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 0
"""


def redis_client(url: str) -> Redis:
    """A client that repeats nothing: a script whose reply was lost must not run a second time unseen."""
    return Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=5, socket_connect_timeout=3, health_check_interval=10
    )


class RedisLimiter:
    """The budget of one org. `org_key` names the vendor's org, so that two connections of it share the budget.

    Classes are carried, not told apart yet: reserves per class come with the budgets of OP-5.
    """

    def __init__(
        self,
        redis: Redis,
        org_key: str,
        limits: Sequence[Limit],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._limits = tuple(limits)
        # The braces keep an org's keys on one slot of a cluster, which a script needs.
        self._prefix = f"bw:limit:{{{org_key}}}"
        self._sleep = sleep
        self._clock = clock
        self._acquire = redis.register_script(_ACQUIRE)
        self._correct = redis.register_script(_CORRECT)
        self._block = redis.register_script(_BLOCK)

    def acquire(self, cls: CallClass, *, wait_s: float) -> None:
        """Takes one call of each limit, waiting at most `wait_s` for it.

        Errors: RateLimited with the seconds after which a try may succeed, at once where waiting would be in vain;
        Unavailable where Redis does not answer.
        """
        until = self._clock() + wait_s
        while (needed_s := self._try()) > 0:
            if self._clock() + needed_s > until:
                raise RateLimited("The budget of calls for this org is used up for the moment.", retry_after_s=needed_s)
            self._sleep(needed_s)

    def correct(self, *, limit: int, remaining: int) -> None:
        for ours in self._limits:
            if ours.calls == limit:
                args: list[str | int] = [uuid.uuid4().hex, max(0, limit - remaining), ours.window_s * 1000]
                self._run(self._correct, [self._key(ours)], args)

    def block(self, seconds: float) -> None:
        if seconds > 0:
            self._run(self._block, [f"{self._prefix}:blocked"], [max(1, round(seconds * 1000))])

    def _try(self) -> float:
        keys = [f"{self._prefix}:blocked", *map(self._key, self._limits)]
        args: list[str | int] = [uuid.uuid4().hex]
        for limit in self._limits:
            args += [limit.calls, limit.window_s * 1000]
        return self._run(self._acquire, keys, args) / 1000

    def _key(self, limit: Limit) -> str:
        return f"{self._prefix}:{limit.name}"

    def _run(self, script: Callable[..., object], keys: Sequence[str], args: Sequence[str | int]) -> int:
        try:
            return int(str(script(keys=list(keys), args=list(args))))
        except RedisError:
            pass
        raise Unavailable("Redis does not answer; no call is made without its budget.")


class Unlimited:
    """No budget: for sign-in, where no org is known yet, and where a setting switches all limits off."""

    def acquire(self, cls: CallClass, *, wait_s: float) -> None:
        return

    def correct(self, *, limit: int, remaining: int) -> None:
        return

    def block(self, seconds: float) -> None:
        return
