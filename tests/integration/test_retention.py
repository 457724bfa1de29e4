"""Sync logs by the month (LG-1): two are shown, six can be reached, older ones are removed and could be exported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from shared.engine import housekeeping
from shared.errors import NotAllowed, NotFound, Refused
from shared.services import log_export
from shared.services import runs as runs_module
from shared.services.integrations import IntegrationService
from shared.services.log_export import LogExportService, span
from shared.services.runs import RunService
from shared.services.workspaces import host_actor
from shared.sync.access import Actor, ActorKind, Permission, Role, host
from tests.callers import token_of
from tests.integration.moved_clock import MovedClock
from tests.integration.test_doors import serving
from tests.integration.test_notifications import integration
from tests.integration.world import Office

pytestmark = pytest.mark.rule("LG-1")


@pytest.fixture
def database_url(moved_clock: MovedClock) -> str:
    return moved_clock.url


@pytest.fixture
def here(office: Office) -> int:
    return integration(office, addresses=())


def on(year: int, month: int, day: int, hour: int = 12, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def run(office: Office, integration_id: int, state: str = "completed", **values: Any) -> int:
    """That began and, unless it is on, ended now, with a counter."""
    ended = "clock_timestamp()" if state.startswith(("completed", "failed")) else "NULL"
    run_id = int(
        office.value(
            f"INSERT INTO run (workspace_id, integration_id, kind, trigger, state, started_at, ended_at) "
            f"SELECT workspace_id, id, :kind, 'scheduled', :state, clock_timestamp(), {ended} "
            "FROM integration WHERE id = :i RETURNING id",
            **{"i": integration_id, "state": state, "kind": "sync", **values},
        )
    )
    office.sql(
        "INSERT INTO run_count (run_id, direction, pair, outcome, workspace_id, records) "
        "SELECT id, 'd', 'companies', 'updated', workspace_id, 1 FROM run WHERE id = :r",
        r=run_id,
    )
    return run_id


def outcome(office: Office, integration_id: int, record: str, run_id: int = 1, **values: Any) -> None:
    office.sql(
        "INSERT INTO outcome (workspace_id, integration_id, run_id, event_id, origin, pair, direction, side, "
        "record_id, outcome, reason, detail, changes, fence) "
        "SELECT workspace_id, id, :run, :record, 'poll', 'companies', 'zoho_fsm>zoho_books', 'left', :record, "
        ":outcome, :reason, :detail, CAST(:changes AS jsonb), 1 "
        "FROM integration WHERE id = :i",
        **{
            "i": integration_id, "run": run_id, "record": record, "outcome": "updated", "reason": "", "detail": "",
            "changes": "[]", **values,
        },
    )  # fmt: skip


def runs_of(office: Office) -> RunService:
    return RunService(office.db, office.crew, IntegrationService(office.db, office.settings), office.settings)


def export_of(office: Office) -> LogExportService:
    return LogExportService(office.db, IntegrationService(office.db, office.settings))


def ids(office: Office, table: str = "run") -> list[int]:
    return [int(row["id"]) for row in office.sql(f"SELECT id FROM {table} ORDER BY id")]


# The overview.


def test_it_shows_two_months_and_pages_back_through_six(moved_clock: MovedClock, office: Office, here: int) -> None:
    made: dict[int, list[int]] = {}
    for month in range(1, 9):
        moved_clock.set(on(2031, month, 15))
        housekeeping.hourly(office.ports)
        made[month] = [run(office, here) for _ in range(3)]
    # As a scheduler makes several in one transaction: of one moment, told apart by their ids.
    same = "(SELECT min(created_at) FROM run WHERE id = ANY(:ids))"
    for several in made.values():
        office.sql(f"UPDATE run SET created_at = {same} WHERE id = ANY(:ids)", ids=several)
    moved_clock.set(on(2031, 8, 20))
    housekeeping.hourly(office.ports)
    actor, runs = host_actor(office.db), runs_of(office)
    newest_first = [one for month in range(8, 0, -1) for one in reversed(made[month])]
    assert [row["id"] for row in runs.recent(actor, here)] == newest_first[:6], "of July and August"
    found, cursor = [], None
    while page := runs.recent(actor, limit=4, before=cursor) if cursor else runs.recent(actor, limit=4):
        found += [row["id"] for row in page]
        cursor = page[-1]["cursor"]
    assert found == newest_first[:-3], "back to February, each once"
    since = runs.recent(actor, here, since=on(2031, 5, 1))
    assert [row["id"] for row in since] == newest_first[:12]
    assert runs.recent(actor, here, since=on(2031, 5, 1), before=since[-1]["cursor"]) == []
    assert runs.get(actor, made[2][0]).counts, "details of all that is there"


def test_pages_over_rest_and_what_is_no_cursor(moved_clock: MovedClock, office: Office, here: int) -> None:
    moved_clock.set(on(2031, 1, 15))
    old = run(office, here)
    moved_clock.set(on(2031, 5, 15))
    young = run(office, here)
    with serving(office.settings) as client:
        (row,) = client.get("/api/v1/runs").json()
        assert row["id"] == young
        (before,) = client.get("/api/v1/runs", params={"before": row["cursor"]}).json()
        assert before["id"] == old
        assert len(client.get("/api/v1/runs", params={"since": "2031-01-01T00:00:00Z"}).json()) == 2
        for odd in ("x", "1", "1.", ".1", "1.2.3", "-1.2", "9" * 17 + ".1", "1." + "9" * 19, "１.2", "1.2\n"):
            answer = client.get("/api/v1/runs", params={"before": odd})
            assert (answer.status_code, answer.json()["code"]) == (409, "BAD_CURSOR"), odd
        assert client.get("/api/v1/runs", params={"before": f"{'9' * 16}.{'9' * 18}"}).status_code == 200


# What is removed.


def test_at_the_month_s_edge_the_seventh_month_back_is_removed_and_no_other(
    moved_clock: MovedClock, office: Office, here: int
) -> None:
    moved_clock.set(on(2031, 1, 31, 23, 59, 50))
    housekeeping.hourly(office.ports)
    gone = run(office, here)
    outcome(office, here, "gone", gone)
    spans = run(office, here, "completed", kind="fetch")  # it ends in the month that is kept
    active = run(office, here, "draining")
    org = office.value("SELECT min(id) FROM org")
    lease = (
        "INSERT INTO lease_log (org_id, fence, workspace_id, holder, kind, taken_at, released_at) "
        "VALUES (:org, :fence, 1, 'run:1', 'run', clock_timestamp(), {})"
    )
    office.sql(lease.format("clock_timestamp()"), org=org, fence=1)
    office.sql(lease.format("NULL"), org=org, fence=2)
    office.sql(lease.format("clock_timestamp() + interval '1 minute'"), org=org, fence=3)
    moved_clock.set(on(2031, 2, 1, 0, 0, 10))
    office.sql("UPDATE run SET ended_at = clock_timestamp() WHERE id = :r", r=spans)
    kept = run(office, here)
    outcome(office, here, "kept", kept)
    office.sql(lease.format("clock_timestamp()"), org=org, fence=4)

    for month in range(2, 8):
        moved_clock.set(on(2031, month, 28))
        housekeeping.hourly(office.ports)
    moved_clock.set(on(2031, 7, 31, 23, 59, 30))
    housekeeping.hourly(office.ports)
    assert ids(office) == [gone, spans, active, kept], "January is the sixth month back"
    assert office.value("SELECT count(*) FROM outcome") == 2

    moved_clock.set(on(2031, 8, 1, 0, 0, 1))
    housekeeping.hourly(office.ports)
    assert ids(office) == [spans, active, kept]
    assert [row["run_id"] for row in office.sql("SELECT run_id FROM run_count ORDER BY run_id")] == [
        spans,
        active,
        kept,
    ]
    assert [row["record_id"] for row in office.sql("SELECT record_id FROM outcome")] == ["kept"]
    assert [row["fence"] for row in office.sql("SELECT fence FROM lease_log ORDER BY fence")] == [2, 3, 4]
    moved_clock.set(on(2032, 8, 1, 0, 0, 1))
    housekeeping.hourly(office.ports)
    assert ids(office) == [active], "what is on is never removed"


def test_what_a_clock_far_off_brought_is_removed_too(moved_clock: MovedClock, office: Office, here: int) -> None:
    moved_clock.set(on(2031, 8, 15))
    for moment in ("1999-01-01", "2031-01-31 23:59:59", "2031-02-01", "2050-01-01"):
        outcome(office, here, moment)
        office.sql("UPDATE outcome SET at = CAST(:at AS timestamptz) WHERE record_id = :at", at=moment)
    housekeeping.hourly(office.ports)
    assert [row["record_id"] for row in office.sql("SELECT record_id FROM outcome ORDER BY at")] == [
        "2031-02-01", "2050-01-01",
    ]  # fmt: skip


def test_much_is_removed_in_transactions_of_a_bounded_size(
    moved_clock: MovedClock, office: Office, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "REMOVE_CHUNK", 2)
    monkeypatch.setattr(housekeeping, "REMOVE_CHUNKS", 3)
    moved_clock.set(on(2031, 1, 1))
    for _ in range(9):
        run(office, here)
    moved_clock.set(on(2032, 1, 1))
    left = []
    for _ in range(3):
        housekeeping.remove_old(office.ports)
        left.append(len(ids(office)))
    assert left == [3, 0, 0]


# The export.


def lines(content: Iterator[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(content), newline="")))


def filled(moved_clock: MovedClock, office: Office, here: int) -> None:
    """Outcomes on both sides of each edge of May and June."""
    for moment in (
        on(2031, 4, 30, 23, 59, 59), on(2031, 5, 1, 0, 0, 0), on(2031, 5, 31, 23, 59, 59), on(2031, 6, 1, 0, 0, 0),
        on(2031, 6, 30, 23, 59, 59), on(2031, 7, 1, 0, 0, 0),
    ):  # fmt: skip
        moved_clock.set(moment)
        housekeeping.hourly(office.ports)
        outcome(office, here, f"{moment:%m-%d}")
        office.sql("UPDATE outcome SET at = :at WHERE record_id = :r", at=moment, r=f"{moment:%m-%d}")


def test_whole_months_are_exported_and_nothing_of_others(
    moved_clock: MovedClock, office: Office, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(moved_clock, office, here)
    actor, export = host_actor(office.db), export_of(office)
    assert [one["record"] for one in lines(export.months_csv(actor, here, "2031-05"))] == ["05-01", "05-31"]
    whole = ["05-01", "05-31", "06-01", "06-30"]
    for size in (1, 2, 3, 4, 5):
        monkeypatch.setattr(log_export, "PAGE", size)
        found = lines(export.months_csv(actor, here, "2031-05", "2031-06"))
        assert [one["record"] for one in found] == whole, size
    assert lines(export.months_csv(actor, here, "2030-12")) == []
    # Of one moment, over the edge of a page.
    monkeypatch.setattr(log_export, "PAGE", 2)
    office.sql("UPDATE outcome SET at = '2031-05-10' WHERE at >= '2031-05-01' AND at < '2031-07-01'")
    assert [one["record"] for one in lines(export.months_csv(actor, here, "2031-05"))] == whole


@pytest.mark.rule("P14")
def test_all_of_an_outcome_is_in_it_and_no_formula(moved_clock: MovedClock, office: Office, here: int) -> None:
    moved_clock.set(on(2031, 5, 10))
    changes = '[{"field": "Phone", "old": "=1+1", "new": "Müller, \\"5\\""}]'
    outcome(office, here, "=cmd()", outcome="failed", reason="NO_KEY", detail="Name", changes=changes)
    (row,) = lines(export_of(office).months_csv(host_actor(office.db), here, "2031-05"))
    assert row["record"] == "'=cmd()"
    assert row["what happened"] == "The match key is empty: Name"
    assert json.loads(row["changes"]) == json.loads(changes)
    assert row["at"].startswith("2031-05-10T12:00:0")
    assert (row["module"], row["side"], row["outcome"], row["tries"]) == ("companies", "left", "failed", "1")


def test_it_is_read_a_page_at_a_time_and_no_transaction_stays_open(
    moved_clock: MovedClock, office: Office, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_export, "PAGE", 10)
    moved_clock.set(on(2031, 5, 10))
    office.sql("SELECT outcome_partitions(6)")
    for n in range(25):
        outcome(office, here, str(n))
    asked = list[int]()

    def count(*_: object) -> None:
        asked.append(office.db.engine.pool.checkedout())  # type: ignore[attr-defined]

    content = export_of(office).months_csv(host_actor(office.db), here, "2031-05")
    event.listen(office.db.engine, "before_cursor_execute", count)
    try:
        assert next(content).startswith("at,sync,")
        assert asked == [], "the first bytes wait for nothing"
        for rows in (10, 10, 5):
            assert next(content).count("\r\n") == rows
            assert office.db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert len(asked) == 3
        assert next(content, None) is None
    finally:
        event.remove(office.db.engine, "before_cursor_execute", count)


def test_failures_of_a_sync_come_in_pages_too(
    moved_clock: MovedClock, office: Office, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "PAGE", 10)
    number = run(office, here)
    for n in range(30):
        outcome(office, here, f"r{n:02}", number, outcome="failed" if n % 3 else "updated", reason="NO_KEY")
    runs, actor = runs_of(office), host_actor(office.db)
    content = runs.failures_csv(actor, number)
    assert [one.count("\r\n") for one in content] == [1, 10, 10]
    assert [one["record"] for one in lines(runs.failures_csv(actor, number))] == [
        f"r{n:02}" for n in range(30) if n % 3
    ]
    assert len(runs.failures(actor, number)) == 20


def test_it_is_asked_over_rest_by_who_may_read_logs(moved_clock: MovedClock, office: Office, here: int) -> None:
    filled(moved_clock, office, here)
    path = f"/api/v1/integrations/{here}/logs.csv"
    with serving(office.settings) as client:
        answer = client.get(path, params={"from": "2031-05", "to": "2031-06"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == (
            f'attachment; filename="SyncLog-{here}-2031-05-to-2031-06.csv"'
        )
        assert "content-length" not in answer.headers, "it streams"
        assert len(answer.text.splitlines()) == 5
        for odd in (
            {"from": "2031-13"},
            {"from": "0000-01"},
            {"from": "2031-06", "to": "2031-05"},
            {"from": "9999-12"},
        ):
            refused = client.get(path, params=odd)
            assert (refused.status_code, refused.json()["code"]) == (409, "BAD_MONTH"), odd
        assert client.get(path).status_code == 422
        assert client.get(path, params={"from": "May"}).status_code == 422
        assert client.get(path.replace(str(here), "99"), params={"from": "2031-05"}).status_code == 404
        blind = {"Authorization": f"Bearer {token_of(office.db, Role.ADMIN, logs=False)}"}
        assert client.get(path, params={"from": "2031-05"}, headers=blind).status_code == 403


def test_who_may_not_and_what_is_not_there_is_told_before_anything_is_sent(office: Office, here: int) -> None:
    export, actor = export_of(office), host_actor(office.db)
    nobody = Actor(actor.workspace, "n", ActorKind.TOKEN, frozenset({Permission.VIEW}))
    with pytest.raises(NotAllowed):
        export.months_csv(nobody, here, "2031-05")
    with pytest.raises(NotFound):
        export.months_csv(host(actor.workspace + 1), here, "2031-05")
    with pytest.raises(Refused):
        export.months_csv(actor, here, "2031-5x")


def test_a_month_ends_where_the_next_begins() -> None:
    assert span("2031-12", "2031-12") == (datetime(2031, 12, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC))
    begins, ends = span("2032-02", "2032-02")
    assert ends - begins == timedelta(days=29)
