"""Each mutant still fits the product, and one is caught from end to end. `make mutants` plays them all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutants.cells import CELLS
from tests.mutants.mutants import MUTANTS, Change, Mutant, MutantError, replacements
from tests.mutants.play import catch

PROMISES = {f"P{number}" for number in range(1, 15)}
QUICK = "no_intent"


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_what_it_replaces_is_there_and_takes_the_same(mutant: Mutant) -> None:
    changed = [(holder, name) for holder, name, _ in replacements(mutant)]
    assert len(set(changed)) == len(mutant.changes)


@pytest.mark.parametrize(
    "where", ["shared.bus:Bus.gone", "shared.gone:Bus", "shared.lease:Leases.check", "shared.bus:GROUP"]
)
def test_one_that_does_not_fit_says_so(where: str) -> None:
    def made(_found: object) -> object:
        return lambda self: None

    with pytest.raises(MutantError):
        list(replacements(Mutant("none", "P1", "", (Change(where, made),))))


def test_each_promise_has_one_and_each_has_a_cell() -> None:
    assert {one.promise for one in MUTANTS.values()} == PROMISES
    assert sorted(name for small in CELLS for name in small.mutants) == sorted(MUTANTS)
    assert len({small.name for small in CELLS}) == len(CELLS)


def test_a_process_without_a_mutant_is_as_it_was() -> None:
    program = (
        "import os, shared.bus; os.environ['BOTHWAYS_CHAOS_DIR'] = '/tmp'; before = shared.bus.Bus.begin\n"
        "from tests.mutants import hook\n"
        "hook.install(); assert shared.bus.Bus.begin is before\n"
        "os.environ['BOTHWAYS_MUTANT'] = 'no_try_count'; hook.install(); assert shared.bus.Bus.begin is not before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.rule("P3")
def test_one_is_caught() -> None:
    small = next(small for small in CELLS if QUICK in small.mutants)
    verdict = catch(small, MUTANTS[QUICK])
    assert verdict.ok, verdict.told()
