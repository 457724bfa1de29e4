"""One access token per connection, shared by every process, refreshed by one at a time (reliability.md section 4).

The row in Postgres is reached through `GrantStore`, so that connectors know nothing of the database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pydantic import SecretStr

from shared.connectors.vendor import AccessToken, Client, DataCentre, Grant, SignIn
from shared.errors import BothwaysError, ConnectionBroken, RateLimited, RetryableError
from shared.points import at

AHEAD_S = 300.0
"""A token is replaced this long before its end …"""
LEAST_LIFE_S = 45.0
"""… and still used until this long before it where replacing fails: longer than one call may take."""
WAIT_S = 10.0
POLL_S = 0.1
CLAIM_S = 45.0
"""A claim older than this was left by a crash: the token call is over after 30 s."""


@dataclass(frozen=True, slots=True)
class Held:
    """A connection's grant as stored. `access` None: none was ever fetched.

    `claimed` tells that somebody refreshes since `started_at` (the store's clock).
    """

    centre: DataCentre
    client: Client
    refresh_token: SecretStr
    previous_refresh_token: SecretStr | None
    access: AccessToken | None
    version: int
    claimed: bool = False
    started_at: datetime | None = None


class GrantStore(Protocol):
    """The row of one connection. Every method is a transaction of its own. Raises Unavailable, ConnectionBroken."""

    def load(self) -> Held:
        """Raises ConnectionBroken where the connection is marked so."""
        ...

    def claim(self, version: int) -> Held | None:
        """Writes `refresh_started_at` and commits. None where another refreshes or the version is newer.

        Raises RateLimited while the vendor is known to grant no more tokens.
        """
        ...

    def save(self, held: Held, grant: Grant, *, used: SecretStr, expires_at: datetime) -> AccessToken:
        """Stores the new pair, keeps the old refresh token as previous, ends the claim, raises the version.

        Raises RetryableError where the claim was lost to another meanwhile; the new token is then not used.
        """
        ...

    def release(self, held: Held, *, not_before_s: float | None) -> None:
        """Ends a claim without a token; none is fetched for `not_before_s` seconds."""
        ...

    def break_(self, held: Held, reason: str) -> None:
        """Marks the connection as broken and ends the claim."""
        ...


class SharedTokens:
    """TokenSource of one connection in this process; threads share it."""

    def __init__(
        self,
        store: GrantStore,
        sign_in: SignIn,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._sign_in = sign_in
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._cached: AccessToken | None = None
        self._refused = -1

    def token(self) -> AccessToken:
        with self._lock:
            if self._cached is None or not self._fresh(self._cached):
                self._cached = self._shared()
            return self._cached

    def invalidate(self, version: int) -> None:
        with self._lock:
            self._refused = max(self._refused, version)
            if self._cached is not None and self._cached.version <= version:
                self._cached = None

    def _usable(self, token: AccessToken | None, life_s: float) -> bool:
        if token is None or token.version <= self._refused:
            return False
        return token.expires_at - self._now() > timedelta(seconds=life_s)

    def _fresh(self, token: AccessToken | None) -> bool:
        return self._usable(token, AHEAD_S)

    def _shared(self) -> AccessToken:
        """The row's token if it is good, else a new one: fetched here, or by whoever claimed first."""
        until = self._clock() + WAIT_S
        while True:
            held = self._store.load()
            if held.access is not None and self._fresh(held.access):
                return held.access
            spare = held.access if self._usable(held.access, LEAST_LIFE_S) else None
            if held.claimed and spare is not None:
                return spare
            claimed = None if held.claimed else self._claimed(held, spare)
            if isinstance(claimed, AccessToken):
                return claimed
            if claimed is not None:
                return self._refreshed(claimed, spare)
            if self._clock() >= until:
                raise RetryableError("Another process is refreshing this connection's token.", retry_after_s=5)
            self._sleep(POLL_S)

    def _claimed(self, held: Held, spare: AccessToken | None) -> Held | AccessToken | None:
        try:
            return self._store.claim(held.version)
        except RateLimited:
            if spare is None:
                raise
            return spare

    def _refreshed(self, held: Held, spare: AccessToken | None) -> AccessToken:
        """New pair saved before it is used. Only a refusal of both refresh tokens marks the connection as broken."""
        try:
            grant, used = self._either(held)
        except ConnectionBroken as error:
            self._store.break_(held, str(error))
            raise
        except BothwaysError as error:
            self._store.release(held, not_before_s=error.retry_after_s if isinstance(error, RateLimited) else None)
            if spare is not None and isinstance(error, RetryableError):
                return spare
            raise
        at("token.granted")
        expires_at = self._now() + timedelta(seconds=grant.expires_in_s)
        return self._store.save(held, grant, used=used, expires_at=expires_at)

    def _either(self, held: Held) -> tuple[Grant, SecretStr]:
        """The current refresh token, then the previous: a crash may have left either as the good one."""
        try:
            return self._sign_in.refresh(held.centre, held.client, held.refresh_token), held.refresh_token
        except ConnectionBroken:
            if held.previous_refresh_token is None:
                raise
        return self._sign_in.refresh(held.centre, held.client, held.previous_refresh_token), held.previous_refresh_token


class FixedToken:
    """TokenSource of a grant that is not stored yet: while a person signs in."""

    def __init__(self, token: AccessToken) -> None:
        self._token = token

    def token(self) -> AccessToken:
        return self._token

    def invalidate(self, version: int) -> None:
        return
