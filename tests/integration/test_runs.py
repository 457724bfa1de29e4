"""Whole runs in one process: real Postgres, real Redis, the sandbox vendors over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from shared import points
from shared.bus import BULK, LIVE
from shared.engine import housekeeping
from shared.engine.context import lane_of, load_context
from shared.errors import NotFound, OrgHeld, Refused
from shared.lease import Holder, Lease
from shared.services.runs import RunView
from shared.sync.access import host
from shared.sync.model import Side
from tests.integration.crew import await_that
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P3", "P9", "DU-1")


def counts(run: RunView) -> dict[tuple[str, str, str], int]:
    """By direction ("fsm>" or "books>"), outcome and reason; both pairs together."""
    found: dict[tuple[str, str, str], int] = {}
    for one in run.counts:
        key = ("fsm>" if one.direction.startswith(FSM) else "books>", one.outcome, one.reason)
        found[key] = found.get(key, 0) + one.records
    return found


def fill(world: World) -> None:
    """Ten companies and ten services at each side; five of each are the same."""
    for n in range(10):
        world.company(f"Company {n}", Website=f"www.{n}.test", Service_Address={"Street_1": f"{n} Road"})
        world.service(f"Service {n}", Unit_Price=n + 0.5, Description=f"about {n}")
    for n in range(5, 15):
        world.customer(f"Company {n}", shipping_address={"city": "Pune"})
        world.item(f"Service {n}", rate=n + 0.25, sku=f"SKU-{n}")


# The first time.


@pytest.mark.rule("SU-4")
def test_a_sync_before_fetch_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="Fetch") as caught:
        world.runs.sync_now(world.actor, world.integration)
    assert caught.value.code == "FETCH_FIRST"
    assert world.runs.recent(world.actor) == []


@pytest.mark.rule("SU-4")
def test_fetch_binds_what_is_the_same_and_writes_nothing(world: World) -> None:
    fill(world)
    world.company("Twice")
    world.company("twice ")
    before = [world.sandbox.rows(FSM, "Companies"), world.sandbox.rows(BOOKS, "contacts")]
    run = world.fetch()
    assert world.writes() == []
    assert before == [world.sandbox.rows(FSM, "Companies"), world.sandbox.rows(BOOKS, "contacts")]
    assert run.report["companies"] == {
        "bound": 5, "create_left": 5, "create_right": 5, "ambiguous_left": 2, "ambiguous_right": 0,
    }  # fmt: skip
    assert run.report["items"]["bound"] == 5
    assert world.office.value("SELECT count(*) FROM binding WHERE base = '{}'") == 10
    assert {(row["outcome"], row["origin"]) for row in world.outcomes(run.id)} == {("bound", "fetch")}
    assert world.office.value("SELECT count(*) FROM watermark") == 0, "Fetch agrees on nothing"


@pytest.mark.rule("SU-4")
def test_fetching_again_binds_nothing_twice(world: World) -> None:
    fill(world)
    world.fetch()
    again = world.fetch()
    assert again.report["companies"]["bound"] == 0
    assert world.office.value("SELECT count(*) FROM binding") == 10
    assert world.writes() == []


@pytest.mark.rule("DU-8", "DU-3", "P6")
def test_a_first_sync_of_two_full_sides_agrees_and_then_is_silent(world: World) -> None:
    fill(world)
    world.fetch()
    world.forget_calls()
    first = world.sync()
    world.check_agree()
    found = counts(first)
    assert found["fsm>", "created", ""] == found["books>", "created", ""] == 10
    assert sum(n for (_, outcome, _), n in found.items() if outcome == "updated") == 10
    # A field that one side has and the other has not fills the blank; where both have one, the later record wins.
    met = world.books(world.twin(world.seed_of("Company 7")) or "")
    assert (met["shipping_address"]["address"], met["shipping_address"]["city"]) == ("7 Road", "Pune")
    creates = [call for call in world.calls(write=True) if call["method"] == "POST"]
    assert len(creates) <= 20, "each is made once"

    # A version younger than two seconds may still change within its second: it is read again, not taken for known.
    written = _clock(world)
    await_that(lambda: _clock(world) > written + 2.05, "our writes are old enough")
    world.forget_calls()
    second = world.sync()
    assert world.writes() == [], "what we wrote comes back and is known"
    assert not {key for key in counts(second) if key[1] in ("created", "updated", "failed")}
    world.forget_calls()
    world.sync()
    assert {call["method"] for call in world.calls()} == {"GET"}
    assert [call for call in world.calls() if call["record"]] == [], "nothing but lists"
    world.check_agree()


@pytest.mark.rule("DU-8")
def test_many_records_need_a_call_each_and_no_more(world: World) -> None:
    """ "The least calls": list pages and one write per record; no search where both sides were listed whole."""
    for n in range(120):
        world.company(f"Company {n:03}")
    world.fetch()
    world.forget_calls()
    world.sync()
    made = [call for call in world.calls(write=True) if call["vendor"] == BOOKS]
    assert len(made) == 120
    searches = [call for call in world.calls() if call["vendor"] == BOOKS and "contact_name" in call["query"]]
    assert searches == []
    world.check_agree()


@pytest.mark.rule("DU-8")
def test_of_a_match_a_side_that_is_not_written_is_not_read(world: World) -> None:
    """ "The least calls": one fresh read of the target per update; the other side is as it was listed."""
    fuller = world.service("Fuller at the left", Description="about it")
    emptier = world.service("Fuller at the right")
    same = world.service("The same")
    world.item("Fuller at the left")
    world.item("Fuller at the right", description="about it")
    world.item("The same")
    world.fetch()
    world.forget_calls()
    world.sync()
    asked = [(call["vendor"], call["method"], call["record"]) for call in world.calls() if call["record"]]
    assert sorted(asked) == sorted(
        [(FSM, method, emptier) for method in ("GET", "PUT")]
        + [(BOOKS, method, world.twin(fuller)) for method in ("GET", "PUT")]
    )
    world.check_agree()
    assert world.twin(same) is not None


@pytest.mark.rule("DU-6", "DU-8")
@pytest.mark.parametrize("clash", [False, True])
def test_of_a_match_a_side_whose_time_no_list_shows_is_read_where_the_time_decides(world: World, clash: bool) -> None:
    """As a list of items that Books does not document to show it. A blank yields at any time."""
    mine = world.service("Valve", Description="later" if clash else "")
    old = "2025-01-01T00:00:00+0000"
    twin = world.item("Valve", description="earlier", created_time=old, last_modified_time=old)
    world.fetch()
    world.forget_calls()
    with _held_at_its_first_batch(world):
        world.office.sql("UPDATE staged SET modified_at = NULL WHERE side = 'right'")
    agreed = "later" if clash else "earlier"
    assert world.fsm(mine, "Service_And_Parts")["Description"] == world.books(twin, "items")["description"] == agreed
    asked = [call for call in world.calls() if call["vendor"] == BOOKS]
    assert any(twin in f"{call['record']} {call['query']}" for call in asked) is clash


@pytest.mark.rule("P5")
def test_of_a_match_a_side_that_was_settled_since_it_was_listed_is_read(world: World) -> None:
    """A run has listed both sides; a webhook brings what was written since; then the run goes on."""
    mine = world.service("Valve", Description="first")
    twin = world.item("Valve")
    world.fetch()
    with _held_at_its_first_batch(world) as goes_on:
        world.sandbox.edit(FSM, "Service_And_Parts", mine, Description="second")
        setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
        body = {"module": "Service_And_Parts", "event": "edit", "id": mine}
        assert world.accept_webhook(FSM, setup.path.rsplit("/", 1)[1], delivery(FSM, body, setup.secret)) == 1
        await_that(lambda: world.books(twin, "items").get("description") == "second", "the webhook has come first")
        await_that(lambda: world.office.value("SELECT base <> '{}' FROM binding"), "and is saved")
        goes_on.set()
    assert world.books(twin, "items")["description"] == world.fsm(mine, "Service_And_Parts")["Description"] == "second"
    world.check_agree()


@contextmanager
def _held_at_its_first_batch(world: World) -> Iterator[threading.Event]:
    """A sync whose first batch waits for the event; in the end it has ended."""
    reached, goes_on = threading.Event(), threading.Event()

    def strike(point: str) -> None:
        if point == "batch.claimed" and not reached.is_set():
            reached.set()
            goes_on.wait(30)

    points.arm(strike)
    try:
        run_id = world.runs.sync_now(world.actor, world.integration)
        await_that(reached.is_set, "the run has listed and matched")
        yield goes_on
    finally:
        goes_on.set()
        points.arm(None)
    world.ended(run_id)


@pytest.mark.rule("DU-2")
def test_a_key_that_is_not_unique_is_never_a_choice(world: World) -> None:
    world.company("Acme")
    world.company("ACME ")
    world.customer("Acme")
    world.fetch()
    run = world.sync()
    assert world.writes() == []
    assert counts(run)["fsm>", "failed", "AMBIGUOUS_MATCH"] == 2
    assert counts(run)["books>", "failed", "AMBIGUOUS_MATCH"] == 1
    assert run.state == "completed_with_failures"
    assert {row["reason"] for row in world.runs.failures(world.actor, run.id)} == {"AMBIGUOUS_MATCH"}


@pytest.mark.rule("SU-5")
def test_customers_of_the_other_type_are_counted_not_failed(world: World) -> None:
    world.seed(BOOKS, "contacts", {"contact_name": "A person", "customer_sub_type": "individual"})
    world.customer("A firm")
    world.fetch()
    run = world.sync()
    assert counts(run)["books>", "skipped", "WRONG_TYPE"] == 1
    assert run.state == "completed"
    assert [row["Company_Name"] for row in world.sandbox.rows(FSM, "Companies")] == ["A firm"]


# Afterwards.


def synced(world: World, **company: object) -> tuple[str, str]:
    """One company and its customer, agreed, with nothing left to be said about them."""
    mine = world.company("Zylker", Website="www.zylker.test", **company)
    world.fetch()
    world.sync()
    twin = world.twin(mine)
    assert twin is not None
    world.forget_calls()
    return mine, twin


@pytest.mark.rule("TR-5")
def test_an_edit_comes_with_the_next_sync(world: World) -> None:
    mine, twin = synced(world)
    world.sandbox.edit(FSM, "Companies", mine, Website="www.new.test")
    world.sync()
    assert world.books(twin)["website"] == "www.new.test"
    world.sandbox.edit(BOOKS, "contacts", twin, website="www.newer.test")
    run = world.sync()
    assert world.fsm(mine)["Website"] == "www.newer.test"
    changed = next(row for row in world.outcomes(run.id) if row["outcome"] == "updated")
    assert changed["changes"] == [{"side": "left", "field": "Website", "old": "www.new.test", "new": "www.newer.test"}]
    world.check_agree()


@pytest.mark.rule("DU-2")
def test_two_of_one_key_stay_ambiguous_in_later_syncs(world: World) -> None:
    """Those read Books as far as their watermark: not being listed whole makes no choice of two."""
    twice = {world.company("Twice"), world.company("TWICE")}
    world.fetch()
    for _ in range(3):
        run = world.sync()
        failed = {(row["record_id"], row["reason"]) for row in world.outcomes(run.id, "failed")}
        assert failed == {(one, "AMBIGUOUS_MATCH") for one in twice}
    assert world.writes() == []


@pytest.mark.rule("DU-2")
def test_a_namesake_of_a_bound_record_that_did_not_change_is_not_made_a_second_time(world: World) -> None:
    """The bound one is in no row of this run, for it was dropped from the list: that is no absence."""
    mine, _ = synced(world)
    world.office.sql("UPDATE binding SET left_seen_at = NULL, right_seen_at = NULL")
    other = world.customer("ZYLKER")
    run = world.ended(world.runs.sync_now(world.actor, world.integration, compare=True))  # both sides are listed whole
    assert [(row["record_id"], row["reason"]) for row in world.outcomes(run.id, "failed")] == [(other, "TWIN_TAKEN")]
    assert [str(row["id"]) for row in world.sandbox.rows(FSM, "Companies")] == [mine]


@pytest.mark.rule("TR-5", "P12")
def test_the_watermark_is_the_start_of_the_run_and_the_window_overlaps(world: World) -> None:
    synced(world)
    run = world.runs.recent(world.actor)[0]
    marks = world.office.sql("SELECT pair, side, read_from FROM watermark")
    assert len(marks) == 4
    # By the vendor's clock where that is behind ours; its answers tell whole seconds.
    starts = {row["read_from"] for row in marks}
    assert all(timedelta(0) <= run["started_at"] - start <= timedelta(seconds=1) for start in starts)
    later = world.sync()
    since = {row["since"] for row in world.office.sql("SELECT since FROM listing WHERE run_id = :r", r=later.id)}
    overlap = timedelta(seconds=world.office.settings.overlap_s)
    assert since <= {None, *(start - overlap for start in starts)}
    assert since - {None}, "Books' contacts can be listed by their time"


@pytest.mark.rule("TR-5", "P12")
def test_the_window_is_closed_to_the_second(world: World) -> None:
    """A change at the very second at which the window begins is read."""
    _, twin = synced(world)
    edge = world.office.value(
        "SELECT date_trunc('second', min(read_from)) - make_interval(secs => :s) FROM watermark",
        s=world.office.settings.overlap_s,
    )
    stamp = edge.strftime("%Y-%m-%dT%H:%M:%S+0000")
    late = world.customer("On the edge", last_modified_time=stamp, created_time=stamp)
    for n in range(3):  # newer rows before it, so that the list is cut at the window
        world.sandbox.edit(BOOKS, "contacts", twin, website=f"www.{n}.test")
    world.sync()
    assert world.twin(late) is not None


@pytest.mark.rule("TR-5", "P12")
def test_a_run_that_fails_moves_no_watermark_and_the_next_brings_everything(world: World) -> None:
    mine, twin = synced(world)
    marks = world.office.sql("SELECT * FROM watermark ORDER BY pair, side")
    world.sandbox.edit(BOOKS, "contacts", twin, website="www.missed.test")
    world.office.sql("UPDATE connection SET status = 'broken', broken_reason = 'test' WHERE vendor = 'zoho_fsm'")
    run_id = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.runs.get(world.actor, run_id).ended, "it ends")
    failed = world.runs.get(world.actor, run_id)
    assert (failed.state, failed.error_code) == ("failed", "CONNECTION_BROKEN")
    assert world.office.sql("SELECT * FROM watermark ORDER BY pair, side") == marks
    assert world.office.sql("SELECT holder FROM org_lease WHERE holder IS NOT NULL") == []
    world.office.sql("UPDATE connection SET status = 'live', broken_reason = NULL")
    world.sync()
    assert world.fsm(mine)["Website"] == "www.missed.test"


@pytest.mark.rule("P4", "LK-2")
def test_a_run_that_fails_keeps_its_orgs_until_what_it_sends_is_saved(world: World) -> None:
    world.company("On its way")
    world.fetch()
    office = world.office
    reached, goes_on = threading.Event(), threading.Event()

    def strike(point: str) -> None:
        if point == "intent.committed" and not reached.is_set():
            reached.set()
            goes_on.wait(30)

    points.arm(strike)
    try:
        run_id = world.runs.sync_now(world.actor, world.integration)
        await_that(reached.is_set, "the batch is about to send")
        office.sql("UPDATE connection SET status = 'broken', broken_reason = 'test' WHERE vendor = 'zoho_fsm'")
        office.crew.run(run_id)
        await_that(lambda: world.runs.get(world.actor, run_id).state == "failed", "the run fails")
        assert not _import_takes(world)
        office.sql("UPDATE connection SET status = 'live', broken_reason = NULL")
    finally:
        goes_on.set()
        points.arm(None)
    office.crew.until(lambda: _import_takes(world), "others get the orgs")
    assert [row["contact_name"] for row in world.sandbox.rows(BOOKS, "contacts")] == ["On its way"]
    assert [row["outcome"] for row in world.outcomes(run_id)] == ["created"]


def _import_takes(world: World) -> bool:
    orgs = [world.orgs[FSM].org_id, world.orgs[BOOKS].org_id]
    with world.office.db.transaction() as session:
        holder = Holder("import:1", "import", world.integration, world.workspace)
        return isinstance(world.office.ports.leases.take(session, orgs, holder), Lease)


@pytest.mark.rule("DU-6")
def test_edits_of_different_fields_both_survive(world: World) -> None:
    mine, twin = synced(world)
    world.sandbox.edit(FSM, "Companies", mine, Website="www.left.test")
    world.sandbox.edit(BOOKS, "contacts", twin, shipping_address={"city": "Right"})
    run = world.sync()
    assert world.fsm(mine)["Service_Address"]["Service_City"] == "Right"
    assert world.books(twin)["website"] == "www.left.test"
    assert sum(one.conflicts for one in run.counts) == 0
    world.check_agree()


@pytest.mark.rule("DU-6", "LG-1")
@pytest.mark.parametrize("later", [FSM, BOOKS])
def test_of_two_edits_of_one_field_the_later_wins_and_the_log_has_both(world: World, later: str) -> None:
    mine, twin = synced(world)
    sides = {
        FSM: lambda: world.sandbox.edit(FSM, "Companies", mine, Website="www.left.test"),
        BOOKS: lambda: world.sandbox.edit(BOOKS, "contacts", twin, website="www.right.test"),
    }
    sides[BOOKS if later == FSM else FSM]()
    first = _seconds(world)
    await_that(lambda: _seconds(world) > first, "the vendors' clock shows another second")
    sides[later]()
    run = world.sync()
    winner = "www.left.test" if later == FSM else "www.right.test"
    assert world.fsm(mine)["Website"] == world.books(twin)["website"] == winner
    assert sum(one.conflicts for one in run.counts) == 1
    conflict = next(row for row in world.outcomes(run.id) if row["conflicts"])["conflicts"]
    assert conflict == [
        {
            "left_field": "Website",
            "right_field": "website",
            "left": "www.left.test",
            "right": "www.right.test",
            "winner": "left" if later == FSM else "right",
        }
    ]


def _clock(world: World) -> float:
    return float(world.office.value("SELECT extract(epoch FROM clock_timestamp())"))


def _seconds(world: World) -> int:
    return int(_clock(world))


@pytest.mark.rule("TR-9")
@pytest.mark.parametrize("gone", [FSM, BOOKS])
def test_what_is_deleted_on_one_side_stays_on_the_other_and_is_not_made_again(world: World, gone: str) -> None:
    mine, twin = synced(world)
    if gone == FSM:
        world.sandbox.delete(FSM, "Companies", mine)
        world.sandbox.edit(BOOKS, "contacts", twin, website="www.alive.test")
    else:
        world.sandbox.delete(BOOKS, "contacts", twin)
        world.sandbox.edit(FSM, "Companies", mine, Website="www.alive.test")
    run = world.sync()
    survivor = "books>" if gone == FSM else "fsm>"
    assert counts(run)[survivor, "skipped", "TWIN_DELETED"] == 1
    state = world.office.value("SELECT state FROM binding")
    assert state == ("left_deleted" if gone == FSM else "right_deleted")
    for _ in range(2):
        world.sync()
    assert world.writes() == []


@pytest.mark.rule("TR-9", "TR-1")
def test_a_webhook_of_a_deletion_marks_the_binding(world: World) -> None:
    mine, twin = synced(world)
    world.sandbox.delete(FSM, "Companies", mine)
    deliver(world, FSM, {"module": "Companies", "event": "delete", "id": mine})
    world.quiet()
    assert world.office.value("SELECT state FROM binding") == "left_deleted"
    reasons = {row["reason"] for row in world.office.sql("SELECT reason FROM outcome WHERE origin = 'webhook'")}
    assert reasons == {"SOURCE_DELETED"}
    assert world.books(twin)["status"] == "active"


@pytest.mark.rule("FM-10")
def test_what_a_vendor_cuts_is_a_warning_and_never_comes_back(world: World) -> None:
    """FSM keeps no characters outside the basic plane: what it makes of them is its own, not an edit."""
    synced(world)
    told = "Pumps \N{GEAR} and \N{GRINNING FACE} more"
    item = world.item("Pump", description=told)
    made = world.sync()
    rows = [row for row in world.outcomes(made.id) if row["record_id"] == item]
    assert [row["outcome"] for row in rows] == ["created"]
    assert rows[0]["warnings"], rows
    mine = world.twin(item) or ""
    kept = world.fsm(mine, "Service_And_Parts")["Description"]
    assert kept != told
    for _ in range(2):
        world.forget_calls()
        world.sync()
        assert world.writes() == []
    world.sandbox.edit(FSM, "Service_And_Parts", mine, Unit_Price=99)
    world.sync()
    row = world.books(item, "items")
    assert (float(row["rate"]), row["description"]) == (99.0, told)


@pytest.mark.rule("DU-4", "LG-4", "TR-5")
def test_failed_records_are_tried_by_the_next_run_and_cleared_when_they_pass(world: World) -> None:
    world.fetch()
    bad = world.item("Priced", rate=1)
    world.sandbox.edit(BOOKS, "items", bad, name="x" * 300)  # longer than FSM's field
    first = world.sync()
    failures = world.runs.failures(world.actor, first.id)
    assert [(row["record_id"], row["reason"]) for row in failures] == [(bad, "FIELD_TOO_LONG")]
    assert first.state == "completed_with_failures"
    due = world.office.sql("SELECT record_id, why, reason, run_id FROM due")
    assert due == [{"record_id": bad, "why": "failed", "reason": "FIELD_TOO_LONG", "run_id": None}]

    second = world.sync()
    assert second.state == "completed_with_failures"
    assert len(world.runs.failures(world.actor, second.id)) == 1

    world.sandbox.edit(BOOKS, "items", bad, name="Short")
    third = world.sync()
    assert third.state == "completed"
    assert world.twin(bad) is not None
    assert world.office.sql("SELECT * FROM due") == []


def test_text_that_postgres_cannot_hold_stops_nothing(world: World) -> None:
    """JSON can bring a NUL; it ends neither the list nor the results of others."""
    bad, good = world.company("Strange", Website="www.\0.test"), world.company("Plain")
    world.fetch()
    run = world.sync()
    assert run.state == "completed"
    assert world.twin(bad) is not None
    assert world.twin(good) is not None


# One at a time.


@pytest.mark.rule("LK-1")
def test_one_run_per_integration_the_second_is_told_which(world: World) -> None:
    world.fetch()
    world.office.crew.deaf = True
    first = world.runs.sync_now(world.actor, world.integration)
    for start in (world.runs.sync_now, world.runs.fetch):
        with pytest.raises(OrgHeld, match=f"Sync {first} ") as caught:
            start(world.actor, world.integration)
        assert caught.value.holder == f"run:{first}"
    world.office.crew.deaf = False
    world.ended(first)
    world.sync()


@pytest.mark.rule("LK-1")
def test_of_racing_starts_one_wins(world: World) -> None:
    world.fetch()
    world.office.crew.deaf = True
    got: list[object] = []
    start = threading.Barrier(4)

    def press() -> None:
        start.wait()
        try:
            got.append(world.runs.sync_now(world.actor, world.integration))
        except OrgHeld as error:
            got.append(error)

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, int) for one in got) == 1
    world.office.crew.deaf = False
    world.ended(next(one for one in got if isinstance(one, int)))


@pytest.mark.rule("LK-1")
def test_a_scheduled_run_waits_for_an_org_that_is_held_and_says_for_whom(world: World) -> None:
    before = world.fetch().id
    orgs = [one.org_id for one in world.orgs.values()]
    world.office.sql(
        "UPDATE org_lease SET holder = 'import:9', kind = 'import', fence = nextval('fence_seq'), "
        "taken_at = clock_timestamp(), expires_at = clock_timestamp() + interval '1 hour' WHERE org_id = :o",
        o=orgs[0],
    )
    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp()")
    waits = "SELECT id FROM run WHERE id > :before AND waiting_for IS NOT NULL"
    world.office.crew.until(lambda: world.office.sql(waits, before=before), "it waits")
    run_id = int(world.office.value(waits, before=before))
    view = world.runs.get(world.actor, run_id)
    assert view.state == "queued"
    assert "import 9 since" in str(view.waiting_for)
    world.office.sql("UPDATE org_lease SET holder = NULL, kind = NULL WHERE org_id = :o", o=orgs[0])
    assert world.ended(run_id).waiting_for is None


def test_runs_of_others_are_not_found(world: World) -> None:
    world.fetch()
    run_id = world.runs.recent(world.actor)[0]["id"]
    other = host(world.office.value("INSERT INTO workspace (name) VALUES ('other') RETURNING id"))
    assert world.runs.recent(other) == []
    with pytest.raises(NotFound):
        world.runs.get(other, run_id)
    with pytest.raises(NotFound):
        world.runs.sync_now(other, world.integration)


# By the clock.


@pytest.mark.rule("TR-2")
def test_the_next_sync_is_three_hours_after_the_end_of_the_last(world: World) -> None:
    world.fetch()
    assert world.office.value("SELECT next_run_at FROM integration") is None, "nothing before the first sync"
    last = world.sync()
    planned = world.office.value("SELECT next_run_at FROM integration")
    assert last.ended_at is not None
    assert abs(planned - last.ended_at - timedelta(hours=3)) < timedelta(seconds=5)
    housekeeping.tick(world.office.ports)
    assert world.runs.recent(world.actor)[0]["id"] == last.id, "it is not due yet"

    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp() - interval '1 s'")
    housekeeping.tick(world.office.ports)
    housekeeping.tick(world.office.ports)  # two beats
    newest = world.runs.recent(world.actor)[0]
    assert (newest["trigger"], newest["kind"]) == ("scheduled", "sync")
    assert len(world.runs.recent(world.actor)) == 3
    ended = world.ended(newest["id"]).ended_at
    planned = world.office.value("SELECT next_run_at FROM integration")
    assert ended is not None
    assert abs(planned - ended - timedelta(hours=3)) < timedelta(seconds=5)


@pytest.mark.rule("TR-2")
def test_without_a_schedule_nothing_is_planned(world: World) -> None:
    world.fetch()
    world.office.sql("UPDATE integration SET schedule_on = false")
    world.sync()
    assert world.office.value("SELECT next_run_at FROM integration") is None


@pytest.mark.rule("TR-2")
def test_a_sync_that_is_due_while_fetch_is_on_comes_after_it(world: World) -> None:
    world.fetch()
    world.office.crew.deaf = True
    fetching = world.runs.fetch(world.actor, world.integration)
    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp() - interval '1 s'")
    housekeeping.start_scheduled(world.office.ports)
    assert world.runs.recent(world.actor)[0]["id"] == fetching
    world.office.crew.deaf = False
    world.ended(fetching)
    world.office.crew.until(lambda: world.runs.recent(world.actor)[0]["trigger"] == "scheduled", "it comes")
    world.ended(world.runs.recent(world.actor)[0]["id"])


# Webhooks between runs.


def deliver(world: World, vendor: str, body: dict[str, Any]) -> int:
    """As the webhook door does with a delivery whose signature is right."""
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[vendor].connection_id)
    return world.accept_webhook(vendor, setup.path.rsplit("/", 1)[1], delivery(vendor, body, setup.secret))


@pytest.mark.rule("P5", "P9")
def test_what_waits_since_a_record_was_listed_is_not_answered_by_that_list(world: World) -> None:
    """A run lists a record, and its event stands in a lane; somebody edits it, and the webhook of that has to wait."""
    mine = world.company("Zylker", Website="www.old.test")
    world.fetch()
    office = world.office
    bulk = [lane for lane in load_context(office.ports, world.integration).lanes() if lane.cls == BULK]
    for lane in bulk:
        office.bus.pause(lane, 60)
    run = world.runs.sync_now(world.actor, world.integration)
    office.crew.until(
        lambda: office.sql("SELECT 1 FROM run WHERE queued > 0 AND ended_at IS NULL"), "its event stands in a lane"
    )
    world.sandbox.edit(FSM, "Companies", mine, Website="www.new.test")
    world.sandbox.fault(BOOKS, "5xx", match={"method": "POST"}, count=1)
    deliver(world, FSM, {"module": "Companies", "event": "edit", "id": mine})
    office.crew.until(lambda: office.sql("SELECT 1 FROM due"), "the webhook's event waits")
    office.sql("UPDATE due SET due_at = clock_timestamp() + interval '1 hour', sent_at = NULL")
    for lane in bulk:
        office.bus.resume(lane)
        office.ports.wake.drain(lane)
    world.ended(run)
    office.sql("UPDATE due SET due_at = clock_timestamp()")
    world.quiet()
    assert world.books(world.twin(mine) or "")["website"] == "www.new.test"


@pytest.mark.rule("TR-1", "LG-1", "P6")
def test_a_webhook_brings_the_change_and_moves_neither_watermark_nor_timer(world: World) -> None:
    mine, twin = synced(world)
    before = [world.office.sql("SELECT * FROM watermark"), world.office.value("SELECT next_run_at FROM integration")]
    world.sandbox.edit(FSM, "Companies", mine, Website="www.hook.test")
    for _ in range(3):
        deliver(world, FSM, {"module": "Companies", "event": "edit", "id": mine})
    world.quiet()
    assert world.books(twin)["website"] == "www.hook.test"
    assert len(world.writes()) == 1, "doubled deliveries do no harm"
    after = [world.office.sql("SELECT * FROM watermark"), world.office.value("SELECT next_run_at FROM integration")]
    assert before == after
    hooks = [run for run in world.runs.recent(world.actor) if run["kind"] == "webhook"]
    assert len(hooks) == 1
    deliver(world, BOOKS, {"contact": {"contact_id": twin}})
    world.quiet()
    assert len(world.writes()) == 1, "our own write that comes back is an echo"
    assert [run["id"] for run in world.runs.recent(world.actor) if run["kind"] == "webhook"] == [hooks[0]["id"]]
    outcomes = [row["outcome"] for row in world.outcomes(hooks[0]["id"])]
    assert outcomes.count("updated") == 1
    assert outcomes[-1] == "echo"


@pytest.mark.rule("LK-3")
def test_webhooks_during_a_run_join_it_or_follow_it(world: World) -> None:
    for n in range(30):
        world.company(f"Company {n}")
    world.fetch()
    run_id = world.runs.sync_now(world.actor, world.integration)
    ids = [str(row["id"]) for row in world.sandbox.rows(FSM, "Companies")]
    for n, record in enumerate(ids):
        world.sandbox.edit(FSM, "Companies", record, Website=f"www.{n}.test")
        deliver(world, FSM, {"module": "Companies", "event": "edit", "id": record})
    world.ended(run_id)
    world.quiet()
    world.check_agree()
    assert world.office.value("SELECT count(*) FROM open_batch") == 0


@pytest.mark.rule("LK-3", "P13")
def test_a_flood_about_few_records_is_folded_before_they_are_read(world: World) -> None:
    """Every event has its end, and the vendors are asked about records, not about webhooks."""
    records = [world.company(name) for name in ("Acme", "Beta", "Chi")]
    world.fetch()
    world.sync()
    lanes = [lane for lane in load_context(world.office.ports, world.integration).lanes() if lane.cls == LIVE]
    for lane in lanes:
        world.office.bus.pause(lane, 60)
    for n in range(300):
        deliver(world, FSM, {"module": "Companies", "event": "edit", "id": records[n % 3], "n": n})
    world.forget_calls()
    for lane in lanes:
        world.office.bus.resume(lane)
        world.office.crew.drain(lane)
    world.quiet()
    assert len(world.calls()) <= 2 * len(records)
    ended = "SELECT coalesce(sum(events), 0) FROM outcome WHERE origin = 'webhook'"
    assert world.office.value(ended) == 300


@pytest.mark.rule("LK-3", "P1")
def test_webhooks_before_fetch_wait_on_their_lane(world: World) -> None:
    mine = world.company("Early")
    assert deliver(world, FSM, {"module": "Companies", "event": "edit", "id": mine}) == 1
    world.office.crew.rest()
    assert world.writes() == []
    assert len(world.office.bus.idle_lanes()) == 1
    world.fetch()
    world.quiet()
    assert world.twin(mine) is not None


@pytest.mark.rule("LK-4")
def test_sync_now_gets_in_between_the_batches_of_webhook_work(world: World) -> None:
    ids = [world.company(f"Company {n}") for n in range(40)]
    world.fetch()
    for record in ids:
        deliver(world, FSM, {"module": "Companies", "event": "edit", "id": record})
    run_id = world.runs.sync_now(world.actor, world.integration)
    world.ended(run_id)
    world.quiet()
    world.check_agree()


@pytest.mark.rule("P8")
def test_events_that_cannot_be_read_end_as_dead_letters_and_the_lane_goes_on(world: World) -> None:
    mine = world.company("Behind")
    world.fetch()
    lane = lane_of(world.integration, LIVE, "companies", Side.LEFT, mine, world.office.settings.shards)
    for payload in ("not json", "[]", '{"v": "9"}', '{"v": "1", "id": "x", "int": null}', "[" * 100_000, '{"v": 1}'):
        world.office.bus.add([(lane, payload)])
    deliver(world, FSM, {"module": "Companies", "event": "edit", "id": mine})
    world.quiet()
    assert world.twin(mine) is not None
    dead = world.office.sql("SELECT reason, outcome FROM outcome WHERE record_id = ''")
    assert dead == [{"reason": "POISON", "outcome": "failed"}] * 6


@pytest.mark.rule("P8")
def test_a_record_that_ends_its_worker_each_time_is_set_aside(world: World) -> None:
    bad, good = world.company("Bad"), world.company("Good")
    world.fetch()
    connector = load_context(world.office.ports, world.integration).connectors[Side.LEFT]
    fetch = connector.fetch

    def crash(module: Any, ids: Any) -> Any:
        if bad in ids:
            raise RuntimeError("as a mapper that meets what nobody thought of")
        return fetch(module, ids)

    connector.fetch = crash  # type: ignore[method-assign]
    world.office.crew.expected = (RuntimeError,)
    for record in (bad, good):
        deliver(world, FSM, {"module": "Companies", "event": "edit", "id": record})

    def set_aside() -> bool:
        return bool(world.office.sql("SELECT 1 FROM outcome WHERE reason = 'POISON' AND record_id = :r", r=bad))

    world.office.crew.until(set_aside, "the record is set aside")
    world.quiet()
    assert world.twin(good) is not None
    attempt = world.office.value("SELECT attempt FROM outcome WHERE reason = 'POISON'")
    assert attempt == world.office.settings.attempts_by_crash
    assert world.office.value("SELECT count(*) FROM open_batch") == 0


@pytest.mark.rule("DU-2", "LG-4")
def test_a_name_that_a_record_of_another_type_has_fails_and_says_so(world: World) -> None:
    """A vendor in Books is no customer, so it is no twin; but no customer may have its name."""
    taken = world.company("Taken")
    world.seed(BOOKS, "contacts", {"contact_name": "Taken", "contact_type": "vendor"})
    world.fetch()
    run = world.sync()
    failed = world.outcomes(run.id, "failed")
    assert [(one["record_id"], one["reason"]) for one in failed] == [(taken, "DUPLICATE_NAME")]
    assert world.twin(taken) is None
