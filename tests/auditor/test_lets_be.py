"""The auditor is silent about what is right, or allowed: a false alarm is as useless as silence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.auditor.builders import (
    LEFT_ID,
    MARK,
    NOW,
    RIGHT_ID,
    T0,
    THEIRS,
    World,
    base,
    binding,
    call,
    change,
    company,
    customer,
    delivery,
    edit,
    lone_contact,
    outcome,
    told,
)
from tests.auditor.fields import BOOKS, FSM
from tests.auditor.seen import Connection, Due, Entry, Intent, Listing, OpenBatch, Run, Span, Stream, Streams


@pytest.fixture
def world() -> World:
    return told(World())


def silent(world: World) -> bool:
    report = world.audit()
    assert report.ok, report.text()
    return True


def shows(world: World, left: str | None, right: str | None = "") -> None:
    """The website of both sides, or of each, with a binding that knows it."""
    right = left if right == "" else right
    world.records = [company(website=left), customer(website=right)]
    known = base(website=left)
    known["Website|website"] = (left, right)
    world.bindings = [binding(fence=8, updated_ms=T0 + 2_100, base=known)]


# P1


def test_an_event_folded_into_an_earlier_one_is_settled(world: World) -> None:
    world.deliveries.append(delivery(2, at_ms=T0 + 2_050))
    world.outcomes[0] = replace(world.outcomes[0], events=2)
    assert silent(world)


def test_a_later_event_of_the_record_read_it_afresh(world: World) -> None:
    world.deliveries.append(delivery(2, at_ms=T0 + 2_500))
    world.outcomes[0] = replace(world.outcomes[0], received_ms=T0 + 2_502, at_ms=T0 + 2_600)
    assert silent(world)


def test_a_run_that_the_event_was_folded_into_speaks_for_it(world: World) -> None:
    world.outcomes[0] = replace(world.outcomes[0], origin="poll", received_ms=T0 + 1_900, events=2)
    assert silent(world)


def test_a_run_s_outcome_that_speaks_for_more_than_its_own_event_ends_a_wait(world: World) -> None:
    """The webhook's event came first and waited, while its twin was being made; the run began after it."""
    world.outcomes[0] = replace(world.outcomes[0], origin="poll", received_ms=T0 + 2_050)
    assert world.audit().promises == ["P1"]
    world.outcomes[0] = replace(world.outcomes[0], events=2)
    world.done = {"e1": None, "e2": None, "e3": "e1"}
    assert silent(world)


def test_poison_that_failed_may_be_removed_afterwards(world: World) -> None:
    world.may(poison=frozenset({LEFT_ID}))
    assert world.audit().promises == ["P8"]
    world.outcomes.insert(0, outcome(3, outcome="failed", reason="TEXT_UNREADABLE", received_ms=T0 + 1_900))
    assert silent(world)


def test_a_retry_speaks_for_what_waited(world: World) -> None:
    world.outcomes[0] = replace(world.outcomes[0], origin="retry", attempt=2, at_ms=T0 + 3_000)
    world.deliveries.append(delivery(2, at_ms=T0 + 2_500))
    assert silent(world)


def test_a_run_ends_a_wait_that_trouble_began(world: World) -> None:
    world.outcomes[0] = replace(world.outcomes[0], origin="poll", received_ms=T0 + 2_050)
    assert world.audit().promises == ["P1"]
    world.calls.append(call(9, status=503, fault="5xx", applied=False, write=True))
    assert silent(world)
    world.calls[-1] = call(9, status=503, record=None)
    assert silent(world)
    world.calls[-1] = call(9, status=503, record="900")
    assert world.audit().promises == ["P1"]
    world.may(unseen_trouble=True)
    assert silent(world)


def test_a_stored_wait_is_no_loss() -> None:
    world = told(World())
    world.may(quiet=False)
    world.outcomes.pop(0)
    world.tables["due"] = (Due(1, "companies", "left", LEFT_ID, "retry", "VENDOR_UNAVAILABLE", 1, NOW + 1),)
    assert silent(world)


def test_what_was_refused_or_never_sent_needs_no_outcome(world: World) -> None:
    world.deliveries += [
        delivery(7, record="900", status=503, accepted=False),
        delivery(8, record="901", status=None, accepted=False, ms=None, lost=True),
    ]
    report = world.audit()
    assert report.ok
    assert report.notes == ["1 deliveries were refused by the door; the sync since must have found them"]


def test_deliveries_of_others_need_none(world: World) -> None:
    world.deliveries += [delivery(7, foreign=True, record="900"), delivery(9, module="Contacts", record="902")]
    assert silent(world)
    world.deliveries.append(delivery(8, record="901"))
    assert world.audit().promises == ["P1"]
    world.may(foreign=frozenset({8}))
    assert silent(world)
    world.may(foreign=frozenset())
    world.may(ignored=frozenset({"901"}))
    assert silent(world)


def test_what_redis_forgot_was_found_by_a_sync_since(world: World) -> None:
    world.outcomes[0] = replace(world.outcomes[0], origin="poll", received_ms=T0 + 2_050)
    world.may(history_lost_ms=((0.0, T0 + 2_030),))
    assert world.audit().promises == ["P2"]
    world.runs.append(Run(3, 1, "sync", "completed", 0, 0, T0 + 2_035, T0 + 2_040, T0 + 2_900))
    world.leases += [Span(org, 9, "run:3", "run", T0 + 2_800, T0 + 2_900, NOW) for org in (1, 2)]
    world.leases = [replace(one, released_ms=T0 + 2_800) if one.fence == 8 else one for one in world.leases]
    world.records = [replace(one, modified_ms=T0 + 5_000) for one in world.records]
    assert silent(world)


def test_an_event_that_was_worked_on_with_an_earlier_one_has_that_one_s_time(world: World) -> None:
    """The earlier one had its outcome already: its worker was frozen, and went on."""
    world.deliveries.append(delivery(7, at_ms=T0 + 2_050))
    world.outcomes.append(outcome(31, outcome="unchanged", received_ms=T0 + 1_500, at_ms=T0 + 2_400))
    assert world.audit().promises == ["P1"]
    world.outcomes.append(outcome(30, outcome="unchanged", received_ms=T0 + 1_500, at_ms=T0 + 2_300))
    assert silent(world)


def test_what_fetch_bound_is_no_outcome_of_a_delivery(world: World) -> None:
    world.outcomes[0] = replace(world.outcomes[0], origin="fetch", received_ms=None)
    assert world.audit().promises == ["P1"]


def test_in_the_middle_of_work_much_is_open(world: World) -> None:
    world.may(quiet=False)
    world.records = [world.records[0], customer(), customer("47", name="New")]
    world.calls.append(call(9, method="POST", write=True, record="47"))
    world.streams = Streams((Stream("bw:lane:1:live:0", 1, 1, (Entry("1-1", LEFT_ID, 1),)),), marker="m")
    world.runs.append(Run(3, 1, "sync", "draining", 5))
    world.tables["open_batches"] = (OpenBatch("b", 8, "1:live:0", NOW + 1),)
    assert silent(world)


# P2, P5, P12


def test_what_nobody_was_told_of_waits_for_a_sync(world: World) -> None:
    world.records[0] = company(website="https://c", at=T0 + 3_000)
    world.edits.append(edit({"Website": "https://c"}, at=2_995))
    world.deliveries.append(delivery(7, at_ms=T0 + 3_000, lost=True, accepted=False, status=None, ms=None))
    world.records.append(company("102", name="Seeded"))
    assert world.audit().lost == 2
    world.may(synced=False)
    assert silent(world)


def test_a_clash_ends_with_either_value(world: World) -> None:
    world.edits.append(edit({"website": "https://c"}, BOOKS, at=1_992))
    assert silent(world)
    shows(world, "https://c")
    assert silent(world)


def test_an_edit_made_with_the_other_in_view_is_no_clash(world: World) -> None:
    """The customer's website is changed after the company's had arrived there: the newer must stay."""
    world.edits.append(edit({"website": "https://c"}, BOOKS, at=2_500))
    assert [one.what for one in world.audit().findings] == ["an unclashed edit of website is lost"]
    shows(world, "https://c")
    assert silent(world)


def test_the_last_of_one_person_counts(world: World) -> None:
    world.edits.insert(0, edit({"Website": "https://before"}, at=1_500))
    assert silent(world)
    shows(world, "https://before")
    assert world.audit().lost == 1


def test_clearing_is_an_edit_too(world: World) -> None:
    world.edits = [edit({"Website": None})]
    shows(world, None)
    assert silent(world)
    shows(world, "https://a")
    assert world.audit().lost == 1


def test_an_edit_without_an_answer_may_be_there_or_not(world: World) -> None:
    world.edits.append(edit({"Website": "https://c"}, at=2_500, sure=False))
    assert silent(world)
    shows(world, "https://c")
    assert silent(world)
    shows(world, "https://d")
    assert world.audit().lost == 1


def test_a_side_that_holds_less_agrees(world: World) -> None:
    long = "w" * 300
    world.edits = [edit({"website": long}, BOOKS)]
    shows(world, long[:255], long)
    assert silent(world)


def test_a_first_match_goes_to_either_side(world: World) -> None:
    """Not bound when the cell began, and not equal: no edit, but one of the two values must have stayed."""
    world.edits = []
    world.first = [company(website="https://b"), customer(website="https://q")]
    world.bindings = [replace(world.bindings[0], bound_ms=T0 + 2_100)]
    assert silent(world)
    shows(world, "https://z")
    assert world.audit().lost == 1


def test_a_blank_of_the_first_match_yields(world: World) -> None:
    world.edits = []
    world.first = [company(website="https://b"), customer(website=None)]
    world.bindings = [replace(world.bindings[0], bound_ms=T0 + 2_100)]
    assert silent(world)
    shows(world, None)
    assert world.audit().lost == 1


def test_a_field_that_an_update_carries_may_be_raced(world: World) -> None:
    """A person renames the customer between our read of it and our write of its website."""
    world.edits.append(edit({"contact_name": "Acme Ltd"}, BOOKS, at=2_012))
    report = world.audit()
    assert report.ok, report.text()
    assert report.notes == ["1 fields were written by a person between the product's read and its write"]
    world.edits[-1] = edit({"contact_name": "Acme Ltd"}, BOOKS, at=2_500)
    assert world.audit().lost == 1


def test_a_field_that_no_update_carries_is_no_race(world: World) -> None:
    world.edits = [edit({"website": "https://c"}, BOOKS, at=2_012)]
    shows(world, "https://a")
    assert world.audit().lost == 1


def test_failed_records_are_not_compared_but_told_of(world: World) -> None:
    world.records = [world.records[0], customer()]
    world.tables["due"] = (Due(1, "companies", "left", LEFT_ID, "failed", "MANDATORY_FIELD_EMPTY"),)
    assert world.audit().promises == ["P8"]
    world.may(failed_reasons=frozenset({"MANDATORY_FIELD_EMPTY"}))
    assert silent(world)
    world.may(failed_reasons=frozenset(), failed=frozenset({LEFT_ID}))
    assert silent(world)


def test_poison_ends_as_a_failure_and_nothing_else_is_asked_of_it(world: World) -> None:
    world.records.append(company("666", name="Poison"))
    world.outcomes.append(outcome(9, "666", outcome="failed", reason="POISON", attempt=3, twin_id=None))
    world.may(poison=frozenset({"666"}))
    assert silent(world)


def test_what_is_out_of_scope_or_inactive_is_not_compared(world: World) -> None:
    for record in world.records, world.first:
        record[1] = replace(record[1], in_scope=False)
    world.records[1] = replace(world.records[1], values={**world.records[1].values, "website": "https://z"})
    world.records.append(replace(company("102", name="Gone"), active=False))
    world.records.append(company("103", name=None))
    assert silent(world)


def test_a_name_that_does_not_say_which_has_no_twin(world: World) -> None:
    world.records += [
        company("102", name="Twice"),
        company("103", name="twice "),
        customer("50", name="Pair"),
        customer("51", name="Pair"),
        company("104", name="Pair"),
    ]
    assert silent(world)


def test_deletions(world: World) -> None:
    world.records.pop()
    assert world.audit().promises == ["P5"]
    world.may(deletions_pending=True)
    assert silent(world)
    world.may(deletions_pending=False)
    world.bindings = [replace(world.bindings[0], state="right_deleted")]
    assert silent(world)


def test_a_hidden_record_is_not_passed_unread(world: World) -> None:
    world.records.append(company("102", name="Hidden", at=T0 + 50))
    world.may(synced=True)
    assert world.audit().promises == ["P12"]
    world.may(hidden_ms=30_000.0)
    assert world.audit().promises == ["P5"]


def test_a_vendors_clock_is_taken_into_account(world: World) -> None:
    """Five minutes behind: what was changed just now seems to be of before the last run."""
    world.records.append(company("102", name="New", at=T0 + 3_000 - 300_000))
    assert world.audit().promises == ["P12"]
    world.offsets_ms = {FSM: -300_000.0}
    assert world.audit().promises == ["P5"]
    world.offsets_ms = {}
    world.records[-1] = replace(world.records[-1], written_ms=T0 + 3_000)
    assert world.audit().promises == ["P5"]


# P3


def test_a_record_that_the_product_could_not_see_yet(world: World) -> None:
    """A person makes a company while the product makes the same one: after its look, before its call."""
    mine = company("102", name="New", at=T0 + 2_020)
    theirs = replace(company("103", name="New"), created_ms=T0 + 2_015)
    world.records += [mine, theirs, customer("47", name="New", at=T0 + 2_000)]
    world.bindings.append(binding("102", "47", fence=8, bound_ms=T0 + 2_100, updated_ms=T0 + 2_100))
    world.bindings[-1] = replace(world.bindings[-1], base=base(name="New"))
    world.calls += [
        call(5, FSM, record=None, path="/fsm/v1/Companies/search", at_ms=T0 + 2_010),
        call(6, FSM, method="POST", write=True, record="102", at_ms=T0 + 2_020),
        call(7, FSM, method="POST", write=True, record="103", at_ms=T0 + 2_015, user=THEIRS),
    ]
    world.may(silent_from_ms=None)
    assert silent(world)
    world.records[-2] = replace(theirs, created_ms=T0 + 2_005)
    assert world.audit().doubled == 1


def test_records_of_a_batch_are_known_where_the_log_tells_them(world: World) -> None:
    world.records += [company("102", name="A"), company("103", name="B")]
    world.calls.append(call(9, FSM, method="POST", write=True, record="102", records=("102", "103")))
    assert world.audit().doubled == 2
    world.calls[-1] = replace(world.calls[-1], records=())
    assert world.audit().doubled == 1


# P4, P6


def test_who_thaws_may_push_what_was_checked_before(world: World) -> None:
    world.leases = [replace(one, expires_ms=T0 + 4_900) if one.fence == 8 else one for one in world.leases]
    assert world.audit().promises == ["P4"]
    world.may(frozen_ms=((T0 + 1_900, T0 + 2_005),))
    assert silent(world)


def test_a_commit_that_began_while_its_lease_held_may_end_after_it(world: World) -> None:
    world.calls = []
    world.leases = [replace(one, expires_ms=T0 + 2_050) if one.fence == 8 else one for one in world.leases]
    assert silent(world)


def test_a_note_of_what_is_sent_moves_the_fence_and_not_the_time(world: World) -> None:
    world.bindings = [replace(one, fence=8, updated_ms=T0 + 300) for one in world.bindings]
    assert silent(world)


def test_a_list_that_was_answered_slowly_tells_a_late_time(world: World) -> None:
    world.listings.append(Listing(1, "items", "left", True, True, read_ms=T0 + 2_010, vendor_ms=T0 + 9_000))
    assert world.audit().promises == ["P12"]
    world.calls.append(call(9, FSM, module="Service_And_Parts", record=None, at_ms=T0 + 2_020, ms=6_900.0))
    assert silent(world)


def test_a_clock_that_was_set_meanwhile_tells_nothing_of_a_list_before(world: World) -> None:
    world.listings.append(Listing(1, "items", "left", True, True, read_ms=T0 + 2_010, vendor_ms=T0 + 300_000))
    assert world.audit().promises == ["P12"]
    world.may(clocks_moved=True)
    assert silent(world)


def test_what_postgres_forgot_is_in_no_log(world: World) -> None:
    world.calls.append(call(9, write=True, record="900", at_ms=T0 + 1_200, request_id="5.x"))
    assert world.audit().stale_writes == 1
    world.may(database_lost_ms=((T0 + 1_100, T0 + 1_300),))
    assert silent(world)


def test_what_both_had_in_common_is_forgotten_with_what_was_written(world: World) -> None:
    """Then the later of two records wins as a whole, also where only the other's field had been edited."""
    shows(world, "https://a")
    assert world.audit().promises == ["P5"]
    world.may(database_lost_ms=((T0 + 2_000, T0 + 2_100),))
    assert silent(world)
    shows(world, "https://a", "https://b")
    assert world.audit().promises == ["P2"], "they must still agree"


def test_a_write_that_names_no_fence_is_held_against_all_leases(world: World) -> None:
    world.calls[2] = replace(world.calls[2], request_id="")
    report = world.audit()
    assert report.ok
    assert report.unchecked == ["P4: whose push it was, where a write does not name its fence (X-Request-Id)"]


def test_unclear_replies_are_repeated(world: World) -> None:
    world.calls.append(call(9, write=True))
    assert world.audit().promises == ["P6"]
    world.calls[-2] = replace(world.calls[-2], status=0, fault="reply_lost")
    assert silent(world)
    world.calls[-2] = replace(world.calls[-2], status=200, fault=None, replied=False)
    assert silent(world)


def test_an_edit_past_the_api_counts_as_one(world: World) -> None:
    world.calls += [call(9, write=True), call(10, write=True)]
    assert world.audit().promises == ["P6"]
    world.edits += [edit({"Website": "https://b"}, at=2_100), edit({"Website": "https://b"}, at=2_200)]
    assert silent(world)


def test_lists_are_no_noise(world: World) -> None:
    world.calls.append(call(9, FSM, record=None, at_ms=NOW - 50))
    assert silent(world)
    world.calls.append(call(9, FSM, record=None, at_ms=NOW - 50, path="/fsm/v1/Companies/search"))
    assert world.audit().promises == ["P6"]


# P9 to P13


def test_what_a_stop_leaves(world: World) -> None:
    """Events wait, a create is in doubt, a result is on its way, a killed batch has lapsed; and both sides differ."""
    world.may(stopped=True)
    world.outcomes.pop(0)
    world.records[1] = customer()
    world.streams = Streams((Stream("bw:lane:1:live:0", 3, 3),), (Stream("bw:results", 1, 1),), "m")
    world.tables["intents"] = (
        Intent(1, "companies", "left", "8", "in_doubt", 8, T0),
        Intent(1, "companies", "left", "9", "open", 8, T0),
    )
    world.tables["open_batches"] = (OpenBatch("b", 8, "1:live:0", NOW - 1),)
    world.runs.append(Run(3, 1, "sync", "draining", 5))
    world.may(poison=frozenset({"666"}))
    assert silent(world)
    world.may(exit_s=None)
    assert world.audit().unchecked == ["P10: how long the stop took, for nobody measured it"]


def test_a_claim_of_a_crash_hurts_nobody_while_the_token_lives(world: World) -> None:
    world.tables["connections"] = (Connection(1, 1, FSM, "live", 3, NOW + 60_000, NOW - 100_000),)
    assert silent(world)


def test_a_result_transaction_may_stand_still_with_its_postgres(world: World) -> None:
    """It looked at its fence before, and nobody gets the org until it has ended."""
    world.leases = [replace(one, expires_ms=T0 + 1_050) if one.fence == 8 else one for one in world.leases]
    world.calls = []
    assert not world.audit().ok
    world.may(transaction_ms=13_000.0)
    assert silent(world)


def test_a_withdrawn_grant_is_broken(world: World) -> None:
    world.tables["connections"] = (Connection(1, 1, FSM, "broken", 3),)
    world.calls.append(call(9, FSM, status=401, user=None, record=None, at_ms=NOW - 999))
    world.may(revoked=frozenset({FSM}))
    assert silent(world)


def test_ten_tokens_in_ten_minutes_are_allowed(world: World) -> None:
    token = {"method": "POST", "path": "/oauth/v2/token", "applied": True, "user": None}
    world.calls += [call(50 + n, "zoho_accounts", at_ms=MARK + n * 10, record="g", **token) for n in range(10)]
    world.calls += [call(80 + n, "zoho_accounts", at_ms=MARK + n * 10, record="h", **token) for n in range(10)]
    assert silent(world)


def test_what_could_not_be_looked_at_is_said(world: World) -> None:
    world.may(healed_s=None, silent_from_ms=None)
    world.marked = False
    world.tables["lease_expiry"] = False
    world.tables["redis_marker"] = None
    world.dropped = 3
    world.calls.clear()
    world.deliveries.clear()
    world.calls.append(call(9, "zoho_accounts", method="POST", path="/oauth/v2/token", record=None))
    assert [one.split(":")[0] for one in world.audit().unchecked] == [
        "P1",
        "P3, P4, P6",
        "P2",
        "P5",
        "P4",
        "P4, P6",
        "P6",
        "P7",
        "P11",
    ]


def test_an_echo_of_the_twin_is_known_by_its_own_id(world: World) -> None:
    """The accepted delivery of the customer is settled by the echo, not by the company's outcome."""
    world.outcomes.pop(1)
    assert [one.subject for one in world.audit().findings] == [f"{BOOKS} {RIGHT_ID} delivery 1"]


def test_a_written_value_may_come_again_in_a_later_outcome(world: World) -> None:
    world.outcomes.append(
        outcome(
            7,
            at_ms=T0 + 2_400,
            received_ms=T0 + 2_350,
            changes=(change("right", "website", "https://b"),),
            written_ms=T0 + 2_390,
        )
    )
    assert silent(world)


def test_a_twin_made_once_is_as_it_should_be(world: World) -> None:
    world.records += [company("102", name="New", at=T0 + 2_000), customer("47", name="New", at=T0 + 2_013)]
    world.bindings.append(binding("102", "47", fence=8, bound_ms=T0 + 2_100, updated_ms=T0 + 2_100))
    world.bindings[-1] = replace(world.bindings[-1], base=base(name="New"))
    world.calls.append(call(9, method="POST", write=True, record="47"))
    world.outcomes.append(outcome(9, "102", outcome="created", twin_id="47"))
    assert silent(world)


def test_a_run_that_came_upon_nothing_new_passes_what_is_agreed(world: World) -> None:
    world.runs.append(Run(3, 1, "sync", "completed", 0, 0, T0 + 2_900, T0 + 3_000, T0 + 3_500))
    world.watermarks = [replace(one, read_from_ms=T0 + 3_000, run_id=3) for one in world.watermarks]
    world.leases = [replace(one, released_ms=T0 + 2_950) if one.fence == 8 else one for one in world.leases]
    world.leases += [Span(org, 9, "run:3", "run", T0 + 2_950, T0 + 3_500, NOW) for org in (1, 2)]
    assert silent(world)


def test_a_blank_that_nobody_filled_stays_blank(world: World) -> None:
    site, town = "https://b", "York"
    world.records = [company(website=site, billing_city=town), customer(website=site, billing_city=town)]
    world.bindings = [binding(fence=8, updated_ms=T0 + 2_100, base=base(website=site, billing_city=town))]
    assert [one.what for one in world.audit().findings] == ["billing.city changed, and nobody had edited it"]


def test_a_write_of_another_field_is_no_arrival(world: World) -> None:
    """The website was never written to the customer: so what is written there later may clash with it."""
    world.outcomes[0] = replace(world.outcomes[0], changes=(change("right", "shipping_address.city", "https://b"),))
    world.edits.append(edit({"website": "https://c"}, BOOKS, at=2_500))
    assert silent(world)


def test_a_doubt_of_a_record_that_may_fail(world: World) -> None:
    world.tables["intents"] = (Intent(1, "companies", "left", "9", "in_doubt", 8, T0),)
    assert world.audit().promises == ["P3"]
    world.may(failed=frozenset({"9"}))
    assert silent(world)


def test_modules_and_types_that_nothing_maps(world: World) -> None:
    world.bindings.append(replace(binding("501", "502"), pair="contacts", fence=8, updated_ms=T0 + 2_100))
    world.records.append(replace(customer("50"), in_scope=False))
    world.records.append(lone_contact("105"))
    assert silent(world)


def test_causes_are_not_asked_for_where_nobody_kept_a_journal(world: World) -> None:
    world.calls += [call(9, write=True), call(10, write=True)]
    world.may(journal_complete=False)
    assert silent(world)


def test_a_first_match_is_a_cause(world: World) -> None:
    world.calls.append(call(9, write=True))
    assert world.audit().promises == ["P6"]
    world.bindings = [replace(world.bindings[0], bound_ms=T0 + 2_100)]
    assert silent(world)
    world.bindings = [replace(world.bindings[0], bound_ms=T0 + 300)]
    world.marked = False
    assert silent(world)


def test_a_stop_need_not_be_silent(world: World) -> None:
    world.calls.append(call(9, at_ms=NOW - 50))
    assert world.audit().promises == ["P6"]
    world.may(stopped=True)
    assert silent(world)


def test_what_a_kill_leaves_behind_lapses(world: World) -> None:
    """A batch of a killed worker, and the tries of an event that was begun three times."""
    world.tables["open_batches"] = (OpenBatch("b", 8, "1:live:0", NOW - 1),)
    world.streams = Streams((Stream("bw:lane:1:live:0", 0, tries={"1-1": 3}),), marker="m")
    assert silent(world)


def test_token_calls_that_name_no_grant_are_not_held_against_each_other(world: World) -> None:
    token = {"method": "POST", "path": "/oauth/v2/token", "applied": True, "user": None, "record": None}
    world.calls += [call(50 + n, "zoho_accounts", at_ms=MARK, ms=50.0, **token) for n in range(12)]
    assert silent(world)
    assert len(world.audit().unchecked) == 1


def test_a_list_that_began_well_behind_the_watermark(world: World) -> None:
    world.runs.append(Run(3, 1, "sync", "completed", 0, 0, T0 + 2_900, T0 + 3_000, T0 + 3_500))
    world.leases = [replace(one, released_ms=T0 + 2_950) if one.fence == 8 else one for one in world.leases]
    world.leases += [Span(org, 9, "run:3", "run", T0 + 2_950, T0 + 3_500, NOW) for org in (1, 2)]
    world.listings.append(replace(world.listings[0], run_id=3, since_ms=T0 + 100 - 300_000, read_ms=T0 + 3_010))
    assert silent(world)


def test_tokens_of_two_windows_are_not_added_up(world: World) -> None:
    token = {"method": "POST", "path": "/oauth/v2/token", "applied": True, "user": None, "record": "g"}
    world.calls += [call(50 + n, "zoho_accounts", at_ms=MARK + n * 61_000, **token) for n in range(12)]
    assert silent(world)
