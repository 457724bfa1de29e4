"""How a record of a batch ends: its result, a failure with its reason, or a wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from shared.connectors.base import Rejected
from shared.engine.agreed import binding_after
from shared.engine.context import Context
from shared.engine.known import IntentRow
from shared.engine.outcome import Result, Wait
from shared.engine.work import Work
from shared.settings import Settings
from shared.sync.events import Origin, encode
from shared.sync.model import Action, ActionKind, Change, Conflict, OutcomeKind, Side
from shared.sync.reasons import REASONS, Code
from shared.sync.verdict import known

SOON_S = 1.0
"""When to look again at what should be clear by then (scaled)."""
MOST_BACKOFF_S = 300.0
TRIES_AT_UNREADABLE = 3

_OUTCOMES = {
    ActionKind.CREATE: OutcomeKind.CREATED,
    ActionKind.UPDATE: OutcomeKind.UPDATED,
    ActionKind.DEACTIVATE: OutcomeKind.DEACTIVATED,
    ActionKind.BIND: OutcomeKind.BOUND,
    ActionKind.UNCHANGED: OutcomeKind.UNCHANGED,
    ActionKind.ECHO: OutcomeKind.ECHO,
    ActionKind.SKIP: OutcomeKind.SKIPPED,
    ActionKind.FAIL: OutcomeKind.FAILED,
}


class Settler:
    def __init__(self, settings: Settings, context: Context, stopping: Callable[[], bool]) -> None:
        self._settings = settings
        self._stopping = stopping
        self._context = context
        self.soon_s = settings.scaled(SOON_S)
        self.looks = settings.doubt_looks

    def parked(self, works: Iterable[Work]) -> bool:
        """Asked before each call to a vendor: once the process stops, these come again at another worker (P10)."""
        if not self._stopping():
            return False
        for work in works:
            work.deferred = work.deferred or work.open
        return True

    def done(self, work: Work, action: Action) -> None:
        """Nothing is left to push for it: the action ends as its outcome."""
        work.action = action
        if action.kind is ActionKind.FAIL:
            self.fail(work, action.reason or Code.INTERNAL, action.detail)
            return
        result = self._result(work, _OUTCOMES[action.kind])
        result.reason = action.reason or ""
        result.detail = action.detail
        result.changes = [_change(side, one) for side, changes in action.writes.items() for one in changes]
        result.conflicts = [_conflict(one) for one in action.conflicts]
        result.warnings = list(action.warnings)
        result.written_side = next(iter(action.writes)).value if len(action.writes) == 1 else None
        result.binding = binding_after(self._context, work, action)
        if action.kind is ActionKind.SKIP and action.reason != Code.MOVED:
            result.follow = []  # nobody asks for what is inside a record that is left alone
        if action.kind is ActionKind.UPDATE and action.reason is not None:  # all but one field is written (TR-11)
            result.outcome = OutcomeKind.FAILED
            result.wait = Wait("failed", None, work.attempt, _event(work, attempt=0))
        work.result = result

    def ended(
        self,
        work: Work,
        outcome: OutcomeKind,
        *,
        reason: str = "",
        written: Side | None = None,
        changes: Sequence[Change] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        """What binds no records ends so: an invoice (TR-7)."""
        result = self._result(work, outcome)
        result.reason = reason
        result.changes = [_change(written or work.side, one) for one in changes]
        result.warnings = list(warnings)
        result.written_side = written.value if written else None
        work.result = result

    def rejected(self, work: Work, answer: Rejected) -> None:
        """The vendor refused it for good; a target that is gone is a deleted twin."""
        if answer.code == Code.TARGET_GONE and work.binding is not None:
            self.done(work, Action(ActionKind.SKIP, reason=Code.TWIN_DELETED))
            return
        named = f" ({answer.vendor_code})" if answer.vendor_code else ""
        said = f"{answer.vendor_message}{named}" if answer.vendor_message else answer.vendor_code
        self.fail(work, answer.code, said)

    def fail(self, work: Work, code: str, detail: str = "") -> None:
        """Into the failure log; the next run tries again (its due row has no time of its own)."""
        result = self._result(work, OutcomeKind.FAILED)
        result.reason = code if code in REASONS else Code.INTERNAL
        result.detail = detail
        if work.written and work.action is not None:
            # One side took its part: what it now holds is agreed, the rest stays as it was.
            result.binding = binding_after(self._context, work, work.action)
        result.wait = Wait("failed", None, work.attempt, _event(work, attempt=0))
        work.result = result

    def wait(
        self,
        work: Work,
        code: str,
        *,
        why: str = "retry",
        in_s: float | None = None,
        intent: str = "keep",
        detail: str = "",
        counts: bool | None = None,
    ) -> None:
        """The event goes into a due row; after too many errors it fails with what it waited for (P8).

        `in_s` None: our own backoff. Waiting for quota, or in doubt, is no attempt: for quota it comes again as it was.
        `counts`: whether this one is.
        """
        if not work.open:
            return
        code = known(code, Code.VENDOR_UNAVAILABLE)
        if counts is None:
            counts = why == "retry" and code != Code.RATE_LIMITED
        if counts and work.attempt >= self._settings.attempts_by_error:
            self.fail(work, code, detail)
            return
        result = self._result(work, None)
        result.reason = code
        result.detail = detail
        result.intent = intent
        backoff_s = self._settings.scaled(min(2.0 ** (work.attempt - 1), MOST_BACKOFF_S))
        after_s = max(backoff_s if in_s is None else in_s, 0.0)
        as_it_was = code in (Code.RATE_LIMITED, Code.PARENT_NOT_SYNCED)
        event = _event(work, attempt=work.folded.attempt + counts, as_it_was=as_it_was)
        result.wait = Wait(why, after_s, work.attempt, event)
        work.result = result

    def unreadable(self, work: Work, names: Sequence[str]) -> None:
        """Bytes that were no text, twice in a row: spoilt on the way, or so in the record. Nothing is carried on."""
        if work.attempt >= TRIES_AT_UNREADABLE:
            self.fail(work, Code.TEXT_UNREADABLE, ", ".join(names))
        else:
            self.wait(work, Code.TEXT_UNREADABLE)

    def look_again(self, work: Work, intent: IntentRow) -> bool:
        """In doubt, and nothing found: waits for another look. False: there were enough of them over enough time."""
        span_s = self._settings.scaled(self._settings.doubt_span_s)
        looks = self._settings.doubt_looks
        if intent.looks + 1 >= looks and intent.looked_for_s >= span_s:
            return False
        in_s = span_s / (looks - 1)
        self.wait(work, Code.IN_DOUBT_UNRESOLVED, why="in_doubt", in_s=in_s, intent="looked")
        return True

    def _result(self, work: Work, outcome: OutcomeKind | None) -> Result:
        folded = work.folded
        pairs = self._context.sharing(work.pair.name, work.side)
        return Result(
            event_ids=list(folded.event_ids),
            origin=folded.origin,
            pair=work.pair.name,
            side=work.side,
            record_id=work.id,
            run_id=folded.run_id,
            outcome=outcome,
            twin_id=work.twin_id,
            attempt=work.attempt,
            received_ms=folded.received_at,
            written_ms=work.written_ms,
            fresh=work.earlier is None,
            listed_at=work.staged.read_at if work.listed and work.staged is not None else None,
            intent="keep" if outcome is None else "close",
            asked=folded.pair if folded.pair != work.pair.name else "",
            pairs=list(pairs) if len(pairs) > 1 else [],
            follow=[encode(event) for event in work.follow],
        )


def _event(work: Work, *, attempt: int, as_it_was: bool = False) -> dict[str, str]:
    """The envelope to send when the wait is over; what was staged is read afresh then.

    `as_it_was`: still of its class, and with what was staged: a run that waits for quota, or for the parents that it
    makes, must not spend calls on reading and searching each record once more.
    """
    folded = work.folded
    return encode(
        replace(
            folded.newest,
            event_id=folded.event_ids[0],
            folded=folded.event_ids[1:],
            run_id=folded.run_id,
            received_at=folded.received_at,
            origin=folded.origin if as_it_was else Origin.RETRY,
            staged=folded.staged and as_it_was,
            attempt=attempt,
        )
    )


def _change(side: Side, change: Change) -> dict[str, Any]:
    return {"side": side, "field": change.field, "old": _plain(change.old), "new": _plain(change.new)}


def _conflict(conflict: Conflict) -> dict[str, Any]:
    return {
        "left_field": conflict.left_field,
        "right_field": conflict.right_field,
        "left": _plain(conflict.left),
        "right": _plain(conflict.right),
        "winner": conflict.winner,
    }


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | str) else str(value)
