"""One thread per worker process that keeps alive what the process holds: its own beat, lane locks, leases, claims.

A process that is killed or frozen stops beating; others see it within `worker_gone_s` and take over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shared.bus import Bus, Lane
from shared.db.session import Database
from shared.db.sql import sql
from shared.engine.epoch import Epoch
from shared.engine.watchdog import Watchdog
from shared.errors import BothwaysError, LeaseLost
from shared.lease import Lease, Leases
from shared.points import at
from shared.settings import Settings

log = logging.getLogger(__name__)

_RENEW_CLAIMS = {
    table: sql(
        f"UPDATE {table} SET claimed_until = clock_timestamp() + make_interval(secs => :s) "
        "WHERE id = :id AND claimed_by = :owner"
    )
    for table in ("run", "import_job")
}


class Keeper:
    def __init__(
        self, bus: Bus, db: Database, leases: Leases, settings: Settings, epoch: Epoch, watchdog: Watchdog
    ) -> None:
        """`stopping` is set when the process was asked to stop: nothing new is begun then (P10)."""
        self.stopping = threading.Event()
        self._watchdog = watchdog
        self._bus = bus
        self._epoch = epoch
        self._db = db
        self._leases = leases
        self._beat_s = settings.scaled(settings.worker_heartbeat_s)
        self._renew_s = settings.scaled(settings.lease_heartbeat_s)
        self.lane_ttl_s = settings.scaled(settings.worker_gone_s)
        self.claim_s = settings.scaled(settings.worker_gone_s)
        self._batch_s = settings.scaled(settings.lease_ttl_s)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._lane_lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._batches: set[str] = set()
        self._leased: dict[int, Lease] = {}
        self._claims: dict[tuple[str, int], str] = {}
        self._lapses = 0
        self._beaten_at = time.monotonic()
        self._abandoned: list[tuple[str, str, tuple[str, ...]]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._beaten_at = time.monotonic()
        self._bus.beat()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._quietly(self._bus.leave)

    def take_lane(self, lane: Lane, token: str) -> bool:
        """Whether this caller is now the lane's drainer; while it is, the lock is renewed."""
        if not self._bus.lock_lane(lane, token, self.lane_ttl_s):
            return False
        with self._lane_lock:
            self._lanes[token] = lane
        return True

    def leave_lane(self, lane: Lane, token: str) -> bool:
        """True: somebody knocked meanwhile; wake the lane again."""
        with self._lane_lock:  # whose renewal is under way now: it must not come after this
            self._lanes.pop(token, None)
        return self._bus.unlock_lane(lane, token)

    @contextmanager
    def batch(self, batch_id: str, lease: Lease) -> Iterator[None]:
        with self._lock:
            self._batches.add(batch_id)
            self._leased[lease.fence] = lease
        try:
            yield
        finally:
            with self._lock:
                self._batches.discard(batch_id)
                if not self._batches and not self._claims:
                    self._leased.clear()

    def standing(self) -> int:
        """What `check_standing` compares with; taken before a batch takes any lock. Raises Unavailable.

        Where the last beat is some time ago it beats first: on a busy machine the keeper's turn may come late.
        """
        began = time.monotonic()
        if began - self._beaten_at >= self._beat_s:
            self._bus.beat()
            self._beaten(began)
        return self._lapses

    def check_standing(self, since: int) -> None:
        """Before each push. Raises LeaseLost where this process was silent so long that others may have broken its
        locks: a lease may outlive that, since every worker of its holder renews it."""
        if self._lapses != since or time.monotonic() - self._beaten_at >= self.lane_ttl_s:
            raise LeaseLost("This process did not beat in time: others may have taken its records over.")

    def _beaten(self, began: float) -> None:
        if began - self._beaten_at >= self.lane_ttl_s:
            self._lapses += 1
        self._beaten_at = began

    @contextmanager
    def claim(self, run_id: int, owner: str) -> Iterator[None]:
        with self._claimed("run", run_id, owner):
            yield

    @contextmanager
    def claim_import(self, import_id: int, owner: str) -> Iterator[None]:
        with self._claimed("import_job", import_id, owner):
            yield

    @contextmanager
    def _claimed(self, table: str, claimed_id: int, owner: str) -> Iterator[None]:
        key = (table, claimed_id)
        with self._lock:
            self._claims[key] = owner
        try:
            yield
        finally:
            with self._lock:
                self._claims.pop(key, None)

    def abandon(self, batch_id: str, token: str, roots: Sequence[str]) -> None:
        """Gives back what a batch held that came to nothing: at once, or as soon as the servers answer."""
        with self._lock:
            self._abandoned.append((batch_id, token, tuple(roots)))
        self._quietly(self._give_back)

    def _give_back(self) -> None:
        with self._lock:
            left, self._abandoned = self._abandoned, []
        for done, (batch_id, token, roots) in enumerate(left):
            try:
                self._bus.unlock_roots(roots, token)
                with self._db.writing() as session:
                    session.execute(sql("DELETE FROM open_batch WHERE id = :id"), {"id": batch_id})
            except BaseException:
                with self._lock:
                    self._abandoned += left[done:]
                raise

    def keep(self, lease: Lease) -> None:
        """A run's lease, for as long as this process works on the run."""
        with self._lock:
            self._leased[lease.fence] = lease

    def _run(self) -> None:
        since_renew = 0.0
        while not self._stop.wait(self._beat_s):
            self._watchdog.look()
            self._quietly(self._beat)
            self._quietly(self._give_back)
            since_renew += self._beat_s
            if since_renew >= self._renew_s:
                since_renew = 0.0
                self._quietly(self._renew)

    def _beat(self) -> None:
        began = time.monotonic()
        self._bus.beat()
        self._beaten(began)
        self._epoch.note()
        with self._lock:
            claims = dict(self._claims)
        with self._lane_lock:
            tokens = list(self._lanes)
        for token in tokens:
            with self._lane_lock:
                if token in self._lanes:
                    self._bus.lock_lane(self._lanes[token], token, self.lane_ttl_s)
        if claims:
            with self._db.writing() as session:
                for (table, claimed_id), owner in claims.items():
                    session.execute(_RENEW_CLAIMS[table], {"s": self.claim_s, "id": claimed_id, "owner": owner})

    def _renew(self) -> None:
        with self._lock:
            leases, batches = list(self._leased.values()), list(self._batches)
        for lease in leases:
            try:
                with self._db.writing() as session:
                    renewed = self._leases.renew(session, lease)
                at("lease.renewed")
                with self._lock:
                    if lease.fence in self._leased:
                        self._leased[lease.fence] = renewed
            except LeaseLost:
                with self._lock:
                    self._leased.pop(lease.fence, None)
        if batches:
            with self._db.writing() as session:
                session.execute(
                    sql(
                        # What lapsed while this process stood still is over: others went on without it.
                        "UPDATE open_batch SET until = clock_timestamp() + make_interval(secs => :s) "
                        "WHERE id = ANY(:ids) AND until > clock_timestamp()"
                    ),
                    {"s": self._batch_s, "ids": batches},
                )

    @staticmethod
    def _quietly(step: Callable[[], None]) -> None:
        """Trouble passes, or the holds lapse and others take over: the thread itself must live on."""
        try:
            step()
        except BothwaysError as error:
            log.warning("keeper: %s", error.code)
        except Exception:
            log.exception("keeper")
