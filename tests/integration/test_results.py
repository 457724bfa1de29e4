"""Saving outcomes: everything of a batch or nothing, once, under the fence, and no value in any error."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, text
from sqlalchemy import event as listening

from shared.bus import LIVE, LIVE_RESULTS, Lane
from shared.engine import results as engine
from shared.engine.outcome import BindingSave, Result, ResultBatch, Wait
from shared.engine.saving import save
from shared.errors import BothwaysError, LeaseLost, Unavailable
from shared.lease import Lease, run_holder
from shared.services.workspaces import default_workspace
from shared.sync.events import ChangeEvent, Hint, Origin, decode, encode
from shared.sync.model import RecordId, Side
from tests.integration.crew import await_that
from tests.integration.world import Json, Office, check_counters

pytestmark = pytest.mark.rule("P9", "LK-2")

SECRET = "Ada Lovelace, 12 Byron Row"


@dataclass
class Desk:
    """An integration with a run that holds its orgs, and batches of results about made-up records."""

    office: Office
    workspace: int = 0
    orgs: list[int] = field(default_factory=list)
    integration: int = 0
    run: int = 0
    lease: Lease | None = None

    def __post_init__(self) -> None:
        self.workspace = default_workspace(self.office.db)
        for name in ("a", "b"):
            self.orgs.append(
                self.office.value(
                    "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre) "
                    "VALUES (:w, 'v', :n, :n, 'us') RETURNING id",
                    w=self.workspace,
                    n=name,
                )
            )
        self.integration = self.office.value(
            "INSERT INTO integration (workspace_id, kind, name, left_org_id, right_org_id, state) "
            "VALUES (:w, 'fsm_books', 'n', :l, :r, 'enabled') RETURNING id",
            w=self.workspace,
            l=self.orgs[0],
            r=self.orgs[1],
        )
        self.run = self.new_run()
        self.lease = self.take()

    def new_run(self) -> int:
        self.office.sql("UPDATE run SET state = 'completed', ended_at = clock_timestamp()")
        return int(
            self.office.value(
                "INSERT INTO run (workspace_id, integration_id, kind, trigger, state) "
                "VALUES (:w, :i, 'sync', 'manual', 'draining') RETURNING id",
                w=self.workspace,
                i=self.integration,
            )
        )

    def take(self) -> Lease:
        holder = run_holder(self.run, self.integration, self.workspace)
        with self.office.db.transaction() as session:
            lease = self.office.ports.leases.take(session, self.orgs, holder)
        assert isinstance(lease, Lease)
        return lease

    def stage(self, *records: str) -> None:
        for record in records:
            self.office.sql(
                "INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, "
                "folded_key, read_at, state) VALUES (:r, 'items', 'left', :id, :w, '{}', true, false, '', "
                "clock_timestamp(), 'listed')",
                r=self.run,
                id=record,
                w=self.workspace,
            )
        self.office.sql("UPDATE run SET pending = pending + :n WHERE id = :r", n=len(records), r=self.run)

    def batch(self, *results: Result, lane: Lane | None = None, entries: list[str] | None = None) -> ResultBatch:
        assert self.lease is not None
        return ResultBatch(
            batch_id="b",
            integration_id=self.integration,
            workspace_id=self.workspace,
            orgs=self.orgs,
            holder=self.lease.holder.name,
            fence=self.lease.fence,
            run_id=self.run,
            direction={"left": "zoho_fsm>zoho_books", "right": "zoho_books>zoho_fsm"},
            lane=str(lane or self.lane),
            entries=entries or [],
            roots=[],
            token="w/t",
            last=True,
            results=list(results),
        )

    @property
    def lane(self) -> Lane:
        return Lane(self.integration, LIVE, 0)

    def event(self, record: str, name: str = "") -> ChangeEvent:
        return ChangeEvent(
            name or f"e-{record}", "c", self.integration, "items", Side.LEFT, RecordId(record), Hint.UPSERT,
            Origin.POLL, 0, self.run,
        )  # fmt: skip

    def result(self, record: str, outcome: str | None = "updated", **more: Any) -> Result:
        given: Json = {"event_ids": [f"e-{record}"], "run_id": self.run, **more}
        return Result(origin="poll", pair="items", side="left", record_id=record, outcome=outcome, **given)

    def bound(self, record: str, expected: int, value: str = "v") -> BindingSave:
        return BindingSave(record, f"twin-{record}", {"Name|name": [value, value]}, expected)

    def wait(self, record: str, why: str, in_s: float | None, attempts: int = 1) -> Wait:
        return Wait(why, in_s, attempts, encode(self.event(record)))

    def save(self, batch: ResultBatch) -> set[int]:
        """As the result task does, without the stream."""
        return engine._save_safely(self.office.ports, batch)

    def put(self, batch: ResultBatch, *records: str) -> None:
        """Events on the lane, taken by a drainer, and their results on the stream."""
        bus = self.office.bus
        lane = Lane.parse(batch.lane)
        bus.ensure_group(lane.key)
        bus.add([(lane, json.dumps(encode(self.event(record)))) for record in records])
        taken = bus.read_new(lane, 100)
        entries = [entry.id for entry in taken]
        bus.begin(lane, taken)
        bus.settle(lane, entries, batch.token, replace(batch, entries=entries).encode())

    def binding(self, record: str) -> Json:
        return self.office.sql("SELECT version, base, fence FROM binding WHERE left_id = :id", id=record)[0]

    def due(self) -> list[Json]:
        return self.office.sql(
            "SELECT record_id, why, reason, attempts, run_id, extract(epoch FROM due_at - clock_timestamp())::float8 "
            "AS in_s, event FROM due ORDER BY record_id"
        )

    def pending(self) -> int:
        return int(self.office.value("SELECT pending FROM run WHERE id = :r", r=self.run))

    def outcomes(self) -> list[tuple[str, str]]:
        return [(r["record_id"], r["outcome"]) for r in self.office.sql("SELECT * FROM outcome ORDER BY id")]


@contextmanager
def statements(database: Engine) -> Iterator[list[str]]:
    """What is run on a database while it lasts."""
    ran: list[str] = []

    def note(*about: Any) -> None:
        ran.append(about[2])

    listening.listen(database, "before_cursor_execute", note)
    try:
        yield ran
    finally:
        listening.remove(database, "before_cursor_execute", note)


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


# Once.


def test_results_that_come_twice_count_once(desk: Desk) -> None:
    desk.stage("1", "2", "3")
    batch = desk.batch(
        desk.result("1", "created", binding=desk.bound("1", 0)), desk.result("2", "unchanged"), desk.result("3")
    )
    assert desk.save(batch) == {desk.run}, "the run has nothing pending any more"
    assert desk.save(batch) == set()
    assert desk.outcomes() == [("1", "created"), ("2", "unchanged"), ("3", "updated")]
    assert desk.binding("1")["version"] == 1
    assert desk.pending() == 0
    check_counters(desk.office)


def test_a_second_copy_does_not_undo_what_came_after_the_first(desk: Desk) -> None:
    """Crash between the commit and the acknowledgement: by now the record waits for another try."""
    first = desk.batch(desk.result("1", "updated", binding=desk.bound("1", 0)))
    desk.save(first)
    later = desk.result("1", None, event_ids=["newer"], reason="RATE_LIMITED", wait=desk.wait("1", "retry", 60))
    desk.save(desk.batch(later))
    desk.save(first)
    assert [row["why"] for row in desk.due()] == ["retry"]


def test_an_event_of_two_deliveries_has_one_outcome(desk: Desk) -> None:
    desk.save(desk.batch(desk.result("1", "updated", event_ids=["a", "b"])))
    desk.save(desk.batch(desk.result("1", "unchanged", event_ids=["b"])))
    assert desk.outcomes() == [("1", "updated")]
    desk.save(desk.batch(desk.result("1", "unchanged", event_ids=["b", "c"])))
    assert desk.outcomes() == [("1", "updated"), ("1", "unchanged")]
    check_counters(desk.office)


def test_counters_tell_outcomes_reasons_and_conflicts_apart(desk: Desk) -> None:
    desk.save(
        desk.batch(
            desk.result("1", "updated", conflicts=[{"left": "a"}]),
            desk.result("2", "updated"),
            desk.result("3", "failed", reason="NO_KEY"),
            desk.result("4", "failed", reason="KEY_CUT"),
        )
    )
    rows = desk.office.sql("SELECT outcome, reason, records, conflicts FROM run_count ORDER BY outcome, reason")
    assert [tuple(row.values()) for row in rows] == [
        ("failed", "KEY_CUT", 1, 0), ("failed", "NO_KEY", 1, 0), ("updated", "", 2, 1),
    ]  # fmt: skip
    check_counters(desk.office)


def test_a_counter_that_is_wrong_is_seen(desk: Desk) -> None:
    desk.save(desk.batch(desk.result("1")))
    desk.office.sql("UPDATE run_count SET records = records + 1")
    with pytest.raises(AssertionError):
        check_counters(desk.office)


# Whole or not at all.


@pytest.mark.rule("P4", "P1")
def test_without_the_lease_nothing_is_saved_and_the_events_come_again(desk: Desk) -> None:
    desk.stage("1")
    desk.put(desk.batch(desk.result("1", "created", binding=desk.bound("1", 0), intent="close")), "1")
    desk.office.sql("UPDATE org_lease SET fence = nextval('fence_seq')")
    bus = desk.office.bus
    assert bus.claim_orphans(desk.lane) == [], "it is settling"
    engine.record_results(desk.office.ports)
    for table in ("outcome", "run_count", "binding", "event_done"):
        assert desk.office.value(f"SELECT count(*) FROM {table}") == 0, table
    assert desk.pending() == 1
    assert bus.redis.xlen(LIVE_RESULTS) == 0
    again = bus.claim_orphans(desk.lane)
    assert [decode(json.loads(entry.payload)).record_id for entry in again] == ["1"]
    assert ("drain", desk.lane) in desk.office.crew.woken


@pytest.mark.rule("P1")
def test_saved_results_leave_the_lane(desk: Desk) -> None:
    desk.put(desk.batch(desk.result("1"), desk.result("2")), "1", "2")
    assert engine.record_results(desk.office.ports) == 1
    bus = desk.office.bus
    assert bus.length([desk.lane]) == bus.redis.xlen(LIVE_RESULTS) == 0
    assert not bus.redis.exists(f"{desk.lane.key}:begun", f"{desk.lane.key}:handed")


@pytest.mark.rule("P5")
def test_a_plan_from_an_older_version_is_planned_again(desk: Desk) -> None:
    desk.stage("1")
    desk.save(desk.batch(desk.result("1", "created", event_ids=["x"], run_id=None, binding=desk.bound("1", 0, "new"))))
    desk.office.sql("UPDATE staged SET state = 'listed'")
    stale = desk.result("1", "updated", binding=desk.bound("1", 0, "old"))
    assert desk.save(desk.batch(stale)) == set()
    assert desk.binding("1") == {"version": 1, "base": {"Name|name": ["new", "new"]}, "fence": desk.lease.fence}  # type: ignore[union-attr]
    assert desk.outcomes() == [("1", "created")]
    due = desk.due()[0]
    assert (due["why"], due["run_id"]) == ("retry", desk.run)
    assert due["in_s"] <= 0
    again = decode(due["event"])
    assert (again.record_id, again.staged, again.attempt) == ("1", False, 0)
    assert desk.pending() == 1, "the run waits for it"
    assert desk.save(desk.batch(replace(stale, binding=desk.bound("1", 1, "newer")))) == {desk.run}
    assert desk.binding("1")["version"] == 2
    assert desk.due() == []
    check_counters(desk.office)


@pytest.mark.rule("P9")
def test_what_waited_for_an_event_that_ended_under_another_s_name_ends_there_too(desk: Desk) -> None:
    """ "b" was folded into "a" and is worked on once more (its worker was frozen, and went on): its second result
    answers the one that waits, and has no row of its own."""
    desk.save(desk.batch(desk.result("1", "updated", event_ids=["a", "b"], binding=desk.bound("1", 0))))
    desk.save(desk.batch(desk.result("1", None, event_ids=["e-1"], wait=desk.wait("1", "retry", 30))))
    later = desk.office.value("SELECT clock_timestamp()")
    desk.save(replace(desk.batch(desk.result("1", "unchanged", event_ids=["b"])), opened_at=later))
    assert desk.due() == []
    ended = {row["event_id"]: row["outcome_event"] for row in desk.office.sql("SELECT * FROM event_done")}
    assert ended == {"a": "a", "b": "a", "e-1": "a"}
    assert desk.outcomes() == [("1", "updated")]
    assert desk.office.value("SELECT events FROM outcome") == 3, "it speaks for all three"
    desk.save(replace(desk.batch(desk.result("1", "unchanged", event_ids=["b"])), opened_at=later))
    assert desk.office.value("SELECT events FROM outcome") == 3


@pytest.mark.rule("P5")
def test_of_two_plans_from_one_version_the_second_is_planned_again(desk: Desk) -> None:
    desk.save(desk.batch(desk.result("1", "created", binding=desk.bound("1", 0))))
    desk.save(desk.batch(desk.result("1", "updated", event_ids=["a"], binding=desk.bound("1", 1, "first"))))
    desk.save(desk.batch(desk.result("1", "updated", event_ids=["b"], binding=desk.bound("1", 1, "second"))))
    assert desk.binding("1")["base"] == {"Name|name": ["first", "first"]}
    assert desk.outcomes() == [("1", "created"), ("1", "updated")]
    assert [row["why"] for row in desk.due()] == ["retry"]


@pytest.mark.rule("DU-1")
@pytest.mark.parametrize("twice", ["left", "right"])
def test_neither_end_is_bound_twice(desk: Desk, twice: str) -> None:
    desk.save(desk.batch(desk.result("1", "created", binding=desk.bound("1", 0))))
    other = desk.bound("1", 0)
    if twice == "left":
        other.right_id = "twin-2"
    else:
        other.left_id = "2"
    desk.save(desk.batch(desk.result("2", "created", binding=other)))
    assert desk.office.value("SELECT count(*) FROM binding") == 1
    assert [row["why"] for row in desk.due()] == ["retry"]


def test_an_older_fence_moves_no_binding(desk: Desk) -> None:
    desk.save(desk.batch(desk.result("1", "created", binding=desk.bound("1", 0))))
    desk.office.sql("UPDATE binding SET fence = fence + 1")
    desk.save(desk.batch(desk.result("1", "updated", event_ids=["e2"], binding=desk.bound("1", 1, "stale"))))
    assert desk.binding("1")["version"] == 1


# Waits.


@pytest.mark.rule("P8")
def test_a_wait_becomes_a_due_row_and_no_outcome(desk: Desk) -> None:
    desk.stage("1", "2")
    desk.office.sql(
        "INSERT INTO intent (workspace_id, integration_id, pair, side, record_id, folded_key, batch_id, fence) "
        "VALUES (:w, :i, 'items', 'left', '2', 'k', 'b', 1)",
        w=desk.workspace,
        i=desk.integration,
    )
    retry = desk.result("1", None, reason="RATE_LIMITED", wait=desk.wait("1", "retry", 30, attempts=2), attempt=2)
    doubt = desk.result("2", None, reason="IN_DOUBT_UNRESOLVED", wait=desk.wait("2", "in_doubt", 1), intent="doubt")
    assert desk.save(desk.batch(retry, doubt)) == set()
    rows = [(r["record_id"], r["why"], r["attempts"], r["run_id"]) for r in desk.due()]
    assert rows == [("1", "retry", 2, desk.run), ("2", "in_doubt", 1, desk.run)]
    assert 25 < desk.due()[0]["in_s"] <= 30
    assert desk.outcomes() == []
    assert desk.pending() == 2
    state = "SELECT state, looks, first_look_at IS NOT NULL AS looked FROM intent"
    assert desk.office.sql(state) == [{"state": "in_doubt", "looks": 0, "looked": False}]
    desk.save(desk.batch(replace(doubt, intent="looked")))
    assert desk.office.sql(state) == [{"state": "in_doubt", "looks": 1, "looked": True}]
    desk.save(desk.batch(desk.result("2", "bound", intent="close", binding=desk.bound("2", 0))))
    assert desk.office.sql(state) == []


@pytest.mark.rule("P5")
@pytest.mark.parametrize("listed_first", [True, False])
def test_of_two_that_wait_the_one_that_was_told_of_is_read_afresh(desk: Desk, listed_first: bool) -> None:
    """What a run listed is older than what a webhook told of since, in whichever order the two come to wait."""
    desk.stage("1")
    listed, told = ({**encode(desk.event("1", name)), "stg": stg} for name, stg in (("listed", "1"), ("told", "0")))
    for event in (listed, told) if listed_first else (told, listed):
        waiting = desk.result("1", None, event_ids=[event["id"]], reason="PARENT_NOT_SYNCED",
                              wait=Wait("blocked", 30, 1, event))  # fmt: skip
        desk.save(desk.batch(waiting))
    found = decode(desk.due()[0]["event"])
    assert (found.staged, {found.event_id, *found.folded}) == (False, {"listed", "told"})


def test_two_that_were_listed_by_a_run_wait_as_they_are(desk: Desk) -> None:
    desk.stage("1")
    event = {**encode(desk.event("1")), "stg": "1"}
    for _ in range(2):
        desk.save(desk.batch(desk.result("1", None, reason="PARENT_NOT_SYNCED", wait=Wait("blocked", 30, 1, event))))
    assert decode(desk.due()[0]["event"]).staged


@pytest.mark.rule("LG-4")
def test_a_failed_record_is_settled_for_its_run_and_due_with_the_next(desk: Desk) -> None:
    desk.stage("1")
    failed = desk.result("1", "failed", reason="NO_KEY", detail="Name", wait=desk.wait("1", "failed", None))
    assert desk.save(desk.batch(failed)) == {desk.run}
    due = desk.due()
    assert [(row["why"], row["reason"], row["run_id"], row["in_s"]) for row in due] == [
        ("failed", "NO_KEY", None, None)
    ]
    assert desk.save(desk.batch(failed)) == set()
    assert len(desk.due()) == 1
    desk.save(desk.batch(desk.result("1", "updated", event_ids=["later"])))
    assert desk.due() == []


def test_whichever_event_settles_a_record_ends_the_wait_of_the_run(desk: Desk) -> None:
    desk.stage("1")
    desk.save(desk.batch(desk.result("1", None, reason="RATE_LIMITED", wait=desk.wait("1", "retry", 60))))
    hook = desk.result("1", "updated", event_ids=["hook"], run_id=None)
    assert desk.save(desk.batch(hook)) == {desk.run}
    assert desk.due() == []


def test_the_run_is_woken_when_its_last_record_is_settled(desk: Desk) -> None:
    desk.stage("1", "2")
    desk.put(desk.batch(desk.result("1")), "1")
    engine.record_results(desk.office.ports)
    assert ("run", desk.run) not in desk.office.crew.woken
    desk.put(desk.batch(desk.result("2")), "2")
    engine.record_results(desk.office.ports)
    assert ("run", desk.run) in desk.office.crew.woken


# Side by side.


def test_a_run_is_woken_before_its_lanes_are_empty(desk: Desk) -> None:
    low = 2
    desk.stage("1", "2", "3", "4", "5")
    went_on = []
    for record in ("1", "2", "3", "4", "5"):
        with desk.office.db.transaction() as session:
            went_on.append(save(session, desk.batch(desk.result(record)), low))
    assert went_on == [set(), set(), {desk.run}, set(), {desk.run}], "once at the mark, and at the end"


def test_both_ends_of_a_binding_in_one_batch_are_saved_one_after_the_other(desk: Desk) -> None:
    """The right one was planned after the left one's write was noted: from the version that the left one leaves."""
    desk.save(desk.batch(desk.result("1", event_ids=["before"], binding=desk.bound("1", 0))))
    first = desk.result("1", binding=desk.bound("1", 1, "of the left"))
    second = replace(
        desk.result("twin-1", event_ids=["e-right"], binding=desk.bound("1", 2, "of the right")), side="right"
    )
    desk.save(desk.batch(second, first))
    assert desk.binding("1")["version"] == 3
    assert desk.binding("1")["base"] == {"Name|name": ["of the right", "of the right"]}
    assert desk.outcomes()[1:] == [("1", "updated"), ("twin-1", "updated")]


def test_a_large_batch_takes_no_more_statements_than_a_small_one(desk: Desk) -> None:
    """Created, updated, failed and waiting records in each."""
    counted = []
    for size in (1, 40):
        records = [f"{size}-{number}" for number in range(size * 4)]
        desk.stage(*records)
        for record in records[size : 2 * size]:
            desk.save(desk.batch(desk.result(record, event_ids=[f"before-{record}"], binding=desk.bound(record, 0))))
        results = [
            *(desk.result(one, "created", binding=desk.bound(one, 0), intent="close") for one in records[:size]),
            *(desk.result(one, binding=desk.bound(one, 1)) for one in records[size : 2 * size]),
            *(desk.result(one, "failed", wait=desk.wait(one, "failed", None)) for one in records[2 * size : 3 * size]),
            *(desk.result(one, None, wait=desk.wait(one, "retry", 60.0)) for one in records[3 * size :]),
        ]
        with statements(desk.office.db.engine) as ran:
            desk.save(desk.batch(*results))
        counted.append(len(ran))
    assert counted[0] == counted[1]


def test_batches_of_one_run_do_not_lock_each_other_out(desk: Desk) -> None:
    """They share the run, its counters, and records of which both know something."""
    records = [str(n) for n in range(40)]
    desk.stage(*records)
    start = threading.Barrier(4)

    def save(number: int) -> None:
        start.wait()
        for first in range(0, 40, 10):
            chosen = records[first : first + 10][:: 1 if number % 2 else -1]
            outcomes = ["updated", "failed", "unchanged", "created"]
            desk.save(
                desk.batch(
                    *[
                        desk.result(
                            record, outcomes[(int(record) + number) % 4], event_ids=[f"{number}-{record}"],
                            reason="NO_KEY", wait=desk.wait(record, "failed", None),
                        )
                        for record in chosen
                    ]
                )
            )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(save, number) for number in range(4)]:
            done.result()
    assert desk.office.value("SELECT count(*) FROM outcome") == 160
    assert desk.office.value("SELECT sum(records) FROM run_count") == 160
    assert desk.pending() == 0
    check_counters(desk.office)


def test_saving_waits_for_no_other_batch_while_it_holds_the_run(desk: Desk) -> None:
    """Two batches that know of the same record: the one that waits for it must not have the run's row."""
    desk.stage("1", "2")
    with desk.office.db.transaction() as first, ThreadPoolExecutor(1) as pool:
        first.execute(
            text(
                "INSERT INTO due (workspace_id, integration_id, pair, side, record_id, why, event) "
                "VALUES (:w, :i, 'items', 'left', '2', 'retry', '{}')"
            ),
            {"w": desk.workspace, "i": desk.integration},
        )
        waiting = desk.result("2", "failed", reason="NO_KEY", wait=desk.wait("2", "failed", None))
        behind = pool.submit(desk.save, desk.batch(desk.result("1"), waiting))
        await_that(
            lambda: desk.office.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
            "it waits for the record",
        )
        first.execute(text("SELECT 1 FROM run WHERE id = :r FOR UPDATE NOWAIT"), {"r": desk.run})
        first.commit()
        assert behind.result() == {desk.run}


# What Postgres refuses.


@pytest.mark.rule("P8", "P14")
def test_one_refused_result_fails_alone_and_tells_no_value(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk.stage("1", "2")
    bad = desk.result(
        "1", "created", binding=desk.bound("1", 0, SECRET + "\0"), intent="close",
        changes=[{"side": "right", "field": "name", "old": None, "new": SECRET}],
    )  # fmt: skip
    desk.put(desk.batch(bad, desk.result("2", "created", binding=desk.bound("2", 0))), "1", "2")
    engine.record_results(desk.office.ports)
    assert desk.outcomes() == [("1", "failed"), ("2", "created")]
    row = desk.office.sql("SELECT reason, changes, detail FROM outcome WHERE record_id = '1'")
    assert row == [{"reason": "INTERNAL", "changes": [], "detail": ""}]
    assert [one["record_id"] for one in desk.due()] == ["1"]
    assert desk.pending() == 0
    assert desk.office.bus.redis.xlen(LIVE_RESULTS) == 0
    assert "refused" in caplog.text
    assert SECRET not in caplog.text
    check_counters(desk.office)


@pytest.mark.rule("P14")
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO workspace (id, name) OVERRIDING SYSTEM VALUE VALUES (1, :secret)",  # a unique key
        "INSERT INTO org (workspace_id, vendor, external_id, name) VALUES (1, 'v', 'x', :secret)",  # NOT NULL
        "INSERT INTO binding (base) VALUES (CAST(:secret AS jsonb))",  # not JSON
        "SELECT CAST(:secret AS integer)",
        "INSERT INTO workspace (nothing) VALUES (:secret)",
    ],
)
def test_an_error_of_postgres_holds_no_value(desk: Desk, statement: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(BothwaysError) as caught:
        desk.office.sql(statement, secret=SECRET)
    assert SECRET.split(",", maxsplit=1)[0] not in caplog.text + told(caught.value)


@pytest.mark.rule("P14")
def test_a_statement_that_takes_too_long_tells_no_value(desk: Desk) -> None:
    def wait() -> None:
        with desk.office.db.transaction() as session:
            session.execute(text("SET LOCAL statement_timeout = '5ms'"))
            session.execute(text("SELECT pg_sleep(5), CAST(:secret AS text)"), {"secret": SECRET})

    with pytest.raises(Unavailable) as caught:
        wait()
    assert SECRET not in told(caught.value)


def told(error: BaseException) -> str:
    """All that a log with a traceback would show of it."""
    return "".join(traceback.format_exception(error)) + repr(vars(error))


@pytest.mark.rule("P8")
def test_results_of_another_version_hold_up_nobody(desk: Desk) -> None:
    bus = desk.office.bus
    for payload in ("{}", "[]", "no json", '{"results": [], "new_field": 1}'):
        bus.settle(desk.lane, [], "w/t", payload)
    desk.put(desk.batch(desk.result("1")), "1")
    engine.record_results(desk.office.ports)
    assert desk.outcomes() == [("1", "updated")]
    assert bus.redis.xlen(LIVE_RESULTS) == 4, "they stay for a worker that can read them"


def test_a_lost_lease_is_an_error_of_its_own(desk: Desk) -> None:
    batch = desk.batch(desk.result("1"))
    desk.office.sql("UPDATE org_lease SET expires_at = clock_timestamp()")
    with pytest.raises(LeaseLost):
        desk.save(batch)
