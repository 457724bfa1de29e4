"""Vendors and integrations of tests, made known to a process as if their folders lay among the product's."""

from __future__ import annotations

from pathlib import Path

import shared.connectors
import shared.integrations
from shared.connectors.registry import vendor_names
from shared.integrations.registry import integrations


def plug_in(folder: Path) -> None:
    """`folder` has `connectors/` and `integrations/`. Again is harmless."""
    for package in (shared.connectors, shared.integrations):
        path = str(folder / package.__name__.rpartition(".")[2])
        if path not in package.__path__:
            package.__path__.append(path)
    _forget()


def take_out(folder: Path) -> None:
    """For tests that count what the product offers."""
    for package in (shared.connectors, shared.integrations):
        package.__path__[:] = [one for one in package.__path__ if not one.startswith(str(folder))]
    _forget()


def _forget() -> None:
    vendor_names.cache_clear()
    integrations.cache_clear()
