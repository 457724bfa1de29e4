"""P1 and P13: what the door accepted has its outcome, and nothing lies about or was turned away for good."""

from __future__ import annotations

from bisect import bisect_left

from tests.auditor.fields import parent_key
from tests.auditor.seen import Delivery, Outcome
from tests.auditor.view import Key, View, name_of


def check(view: View) -> None:
    if not view.expect.stopped:
        _deliveries(view)
    if view.expect.quiet and not view.expect.stopped:
        _nothing_lies_about(view)
    _bounds(view)
    _door(view)


# P1


def _deliveries(view: View) -> None:
    """Each accepted delivery is one event: it has an outcome, or waits in a row of its own."""
    if not any(one.accepted for one in view.mapped_deliveries):
        view.unchecked("P1: accepted deliveries, for there were none")
    for one in view.mapped_deliveries:
        if not one.accepted or one.record in view.expect.ignored:
            continue
        key = (one.vendor, one.record)
        if key in view.waiting or _settled(view, one):
            continue
        forgotten = view.forgotten(one.end_ms)
        if forgotten is None:
            view.find("P1", "an accepted delivery has no outcome", f"{name_of(key)} delivery {one.id}", "lost")
        elif not view.synced_after(forgotten):
            what = "what was accepted before the data was lost was not looked for by a sync since"
            view.find("P2", what, name_of(key), "lost")


def _settled(view: View, delivery: Delivery) -> bool:
    slack_ms = view.expect.clock_slack_ms
    key = (delivery.vendor, delivery.record)
    first = bisect_left(view.outcome_times.get(key, []), delivery.at_ms - slack_ms)
    return any(_speaks_for(view, delivery, one, slack_ms) for one in view.outcomes.get(key, [])[first:])


def _speaks_for(view: View, delivery: Delivery, outcome: Outcome, slack_ms: float) -> bool:
    """Whether an outcome committed since may be that of this delivery's event, or of one that it was folded into.

    What a run found later by listing is no outcome of the delivery: its event would have been lost all the same.
    Where the event had to wait, the run's outcome ends the wait.
    """
    if outcome.origin == "fetch":
        return False
    if outcome.received_ms is None or outcome.origin not in ("webhook", "poll"):
        return True
    before_end = outcome.received_ms - slack_ms <= delivery.end_ms
    after_start = outcome.received_ms + slack_ms >= delivery.at_ms
    if before_end and (after_start or outcome.events > 1):
        return True  # it is the event, or the first of several
    if outcome.origin == "webhook":
        # A later event of the record: read afresh. Or one that was worked on together with an earlier event which had
        # its outcome by then (its worker was frozen, and went on): the row tells the time of the first of the two.
        return after_start or (before_end and _told_twice(view, delivery, outcome))
    # The run's own event came later: whatever else it speaks for had waited for it (a twin was being made, say).
    return after_start and (outcome.events > 1 or _had_trouble(view, (delivery.vendor, delivery.record)))


def _told_twice(view: View, delivery: Delivery, outcome: Outcome) -> bool:
    same = [
        one
        for one in view.outcomes[delivery.vendor, delivery.record]
        if one.received_ms == outcome.received_ms and one.at_ms < outcome.at_ms
    ]
    return bool(same) and outcome.at_ms >= delivery.at_ms


def _had_trouble(view: View, key: Key) -> bool:
    """Whether a call about the record failed, or one that made or looked for its twin: then its event had to wait."""
    if view.expect.unseen_trouble or any(one.origin == "retry" or one.attempt > 1 for one in view.outcomes[key]):
        return True
    twin = view.twin(key)
    return not view.troubled.isdisjoint({key, twin, twin and parent_key(twin), None})


def _nothing_lies_about(view: View) -> None:
    """While all is said to be quiet."""
    if not view.evidence.idle:
        view.find("P1", "a vendor has deliveries under way", "deliveries")
    for one in (*view.evidence.streams.lanes, *view.evidence.streams.results):
        if one.length or one.pending:
            records = ", ".join(sorted({entry.record_id for entry in one.entries if entry.record_id})[:5])
            view.find("P1", "entries lie on a stream that is said to be empty", f"{one.key} {records}".strip(), "lost")
        if one.length and not one.listed:
            view.find("P1", "a lane with entries is in no list, so nobody is woken for it", one.key)
    for key, due in view.waiting.items():
        view.find("P7", f"still waits ({due.why}, {due.reason})", name_of(key))


# P13


def _bounds(view: View) -> None:
    for one in view.evidence.streams.lanes:
        bound = view.expect.lane_bound if ":bulk:" in one.key else view.expect.webhook_bound
        # The poller looks before it queues a piece of work, the door before it adds an event.
        if one.length > bound + 500:
            view.find("P13", f"a lane is longer than {bound}", one.key)


def _door(view: View) -> None:
    refused = 0
    for one in view.evidence.deliveries:
        refused += one.status is not None and one.status >= 500
        if one.status is not None and one.ms is not None and one.ms > view.expect.door_answers_ms:
            view.find("P13", "the door took longer than its bound to answer", f"{one.vendor} delivery {one.id}")
        if one.status == 503 and one.accepted:
            view.find("P13", "a refused delivery counts as accepted", f"{one.vendor} delivery {one.id}")
        if one.status is not None and one.status >= 500 and one.status != 503:
            what = f"the door answered {one.status}, which is neither a refusal nor a promise"
            view.find("P13", what, f"{one.vendor} delivery {one.id}")
    if refused:
        view.report.notes.append(f"{refused} deliveries were refused by the door; the sync since must have found them")
