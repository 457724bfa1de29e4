"""Windows and due times (TR-2, TR-5, P12). All times are aware; a naive one raises ValueError.

A watermark is the *start* of the last successful run. It never goes back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.sync.states import SUCCESSFUL, RunState


def window_start(previous_start: datetime | None, overlap_s: float) -> datetime | None:
    """From when on a list is read (closed range), in UTC; None: from the beginning.

    `overlap_s` seconds behind the watermark for clocks that differ and commits that come late; not negative.
    """
    if overlap_s < 0:
        raise ValueError("a negative overlap would lose records")
    if previous_start is None:
        return None
    return _aware(previous_start) - timedelta(seconds=overlap_s)


def next_scheduled(last_end: datetime | None, interval: timedelta | None) -> datetime | None:
    """TR-2: the interval after the *end* of the last scheduled or manual sync, in UTC.

    None: never by itself, since the schedule is off or there was no sync yet to count from.
    """
    if interval is None or last_end is None:
        return None
    if interval <= timedelta(0):
        raise ValueError("an interval that never ends")
    return _aware(last_end) + interval


def may_advance(state: RunState, *, unsettled: int, lists_done: bool) -> bool:
    """Whether a run's start may become the watermark: it was successful ("with failures" is: failures carry their
    own due rows), every list was read to its end, and every record that was listed is staged or has an outcome."""
    return state in SUCCESSFUL and lists_done and unsettled == 0


def advanced(current: datetime | None, run_start: datetime) -> datetime:
    """The watermark after a run that may advance it: never earlier than it was, even by a clock that went back."""
    start = _aware(run_start)
    return start if current is None else max(_aware(current), start)


def _aware(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError("a time without zone")
    return moment.astimezone(UTC)
