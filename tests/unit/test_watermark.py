"""Windows, due times, and a watermark that never goes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sync.states import RunState
from shared.sync.watermark import advanced, may_advance, next_scheduled, window_start
from tests.unit.sync_builders import T0, at

NAIVE = datetime(2026, 11, 1)  # noqa: DTZ001
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.rule("TR-5", "P12")
def test_a_window_starts_behind_the_watermark() -> None:
    assert window_start(T0, 300) == T0 - timedelta(seconds=300)
    assert window_start(T0, 0) == T0
    assert window_start(None, 300) is None
    east = T0.astimezone(timezone(timedelta(hours=9)))
    window = window_start(east, 300)
    assert window == T0 - timedelta(seconds=300)
    assert window is not None
    assert window.tzinfo is UTC


@pytest.mark.rule("TR-5")
def test_naive_times_and_negative_overlaps_are_refused() -> None:
    calls: list[Callable[[], object]] = [
        lambda: window_start(NAIVE, 300),
        lambda: next_scheduled(NAIVE, timedelta(hours=3)),
        lambda: advanced(NAIVE, T0),
        lambda: advanced(None, NAIVE),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="without zone"):
            call()
    with pytest.raises(ValueError, match="negative"):
        window_start(T0, -1)


@pytest.mark.rule("TR-2")
def test_the_next_sync_is_an_interval_after_the_end_of_the_last() -> None:
    assert next_scheduled(T0, timedelta(hours=3)) == T0 + timedelta(hours=3)
    assert next_scheduled(T0, None) is None
    assert next_scheduled(None, timedelta(hours=3)) is None
    with pytest.raises(ValueError, match="interval"):
        next_scheduled(T0, timedelta(0))


@pytest.mark.rule("TR-5", "P12")
@pytest.mark.parametrize("state", list(RunState))
def test_only_a_successful_run_that_read_all_may_advance(state: RunState) -> None:
    successful = state in (RunState.COMPLETED, RunState.COMPLETED_WITH_FAILURES)
    assert may_advance(state, unsettled=0, lists_done=True) is successful
    assert not may_advance(state, unsettled=1, lists_done=True)
    assert not may_advance(state, unsettled=0, lists_done=False)


@pytest.mark.rule("TR-5", "P12")
@given(st.lists(times, min_size=1))
def test_a_watermark_never_goes_back(starts: list[datetime]) -> None:
    mark: datetime | None = None
    for start in starts:
        moved = advanced(mark, start)
        assert moved >= start
        assert mark is None or moved >= mark
        mark = moved
    assert mark == max(starts)


@pytest.mark.rule("TR-5", "P12")
@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 900)), max_size=8), st.integers(0, 5000), st.integers(0, 300)
)
def test_nothing_modified_during_a_run_is_missed_by_the_next(
    runs: list[tuple[int, int]], change: int, late: int
) -> None:
    """Runs of (pause, length) seconds. A change is visible `late` seconds after its own modified time: the first
    run that starts after that has it in its window."""
    now, mark = 0, None
    for pause, length in [*runs, (6000, 1)]:
        begin = now + pause
        window = window_start(mark, 300)
        if begin > change + late:
            assert window is None or window <= at(change)
            return
        mark, now = advanced(mark, at(begin)), begin + length
