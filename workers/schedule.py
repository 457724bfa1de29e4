"""What beat sends. A tick that nobody took within `expires` is dropped: the next one does the same."""

from __future__ import annotations

from typing import Any

from shared.settings import Settings


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    tick_s = max(0.5, settings.scaled(settings.tick_s))
    return {
        "tick": {"task": "housekeeping.tick", "schedule": tick_s, "options": {"expires": tick_s * 2}},
        "mail": {"task": "housekeeping.mail", "schedule": tick_s, "options": {"expires": tick_s * 2}},
        "hourly": {"task": "housekeeping.hourly", "schedule": 600.0, "options": {"expires": 600.0}},
    }
