"""Days of a time zone (TR-4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Refused
from shared.sync.calendar import day_of, known_zone, zone_of

pytestmark = pytest.mark.rule("TR-4")

MOMENTS = st.integers(157_766_400, 2_114_380_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Berlin", "2026-06-01T12:00", "2026-05-31T22:00", 24),
        ("Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", 25),
        ("Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", 23),
        # Clocks that are put forward at midnight: the day begins at 01:00.
        ("Africa/Cairo", "2026-04-24T12:00", "2026-04-23T22:00", 23),
        # Clocks that are put back at 01:00 to 00:00: its first instant is the first 00:00.
        ("America/Havana", "2026-11-01T12:00", "2026-11-01T04:00", 25),
        ("Asia/Kolkata", "2026-06-01T12:00", "2026-05-31T18:30", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, start: str, hours: int) -> None:
    began, ends = day_of(datetime.fromisoformat(day).replace(tzinfo=UTC), ZoneInfo(zone))
    assert began == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert ends - began == timedelta(hours=hours)


@given(MOMENTS, st.sampled_from(sorted(available_timezones())))
def test_a_moment_lies_in_its_day_and_the_next_begins_where_that_ends(now: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    start, end = day_of(now, zone)
    assert start <= now < end
    assert day_of(end, zone)[0] == end
    assert day_of(start, zone) == (start, end)


@pytest.mark.parametrize("name", ["", "Mars", "PST", "../etc/passwd", "Europe", "/etc/localtime", "a\0b", "Ä"])
def test_what_iana_does_not_know_is_no_zone(name: str) -> None:
    assert known_zone(name) is None
    with pytest.raises(Refused):
        zone_of(name)
