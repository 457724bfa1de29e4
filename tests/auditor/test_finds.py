"""The auditor can fail: one thing is spoilt in evidence that is healthy, and it must say which promise that breaks."""

from __future__ import annotations

from collections.abc import Callable
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
    outcome,
    told,
)
from tests.auditor.fields import ACCOUNTS, BOOKS, FSM
from tests.auditor.seen import Connection, Due, Entry, Intent, Listing, OpenBatch, Run, RunCount, Span, Stream, Streams

Spoil = Callable[[World], object]


def spoil(world: World, **given: object) -> None:
    """New values for attributes of the world."""
    for name, value in given.items():
        assert hasattr(world, name), name
        setattr(world, name, value)


def tables(**given: object) -> Spoil:
    return lambda world: world.tables.update(given)


def sick(promise: str, words: str, do: Spoil, counts: str = "") -> object:
    return pytest.param(promise, words, do, counts, id=f"{promise} {words}")


def due(why: str = "failed", reason: str = "INTERNAL", attempts: int = 1, record: str = LEFT_ID) -> tuple[Due, ...]:
    return (Due(1, "companies", "left", record, why, reason, attempts, None if why == "failed" else NOW + 1000),)


def lane(length: int = 1, tries: int = 0, *, kind: str = "live", **given: bool) -> Streams:
    key = f"bw:lane:1:{kind}:0"
    return Streams((Stream(key, length, length, (Entry("1-1", LEFT_ID, tries),), {"1-1": tries}, **given),), marker="m")


def second_company(record_id: str = "102", name: str = "Acme") -> Spoil:
    return lambda world: world.records.append(company(record_id, name=name))


def taken_over(world: World) -> None:
    """A run takes the orgs from webhook work at 5,000, and ends at 6,000."""
    world.leases = [
        span
        for one in world.leases
        for span in (
            (
                replace(one, released_ms=T0 + 5_000),
                Span(one.org_id, 9, "run:3", "run", T0 + 5_000, T0 + 6_000, T0 + 9_000),
            )
            if one.fence == 8
            else (one,)
        )
    ]


def committed_late(world: World) -> None:
    taken_over(world)
    world.outcomes[0] = replace(world.outcomes[0], at_ms=T0 + 5_001)


def bound_late(world: World) -> None:
    taken_over(world)
    world.bindings = [replace(world.bindings[0], updated_ms=T0 + 5_001)]


def lapsed(world: World) -> None:
    world.leases = [replace(one, expires_ms=T0 + 1_050) if one.fence == 8 else one for one in world.leases]
    world.calls = []


def pushed_late(world: World) -> None:
    taken_over(world)
    world.calls[2] = replace(world.calls[2], at_ms=T0 + 5_100)


def tokens(*at_ms: float, ms: float = 5.0, grant: str | None = "g") -> Spoil:
    def do(world: World) -> None:
        world.calls += [
            call(50 + n, ACCOUNTS, at_ms=at, ms=ms, method="POST", path="/oauth/v2/token", record=grant, applied=True)
            for n, at in enumerate(at_ms)
        ]

    return do


def stopped(exit_s: float = 1.0, **given: object) -> Spoil:
    """Every worker was stopped, and these tables are left."""

    def do(world: World) -> None:
        world.may(stopped=True, exit_s=exit_s)
        world.tables.update(given)

    return do


def made(world: World, record_id: str = "47", name: str = "New", *, at: float = T0 + 2_013) -> None:
    """The product makes a customer."""
    world.records.append(customer(record_id, at=at, name=name))
    world.calls.append(call(9, method="POST", write=True, record=record_id))


def two_made(world: World) -> None:
    """One company, of which two customers were made; one of them is bound."""
    world.records.append(company("102", name="New", at=T0 + 2_000))
    world.bindings.append(binding("102", "47", fence=8, updated_ms=T0 + 2_100, bound_ms=T0 + 2_100))
    made(world, "47")
    made(world, "48")
    world.records[-1] = replace(world.records[-1], values={**world.records[-1].values, "name": "New"})
    world.calls[-1] = replace(world.calls[-1], seq=10, at_ms=T0 + 2_030)


def made_by_log(world: World) -> None:
    world.outcomes += [
        outcome(8, "101", outcome="created", twin_id="46"),
        outcome(9, "101", outcome="created", twin_id="48"),
    ]


def same_target(world: World) -> None:
    world.outcomes += [
        outcome(8, "101", outcome="created", twin_id="46"),
        outcome(9, "102", outcome="created", twin_id="46"),
    ]


def dropped_edit(world: World) -> None:
    """The person's website is gone: both sides hold what was there before."""
    world.records = [company(at=T0 + 2_500), customer(at=T0 + 2_013)]
    world.bindings = [binding(fence=8, updated_ms=T0 + 2_100)]


def clashed_into_a_third(world: World) -> None:
    world.edits.append(edit({"website": "https://c"}, BOOKS, at=1_992))
    world.records = [company(website="https://z"), customer(website="https://z")]
    world.bindings = [binding(fence=8, updated_ms=T0 + 2_100, base=base(website="https://z"))]


def older_won(world: World) -> None:
    """Two edits one after the other; the first of them was written last."""
    world.edits = [edit({"Website": "https://1"}, at=1_500), edit({"Website": "https://2"}, at=1_990)]
    world.outcomes += [
        outcome(11, changes=(change("right", "website", "https://2"),), written_ms=T0 + 2_300, at_ms=T0 + 2_310),
        outcome(12, changes=(change("right", "website", "https://1"),), written_ms=T0 + 2_400, at_ms=T0 + 2_410),
    ]
    world.records = [company(website="https://2"), customer(website="https://2")]
    world.bindings = [binding(fence=8, updated_ms=T0 + 2_450, base=base(website="https://2"))]


def changed_by_nobody(world: World) -> None:
    world.edits = []
    world.may(journal_complete=True)


def flooded(world: World) -> None:
    """An echo answers an echo: one edit, and update after update."""
    world.calls += [call(20 + n, write=True) for n in range(3)]


def passed_unread(world: World) -> None:
    """A run began and ended after the edit, and saw nothing of it."""
    world.records = [company(at=T0 + 1_995, website="https://b"), customer()]
    world.bindings = [binding()]
    later_run(world)


def later_run(world: World) -> None:
    world.runs.append(Run(3, 1, "sync", "completed", 0, 2, T0 + 4_000, T0 + 5_000, T0 + 6_000))
    world.watermarks = [replace(one, read_from_ms=T0 + 5_000, run_id=3) for one in world.watermarks]
    taken_over(world)


def new_and_passed(world: World) -> None:
    world.records.append(company("102", name="New", at=T0 + 2_000))
    later_run(world)


def stale_base(world: World) -> None:
    """Both sides were changed alike; the binding has the old value still, and a sync has passed."""
    world.bindings = [replace(world.bindings[0], base=base())]
    later_run(world)


def lists(since_ms: float | None, *, done: bool = True) -> Spoil:
    def do(world: World) -> None:
        later_run(world)
        world.listings.append(
            Listing(3, "companies", "left", done=done, whole=False, read_ms=T0 + 5_001, since_ms=since_ms)
        )

    return do


def told_late(world: World) -> None:
    world.listings.append(Listing(1, "items", "left", True, True, read_ms=MARK + 10, vendor_ms=MARK + 9_000))


def told_later_than_it_answered(world: World) -> None:
    told_late(world)
    world.calls.append(call(9, FSM, module="Service_And_Parts", record=None, at_ms=MARK + 20, ms=5_000.0))


def failed_with(reason: str, *, attempt: int = 1) -> Spoil:
    return lambda world: world.outcomes.append(outcome(30, outcome="failed", reason=reason, attempt=attempt))


def forget(world: World) -> None:
    """Redis lost its data after the delivery was accepted, and nothing looked for it since."""
    world.outcomes.clear()
    world.may(history_lost_ms=((0.0, T0 + 3_000),))


def not_repaired(world: World) -> None:
    world.may(history_lost_ms=((0.0, T0 + 3_000),))
    world.records = [company(website="x"), customer()]


def found_later(world: World) -> None:
    """The event is gone; a run came upon the change."""
    world.outcomes[0] = replace(world.outcomes[0], origin="poll", received_ms=T0 + 5_000, at_ms=T0 + 5_100)
    world.bindings = [replace(world.bindings[0], updated_ms=T0 + 5_100)]


def earlier_event(world: World) -> None:
    """An outcome of an event that came before, committed after the delivery was accepted: it does not speak for it."""
    world.outcomes[0] = replace(world.outcomes[0], received_ms=T0 + 1_500, at_ms=T0 + 2_100)


SICK = [
    # P1
    sick("P1", "has no outcome", lambda w: w.outcomes.pop(0), "lost"),
    sick("P1", "has no outcome", found_later, "lost"),
    sick("P1", "has no outcome", earlier_event, "lost"),
    sick("P1", "entries lie on a stream", lambda w: spoil(w, streams=lane()), "lost"),
    sick(
        "P1",
        "entries lie on a stream",
        lambda w: spoil(w, streams=Streams((), (Stream("bw:results", 0, pending=1),), "m")),
        "lost",
    ),
    sick("P1", "a lane with entries is in no list", lambda w: spoil(w, streams=lane(listed=False))),
    sick("P1", "deliveries under way", lambda w: spoil(w, idle=False)),
    # P2
    sick("P2", "marker", lambda w: spoil(w, streams=Streams(marker="other"))),
    sick("P2", "was not looked for by a sync", forget, "lost"),
    sick("P2", "the sides differ in website", not_repaired, "lost"),
    # P3
    sick("P3", "belongs to nothing", made, "doubled"),
    sick("P3", "belongs to nothing", two_made, "doubled"),
    sick("P3", "a second record has the name", second_company(), "doubled"),
    sick("P3", "a second record has the name", second_company(name=" ACME "), "doubled"),
    sick("P3", "twin was made more than once", made_by_log, "doubled"),
    sick("P3", "made as the twin of several", same_target, "doubled"),
    sick("P3", "a create is still open", tables(intents=(Intent(1, "companies", "left", "9", "open", 8, T0),))),
    # P4
    sick(
        "P4",
        "two held an org at once",
        lambda w: spoil(
            w, leases=[replace(one, released_ms=T0 + 1_600) if one.fence == 7 else one for one in w.leases]
        ),
        "stale",
    ),
    sick(
        "P4",
        "lower fence",
        lambda w: spoil(w, leases=[replace(one, fence=15 - one.fence) for one in w.leases]),
        "stale",
    ),
    sick(
        "P4",
        "two holders",
        lambda w: spoil(w, leases=[replace(one, holder=f"{one.holder}{one.org_id}") for one in w.leases]),
        "stale",
    ),
    sick("P4", "committed by a former holder", committed_late, "stale"),
    sick("P4", "committed by a former holder", bound_late, "stale"),
    sick("P4", "committed by a former holder", lapsed, "stale"),
    sick("P4", "no lease ever had", lambda w: w.outcomes.append(outcome(9, fence=99)), "stale"),
    sick("P4", "pushed by a former holder", pushed_late, "stale"),
    sick(
        "P4",
        "nobody held the org",
        lambda w: spoil(w, calls=[*w.calls, call(9, write=True, request_id="x", at_ms=T0 + 1_200)]),
        "stale",
    ),
    sick(
        "P4",
        "too late for its lease",
        lambda w: spoil(w, leases=[replace(one, expires_ms=T0 + 4_900) if one.fence == 8 else one for one in w.leases]),
    ),
    sick(
        "P4",
        "before its grace was over",
        lambda w: spoil(
            w,
            leases=[
                *(
                    replace(one, released_ms=T0 + 6_000, kind="run", expires_ms=T0 + 5_900) if one.fence == 8 else one
                    for one in w.leases
                ),
                Span(1, 9, "run:9", "run", T0 + 6_000, None, NOW + 9_000),
                Span(2, 9, "run:9", "run", T0 + 6_000, None, NOW + 9_000),
            ],
        ),
    ),
    sick("P4", "without holding its orgs", lambda w: spoil(w, runs=[replace(w.runs[0], ended_ms=T0 + 500)]), "stale"),
    # P5
    sick("P5", "the sides differ in website", lambda w: spoil(w, records=[w.records[0], customer()]), "lost"),
    sick(
        "P5",
        "the sides differ in name",
        lambda w: spoil(w, records=[w.records[0], customer(name="acme", website="https://b")]),
        "lost",
    ),
    sick("P5", "an unclashed edit of website is lost", dropped_edit, "lost"),
    sick("P5", "none of the values that clashed", clashed_into_a_third, "lost"),
    sick("P5", "an older value of website was written over a newer", older_won),
    sick("P5", "website changed, and nobody had edited it", changed_by_nobody, "lost"),
    sick("P5", "has no twin", lambda w: w.records.append(company("102", name="New", at=T0 + 3_000)), "lost"),
    sick("P5", "is gone and its binding does not know it", lambda w: spoil(w, records=w.records[:1])),
    sick(
        "P5",
        "but both records are there",
        lambda w: spoil(w, bindings=[replace(w.bindings[0], state="left_deleted")]),
        "lost",
    ),
    # P6
    sick("P6", "updates, where", flooded),
    sick("P6", "not silent: GET", lambda w: w.may(silent_from_ms=T0 + 2_000)),
    # P7
    sick("P7", "healed after 61.0 s", lambda w: w.may(healed_s=61.0)),
    sick("P7", "still waits (retry", tables(due=due("retry", "VENDOR_UNAVAILABLE"))),
    # P8
    sick("P8", "tried 4 times, 3 are allowed", failed_with("POISON", attempt=4)),
    sick("P8", "tried 9 times, 8 are allowed", failed_with("VENDOR_UNAVAILABLE", attempt=9)),
    sick("P8", "waits after 9 tries", tables(due=due("retry", "RATE_LIMITED", 9))),
    sick("P8", "begun 4 times", lambda w: spoil(w, streams=lane(tries=4))),
    sick("P8", "did not end as a failure", lambda w: w.may(poison=frozenset({LEFT_ID}))),
    sick("P8", "failed without a reason", failed_with("")),
    sick("P8", "set aside (POISON)", failed_with("POISON")),
    sick("P8", "nothing in the scenario explains it", tables(due=due(reason="DUPLICATE_NAME")), "lost"),
    # P9
    sick("P9", "an event has 2 outcomes", lambda w: w.outcomes.append(replace(w.outcomes[0], id=9))),
    sick("P9", "not remembered as done", lambda w: spoil(w, done={})),
    sick(
        "P9",
        "an event is done and has no outcome",
        lambda w: spoil(w, done={"e1": "e1", "e2": "e2", "e7": "e7"}),
        "lost",
    ),
    sick("P9", "more events are done", lambda w: spoil(w, done={"e1": None, "e2": None, "e7": None}), "lost"),
    sick(
        "P9",
        "counted 2, listed 0, logged 1",
        lambda w: spoil(
            w,
            counts=[
                RunCount(2, "zoho_fsm>zoho_books", "companies", "updated", "", 2),
                RunCount(2, "zoho_books>zoho_fsm", "companies", "echo", "", 1),
            ],
        ),
    ),
    sick(
        "P9",
        "counted 1 conflicts, logged 0",
        lambda w: spoil(
            w,
            counts=[
                RunCount(2, "zoho_fsm>zoho_books", "companies", "updated", "", 1, 1),
                RunCount(2, "zoho_books>zoho_fsm", "companies", "echo", "", 1),
            ],
        ),
    ),
    sick("P9", "a counter of a run that is not there", lambda w: spoil(w, counts=[RunCount(99, "", "", "", "", 0)])),
    sick("P9", "no counter counts", lambda w: spoil(w, counts=[])),
    sick("P9", "a run is still draining", lambda w: w.runs.append(Run(3, 1, "sync", "draining"))),
    sick("P9", "with 1 records pending", lambda w: spoil(w, runs=[replace(w.runs[0], pending=1), w.runs[1]])),
    sick("P9", "left 2 staged rows", tables(staged={1: 2})),
    sick("P9", "a batch is still open", tables(open_batches=(OpenBatch("b", 8, "1:live:0", NOW + 1),))),
    # P10
    sick("P10", "the stop took 31.0 s", stopped(31.0)),
    sick("P10", "a batch was left open", stopped(open_batches=(OpenBatch("b", 8, "1:live:0", NOW + 1),))),
    sick(
        "P10",
        "neither done nor in doubt",
        stopped(intents=(Intent(1, "companies", "left", "9", "open", 8, T0),)),
    ),
    # P11
    sick("P11", "the connection is broken", tables(connections=(Connection(1, 1, FSM, "broken", 3),))),
    sick("P11", "went back", tables(connections=(Connection(1, 1, FSM, "live", 2, NOW + 9e5),))),
    sick(
        "P11",
        "a claim to refresh was left",
        tables(connections=(Connection(1, 1, FSM, "live", 3, NOW - 1, NOW - 46_000),)),
    ),
    sick(
        "P11",
        "token is not valid",
        lambda w: w.calls.append(call(60, status=401, user=None, record=None, at_ms=NOW - 999)),
    ),
    sick("P11", "two refreshed one grant at once", tokens(T0 + 2_000, T0 + 2_004)),
    sick("P11", "more than 10 tokens", tokens(*(T0 + 2_000 + 10 * n for n in range(11)))),
    # P12
    sick("P12", "the sides differ in website", passed_unread, "lost"),
    sick("P12", "has no twin", new_and_passed, "lost"),
    sick("P12", "the binding still has older values", stale_base),
    sick(
        "P12",
        "later than the start",
        lambda w: spoil(w, watermarks=[replace(w.watermarks[0], read_from_ms=T0 + 150)]),
        "lost",
    ),
    sick("P12", "did not complete", lambda w: spoil(w, watermarks=[replace(w.watermarks[0], run_id=2)]), "lost"),
    sick("P12", "less than 300 s behind", lists(T0 + 100 - 299_000)),
    sick(
        "P12",
        "at a time that no run had reached",
        lambda w: spoil(w, listings=[replace(w.listings[0], since_ms=T0)]),
        "lost",
    ),
    sick("P12", "before its list was read to the end", lists(None, done=False), "lost"),
    sick("P12", "taken too late", told_late),
    sick("P12", "taken too late", told_later_than_it_answered),
    # P13
    sick("P13", "a lane is longer than 2000", lambda w: spoil(w, streams=lane(2_501, kind="bulk"))),
    sick("P13", "longer than its bound to answer", lambda w: w.deliveries.append(delivery(5, ms=6_001.0))),
    sick(
        "P13",
        "neither a refusal nor a promise",
        lambda w: w.deliveries.append(delivery(5, status=500, accepted=False)),
    ),
    sick("P13", "counts as accepted", lambda w: w.deliveries.append(delivery(5, status=503))),
]


@pytest.mark.parametrize(("promise", "words", "do", "counts"), SICK)
def test_what_is_spoilt_is_found(promise: str, words: str, do: Spoil, counts: str) -> None:
    world = told(World())
    assert world.audit().text() == "silent (lost 0, doubled 0, stale writes 0)"
    do(world)
    report = world.audit()
    found = [one for one in report.findings if words in one.what and one.promise == promise]
    assert found, report.text()
    assert {one.counts for one in found} == {counts}, report.text()
    assert report.lost >= (counts == "lost")
    assert report.doubled >= (counts == "doubled")
    assert report.stale_writes >= (counts == "stale")


def test_every_promise_has_its_sickness() -> None:
    promises = {str(one.values[0]) for one in SICK}  # type: ignore[attr-defined]
    assert promises == {f"P{number}" for number in range(1, 14)}


def test_a_finding_of_before_the_cell_is_not_its_own() -> None:
    world = told(World())
    second_company()(world)
    red = world.audit()
    assert red.doubled == 1
    world.known = frozenset(red.keys)
    again = world.audit()
    assert again.ok
    assert again.known == len(red.findings)


def test_what_a_person_doubles_alone_is_let_be() -> None:
    world = told(World())
    second_company()(world)
    world.edits.append(edit({"Company_Name": "Acme"}, record_id="102", kind="create"))
    assert world.audit().ok
    world.edits.pop()
    world.calls.append(call(9, FSM, method="POST", write=True, record="102", user=THEIRS))
    assert world.audit().ok


def test_both_stores_count_once_per_subject() -> None:
    world = told(World())
    dropped_edit(world)
    world.records = [company(website="https://y"), customer()]
    report = world.audit()
    assert len([one for one in report.findings if one.counts == "lost"]) == 2
    assert report.lost == 1
    assert RIGHT_ID in report.findings[0].subject
