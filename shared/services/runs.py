"""Runs for people: Fetch, Sync Now, the overview, details and failures with their CSV."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from shared.db.queries import outcomes as outcome_queries
from shared.db.queries import runs as run_queries
from shared.db.repositories import audit
from shared.db.session import Database
from shared.engine.housekeeping import new_run
from shared.errors import NotFound, Refused
from shared.integrations.registry import integration as declared
from shared.services.holders import no_import, no_other_sync, own_sync_is_on
from shared.services.integrations import IntegrationService, IntegrationView
from shared.services.record_pages import record_pages
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.calendar import day_of
from shared.sync.cells import neutral
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
    def __init__(self, database: Database, wake: WakeRun, integrations: IntegrationService, settings: Settings) -> None:
        self._db = database
        self._settings = settings
        self._integrations = integrations
        self._wake = wake

    def fetch(self, actor: Actor, integration_id: int) -> int:
        """Binds what is the same on both sides; writes to neither (SU-4). Returns the Sync ID."""
        return self._start(actor, integration_id, RunKind.FETCH, Action.FETCH_ASKED)

    def sync_now(
        self, actor: Actor, integration_id: int, *, compare: bool = False, confirm_deletions: bool = False
    ) -> int:
        """Raises NotFound, Refused (Fetch first, not enabled), OrgHeld (this integration has a run
        already, or an import has one of its orgs).

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
            orgs = (view.left_org_id, view.right_org_id)
            no_import(session, orgs)
            no_other_sync(session, orgs, but=view.id)
            if kind is RunKind.SYNC and declared(view.kind).limits_manual:
                self._must_be_left(session, view)
            run_id = new_run(session, integration_id, actor.workspace, kind.value, "manual", **asked)
            if run_id is None:
                raise own_sync_is_on(session, integration_id)
            told = {name: True for name, wanted in asked.items() if wanted}
            audit.record(session, actor, action, run_id, after={"integration_id": integration_id, **told})
        self._wake.run(run_id)
        return run_id

    def _must_be_left(self, session: Session, view: IntegrationView) -> None:
        """TR-4: so many of a day. Raises Refused, saying when the next one is possible."""
        most = self._settings.manual_syncs_per_day
        now = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        zone = ZoneInfo(view.time_zone)
        start, end = day_of(now, zone)
        if most and run_queries.manual_syncs(session, view.id, start, end) >= most:
            raise Refused(
                f"{most} syncs were started by hand today, and a day has no more. The next one is possible from "
                f"{end.astimezone(zone):%Y-%m-%d %H:%M} in {view.time_zone} ({end:%Y-%m-%d %H:%M} UTC); webhooks, the "
                "automatic sync and single records go on.",
                code="TOO_MANY_SYNCS",
            )

    # The sync logs begin with their overview (LG-1): counts and errors are in it. All of them need LG-6.

    def recent(
        self,
        actor: Actor,
        integration_id: int | None = None,
        limit: int = 50,
        *,
        since: datetime | None = None,
        before: str | None = None,
    ) -> list[RowMapping]:
        """Newest first, of the last two months. `before` is the `cursor` of the last row of the page before: from there
        on as far back as there is any. `since` bounds both. Raises Refused on what is no cursor."""
        actor.must(Permission.READ_LOGS)
        place = None if before is None else place_of(before)
        with self._db.transaction() as session:
            return run_queries.list_runs(
                session, actor.workspace, integration_id, since=since, before=place, limit=limit
            )

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
        return [row for page in self._failures(actor, run_id, wanted) for row in page]

    def _failures(self, actor: Actor, run_id: int, wanted: Failures) -> Iterator[list[dict[str, Any]]]:
        """A page at a time. Permission and run are looked at before the first one is asked for."""
        self.get(actor, run_id)

        def pages() -> Iterator[list[dict[str, Any]]]:
            after, more = 0, True
            while more:
                with self._db.transaction() as session:
                    rows = outcome_queries.list_failures(
                        session, actor.workspace, run_id, asdict(wanted), after_id=after, limit=PAGE
                    )
                more = len(rows) == PAGE
                if rows:
                    after = rows[-1]["id"]
                    yield [explained(row) for row in rows]

        return pages()

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

    def failures_csv(self, actor: Actor, run_id: int, wanted: Failures = Failures()) -> Iterator[str]:
        """RFC 4180, one line per failed record with its reason (LG-3), page by page; cells cannot be formulas.

        Raises NotFound, NotAllowed at once; Unavailable also while it is read.
        """
        pages = self._failures(actor, run_id, wanted)
        return itertools.chain([csv_text([_FAILURES_HEAD])], (csv_text(map(_failure, page)) for page in pages))


_FAILURES_HEAD = ("module", "direction", "record", "twin", "reason", "what happened", "what to do", "tries", "at")


def _failure(row: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        row["pair"], row["direction"], row["record_id"], row["twin_id"], row["reason"], row["sentence"], row["remedy"],
        row["attempt"], row["at"].isoformat(),
    )  # fmt: skip


PAGE = 1000
"""Rows of a CSV that are read, and written, at once: however long the file, no more are in memory."""


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(neutral(cells) for cells in rows)
    return out.getvalue()


def explained(row: RowMapping) -> dict[str, Any]:
    reason = REASONS.get(row["reason"])
    return {
        **row,
        "sentence": sentence(row["reason"], row["detail"]) if reason else "",
        "remedy": reason.remedy if reason else "",
    }


def place_of(cursor: str) -> tuple[int, int]:
    """Microseconds since 1970 and id of the run at which a page ended. Raises Refused."""
    found = re.fullmatch(r"([0-9]{1,16})\.([0-9]{1,18})", cursor)
    if found is None:
        raise Refused("`before` is the cursor of a row of the page before, and this is none.", code="BAD_CURSOR")
    return int(found[1]), int(found[2])
