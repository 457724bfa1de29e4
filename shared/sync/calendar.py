"""Days of a time zone, as instants (TR-4). A day is as long as its zone makes it: 23, 24 or 25 hours."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from shared.errors import Refused


def zone_of(name: str) -> ZoneInfo:
    """Raises Refused on a name that IANA does not know."""
    found = known_zone(name)
    if found is None:
        raise Refused(f"There is no time zone {name!r}. Name it as IANA does, such as Europe/Berlin.", code="BAD_ZONE")
    return found


def known_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # no such key, or a name that is no key: "../x", "Europe"
        return None


def day_of(now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The day in which `now` lies: from its first instant to the first of the next one, both aware UTC."""
    today = now.astimezone(zone).date()
    return _midnight(today.toordinal(), zone), _midnight(today.toordinal() + 1, zone)


def _midnight(ordinal: int, zone: ZoneInfo) -> datetime:
    """The first instant of a day. Where clocks are put forward over midnight there is no 00:00: the offset of before,
    which Python takes then, makes it the instant at which they are."""
    return datetime.combine(datetime.fromordinal(ordinal), time(), tzinfo=zone).astimezone(UTC)
