"""The short form of the fault matrix: a few cells chosen for width, on one stack. `make chaos` plays them all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.cell import Cell, play
from tests.chaos.cells import NOT_RUN, SLUGS, all_cells
from tests.chaos.rig import Rig
from tests.chaos.shapes import CREW

SHORT = (
    "worker_kill/f#1",
    "worker_kill/h#1",
    "worker_kill/k#1",
    "worker_freeze/g#1",
    "redis_kill/any#1",
    "postgres_kill/any#1",
    "webhook_doubled/and reordered#1",
    "grant_refresh/m reply lost#1",
)


class Rigs:
    """One for all of them; a red cell leaves none behind, lest it colours the next."""

    def __init__(self) -> None:
        self._rig: Rig | None = None

    def get(self) -> Rig:
        self._rig = self._rig or Rig.start(CREW)
        return self._rig

    def drop(self) -> None:
        if self._rig is not None:
            self._rig.stop()
        self._rig = None


@pytest.fixture(scope="module")
def rigs() -> Iterator[Rigs]:
    rigs = Rigs()
    yield rigs
    rigs.drop()


def cells() -> list[Cell]:
    known = {cell.name: cell for cell in all_cells()}
    # How long it takes is the matrix' matter: here others may use the machine.
    return [replace(known[name], shape=CREW, bound_s=math.inf, load=0.6) for name in SHORT]


@pytest.mark.rule("P1", "P2", "P3", "P4", "P5", "P7", "P9", "P10", "P11")
@pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.name)
def test_a_cell_is_green(rigs: Rigs, cell: Cell, tmp_path: Path) -> None:
    line = play(rigs.get(), cell, tmp_path)
    if not line.ok:
        rigs.drop()
    assert line.ok, line


def test_every_fault_has_a_cell() -> None:
    """Thirty at least run on any machine; what does not is listed with its reason."""
    played = {cell.fault for cell in all_cells()}
    assert len(played) >= 30
    assert set(SLUGS) - played <= set(NOT_RUN)


def test_names_of_cells_are_their_own() -> None:
    names = [cell.name for cell in all_cells()]
    assert len(names) == len(set(names))
