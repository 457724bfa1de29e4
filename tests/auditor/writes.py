"""P4 and P6: one holder at a time, nothing committed or pushed by a former one; and no write without an edit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.auditor.fields import SIDES
from tests.auditor.seen import Call, Span
from tests.auditor.view import Key, View, name_of

FENCED = re.compile(r"(\d+)\..*")
"""A write's X-Request-Id, where the product names the fence under which it pushes."""


def check(view: View) -> None:
    _one_holder(view)
    _commits(view)
    _pushes(view)
    if view.expect.stopped:
        return
    _silence(view)
    if view.expect.journal_complete:
        _caused(view)


# P4: the lease log


def _one_holder(view: View) -> None:
    orgs: dict[int, list[Span]] = defaultdict(list)
    pairs: dict[int, list[Span]] = defaultdict(list)
    for span in view.tables.leases:
        orgs[span.org_id].append(span)
        pairs[span.fence].append(span)
    for org, spans in orgs.items():
        ordered = sorted(spans, key=lambda one: (one.taken_ms, one.fence))
        for before, after in pairwise(ordered):
            if after.fence <= before.fence:
                view.find("P4", "a later lease has a lower fence", f"org {org} fence {after.fence}", "stale")
            if before.released_ms is None or before.released_ms > after.taken_ms:
                what = "two held an org at once"
                view.find("P4", what, f"org {org} fences {before.fence}, {after.fence}", "stale")
            _took_in_time(view, before, after)
    for fence, spans in pairs.items():
        if len({one.holder for one in spans}) > 1:
            view.find("P4", "one fence has two holders", f"fence {fence}", "stale")


def _took_in_time(view: View, before: Span, after: Span) -> None:
    """Whoever takes over a lease that was not given back waits for its end and the grace: a run and an import; the
    holder itself, and who takes it from webhook work between two batches, need not."""
    if before.expires_ms is None or before.holder == after.holder or before.kind == "webhook":
        return
    given_back = before.released_ms is not None and before.released_ms < after.taken_ms
    grace_ms = view.expect.scaled_ms(view.expect.push_deadline_s)
    if not given_back and after.taken_ms < before.expires_ms + grace_ms:
        view.find("P4", "a lease was taken before its grace was over", f"org {after.org_id} fence {after.fence}")


def _commits(view: View) -> None:
    """Outcomes and bindings are committed while their fence holds: all by the clock of Postgres."""
    spans: dict[int, list[Span]] = defaultdict(list)
    for span in view.tables.leases:
        spans[span.fence].append(span)
    if not view.tables.lease_expiry:
        view.unchecked("P4: commits after a lease had lapsed, where nobody took it over (the log keeps no expiry)")
    for outcome in view.tables.outcomes:
        _commit(view, spans.get(outcome.fence), outcome.at_ms, f"outcome {outcome.id} fence {outcome.fence}")
    for binding in view.tables.bindings:
        # Noting what is about to be sent moves the fence, and not the time: that is of the last outcome.
        own = spans.get(binding.fence, ())
        at_ms = max([binding.updated_ms, *(one.taken_ms for one in own)])
        _commit(view, list(own), at_ms, f"binding {binding.id} fence {binding.fence}")
    for run in view.tables.runs:
        if run.completed and run.kind != "webhook" and run.ended_ms is not None:
            _run_end(view, run.id, run.ended_ms)


def _commit(view: View, spans: list[Span] | None, at_ms: float, subject: str) -> None:
    if not spans:
        view.find("P4", "committed under a fence that no lease ever had", subject, "stale")
        return
    for span in spans:
        # The fence is looked at, and held against others, as a transaction begins: a lapsed lease is nobody else's
        # before it has ended.
        lapsed_ms = None if span.expires_ms is None else span.expires_ms + view.expect.transaction_ms
        ends = [end for end in (span.released_ms, lapsed_ms) if end is not None]
        if at_ms < span.taken_ms or at_ms > min(ends, default=at_ms):
            view.find("P4", "committed by a former holder", subject, "stale")
            return


def _run_end(view: View, run_id: int, ended_ms: float) -> None:
    """With a run's end its watermarks are saved."""
    held = (one for one in view.tables.leases if one.holder == f"run:{run_id}")
    if not any(one.taken_ms <= ended_ms <= (one.released_ms or ended_ms) for one in held):
        view.find("P4", "a run ended, and saved its watermarks, without holding its orgs", f"run {run_id}", "stale")


# P4: the vendors' side of it


def _pushes(view: View) -> None:
    """Every write reaches its vendor while somebody of the product holds the org; where the call names its fence, while
    that one does."""
    if not view.writes:
        view.unchecked("P4, P6: the product's writes, for there were none")
    unnamed = False
    for call in view.writes:
        spans = view.spans.get(call.vendor, [])
        named = FENCED.fullmatch(call.request_id)
        own = [one for one in spans if named and one.fence == int(named.group(1))]
        unnamed = unnamed or not own
        slack_ms = view.expect.clock_slack_ms
        if not any(_covers(one, call, slack_ms) for one in own or spans):
            what = "pushed by a former holder" if own else "pushed while nobody held the org"
            if not _thawed(view, call) and not _unlogged(view, call):
                view.find("P4", what, _subject(call), "stale")
        elif own:
            _in_time(view, call, own)
    if unnamed:
        view.unchecked("P4: whose push it was, where a write does not name its fence (X-Request-Id)")


def _covers(span: Span, call: Call, slack_ms: float) -> bool:
    ends = [end for end in (span.released_ms, span.expires_ms) if end is not None]
    return span.taken_ms - slack_ms <= call.at_ms <= min(ends, default=call.at_ms) + slack_ms


def _in_time(view: View, call: Call, own: list[Span]) -> None:
    """No push starts later than the lease's end less the push deadline."""
    deadline_ms = view.expect.scaled_ms(view.expect.push_deadline_s)
    ends = [one.expires_ms for one in own if one.expires_ms is not None]
    if ends and call.at_ms > min(ends) - deadline_ms + view.expect.clock_slack_ms and not _thawed(view, call):
        view.find("P4", "a push began too late for its lease to outlast it", _subject(call))


def _thawed(view: View, call: Call) -> bool:
    """The check was made before its process was frozen: no fence at the vendor is promised."""
    return any(start <= call.at_ms <= end + 1000 for start, end in view.expect.frozen_ms)


def _unlogged(view: View, call: Call) -> bool:
    """Postgres forgot who held the orgs then."""
    return any(start <= call.at_ms <= end for start, end in view.expect.database_lost_ms)


def _subject(call: Call) -> str:
    return f"{call.vendor} {call.method} {call.record or call.module} call {call.seq}"


# P6


def _silence(view: View) -> None:
    """After edits stopped, and two runs: lists are asked, nothing else."""
    silent_ms = view.expect.silent_from_ms
    if silent_ms is None:
        view.unchecked("P6: silence, for nobody said from when on there must be")
        return
    for call in view.calls():
        if call.by_product and call.vendor in SIDES and call.at_ms >= silent_ms and not is_list(call):
            view.find("P6", f"not silent: {call.method} of a record", _subject(call))


def is_list(call: Call) -> bool:
    return call.method == "GET" and call.record is None and not call.path.endswith(("/search", "/itemdetails"))


def _caused(view: View) -> None:
    """Each applied update of a record was caused by an edit at one of its ends, by the first match, or repeats a write
    whose reply was unclear. An echo that answers an echo has no such cause."""
    for key, calls in view.writes_to.items():
        updates = [one for one in calls if one.applied and one.method != "POST"]
        unclear = sum(not one.clean for one in calls)
        ends = [key, *filter(None, [view.twin(key)])]
        allowed = sum(_edited(view, end) for end in ends) + unclear + _first_match(view, ends)
        if len(updates) > allowed:
            view.find("P6", f"{len(updates)} updates, where {allowed} had a cause", name_of(key))


def _edited(view: View, key: Key) -> int:
    """How often people changed it: by the journal, or by the vendor's log if that knows of more."""
    return max(view.peoples_calls[key], len(view.edits.get(key, [])))


def _first_match(view: View, ends: Iterable[Key]) -> int:
    """1 where the two did not agree when the cell began, or were not bound yet."""
    first = [view.first.get(key) for key in ends]
    if view.mark is None or len(first) < 2 or first[0] is None or first[1] is None:
        return 1
    binding = view.bindings.get(next(iter(ends)))
    if binding is None or binding.bound_ms > view.mark.at_ms:
        return 1
    return int(first[0].values != first[1].values)
