"""What a worker's keeper thread does: it beats and renews while its process is neither dead nor frozen."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from shared.bus import Lane
from shared.errors import BothwaysError, LeaseLost
from shared.lease import Lease
from shared.settings import Settings
from tests.simulation.bus import SimBus
from tests.simulation.postgres import SimLeases, Tables


class SimKeeper:
    def __init__(self, bus: SimBus, tables: Tables, leases: SimLeases, settings: Settings) -> None:
        self._bus, self._tables, self._leases = bus, tables, leases
        self.stopping = threading.Event()
        self.lane_ttl_s = settings.worker_gone_s
        self.claim_ms = int(settings.worker_gone_s * 1000)
        self._batch_ms = int(settings.lease_ttl_s * 1000)
        self._renew_ms = int(settings.lease_heartbeat_s * 1000)
        self._renewed_ms = 0
        self._lanes: dict[str, Lane] = {}
        self._batches: set[str] = set()
        self._leased: dict[int, Lease] = {}
        self._claims: dict[int, str] = {}
        self._lapses, self._beaten_ms = 0, tables.sched.now
        self._abandoned: list[tuple[str, str, tuple[str, ...]]] = []

    def take_lane(self, lane: Lane, token: str) -> bool:
        if not self._bus.lock_lane(lane, token, self.lane_ttl_s):
            return False
        self._lanes[token] = lane
        return True

    def leave_lane(self, lane: Lane, token: str) -> bool:
        self._lanes.pop(token, None)
        return self._bus.unlock_lane(lane, token)

    @contextmanager
    def batch(self, batch_id: str, lease: Lease) -> Iterator[None]:
        self._batches.add(batch_id)
        self._leased[lease.fence] = lease
        try:
            yield
        finally:
            self._batches.discard(batch_id)
            if not self._batches and not self._claims:
                self._leased.clear()

    @contextmanager
    def claim(self, run_id: int, owner: str) -> Iterator[None]:
        self._claims[run_id] = owner
        try:
            yield
        finally:
            self._claims.pop(run_id, None)

    def keep(self, lease: Lease) -> None:
        self._leased[lease.fence] = lease

    def standing(self) -> int:
        return self._lapses

    def check_standing(self, since: int) -> None:
        if self._lapses != since or self._silent_ms() >= self.claim_ms:
            raise LeaseLost("This process did not beat in time.")

    def _silent_ms(self) -> int:
        return self._tables.sched.now - self._beaten_ms

    def abandon(self, batch_id: str, token: str, roots: Sequence[str]) -> None:
        self._abandoned.append((batch_id, token, tuple(roots)))
        with suppress(BothwaysError):
            self._give_back()

    def _give_back(self) -> None:
        left, self._abandoned = self._abandoned, []
        for done, (batch_id, token, roots) in enumerate(left):
            try:
                self._bus.unlock_roots(roots, token)
                with self._tables.transaction("give back"):
                    self._tables.open_batches.pop(batch_id, None)
            except BaseException:
                self._abandoned += left[done:]
                raise

    def beat(self, *, redis_away: bool = False) -> None:
        """Every `worker_heartbeat_s`."""
        if not redis_away:
            self._bus.beat()
            self._lapses += self._silent_ms() >= self.claim_ms
            self._beaten_ms = self._tables.sched.now
            for token, lane in self._lanes.items():
                self._bus.relock_lane(lane, token, self.lane_ttl_s)
        with suppress(BothwaysError):
            self._give_back()
        now = self._tables.sched.now
        for run_id, owner in self._claims.items():
            run = self._tables.runs[run_id]
            if run.claimed_by == owner:
                run.claimed_until = now + self.claim_ms
        if now - self._renewed_ms >= self._renew_ms:
            self._renewed_ms = now
            self._renew(now)

    def _renew(self, now: int) -> None:
        for lease in list(self._leased.values()):
            try:
                self._leased[lease.fence] = self._leases.renew(self._tables, lease)
            except LeaseLost:
                del self._leased[lease.fence]
        for batch_id in self._batches:
            if batch_id in self._tables.open_batches:
                fence, _ = self._tables.open_batches[batch_id]
                self._tables.open_batches[batch_id] = (fence, now + self._batch_ms)
