"""P7 to P12, as far as the tables tell: healing, tries, counters, stops, grants and watermarks."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from tests.auditor.fields import ACCOUNTS, PAIRS, VENDORS
from tests.auditor.seen import Call, Listing, Run
from tests.auditor.view import View, name_of
from tests.auditor.writes import is_list

DAY_MS = 24 * 3600 * 1000.0
ROUNDING_MS = 0.01
TOLD_MS = 2000.0
"""A vendor tells its time in whole seconds, in an answer that takes a while."""
OURS = frozenset({"POISON", "INTERNAL"})
"""Reasons that mean that something of ours went wrong with the record."""


def check(view: View) -> None:
    _healing(view)
    _tries(view)
    _failures(view)
    _events(view)
    _counters(view)
    if view.expect.stopped:
        _stop(view)
        return
    if view.expect.quiet:
        _runs(view)
    _grants(view)
    _token_calls(view)
    _watermarks(view)


# P7


def _healing(view: View) -> None:
    healed_s, bound_s = view.expect.healed_s, view.expect.healed_bound_s
    if healed_s is None:
        view.unchecked("P7: how long it took to heal, for nobody measured it")
    elif healed_s > bound_s:
        view.find("P7", f"healed after {healed_s:.1f} s, the bound is {bound_s:.0f} s", "healing")


# P8


def _tries(view: View) -> None:
    crashes, errors = view.expect.tries_by_crash, view.expect.tries_by_error
    for one in view.tables.outcomes:
        most = crashes if one.reason == "POISON" else errors
        if one.attempt > most:
            view.find("P8", f"tried {one.attempt} times, {most} are allowed", f"{one.pair} {one.record_id}")
    for due in view.tables.due:
        if due.attempts > errors:
            view.find("P8", f"waits after {due.attempts} tries, {errors} are allowed", f"{due.pair} {due.record_id}")
    for stream in view.evidence.streams.lanes:
        for entry, tries in stream.tries.items():
            if tries > crashes:
                view.find("P8", f"begun {tries} times, {crashes} are allowed", f"{stream.key} {entry}")


def _failures(view: View) -> None:
    """A poison record ends with a reason; whatever else failed was meant to."""
    for one in view.tables.outcomes:
        if one.outcome == "failed" and not one.reason:
            view.find("P8", "failed without a reason", f"{one.pair} {one.record_id}")
    if not view.expect.stopped:
        for record in view.expect.poison:
            # Not the newest alone: somebody may have removed it since, which is an event with its own outcome.
            ends = [one for one in view.tables.outcomes if one.record_id == record]
            if not any(one.outcome == "failed" and one.reason for one in ends):
                view.find("P8", "a poison record did not end as a failure with its reason", record)
    allowed = view.expect.failed | view.expect.poison | view.expect.ignored
    for key, due in view.failed.items():
        if key[1] not in allowed and due.reason not in view.expect.failed_reasons:
            view.find("P8", f"failed ({due.reason}), and nothing in the scenario explains it", name_of(key), "lost")
    for one in view.tables.outcomes:
        ours = one.outcome == "failed" and one.reason in OURS and one.at_ms >= view.since_ms
        if ours and one.record_id not in allowed and one.reason not in view.expect.failed_reasons:
            view.find("P8", f"set aside ({one.reason}) though it is no poison", f"{one.pair} {one.record_id}")


# P9


def _events(view: View) -> None:
    """One outcome per event: by the ids of the outcomes, and those remembered as done."""
    tables = view.tables
    ids = Counter(one.event_id for one in tables.outcomes)
    for event, count in ids.items():
        if count > 1:
            view.find("P9", f"an event has {count} outcomes", event)
    for one in tables.outcomes:
        # Those are forgotten after seven days.
        if one.at_ms > tables.now_ms - 6.5 * DAY_MS and one.event_id not in tables.event_done:
            view.find("P9", "an outcome's event is not remembered as done", one.event_id)
    for event, outcome in tables.event_done.items():
        if (outcome or event) not in ids and outcome is not None:
            view.find("P9", "an event is done and has no outcome", event, "lost")
    if len(tables.event_done) > sum(one.events for one in tables.outcomes):
        view.find("P9", "more events are done than outcomes tell of", "event_done", "lost")


def _counters(view: View) -> None:
    """Counters = rows + what was settled while listing, per direction, pair, outcome and reason."""
    rows: Counter[tuple[int, str, str, str, str]] = Counter()
    conflicts: Counter[tuple[int, str, str, str, str]] = Counter()
    for one in view.tables.outcomes:
        key = (one.run_id, one.direction, one.pair, one.outcome, one.reason)
        rows[key] += 1
        conflicts[key] += one.conflicts > 0
    counted = set()
    for count in view.tables.run_counts:
        key = (count.run_id, count.direction, count.pair, count.outcome, count.reason)
        counted.add(key)
        subject = " ".join(str(part) for part in ("run", *key))
        if count.records - count.listed != rows[key]:
            what = f"counted {count.records}, listed {count.listed}, logged {rows[key]}"
            view.find("P9", what, subject)
        if count.conflicts != conflicts[key]:
            view.find("P9", f"counted {count.conflicts} conflicts, logged {conflicts[key]}", subject)
        if count.run_id not in view.runs:
            view.find("P9", "a counter of a run that is not there", subject)
    for key in rows.keys() - counted:
        view.find("P9", "outcomes that no counter counts", " ".join(str(part) for part in ("run", *key)))


def _runs(view: View) -> None:
    for run in view.tables.runs:
        if run.kind == "webhook":
            continue
        if run.ended_ms is None:
            view.find("P9", f"a run is still {run.state}", f"run {run.id}")
            continue
        if run.completed and run.pending:
            view.find("P9", f"a run ended with {run.pending} records pending", f"run {run.id}")
        if view.tables.staged.get(run.id):
            view.find("P9", f"an ended run left {view.tables.staged[run.id]} staged rows", f"run {run.id}")
    for listing in view.tables.listings:
        if not listing.done and view.runs[listing.run_id].completed:
            what = "a run completed before its list was read to the end"
            view.find("P12", what, f"run {listing.run_id} {listing.pair} {listing.side}", "lost")
    for batch in view.tables.open_batches:
        if batch.until_ms > view.tables.now_ms:
            view.find("P9", "a batch is still open", f"{batch.lane} fence {batch.fence}")


# P10


def _stop(view: View) -> None:
    exit_s, bound_s = view.expect.exit_s, view.expect.exit_bound_s
    if exit_s is None:
        view.unchecked("P10: how long the stop took, for nobody measured it")
    elif exit_s > bound_s:
        view.find("P10", f"the stop took {exit_s:.1f} s, the bound is {bound_s:.0f} s", "stop")
    for batch in view.tables.open_batches:
        if batch.until_ms > view.tables.now_ms:
            view.find("P10", "a batch was left open by the stop", f"{batch.lane} fence {batch.fence}")
    # What is on its way in the results was pushed, and its batch is handed over: it is no loose end of the stop.
    handed = sum(one.length for one in view.evidence.streams.results)
    for intent in view.tables.intents:
        if intent.state == "open" and not handed:
            subject = f"{VENDORS[intent.side]} {intent.record_id}"
            view.find("P10", "a create is neither done nor in doubt after the stop", subject)


# P11


def _grants(view: View) -> None:
    for one in view.tables.connections:
        subject = f"connection {one.id} ({one.vendor})"
        if one.status != "live" and one.vendor not in view.expect.revoked:
            view.find("P11", f"the connection is {one.status}", subject)
        if view.mark and not view.expect.database_lost_ms and one.version < view.mark.versions.get(one.id, 0):
            view.find("P11", "the grant's version went back", subject)
        # A claim that a crash left is taken over when a token is needed: only then is it in the way.
        claimed_ms, expires_ms, now_ms = one.refresh_started_ms, one.access_expires_ms, view.tables.now_ms
        stale = claimed_ms is not None and claimed_ms < now_ms - view.expect.claim_s * 1000
        if stale and (expires_ms is None or expires_ms < now_ms) and one.status == "live":
            view.find("P11", "a claim to refresh was left, and the token has ended", subject)
    for vendor in VENDORS.values():
        calls = [one for one in view.calls(vendor) if not one.by_person and one.status]
        last = max(calls, key=lambda one: one.end_ms, default=None)
        if last is not None and last.status == 401 and vendor not in view.expect.revoked:
            view.find("P11", "the vendor's last answer was that the token is not valid", vendor)


def _token_calls(view: View) -> None:
    """Of the accounts server's log, where that tells whose grant each call was about."""
    grants: dict[str, list[Call]] = defaultdict(list)
    calls = [one for one in view.calls(ACCOUNTS) if one.path.endswith("/oauth/v2/token") and one.method == "POST"]
    for one in calls:
        if one.record:
            grants[one.record].append(one)
    if any(not one.record for one in calls):
        view.unchecked("P11: overlapping refreshes and tokens in ten minutes, where a call does not name its grant")
    for grant, found in grants.items():
        ordered = sorted(found, key=lambda one: one.at_ms)
        for before, after in pairwise(ordered):
            if after.at_ms < before.end_ms:
                view.find("P11", "two refreshed one grant at once", f"grant {grant}")
        given = [one.at_ms for one in ordered if one.applied]
        window_ms, most = view.expect.token_window_s * 1000, view.expect.token_allowance
        for first, last in zip(given, given[most:], strict=False):
            if last - first < window_ms:
                view.find("P11", f"more than {most} tokens in a window", f"grant {grant}")


# P12


def _watermarks(view: View) -> None:
    """A watermark is the start of a sync that completed; each later one began its lists well behind it."""
    for mark in view.tables.watermarks:
        subject = f"{mark.pair} {mark.side}"
        run = view.runs.get(mark.run_id)
        if run is None or not run.completed or run.kind != "sync":
            view.find("P12", "a watermark of a run that did not complete", subject, "lost")
        starts = _starts(view, (mark.integration_id, mark.pair, mark.side), before_ms=None)
        if starts and mark.read_from_ms > max(starts) + ROUNDING_MS:
            view.find("P12", "a watermark is later than the start of the last run that completed", subject, "lost")
    for listing in view.tables.listings:
        _listing(view, listing)


def _listing(view: View, listing: Listing) -> None:
    run = view.runs[listing.run_id]
    subject = f"run {run.id} {listing.pair} {listing.side}"
    offset_ms = view.evidence.offsets_ms.get(VENDORS[listing.side], 0.0)
    # The offset is that of the end of the cell: of earlier runs it says nothing.
    answered_ms = _answered_ms(view, listing)
    told_late = listing.vendor_ms is not None and listing.vendor_ms > answered_ms + offset_ms + TOLD_MS
    if told_late and listing.read_ms >= view.since_ms and not view.expect.clocks_moved:
        view.find("P12", "the vendor's time at the start of a list was taken too late", subject)
    if listing.since_ms is None or run.kind != "sync" or run.started_ms is None:
        return
    starts = _starts(view, (run.integration_id, listing.pair, listing.side), before_ms=run.started_ms)
    if not starts:
        view.find("P12", "a list began at a time that no run had reached", subject, "lost")
    elif listing.since_ms > max(starts) - view.expect.overlap_s * 1000 + ROUNDING_MS:
        view.find("P12", f"a list began less than {view.expect.overlap_s:.0f} s behind the watermark", subject)


def _answered_ms(view: View, listing: Listing) -> float:
    """When the vendor had answered the first page, by its log; without one, as if it had done so at once."""
    vendor = VENDORS[listing.side]
    module = PAIRS[listing.pair].module(listing.side)
    calls = (one for one in view.calls(vendor) if one.module == module and is_list(one))
    return min((one.end_ms for one in calls if one.at_ms >= listing.read_ms), default=listing.read_ms)


def _starts(view: View, key: tuple[int, str, str], *, before_ms: float | None) -> list[float]:
    """When the syncs began that had completed before a moment: by the vendor's clock where it told, else by ours."""
    integration_id, pair, side = key
    told = {one.run_id: one.vendor_ms for one in view.tables.listings if (one.pair, one.side) == (pair, side)}

    def counts(run: Run) -> bool:
        ended = run.ended_ms is not None and (before_ms is None or run.ended_ms <= before_ms)
        return run.integration_id == integration_id and run.kind == "sync" and run.completed and ended

    known = ((told.get(one.id), one.started_ms) for one in view.tables.runs if counts(one))
    return [vendor or own for vendor, own in known if own is not None]
