"""The same world as a state machine: hypothesis chooses what happens next, and shrinks what fails to a short story."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from shared.connectors.base import ListOrder
from shared.sync.model import Side
from tests.simulation.checks import quiesce
from tests.simulation.faults import Mutant
from tests.simulation.histories import FREEZE_MS, PAUSES_MS, STORE_FAULTS, VENDOR_FAULTS
from tests.simulation.vendors import Shape
from tests.simulation.world import World, simulated

PROFILE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    stateful_step_count=25,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
SIDES = st.sampled_from(list(Side))
WHICH = st.integers(0, 7)
CALLS = st.sampled_from(["left", "right", "left write", "right write"])


class Pipe(RuleBasedStateMachine):
    mutant: Mutant | None = None

    @initialize(
        order=st.sampled_from([ListOrder.WHOLE, ListOrder.SINCE]),
        lag_ms=st.sampled_from([0, 25_000]),
        offset_ms=st.sampled_from([0, 240_000]),
    )
    def begin(self, order: ListOrder, lag_ms: int, offset_ms: int) -> None:
        shape = Shape(left_order=order, lag_ms=lag_ms, right_offset_ms=offset_ms)
        self.world = World(shape, Random(0), mutant=self.mutant)
        self.world.sched.trace = []
        self._while = simulated(self.world)
        self._while.__enter__()
        self._names = 0

    # People

    @rule(side=SIDES)
    def create(self, side: Side) -> None:
        self._names += 1
        self.world.create(side, f"Name {self._names}")

    @precondition(lambda self: self._names > 0)
    @rule(side=SIDES, which=WHICH)
    def create_the_same(self, side: Side, which: int) -> None:
        self.world.create(side, f"Name {which % self._names + 1}")

    @rule(side=SIDES, which=WHICH, field=st.integers(1, 3), kind=st.integers(0, 2))
    def edit(self, side: Side, which: int, field: int, kind: int) -> None:
        self.world.edit(side, which, field, self.world.word(kind))

    @rule(side=SIDES, which=WHICH, cents=st.integers(1, 99_999))
    def price(self, side: Side, which: int, cents: int) -> None:
        self.world.edit(side, which, 4, self.world.price(cents))

    @rule(side=SIDES, which=WHICH)
    def rename(self, side: Side, which: int) -> None:
        self._names += 1
        self.world.rename(side, which, f"Name {self._names}")

    @rule(side=SIDES, which=WHICH)
    def delete(self, side: Side, which: int) -> None:
        self.world.delete(side, which)

    # Webhooks and wake-ups

    @rule(which=WHICH, twice=st.booleans())
    def deliver(self, which: int, twice: bool) -> None:
        self.world.deliver(which, keep=twice)

    @rule(which=WHICH)
    def lose_webhook(self, which: int) -> None:
        self.world.lose_hook(which)

    @rule(which=WHICH, twice=st.booleans())
    def wake_up(self, which: int, twice: bool) -> None:
        if twice:
            self.world.double_wake(which)
        else:
            self.world.lose_wake(which)

    # Work and time

    @rule(number=WHICH, steps=st.integers(1, 15))
    def work(self, number: int, steps: int) -> None:
        slot = self.world.slots[number % len(self.world.slots)]
        for _ in range(steps):
            if slot in self.world.ready():
                self.world.work(slot)

    @rule(steps=st.integers(1, 60))
    def work_together(self, steps: int) -> None:
        self.world.work_some(steps)

    @rule(ms=st.sampled_from(PAUSES_MS))
    def pass_time(self, ms: int) -> None:
        self.world.pass_time(ms)

    @rule()
    def run_a_sync(self) -> None:
        self.world.run()

    # Faults

    @rule(call=CALLS, kind=st.sampled_from(VENDOR_FAULTS))
    def vendor_fault(self, call: str, kind: str) -> None:
        self.world.faults.arm(call, kind)

    @rule(store=st.sampled_from(["redis", "postgres", "save"]), kind=st.sampled_from(STORE_FAULTS))
    def store_fault(self, store: str, kind: str) -> None:
        self.world.faults.arm(store, kind)

    @rule(number=WHICH)
    def kill(self, number: int) -> None:
        self.world.kill(number)

    @rule(number=WHICH)
    def term(self, number: int) -> None:
        self.world.term(number)

    @rule(number=WHICH, ms=st.sampled_from(FREEZE_MS))
    def freeze(self, number: int, ms: int) -> None:
        self.world.freeze(number, ms)

    @rule()
    def redis_loses_its_data(self) -> None:
        self.world.flush()

    @rule(side=SIDES, which=WHICH)
    def poison(self, side: Side, which: int) -> None:
        self.world.poison(side, which)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.world.breaches:
                quiesce(self.world)
            trace = "\n".join((self.world.sched.trace or [])[-60:])
            assert not self.world.breaches, f"{self.world.breaches}\n{trace}"
        finally:
            self._while.__exit__(None, None, None)


class PipeThatAnswers(Pipe):
    mutant = Mutant.ECHO_ANSWERED


@pytest.mark.rule("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P12")
def test_every_promise_holds_whatever_happens() -> None:
    run_state_machine_as_test(Pipe, settings=PROFILE)


@pytest.mark.rule("P6")
def test_a_machine_that_answers_echoes_is_caught() -> None:
    with pytest.raises(AssertionError, match="P7"):
        run_state_machine_as_test(PipeThatAnswers, settings=settings(PROFILE, phases=(Phase.generate,)))
