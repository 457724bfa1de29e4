"""Who holds an org: take both orgs, renew, release only as the owner; a fencing token that grows (LK-1, LK-2).

Postgres decides, by one clock: its own `clock_timestamp()`. Nothing here commits: each function is one step of the
caller's transaction. A run's lease is joined by every worker that works on that run; webhook work holds its orgs
softly: whoever wants them gets them as soon as no batch is open (LK-4). So does what is left of a run that ended
before its batches did ("leaving").
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row

from shared.db.sql import Statements, sql
from shared.errors import LeaseLost, OrgHeld
from shared.settings import Settings

WANTED_STALE_S = 30.0
"""A waiter that did not ask again for so long has gone away (scaled)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """`name` is "run:<sync id>", "webhook:<integration id>" or "import:<id>"; `kind` decides how a waiter is treated.

    `integration_id` None: an import, which holds the one org that it goes into.
    """

    name: str
    kind: str
    integration_id: int | None
    workspace_id: int

    @property
    def run_id(self) -> int | None:
        return int(self.name.removeprefix("run:")) if self.kind == "run" else None


def run_holder(run_id: int, integration_id: int, workspace_id: int) -> Holder:
    return Holder(f"run:{run_id}", "run", integration_id, workspace_id)


def webhook_holder(integration_id: int, workspace_id: int) -> Holder:
    return Holder(f"webhook:{integration_id}", "webhook", integration_id, workspace_id)


def import_holder(import_id: int, workspace_id: int) -> Holder:
    """An import takes the rows that syncs take: none of them shares its org with another (LK-1)."""
    return Holder(f"import:{import_id}", "import", None, workspace_id)


def gives_way(holder: Holder, *, wanted: bool, ending: bool) -> bool:
    """Webhook work gives way to anybody who waits (LK-4), the work of a run to the run's own end: all its records are
    settled then, and only joined batches are open. Waiters come and ask often; they do not hold that end up."""
    return ending or (wanted and holder.kind == "webhook")


@dataclass(frozen=True, slots=True)
class Lease:
    """`deadline` is this process' monotonic clock, counted from before the lease was asked for."""

    holder: Holder
    orgs: tuple[int, ...]
    fence: int
    deadline: float

    def remaining_s(self) -> float:
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Held:
    """Not got: who has an org, and since when (aware UTC)."""

    holder: str
    since: datetime

    def error(self) -> OrgHeld:
        who = {"run": "sync", "webhook": "webhook work of integration", "import": "import"}
        kind, _, number = self.holder.partition(":")
        message = f"Held by {who.get(kind, kind)} {number} since {self.since:%Y-%m-%d %H:%M:%S} UTC."
        return OrgHeld(message, holder=self.holder, since=self.since)


_LOCK = sql(
    """
    SELECT l.*,
           l.expires_at > clock_timestamp() AS live,
           l.holder IS NULL OR l.expires_at + make_interval(secs => :grace) < clock_timestamp() AS free,
           l.kind IN ('webhook', 'leaving') AND NOT EXISTS (
               SELECT 1 FROM open_batch b WHERE b.fence = l.fence AND b.until > clock_timestamp()) AS idle,
           l.wanted_by IS NOT NULL AND l.wanted_at + make_interval(secs => :stale) > clock_timestamp() AS wanted,
           coalesce(l.ending_at + make_interval(secs => :stale) > clock_timestamp(), false) AS ending
    FROM org_lease l WHERE l.org_id = ANY(:orgs) ORDER BY l.org_id FOR UPDATE OF l
    """
)
_COUNT = sql("SELECT count(*) FROM org_lease WHERE org_id = ANY(:orgs)")
_MAKE_ROW = sql(
    "INSERT INTO org_lease (org_id, workspace_id, fence) SELECT id, workspace_id, 0 FROM org WHERE id = ANY(:orgs) "
    "ORDER BY id ON CONFLICT (org_id) DO NOTHING"
)
_END_LOG = sql(
    "UPDATE lease_log g SET released_at = clock_timestamp(), expires_at = l.expires_at FROM org_lease l "
    "WHERE g.released_at IS NULL AND g.org_id = l.org_id AND g.fence = l.fence AND l.org_id = ANY(:orgs)"
)
_TAKE = sql(
    """
    UPDATE org_lease SET holder = :holder, kind = :kind, integration_id = :integration, fence = :fence,
           taken_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => :ttl),
           wanted_by = NULL, wanted_at = NULL, ending_at = NULL
    WHERE org_id = ANY(:orgs)
    """
)
_LOG = sql(
    "INSERT INTO lease_log (org_id, fence, workspace_id, holder, kind, taken_at) "
    "SELECT org_id, fence, workspace_id, holder, kind, taken_at FROM org_lease WHERE org_id = ANY(:orgs)"
)
_EXTEND = sql(
    """
    UPDATE org_lease SET expires_at = clock_timestamp() + make_interval(secs => :ttl)
    WHERE org_id = ANY(:orgs) AND holder = :holder AND fence = :fence AND expires_at > clock_timestamp()
    """
)
_WANT = sql(
    "UPDATE org_lease SET wanted_by = :holder, wanted_at = clock_timestamp() "
    "WHERE org_id = ANY(:orgs) AND holder IS DISTINCT FROM :holder"
)
# A drainer joins without a lock that other drainers would wait for; a take-over and the end of a run wait for it.
_JOIN = sql(
    """
    SELECT holder, kind, fence, taken_at, wanted_by, wanted_at, ending_at,
           extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining_s,
           wanted_by IS NOT NULL AND wanted_at + make_interval(secs => :stale) > clock_timestamp() AS wanted,
           coalesce(ending_at + make_interval(secs => :stale) > clock_timestamp(), false) AS ending
    FROM org_lease WHERE org_id = ANY(:orgs) AND holder = :holder AND kind = :kind AND expires_at > clock_timestamp()
    ORDER BY org_id FOR KEY SHARE
    """
)
_CHECK = sql(
    """
    SELECT org_id FROM org_lease
    WHERE org_id = ANY(:orgs) AND fence = :fence AND holder = :holder AND (kind <> 'leaving' OR :pushed)
      AND expires_at > clock_timestamp()
    ORDER BY org_id FOR KEY SHARE
    """
)
# An UPDATE alone would lock the rows in the order in which they lie on disk.
_LOCK_OURS = sql(
    "SELECT org_id FROM org_lease WHERE org_id = ANY(:orgs) AND fence = :fence AND holder = :holder "
    "ORDER BY org_id FOR NO KEY UPDATE"
)
_END = sql("UPDATE org_lease SET ending_at = clock_timestamp() WHERE org_id = ANY(:orgs) AND fence = :fence")
_RELEASE = sql(
    """
    WITH before AS (
        SELECT org_id, fence, expires_at FROM org_lease
        WHERE org_id = ANY(:orgs) AND fence = :fence AND holder = :holder),
    ours AS (
        UPDATE org_lease l SET holder = NULL, kind = NULL, integration_id = NULL, expires_at = NULL, ending_at = NULL
        FROM before b WHERE l.org_id = b.org_id)
    UPDATE lease_log g SET released_at = clock_timestamp(), expires_at = b.expires_at FROM before b
    WHERE g.org_id = b.org_id AND g.fence = b.fence AND g.released_at IS NULL
    """
)

_LEAVE = sql(
    """
    UPDATE org_lease l SET kind = 'leaving', ending_at = NULL
    WHERE l.org_id = :org AND EXISTS (
        SELECT 1 FROM open_batch b WHERE b.fence = l.fence AND b.until > clock_timestamp())
    """
)


class Leases:
    def __init__(self, settings: Settings) -> None:
        self._ttl_s = settings.scaled(settings.lease_ttl_s)
        self._grace_s = settings.scaled(settings.push_deadline_s)
        self._stale_s = settings.scaled(WANTED_STALE_S)
        self._push_s = settings.scaled(settings.push_deadline_s + 5)
        self._whole = settings.lock_scope == "installation"

    def take(self, session: Statements, orgs: Sequence[int], holder: Holder, *, joining: bool = False) -> Lease | Held:
        """Takes both orgs or none; joins where `holder` has them already. A waiter's wish is noted: commit it.

        `joining`: the caller is a drainer, which gives way to a waiter and to the end of the run.

        Two takers cannot deadlock: rows are locked in the order of their ids.
        """
        started = time.monotonic()
        ids = list(session.scalars(sql("SELECT id FROM org ORDER BY id"))) if self._whole else sorted(orgs)
        if joining and (joined := self._joined(session, ids, holder, started)) is not None:
            return joined
        rows = self._lock(session, ids)
        if all(_has(holder, row) and row.live for row in rows) and len({row.fence for row in rows}) == 1:
            if joining and any(gives_way(holder, wanted=row.wanted, ending=row.ending) for row in rows):
                return self._held(rows, holder)
            lease = Lease(holder, tuple(ids), rows[0].fence, started + self._ttl_s)
            self._extend(session, lease)
            return lease
        blockers = [row for row in rows if not (row.free or row.idle or _has(holder, row))]
        if blockers:
            session.execute(_WANT, {"orgs": ids, "holder": holder.name})
            return self._held(blockers, holder)
        if holder.kind == "webhook" and any(row.wanted and row.wanted_by != holder.name for row in rows):
            return self._held(rows, holder)
        return self._take(session, ids, holder, started)

    def _joined(self, session: Statements, orgs: list[int], holder: Holder, started: float) -> Lease | Held | None:
        """The lease that `holder` has, unless somebody goes first. Joining does not renew it.

        None: it has none. Who goes first is told from here: two drainers that both went on to lock the rows would
        wait for each other.
        """
        query = {"orgs": orgs, "holder": holder.name, "kind": holder.kind, "stale": self._stale_s}
        rows = session.execute(_JOIN, query).all()
        if len(rows) < len(orgs) or len({row.fence for row in rows}) > 1:
            return None
        if any(gives_way(holder, wanted=row.wanted, ending=row.ending) for row in rows):
            return self._held(rows, holder)
        return Lease(holder, tuple(orgs), rows[0].fence, started + min(row.remaining_s for row in rows))

    def holder_for_events(self, session: Statements, orgs: Sequence[int], webhook: Holder) -> Holder:
        """The run of this integration that has the orgs, else webhook work: events join a run that is on (LK-3)."""
        rows = session.execute(
            sql("SELECT holder, kind, integration_id FROM org_lease WHERE org_id = ANY(:orgs)"), {"orgs": list(orgs)}
        ).all()
        names = {row.holder for row in rows if row.kind == "run" and row.integration_id == webhook.integration_id}
        if len(rows) == len(orgs) and len(names) == 1 and all(row.kind == "run" for row in rows):
            return Holder(names.pop(), "run", webhook.integration_id, webhook.workspace_id)
        return webhook

    def may_end(self, session: Statements, lease: Lease) -> bool:
        """Whether no batch is open under the lease; else no new one may join it until the run has ended."""
        busy = session.execute(
            sql("SELECT 1 FROM open_batch WHERE fence = :fence AND until > clock_timestamp() LIMIT 1"),
            {"fence": lease.fence},
        ).first()
        if busy is not None:
            session.execute(_LOCK_OURS, _ours(lease))
            session.execute(_END, _ours(lease))
        return busy is None

    def renew(self, session: Statements, lease: Lease) -> Lease:
        """Raises LeaseLost where it ended or was taken over."""
        started = time.monotonic()
        self._extend(session, lease)
        return Lease(lease.holder, lease.orgs, lease.fence, started + self._ttl_s)

    def covers_push(self, lease: Lease) -> bool:
        """False: renew before the next push, or a frozen holder could push after another took over (P4)."""
        return lease.remaining_s() >= self._push_s

    def check(self, session: Statements, lease: Lease, *, pushed: bool = False) -> None:
        """First statement of each transaction of its work. KEY SHARE: the heartbeat passes, a take-over waits for us.

        `pushed`: what is saved was sent already, so a run that ended meanwhile does not stop it. Raises LeaseLost.
        """
        found = session.execute(_CHECK, {**_ours(lease), "pushed": pushed}).all()
        if len(found) != len(lease.orgs):
            raise LeaseLost(f"Lease {lease.fence} of {lease.holder.name} has ended.")

    def lock(self, session: Statements, lease: Lease) -> None:
        """First statement of the transaction that ends a run: others save before it or after it, not across it.

        Raises LeaseLost.
        """
        rows = self._lock(session, list(lease.orgs))
        if not all(_has(lease.holder, row) and row.fence == lease.fence and row.live for row in rows):
            raise LeaseLost(f"Lease {lease.fence} of {lease.holder.name} has ended.")

    def stand_still(self, session: Statements, orgs: Sequence[int]) -> None:
        """Until this transaction ends no batch of these orgs saves or begins anything, whoever holds them: for what a
        person changes about bindings. Keep it short."""
        self._lock(session, sorted(orgs))

    def release(self, session: Statements, lease: Lease) -> None:
        """Of an owner alone; anybody else's call changes nothing."""
        session.execute(_LOCK_OURS, _ours(lease))
        session.execute(_RELEASE, _ours(lease))

    def held(self, session: Statements, holder: str) -> list[tuple[int, int]]:
        """Whatever this holder has, (org, fence), locked: no batch opens under it until this transaction has ended."""
        query = sql("SELECT org_id, fence FROM org_lease WHERE holder = :holder ORDER BY org_id FOR UPDATE")
        return [(row.org_id, row.fence) for row in session.execute(query, {"holder": holder})]

    def leave(self, session: Statements, holder: str, held: Sequence[tuple[int, int]]) -> None:
        """For a run that ends or parks while its batches may be open: they could push after others took the orgs, so
        these stay until the last of them has closed, or lapsed (P4). Who asks next finds them free."""
        for org, fence in held:
            ours = {"orgs": [org], "fence": fence, "holder": holder}
            if not session.execute(_LEAVE, {**ours, "org": org}).rowcount:  # type: ignore[attr-defined]
                session.execute(_RELEASE, ours)

    def _lock(self, session: Statements, orgs: list[int]) -> Sequence[Row[tuple[object, ...]]]:
        # A row that is missing is made before any is locked: made after, it would be locked out of order.
        if session.execute(_COUNT, {"orgs": orgs}).scalar_one() < len(orgs):
            session.execute(_MAKE_ROW, {"orgs": orgs})
        return session.execute(_LOCK, {"orgs": orgs, "grace": self._grace_s, "stale": self._stale_s}).all()

    def _take(self, session: Statements, orgs: list[int], holder: Holder, started: float) -> Lease:
        session.execute(_END_LOG, {"orgs": orgs})
        fence = session.execute(sql("SELECT nextval('fence_seq')")).scalar_one()
        values = {"holder": holder.name, "kind": holder.kind, "integration": holder.integration_id}
        session.execute(_TAKE, {**values, "orgs": orgs, "fence": fence, "ttl": self._ttl_s})
        session.execute(_LOG, {"orgs": orgs})
        return Lease(holder, tuple(orgs), fence, started + self._ttl_s)

    def _extend(self, session: Statements, lease: Lease) -> None:
        session.execute(_LOCK_OURS, _ours(lease))
        query = {**_ours(lease), "ttl": self._ttl_s}
        if session.execute(_EXTEND, query).rowcount != len(lease.orgs):  # type: ignore[attr-defined]
            raise LeaseLost(f"Lease {lease.fence} of {lease.holder.name} has ended.")

    @staticmethod
    def _held(rows: Sequence[Row[tuple[object, ...]]], asker: Holder) -> Held:
        row = next((row for row in rows if row.holder and not _has(asker, row)), None)
        if row is None:  # ours, but its end, or a waiter, goes first
            row = next(row for row in rows if row.ending or row.wanted_by)
            return Held(asker.name, row.ending_at) if row.ending else Held(str(row.wanted_by), row.wanted_at)
        return Held(str(row.holder), row.taken_at)


def _has(holder: Holder, row: Row[tuple[object, ...]]) -> bool:
    return bool(row.holder == holder.name and row.kind != "leaving")


def _ours(lease: Lease) -> dict[str, object]:
    return {"orgs": list(lease.orgs), "fence": lease.fence, "holder": lease.holder.name}
