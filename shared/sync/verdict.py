"""From trouble to what is done about it. No clock and no chance of its own: the jitter is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import (
    BothwaysError,
    ConfigError,
    LeaseLost,
    NotFound,
    OrgHeld,
    RecordRejected,
    RetryableError,
    RunStopped,
    SkipRecord,
    Unavailable,
    UnsureWrite,
)
from shared.sync.reasons import REASONS, Code

BASE_S = 5.0
MOST_S = 3600.0
HELD_S = 10.0
"""While an org is held: its release wakes the lane anyway, this is the net."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """`counts` False: waiting for an org, a lease or a server is no attempt of the record's."""

    after_s: float
    code: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Fail:
    code: str


@dataclass(frozen=True, slots=True)
class Skip:
    code: str


@dataclass(frozen=True, slots=True)
class StopRun:
    code: str


@dataclass(frozen=True, slots=True)
class PauseConnection:
    """The record waits, uncounted, until a person has mended the connection."""

    code: str


@dataclass(frozen=True, slots=True)
class LookFirst:
    """A write may have been applied: reconcile before anything is sent again."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Another worker has the lease: write nothing more, record nothing."""


Verdict = RetryLater | Fail | Skip | StopRun | PauseConnection | LookFirst | LetGo


def backoff_s(attempt: int, jitter: float) -> float:
    """5 s, 10 s, 20 s … one hour, of which the jitter (0 to 1) takes away up to half. `attempt` counts from 1."""
    full = min(MOST_S, BASE_S * 2.0 ** min(max(attempt, 1) - 1, 30))
    return full * (1.0 - min(max(jitter, 0.0), 1.0) / 2.0)


def verdict(trouble: Exception | str, attempt: int, *, jitter: float = 0.0, most: int = 8) -> Verdict:
    """`trouble`: what was raised, or the code of a refused write. `attempt`: this try, counted from 1; `most` tries.

    A vendor's own wait (`retry_after_s`) is kept, with up to a tenth added so that not all come back at once.
    Anything that is not of our tree is a mistake of ours: INTERNAL, no retry.
    """
    if isinstance(trouble, str):
        return _of_code(trouble, attempt, jitter, most)
    if isinstance(trouble, RetryableError):
        return _of_retryable(trouble, attempt, jitter, most)
    if isinstance(trouble, BothwaysError):
        return _of_ours(trouble)
    return Fail(Code.INTERNAL)


def _of_code(code: str, attempt: int, jitter: float, most: int) -> Verdict:
    reason = REASONS.get(code)
    if reason is None:
        return Fail(Code.VENDOR_REJECTED)
    if reason.retry and attempt < most:
        return RetryLater(backoff_s(attempt, jitter), code)
    return Fail(code)


def _of_retryable(trouble: RetryableError, attempt: int, jitter: float, most: int) -> Verdict:
    code = known(trouble.code, Code.VENDOR_UNAVAILABLE)
    if attempt >= most:
        return Fail(code)
    if trouble.retry_after_s is None:
        return RetryLater(backoff_s(attempt, jitter), code)
    return RetryLater(max(trouble.retry_after_s, 0.0) * (1.0 + jitter / 10.0), code)


def _of_ours(trouble: BothwaysError) -> Verdict:
    match trouble:
        case UnsureWrite():
            return LookFirst()
        case OrgHeld():
            return RetryLater(HELD_S, Code.ORG_HELD, counts=False)
        case Unavailable():
            return RetryLater(float(trouble.retry_after_s), Code.INTERNAL, counts=False)
        case LeaseLost():
            return LetGo()
        case ConfigError():
            return PauseConnection(known(trouble.code, Code.CONFIG))
        case SkipRecord():
            return Skip(known(trouble.code, Code.OUTSIDE_MAPPING))
        case RecordRejected():
            return Fail(known(trouble.code, Code.VENDOR_REJECTED))
        case NotFound():
            return Fail(Code.TARGET_GONE)
        case RunStopped():
            return StopRun(known(trouble.code, Code.RUN_STOPPED))
        case _:
            return Fail(Code.INTERNAL)


def known(code: str, otherwise: Code) -> str:
    """Only codes of the vocabulary are stored."""
    return code if code in REASONS else otherwise
