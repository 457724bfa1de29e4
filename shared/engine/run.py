"""A run: take the orgs, check, list both sides, match, queue one event per record, finish.

Every step saves its checkpoint in the transaction that does it, so that any worker goes on where another was cut off.
A run is claimed for a short time by whoever advances it; its lease belongs to the run, not to a worker.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from shared.db.repositories import audit
from shared.db.sql import sql
from shared.engine.classes import bulk_lanes
from shared.engine.confirm import Confirmation
from shared.engine.context import Ports, load_context
from shared.engine.keeper import Keeper
from shared.engine.listing import Listing
from shared.engine.matching import fetch_report, log_fetch_bindings, match_staged
from shared.engine.notices import note_disabled, note_end
from shared.engine.preflight import check_sizes, check_taxes, check_types
from shared.engine.queue import Queue
from shared.errors import (
    BothwaysError,
    ConfigError,
    LeaseLost,
    NotFound,
    RateLimited,
    RecordRejected,
    RetryableError,
    RunStopped,
    Unavailable,
)
from shared.lease import Held, Lease, run_holder
from shared.points import at
from shared.sync.access import rule
from shared.sync.audit import Action
from shared.sync.guards import may_start
from shared.sync.model import Side
from shared.sync.reasons import Code
from shared.sync.states import IntegrationState, RunKind, RunState, end_of
from shared.sync.watermark import advanced

log = logging.getLogger(__name__)

SLICE_S = 20.0
VANISH_LEAST = 3
"""So many missing records are read one by one, whatever their share: of ten records one is a tenth."""

_CLAIM = sql(
    """
    UPDATE run SET claimed_by = :owner, claimed_until = clock_timestamp() + make_interval(secs => :s)
    WHERE id = :run AND kind <> 'webhook'
      AND state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')
      AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
      AND (resume_at IS NULL OR resume_at <= clock_timestamp())
    RETURNING id, integration_id
    """
)
_UNCLAIM = sql("UPDATE run SET claimed_by = NULL, claimed_until = :until WHERE id = :run AND claimed_by = :owner")


def advance(ports: Ports, keeper: Keeper, run_id: int) -> None:
    """Goes on with a run as far as it can now. Doubled and late calls are harmless; the sweep repeats lost ones."""
    owner = f"{ports.bus.worker}/{uuid.uuid4().hex[:8]}"
    with ports.db.transaction() as session:
        claimed = session.execute(_CLAIM, {"run": run_id, "owner": owner, "s": keeper.claim_s}).first()
    if claimed is None:
        return
    again, not_before = False, None
    try:
        with keeper.claim(run_id, owner):
            again = _RunWork(ports, keeper, run_id, claimed.integration_id, owner).go()
    except RetryableError as error:
        not_before = error.retry_after_s or ports.settings.scaled(10.0)
        _note_waiting(ports, run_id, str(error))
        if isinstance(error, RateLimited) and not_before > ports.settings.scaled(ports.settings.quota_patience_s):
            _park(ports, claimed.integration_id, run_id, owner, not_before)
    except (RunStopped, ConfigError, RecordRejected, NotFound) as error:
        _fail(ports, run_id, owner, error)
    except LeaseLost:
        again = True
    except Unavailable:
        log.warning("run %s: a server is away, the sweep goes on with it", run_id)
        raise
    except BothwaysError as error:
        _fail(ports, run_id, owner, error)
    except Exception:
        log.exception("run %s: a mistake of ours", run_id)
        _fail(
            ports,
            run_id,
            owner,
            BothwaysError("An internal error stopped the run; the log has the details.", code=Code.INTERNAL),
        )
    finally:
        _unclaim(ports, run_id, owner, not_before)
    if again or _all_settled(ports, run_id):
        ports.wake.run(run_id)


def _unclaim(ports: Ports, run_id: int, owner: str, not_before_s: float | None) -> None:
    with ports.db.transaction() as session:
        until = None
        if not_before_s is not None:
            until = session.execute(
                sql("SELECT clock_timestamp() + make_interval(secs => :s)"), {"s": not_before_s}
            ).scalar()
        session.execute(_UNCLAIM, {"run": run_id, "owner": owner, "until": until})


def _all_settled(ports: Ports, run_id: int) -> bool:
    """The last outcome may have come while the run was claimed, and its wake-up with it.

    A batch that is still open wakes the run as it closes, or the sweep does: the run does not ask for itself.
    """
    with ports.db.reading() as session:
        return bool(
            session.execute(
                sql(
                    "SELECT 1 FROM run WHERE id = :run AND state = 'draining' AND pending = 0 AND NOT EXISTS ("
                    "SELECT 1 FROM open_batch b JOIN org_lease l ON l.fence = b.fence "
                    "WHERE l.holder = :holder AND b.until > clock_timestamp())"
                ),
                {"run": run_id, "holder": f"run:{run_id}"},
            ).first()
        )


def _note_waiting(ports: Ports, run_id: int, why: str) -> None:
    with ports.db.transaction() as session:
        session.execute(sql("UPDATE run SET waiting_for = :why WHERE id = :run"), {"run": run_id, "why": why[:200]})


def _park(ports: Ports, integration_id: int, run_id: int, owner: str, seconds: float) -> None:
    """LK-4: it waits long for quota, so others get the orgs. What is queued stays, and is not worked on meanwhile."""
    name = f"run:{run_id}"
    with ports.db.transaction() as session:
        held = ports.leases.held(session, name)  # before the run's row, as who saves for it does
        parked = session.execute(
            sql(
                "UPDATE run SET resume_at = clock_timestamp() + make_interval(secs => :s), waiting_for = "
                "'quota until ' || to_char(clock_timestamp() + make_interval(secs => :s), 'YYYY-MM-DD HH24:MI:SS') "
                "|| ' UTC; its organisations are free meanwhile' "
                "WHERE id = :run AND claimed_by = :owner AND ended_at IS NULL RETURNING id"
            ),
            {"run": run_id, "owner": owner, "s": seconds},
        ).first()
        if parked is None:
            return
        ports.leases.leave(session, name, held)
    for lane in bulk_lanes(integration_id, ports.settings.shards):
        ports.bus.pause(lane, seconds)
    _wake_idle(ports)


def _fail(ports: Ports, run_id: int, owner: str, error: BothwaysError) -> None:
    """Ends the run with its reason and gives the orgs back; what it had queued ends as events of their own.

    Only of the claim's owner: who was frozen meanwhile does not end a run that another goes on with, or has ended.
    """
    name = f"run:{run_id}"
    with ports.db.transaction() as session:
        held = ports.leases.held(session, name)  # before the run's row, as who saves for it does
        row = session.execute(
            sql(
                "UPDATE run SET state = 'failed', ended_at = clock_timestamp(), error_code = :code, "
                "error_detail = :detail, waiting_for = NULL WHERE id = :run AND claimed_by = :owner "
                "AND ended_at IS NULL RETURNING integration_id, kind, compares"
            ),
            {"run": run_id, "owner": owner, "code": error.code, "detail": str(error)[:500]},
        ).first()
        if row is None:
            return
        ports.leases.leave(session, name, held)
        session.execute(sql("DELETE FROM staged WHERE run_id = :run"), {"run": run_id})
        session.execute(sql("UPDATE due SET run_id = NULL WHERE run_id = :run"), {"run": run_id})
        if row.compares:  # it is still due
            session.execute(sql("UPDATE integration SET compared_at = NULL WHERE id = :i"), {"i": row.integration_id})
        if row.kind == "sync":
            _schedule_next(session, row.integration_id)
        note_end(session, run_id)
        if isinstance(error, RunStopped) and error.disables:
            _disable(session, row.integration_id, run_id, error)
    _wake_idle(ports)


def _disable(session: Session, integration_id: int, run_id: int, error: RunStopped) -> None:
    """A rule stops the integration: no more syncs by the clock, no webhook work, until support lets it go on (ST-4)."""
    disabled = session.execute(
        sql(
            "UPDATE integration SET state = 'disabled', disabled_code = :code, disabled_detail = :detail, "
            "disabled_at = clock_timestamp(), next_run_at = NULL WHERE id = :i AND state <> 'disabled' "
            "RETURNING workspace_id"
        ),
        {"i": integration_id, "code": error.code, "detail": str(error)[:500]},
    ).first()
    if disabled is not None:
        actor = rule(disabled.workspace_id)
        audit.record(session, actor, Action.INTEGRATION_DISABLED, integration_id, after={"code": error.code})
        note_disabled(session, integration_id, run_id)


def _schedule_next(session: Session, integration_id: int) -> None:
    """TR-2: counted from the end of the last scheduled or manual sync.

    A sync begins without a time for the next; one that is there by now says that Redis lost its data meanwhile (P2).
    """
    session.execute(
        sql(
            "UPDATE integration SET next_run_at = coalesce(next_run_at, CASE WHEN schedule_on "
            "THEN clock_timestamp() + make_interval(secs => schedule_interval_s) END) WHERE id = :id"
        ),
        {"id": integration_id},
    )


def _wake_idle(ports: Ports) -> None:
    for lane in ports.bus.idle_lanes():
        ports.wake.drain(lane)


class _RunWork:
    """One claimed stretch of work on a run."""

    def __init__(self, ports: Ports, keeper: Keeper, run_id: int, integration_id: int, owner: str) -> None:
        self._owner = owner
        self._ports = ports
        self._keeper = keeper
        self._id = run_id
        self._integration_id = integration_id
        self._ends = time.monotonic() + SLICE_S

    def go(self) -> bool:
        """True: call again soon."""
        self._context = load_context(self._ports, self._integration_id)
        lease = self._take()
        if lease is None:
            return False
        self._keeper.keep(lease)
        self._lease = lease
        if self._kind() is RunKind.SYNC:
            if self._context.state == IntegrationState.PAUSED:
                return self._rest()
            if self._context.state == IntegrationState.DISABLED:
                raise RunStopped("The integration was disabled while this sync was on.", code=Code.NOT_ENABLED)
        self._listing = Listing(self._ports, self._keeper, self._context, self._id, lease, self._ends)
        state = self._begin()
        if state is RunState.PREFLIGHT:
            state = self._check_vendors()
        if state is RunState.LISTING and not self._listing.read():
            return True
        if state in (RunState.LISTING, RunState.MATCHING):
            if not self._listing.read_families(fetches=self._kind() is RunKind.FETCH):
                return True
            if self._match() is RunState.COMPLETED:
                return False
            if not self._confirm():
                return True
            state = self._matched()
        if state is RunState.DRAINING:
            return self._queue_or_finish()
        return False

    def _kind(self) -> RunKind:
        with self._ports.db.transaction() as session:
            return RunKind(session.execute(sql("SELECT kind FROM run WHERE id = :run"), {"run": self._id}).scalar_one())

    def _take(self) -> Lease | None:
        """Both orgs, joined or taken; else the run waits and says for whom (LK-1)."""
        holder = run_holder(self._id, self._context.id, self._context.workspace_id)
        with self._ports.db.transaction() as session:
            self._ports.epoch.check(session)
            got = self._ports.leases.take(session, self._context.org_ids, holder)
            if not isinstance(got, Held) and not self._mine(session):
                raise LeaseLost(f"Run {self._id} goes on elsewhere, or has ended.")  # and the lease is not taken
            if isinstance(got, Held):
                session.execute(
                    sql("UPDATE run SET waiting_for = :who WHERE id = :run"),
                    {"run": self._id, "who": str(got.error())},
                )
                return None
            parked = session.execute(
                sql(
                    "UPDATE run r SET waiting_for = NULL, resume_at = NULL FROM run o "
                    "WHERE r.id = :run AND o.id = r.id RETURNING o.resume_at"
                ),
                {"run": self._id},
            ).scalar()
        if parked is not None:
            for lane in bulk_lanes(self._context.id, self._ports.settings.shards):
                self._ports.bus.resume(lane)
                self._ports.wake.drain(lane)
        return got

    def _mine(self, session: Session) -> bool:
        """A process that was frozen after it claimed the run must not bring an ended run's lease to life."""
        query = "SELECT 1 FROM run WHERE id = :run AND claimed_by = :owner AND ended_at IS NULL FOR KEY SHARE"
        return session.execute(sql(query), {"run": self._id, "owner": self._owner}).first() is not None

    def _begin(self) -> RunState:
        """Preflight, once: guards, and one listing per pair and side with its window."""
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            run = session.execute(sql("SELECT * FROM run WHERE id = :run"), {"run": self._id}).one()
            if run.state not in (RunState.QUEUED, RunState.WAITING):
                return RunState(run.state)
            refusal = may_start(
                RunKind(run.kind),
                fetched=self._context.fetched,
                enabled=self._context.state == "enabled",
                connections_live=True,
            )
            if refusal is not None:
                raise RunStopped(refusal.sentence, code=refusal.code)
            if run.kind == "sync":
                if self._context.foreign_prices:
                    raise RunStopped(
                        f"{self._context.foreign_prices} Take them out of the mapping.", code="BASE_CURRENCIES_DIFFER"
                    )
                check_types(session, self._context)
            whole = run.kind != "sync" or self._compares(session, run)
            self._listing.open(session, whole=whole, orders=run.kind == "sync")
            following = RunState.LISTING if run.kind == "fetch" else RunState.PREFLIGHT
            session.execute(
                sql(
                    "UPDATE run SET state = :state, started_at = coalesce(started_at, clock_timestamp()) "
                    "WHERE id = :run"
                ),
                {"run": self._id, "state": following.value},
            )
            return following

    def _check_vendors(self) -> RunState:
        """The part of preflight that asks them: outside of any transaction."""
        unchecked = check_taxes(self._context)
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            told = {"run": self._id, "unchecked": json.dumps(unchecked)}
            report = "report || jsonb_build_object('unchecked', CAST(:unchecked AS jsonb))" if unchecked else "report"
            session.execute(sql(f"UPDATE run SET state = 'listing', report = {report} WHERE id = :run"), told)
        return RunState.LISTING

    def _rest(self) -> bool:
        """A person paused the integration: others get the orgs, and it goes on from here once it may."""
        name = f"run:{self._id}"
        with self._ports.db.transaction() as session:
            held = self._ports.leases.held(session, name)
            session.execute(
                sql("UPDATE run SET waiting_for = :why WHERE id = :run"),
                {"run": self._id, "why": "the integration, which is paused"},
            )
            self._ports.leases.leave(session, name, held)
        _wake_idle(self._ports)
        return False

    def _compares(self, session: Session, run: Row[Any]) -> bool:
        """Whether this sync is a full comparison: asked for, or due (TR-13). Due again where it fails."""
        due = session.execute(
            sql(
                "SELECT coalesce(compared_at < clock_timestamp() - make_interval(secs => :after), true) "
                "FROM integration WHERE id = :i"
            ),
            {"i": self._context.id, "after": self._ports.settings.compare_days * 86_400},
        ).scalar_one()
        if not (run.compares or due):
            return False
        session.execute(sql("UPDATE run SET compares = true WHERE id = :run"), {"run": self._id})
        session.execute(
            sql("UPDATE integration SET compared_at = clock_timestamp() WHERE id = :i"), {"i": self._context.id}
        )
        return True

    # Matching

    def _match(self) -> RunState:
        self._listing.note_size()
        if self._kind() is RunKind.SYNC:
            check_sizes(self._ports, self._context, self._id)
        with self._ports.db.transaction() as session:
            kind = session.execute(sql("SELECT kind FROM run WHERE id = :run"), {"run": self._id}).scalar_one()
            self._ports.leases.check(session, self._lease)  # it may take long, and must not stop the heartbeat
            match_staged(session, self._context, self._id, self._lease.fence, self._listing.whole(session))
        if kind != "fetch":
            return RunState.MATCHING
        with self._ports.db.transaction() as session:
            self._ports.leases.lock(session, self._lease)
            self._finish_fetch(session)
        _wake_idle(self._ports)
        return RunState.COMPLETED

    def _confirm(self) -> bool:
        return Confirmation(self._ports, self._keeper, self._context, self._id, self._lease).confirm()

    def _matched(self) -> RunState:
        with self._ports.db.transaction() as session:
            self._ports.leases.check(session, self._lease)
            run = session.execute(
                sql("SELECT compares, deletions_confirmed FROM run WHERE id = :run"), {"run": self._id}
            ).one()
            self._stage_failed(session)
            if run.compares:
                self._stage_vanished(session, confirmed=run.deletions_confirmed)
            session.execute(sql("UPDATE run SET state = 'draining' WHERE id = :run"), {"run": self._id})
        return RunState.DRAINING

    def _finish_fetch(self, session: Session) -> None:
        log_fetch_bindings(session, self._context, self._id, self._lease.fence)
        report = fetch_report(session, self._context, self._id)
        session.execute(
            sql(
                "UPDATE run SET state = 'completed', ended_at = clock_timestamp(), report = CAST(:report AS jsonb) "
                "WHERE id = :run"
            ),
            {"run": self._id, "report": json.dumps(report)},
        )
        session.execute(
            sql("UPDATE integration SET fetched_at = clock_timestamp() WHERE id = :id"), {"id": self._context.id}
        )
        session.execute(sql("DELETE FROM staged WHERE run_id = :run"), {"run": self._id})
        self._ports.leases.release(session, self._lease)

    def _stage_failed(self, session: Session) -> None:
        """Records that failed before are tried again by each run, listed or not."""
        session.execute(
            sql(
                """
                INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, folded_key,
                    read_at, state, verdict)
                SELECT :run, pair, side, record_id, workspace_id, '{}', false, false, '', to_timestamp(0), 'listed',
                    'look'
                FROM due WHERE integration_id = :integration AND why = 'failed' AND pair = ANY(:pairs)
                ON CONFLICT DO NOTHING
                """
            ),
            {"run": self._id, "integration": self._context.id, "pairs": list(self._context.names)},
        )

    def _stage_vanished(self, session: Session, *, confirmed: bool) -> None:
        """What is bound and in no list is read by its id, which alone tells whether it is gone (TR-13). Where so much
        is missing at once that a filter, a permission or a fault is likelier, nothing is done and a person is asked."""
        held: dict[str, dict[str, int]] = {}
        for name in self._context.pairs:
            for side in Side:
                values = {
                    "run": self._id,
                    "workspace": self._context.workspace_id,
                    "left": self._context.orgs[Side.LEFT],
                    "right": self._context.orgs[Side.RIGHT],
                    "pair": name,
                    "side": side.value,
                    "known_gone": f"{side}_deleted",
                }
                if self._context.facts[name, side].inside is not None:
                    continue  # told by its parent, whenever that is read
                bound, missing = session.execute(sql(_COUNT_VANISHED.format(side=side)), values).one()
                if not confirmed and missing > max(VANISH_LEAST, self._ports.settings.vanish_share * bound):
                    held[f"{name}/{side}"] = {"missing": missing, "of": bound}
                elif missing:
                    session.execute(sql(_STAGE_VANISHED.format(side=side)), values)
        if held:
            log.warning("run %s: more has vanished at once than is believed: %s", self._id, held)
        told = {"run": self._id, "i": self._context.id, "held": json.dumps(held)}
        session.execute(sql("UPDATE integration SET held_back = CAST(:held AS jsonb) WHERE id = :i"), told)
        if held:
            report = "report || jsonb_build_object('held_back', CAST(:held AS jsonb))"
            session.execute(sql(f"UPDATE run SET report = {report} WHERE id = :run"), told)

    # Draining

    def _queue_or_finish(self) -> bool:
        queue = Queue(self._ports, self._context, self._id, self._lease)
        queue.look_at_quota()
        queue.resend_lost()
        while not queue.is_full():
            if self._keeper.stopping.is_set():
                return True
            if not queue.fill():
                return queue.may_be_settled() and self._finish()
        return False

    def _finish(self) -> bool:
        """Closes the run where every listed record has its outcome: watermark, timer, lease, in one transaction."""
        with self._ports.db.transaction() as session:
            self._ports.leases.lock(session, self._lease)
            open_rows = session.execute(
                sql("SELECT EXISTS (SELECT 1 FROM staged WHERE run_id = :run AND state <> 'done')"), {"run": self._id}
            ).scalar_one()
            if open_rows or not self._ports.leases.may_end(session, self._lease):
                return False
            self._advance_watermarks(session)
            failed = session.execute(
                sql("SELECT coalesce(sum(records), 0) FROM run_count WHERE run_id = :run AND outcome = 'failed'"),
                {"run": self._id},
            ).scalar_one()
            session.execute(
                sql("UPDATE run SET state = :state, ended_at = clock_timestamp(), pending = 0 WHERE id = :run"),
                {"run": self._id, "state": end_of(int(failed)).value},
            )
            _schedule_next(session, self._context.id)
            note_end(session, self._id)
            session.execute(sql("DELETE FROM staged WHERE run_id = :run"), {"run": self._id})
            self._ports.leases.release(session, self._lease)
        at("watermark.saved")
        at("lease.released")
        _wake_idle(self._ports)
        return False

    def _advance_watermarks(self, session: Session) -> None:
        """The start of this run (TR-5), by the vendor's clock where that is behind ours (P12). It never goes back."""
        started = session.execute(sql("SELECT started_at FROM run WHERE id = :run"), {"run": self._id}).scalar_one()
        for name in self._context.names:
            for side in self._context.sides(name):
                key = {"i": self._context.id, "pair": name, "side": side.value}
                current = session.execute(
                    sql("SELECT read_from FROM watermark WHERE integration_id = :i AND pair = :pair AND side = :side"),
                    key,
                ).scalar()
                session.execute(
                    sql(
                        """
                        INSERT INTO watermark AS w
                            (integration_id, pair, side, workspace_id, read_from, run_id, rows_most)
                        VALUES (:i, CAST(:pair AS text), CAST(:side AS text), :workspace, :mark, CAST(:run AS bigint), (
                            SELECT rows FROM listing WHERE run_id = :run AND pair = :pair AND side = :side AND whole))
                        ON CONFLICT (integration_id, pair, side) DO UPDATE
                        SET read_from = excluded.read_from, run_id = excluded.run_id,
                            rows_most = coalesce(excluded.rows_most, w.rows_most + (
                                SELECT rows FROM listing WHERE run_id = :run AND pair = :pair AND side = :side))
                        """
                    ),
                    {
                        **key,
                        "workspace": self._context.workspace_id,
                        "mark": advanced(current, self._vendor_start(session, key, started)),
                        "run": self._id,
                    },
                )

    def _vendor_start(self, session: Session, key: dict[str, Any], started: datetime) -> datetime:
        told: datetime | None = session.execute(
            sql("SELECT vendor_at FROM listing WHERE run_id = :run AND pair = :pair AND side = :side"),
            {"run": self._id, "pair": key["pair"], "side": key["side"]},
        ).scalar()
        return started if told is None else min(started, told)


# Not what was bound after the list was begun: it may be too young to be in it.
_VANISHED = """
    FROM binding b JOIN listing l ON l.run_id = :run AND l.pair = b.pair AND l.side = :side AND l.whole
    LEFT JOIN staged s ON s.run_id = :run AND s.pair = b.pair AND s.side = :side AND s.record_id = b.{side}_id
    WHERE b.left_org_id = :left AND b.right_org_id = :right AND b.pair = :pair AND b.state <> :known_gone
      AND b.state <> 'moved' AND b.bound_at < l.read_at"""
_COUNT_VANISHED = f"SELECT count(*) AS bound, count(*) FILTER (WHERE s.record_id IS NULL) AS missing {_VANISHED}"
_STAGE_VANISHED = f"""
    INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, folded_key, read_at,
        state, verdict)
    SELECT :run, b.pair, :side, b.{{side}}_id, :workspace, '{{{{}}}}', false, false, '', to_timestamp(0), 'listed',
        'look'
    {_VANISHED} AND s.record_id IS NULL
    ON CONFLICT DO NOTHING
    """
