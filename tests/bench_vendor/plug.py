"""Makes the bench vendors and their integration known to a process, as if their folders lay among the product's.

Also a test hook: BOTHWAYS_TEST_HOOK=tests.bench_vendor.plug:register.
"""

from __future__ import annotations

from pathlib import Path

import shared.connectors
import shared.integrations
from shared.connectors.registry import vendor_names
from shared.integrations.registry import integrations

_PLUGGED = Path(__file__).parent / "plugged"


def register() -> None:
    """Again is harmless."""
    for package in (shared.connectors, shared.integrations):
        folder = str(_PLUGGED / package.__name__.rpartition(".")[2])
        if folder not in package.__path__:
            package.__path__.append(folder)
    vendor_names.cache_clear()
    integrations.cache_clear()


def unregister() -> None:
    """For tests that count what the product offers."""
    for package in (shared.connectors, shared.integrations):
        package.__path__[:] = [one for one in package.__path__ if not one.startswith(str(_PLUGGED))]
    vendor_names.cache_clear()
    integrations.cache_clear()
