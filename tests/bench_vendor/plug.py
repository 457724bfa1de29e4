"""Makes the bench vendors and their integration known to a process.

Also a test hook: BOTHWAYS_TEST_HOOK=tests.bench_vendor.plug:register.
"""

from __future__ import annotations

from pathlib import Path

from tests.plugging import plug_in, take_out

_PLUGGED = Path(__file__).parent / "plugged"


def register() -> None:
    """Again is harmless."""
    plug_in(_PLUGGED)


def unregister() -> None:
    """For tests that count what the product offers."""
    take_out(_PLUGGED)
