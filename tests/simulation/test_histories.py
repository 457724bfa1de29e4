"""Histories of the whole pipe in one process; see the package. `python -m tests.simulation` plays more of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.faults import Mutant
from tests.simulation.histories import Theme, play

PROJECT = Path(__file__).parents[2]
SEEDS, MUTANT_SEEDS = range(40), range(200)
CAUGHT = {
    Mutant.NO_INTENT: (Theme.DOUBT, {"P3"}),
    Mutant.NO_LOOKS: (Theme.DOUBT, {"P3"}),
    Mutant.NO_ROOT_LOCK: (Theme.STORM, {"P5", "lost edit"}),
    Mutant.NO_FENCE_CHECK: (Theme.SLEEP, {"P4"}),
    Mutant.ACK_FIRST: (Theme.STORES, {"P1"}),
    Mutant.EXCLUSIVE: (Theme.WINDOW, {"P2", "P5", "lost edit"}),
    Mutant.ECHO_ANSWERED: (Theme.MIXED, {"P6", "P7"}),
}
"""Where each mutant shows itself, and at what: another breach would be luck."""


def caught_at(mutant: Mutant) -> int | None:
    """The first seed that catches it."""
    theme, promises = CAUGHT[mutant]
    return next((seed for seed in MUTANT_SEEDS if promises & _broken(seed, theme, mutant)), None)


def _broken(seed: int, theme: Theme, mutant: Mutant | None) -> set[str]:
    return {promise for promise, _ in play(seed, theme=theme, mutant=mutant).breaches}


@pytest.mark.rule("P1", "P3", "P4", "P5", "P6", "P12")
@pytest.mark.parametrize("mutant", list(Mutant))
def test_what_lacks_a_promise_is_caught(mutant: Mutant) -> None:
    seed = caught_at(mutant)
    assert seed is not None
    assert not play(seed, theme=CAUGHT[mutant][0]).breaches


@pytest.mark.rule("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P12")
@pytest.mark.parametrize("theme", list(Theme))
def test_every_promise_holds_in_every_history(theme: Theme) -> None:
    broken = [str(ended) for seed in SEEDS if (ended := play(seed, theme=theme)).breaches]
    assert broken == []


@pytest.mark.rule("P3", "P5")
@pytest.mark.parametrize("theme", list(Theme))
def test_the_same_seed_is_the_same_history(theme: Theme) -> None:
    first, second = play(4, theme=theme, traced=True), play(4, theme=theme, traced=True)
    assert len(first.trace) > 50
    assert first == second


@pytest.mark.rule("P3", "P5")
def test_the_same_seed_is_the_same_history_in_another_process() -> None:
    """Nothing hangs on the order in which a process keeps its sets."""
    program = (
        "import hashlib, logging; from tests.simulation.histories import play; logging.disable()\n"
        "traces = chr(10).join(line for seed in range(12) for line in play(seed, traced=True).trace)\n"
        "print(hashlib.sha256(traces.encode()).hexdigest())"
    )
    here = "\n".join(line for seed in range(12) for line in play(seed, traced=True).trace)
    assert _digest(program, hash_seed="1") == hashlib.sha256(here.encode()).hexdigest()


def _digest(program: str, *, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
