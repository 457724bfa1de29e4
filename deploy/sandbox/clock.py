"""A vendor's own clock, which may be off."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate


class Clock:
    """Every time that a vendor writes comes from here."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def now(self) -> datetime:
        """Aware UTC at millisecond resolution; the vendors show less of it."""
        now = datetime.now(UTC) + timedelta(seconds=self.offset_s)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def after(self, held: datetime) -> datetime:
        """The time of a change of what was changed at `held`: never earlier. When the clock was put back it is a second
        later, so that a change can be told from none."""
        now = self.now()
        return now if now >= held else held + timedelta(seconds=1)

    def http_date(self) -> str:
        return formatdate(time.time() + self.offset_s, usegmt=True)

    def set(self, offset_s: float) -> None:
        self.offset_s = offset_s

    def describe(self) -> dict[str, float]:
        return {"offset_s": self.offset_s, "now_ms": self.now().timestamp() * 1000}
