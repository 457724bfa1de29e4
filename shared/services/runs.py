"""Runs for people: Fetch, Sync Now, the overview, details and failures with their CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from shared.db.queries import outcomes as outcome_queries
from shared.db.queries import runs as run_queries
from shared.db.repositories import audit
from shared.db.session import Database
from shared.engine.housekeeping import new_run
from shared.errors import NotFound, OrgHeld, Refused
from shared.integrations.registry import integration as declared
from shared.services.integrations import IntegrationService
from shared.services.record_pages import record_pages
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.guards import may_start
from shared.sync.model import OutcomeKind, Side
from shared.sync.reasons import REASONS, sentence
from shared.sync.states import RunKind

TERMINAL = ("completed", "completed_with_failures", "failed", "cancelled")


class WakeRun(Protocol):
    def run(self, run_id: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Count:
    """`listed` of `records` were settled while listing and have no row in the details."""

    direction: str
    pair: str
    outcome: str
    reason: str
    records: int
    conflicts: int
    listed: int


@dataclass(frozen=True, slots=True)
class RunView:
    """`settled` of `total` records that need work have their outcome; both 0 before the lists are read."""

    id: int
    integration_id: int
    kind: str
    trigger: str
    state: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    waiting_for: str | None
    error_code: str | None
    error_detail: str | None
    report: Mapping[str, Any]
    listed: int
    total: int
    settled: int
    counts: tuple[Count, ...] = field(default=())

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class Failures:
    """Which failures of a sync; None: any."""

    pair: str | None = None
    direction: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one cause. The first three are what `Failures` asks for."""

    pair: str
    direction: str
    reason: str
    sentence: str
    remedy: str
    records: int


class RunService:
    def __init__(self, database: Database, wake: WakeRun, integrations: IntegrationService) -> None:
        self._db = database
        self._integrations = integrations
        self._wake = wake

    def fetch(self, actor: Actor, integration_id: int) -> int:
        """Binds what is the same on both sides; writes to neither (SU-4). Returns the Sync ID."""
        return self._start(actor, integration_id, RunKind.FETCH, Action.FETCH_ASKED)

    def sync_now(
        self, actor: Actor, integration_id: int, *, compare: bool = False, confirm_deletions: bool = False
    ) -> int:
        """Raises NotFound, Refused (Fetch first, not enabled), OrgHeld (this integration has a run already).

        `compare`: everything is listed, and what was deleted without a word is found (TR-13). `confirm_deletions`: the
        same, and however much has vanished, it is so.
        """
        asked = {"compares": compare or confirm_deletions, "deletions_confirmed": confirm_deletions}
        return self._start(actor, integration_id, RunKind.SYNC, Action.SYNC_ASKED, **asked)

    def _start(self, actor: Actor, integration_id: int, kind: RunKind, action: Action, **asked: bool) -> int:
        actor.must(Permission.SYNC)
        view = self._integrations.get(actor, integration_id)
        refusal = may_start(
            kind,
            fetched=view.fetched_at is not None,
            enabled=view.state == "enabled",
            connections_live=True,
            draft=view.state == "draft",
        )
        if refusal is not None:
            raise Refused(refusal.sentence, code=refusal.code)
        with self._db.transaction() as session:
            run_id = new_run(session, integration_id, actor.workspace, kind.value, "manual", **asked)
            if run_id is None:
                raise _held(session, integration_id)
            told = {name: True for name, wanted in asked.items() if wanted}
            audit.record(session, actor, action, run_id, after={"integration_id": integration_id, **told})
        self._wake.run(run_id)
        return run_id

    # The sync logs begin with their overview (LG-1): counts and errors are in it. All of them need LG-6.

    def recent(self, actor: Actor, integration_id: int | None = None, limit: int = 50) -> list[RowMapping]:
        actor.must(Permission.READ_LOGS)
        with self._db.transaction() as session:
            return run_queries.list_runs(session, actor.workspace, integration_id, limit)

    def get(self, actor: Actor, run_id: int) -> RunView:
        actor.must(Permission.READ_LOGS)
        with self._db.transaction() as session:
            row = run_queries.get_run(session, actor.workspace, run_id)
            if row is None:
                raise NotFound(f"There is no sync {run_id}. See `bothways runs`.", code="UNKNOWN_RUN")
            progress = run_queries.progress(session, run_id)
            counts = tuple(Count(**one) for one in run_queries.counts(session, run_id))
        names = [one.name for one in fields(RunView) if one.name in row]
        return RunView(**{name: row[name] for name in names}, **progress, counts=counts)

    def outcomes(
        self, actor: Actor, run_id: int, *, outcome: str | None = None, after_id: int = 0, limit: int = 200
    ) -> list[dict[str, Any]]:
        """A page of the details, with each record's page at its vendor."""
        view = self.get(actor, run_id)
        with self._db.transaction() as session:
            rows = outcome_queries.list_outcomes(
                session, actor.workspace, run_id, outcome=outcome, after_id=after_id, limit=limit
            )
            pages = record_pages(session, actor.workspace, view.integration_id)
        return [pages.shown(explained(row)) for row in rows]

    def failures(self, actor: Actor, run_id: int, wanted: Failures = Failures()) -> list[dict[str, Any]]:
        self.get(actor, run_id)
        with self._db.transaction() as session:
            rows = outcome_queries.iterate_failures(session, actor.workspace, run_id, asdict(wanted))
            return [explained(row) for row in rows]

    def failure_groups(self, actor: Actor, run_id: int) -> list[FailureGroup]:
        """The failures of a sync by modules, direction and reason, the most first (LG-3)."""
        failed = [one for one in self.get(actor, run_id).counts if one.outcome == OutcomeKind.FAILED]
        return [
            FailureGroup(one.pair, one.direction, one.reason, REASONS[one.reason].sentence, REASONS[one.reason].remedy,
                         one.records)
            for one in sorted(failed, key=lambda one: (-one.records, one.pair, one.direction, one.reason))
            if one.reason in REASONS
        ]  # fmt: skip

    def failures_name(self, actor: Actor, run_id: int, wanted: Failures) -> str:
        """`<Module>FailureLogs.csv` of the module that the records come from; several modules have no such name."""
        if not (wanted.pair and wanted.direction):
            return f"FailureLogs-{run_id}.csv"
        view = self._integrations.get(actor, self.get(actor, run_id).integration_id)
        declaration = declared(view.kind).declaration(wanted.pair)
        side = Side.LEFT if wanted.direction.partition(">")[0] == view.left_vendor else Side.RIGHT
        return f"{declaration.module(side)}FailureLogs.csv"

    def failures_csv(self, actor: Actor, run_id: int, wanted: Failures = Failures()) -> str:
        """RFC 4180, one line per failed record with its reason (LG-3); cells cannot be formulas."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(
            ["module", "direction", "record", "twin", "reason", "what happened", "what to do", "tries", "at"]
        )
        for row in self.failures(actor, run_id, wanted):
            cells = (
                row["pair"],
                row["direction"],
                row["record_id"],
                row["twin_id"],
                row["reason"],
                row["sentence"],
                row["remedy"],
                row["attempt"],
                row["at"].isoformat(),
            )
            writer.writerow(neutral(cells))
        return out.getvalue()


def neutral(cells: Iterable[object]) -> list[str]:
    """A cell that a spreadsheet would run as a formula gets a leading apostrophe (reliability section 7, CSV out)."""
    return [_neutral("" if cell is None else str(cell)) for cell in cells]


def _neutral(cell: str) -> str:
    # The control characters are looked for before blanks and quotes are passed over: a tab is both.
    risky = cell[:1] in ("\t", "\r", "\n", "\0") or cell.lstrip(" \"'")[:1] in ("=", "+", "-", "@", "\t", "\r", "\0")
    return "'" + cell if risky else cell


def explained(row: RowMapping) -> dict[str, Any]:
    reason = REASONS.get(row["reason"])
    return {
        **row,
        "sentence": sentence(row["reason"], row["detail"]) if reason else "",
        "remedy": reason.remedy if reason else "",
    }


def _held(session: Session, integration_id: int) -> OrgHeld:
    row = session.execute(
        text(
            "SELECT id, created_at FROM run WHERE integration_id = :i AND kind <> 'webhook' "
            "AND state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"
        ),
        {"i": integration_id},
    ).first()
    if row is None:
        return OrgHeld("Another sync has just ended; try again.", holder="", since=datetime.now().astimezone())
    return OrgHeld(
        f"Sync {row.id} of this integration is on since {row.created_at:%Y-%m-%d %H:%M:%S} UTC. Wait until it ends.",
        holder=f"run:{row.id}",
        since=row.created_at,
    )
