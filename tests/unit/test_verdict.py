"""From trouble to what is done about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.sync.reasons import REASONS
from shared.sync.verdict import (
    Fail,
    LetGo,
    LookFirst,
    PauseConnection,
    RetryLater,
    Skip,
    StopRun,
    Verdict,
    backoff_s,
    verdict,
)
from tests.unit.sync_builders import T0

ROWS: list[tuple[Exception | str, Verdict]] = [
    (errors.RetryableError("x"), RetryLater(5.0, "VENDOR_UNAVAILABLE")),
    (errors.RetryableError("x", retry_after_s=40), RetryLater(40.0, "VENDOR_UNAVAILABLE")),
    (errors.RateLimited("x", retry_after_s=40), RetryLater(40.0, "RATE_LIMITED")),
    (errors.RateLimited("x", retry_after_s=0), RetryLater(0.0, "RATE_LIMITED")),
    (errors.UnsureWrite("x"), LookFirst()),
    (errors.OrgHeld("x", holder="import", since=T0), RetryLater(10.0, "ORG_HELD", counts=False)),
    (errors.Unavailable("x", retry_after_s=7), RetryLater(7.0, "INTERNAL", counts=False)),
    (errors.LeaseLost("x"), LetGo()),
    (errors.ConnectionBroken("x"), PauseConnection("CONNECTION_BROKEN")),
    (errors.ConfigError("x"), PauseConnection("CONFIG")),
    (errors.ConfigError("x", code="SCOPE_MISSING"), PauseConnection("SCOPE_MISSING")),
    (errors.ConfigError("x", code="ELSE"), PauseConnection("CONFIG")),
    (errors.SkipRecord("x", code="WRONG_TYPE"), Skip("WRONG_TYPE")),
    (errors.SkipRecord("x"), Skip("OUTSIDE_MAPPING")),
    (errors.RecordRejected("x"), Fail("VENDOR_REJECTED")),
    (errors.RecordRejected("x", code="DUPLICATE_NAME"), Fail("DUPLICATE_NAME")),
    (errors.RecordRejected("x", code="4711"), Fail("VENDOR_REJECTED")),
    (errors.NotFound("x"), Fail("TARGET_GONE")),
    (errors.RunStopped("x"), StopRun("RUN_STOPPED")),
    (errors.Refused("x"), Fail("INTERNAL")),
    (errors.BothwaysError("x"), Fail("INTERNAL")),
    (KeyError("x"), Fail("INTERNAL")),
    (ZeroDivisionError(), Fail("INTERNAL")),
    ("DUPLICATE_NAME", Fail("DUPLICATE_NAME")),
    ("RATE_LIMITED", RetryLater(5.0, "RATE_LIMITED")),
    ("4711", Fail("VENDOR_REJECTED")),
]


@pytest.mark.rule("P8", "LG-4")
@pytest.mark.parametrize(("trouble", "expected"), ROWS, ids=[repr(row[0])[:40] for row in ROWS])
def test_verdict(trouble: Exception | str, expected: Verdict) -> None:
    given_out = verdict(trouble, 1)
    assert given_out == expected
    assert getattr(given_out, "code", "INTERNAL") in REASONS


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "trouble", [errors.RetryableError("x"), errors.RateLimited("x", retry_after_s=3), "RATE_LIMITED"]
)
def test_eight_tries_and_no_more(trouble: Exception | str) -> None:
    assert all(isinstance(verdict(trouble, attempt), RetryLater) for attempt in range(1, 8))
    assert isinstance(verdict(trouble, 8), Fail)
    assert isinstance(verdict(trouble, 3, most=3), Fail)


@pytest.mark.rule("P8", "LK-3")
def test_waiting_for_an_org_is_no_attempt() -> None:
    held = verdict(errors.OrgHeld("x", holder="sync", since=T0), 99)
    assert held == RetryLater(10.0, "ORG_HELD", counts=False)


def test_every_class_of_the_tree_has_a_row() -> None:
    seen = {type(row[0]) for row in ROWS}
    tree = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.BothwaysError)}
    at_the_doors = {errors.WebhookRefused, errors.Unauthenticated, errors.NotAllowed, errors.Throttled}
    assert tree - seen == at_the_doors


@pytest.mark.rule("P8")
@given(st.integers(-5, 10**6), st.floats(-1, 2))
def test_backoff_is_bounded(attempt: int, jitter: float) -> None:
    assert 2.5 <= backoff_s(attempt, jitter) <= 3600
    assert backoff_s(attempt, jitter) <= backoff_s(attempt + 1, jitter)


@pytest.mark.rule("P8")
def test_backoff_doubles_and_jitter_takes_up_to_half() -> None:
    assert [backoff_s(n, 0) for n in (1, 2, 3, 10, 11, 12)] == [5, 10, 20, 2560, 3600, 3600]
    assert backoff_s(1, 1) == 2.5
    later = verdict(errors.RateLimited("x", retry_after_s=100), 1, jitter=1)
    assert isinstance(later, RetryLater)
    assert later.after_s == pytest.approx(110)
