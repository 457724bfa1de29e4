"""Histories drawn from a seed: the same seed is the same history, to the letter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from shared.connectors.base import ListOrder
from shared.sync.model import Side, Value
from tests.simulation.checks import quiesce
from tests.simulation.faults import OPEN, Flaw, Mutant
from tests.simulation.vendors import Shape
from tests.simulation.world import World, simulated

VENDOR_FAULTS = ("429", "quota", "5xx", "refused", "lost", "lost", "late", "slow")
STORE_FAULTS = ("before", "after")
FREEZE_MS = (2_000, 15_000, 45_000, 130_000)
PAUSES_MS = (200, 1_000, 5_000, 30_000, 100_000, 400_000)


class Theme(StrEnum):
    """What a history is mostly about; each has the rest in it too."""

    MIXED = "mixed"
    DOUBT = "doubt"
    WINDOW = "window"
    STORM = "storm"
    STORES = "stores"
    SLEEP = "sleep"


_USUAL = {
    "edit": 10,
    "create": 4,
    "rename": 1,
    "delete": 1,
    "deliver": 14,
    "double": 2,
    "lose": 2,
    "lose_wake": 1,
    "double_wake": 1,
    "work": 24,
    "pause": 3,
    "kill": 2,
    "term": 1,
    "freeze": 2,
    "run": 2,
    "vendor_fault": 5,
    "write_fault": 1,
    "steps": 0,
    "store_fault": 2,
    "tick_fault": 1,
    "flush": 1,
    "poison": 1,
    "oversleep": 0,
    "save_fault": 0,
    "race": 0,
    "edge": 0,
}
WEIGHTS = {
    Theme.MIXED: _USUAL,
    Theme.DOUBT: _USUAL | {"create": 8, "write_fault": 8, "kill": 4, "edit": 4, "vendor_fault": 1},
    Theme.WINDOW: _USUAL
    | {"deliver": 3, "lose": 20, "run": 10, "edit": 8, "flush": 0, "freeze": 0, "pause": 1, "edge": 30},
    Theme.STORM: _USUAL | {"edit": 30, "deliver": 30, "steps": 60, "work": 4, "create": 1, "flush": 0, "race": 12},
    Theme.STORES: _USUAL | {"store_fault": 8, "save_fault": 12, "kill": 6, "flush": 1, "lose": 0},
    Theme.SLEEP: _USUAL | {"freeze": 4, "pause": 4, "oversleep": 10},
}
MOST_ROWS = dict.fromkeys(Theme, 8) | {Theme.STORM: 3, Theme.SLEEP: 4}
"""Of both sides together."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`trace` is empty unless it was asked for."""

    seed: int
    breaches: tuple[tuple[str, str], ...]
    trace: tuple[str, ...]
    steps: int
    writes: int

    def __str__(self) -> str:
        broken = "; ".join(f"{promise}: {text}" for promise, text in self.breaches) or "nothing broken"
        return f"seed {self.seed}: {broken}"


def shape_of(chance: Random, theme: Theme) -> Shape:
    """Clocks up to five minutes off, lists that lag; together they stay within the overlap of a poll. A clock that its
    vendor tells may be further behind."""
    offset = chance.choice((0, 0, -300_000, -240_000, 300_000))
    tells_time = chance.random() < 0.5
    if theme is Theme.WINDOW:
        offset, tells_time = -300_000, False
    elif tells_time and offset == -300_000:
        offset = -900_000
    shape = Shape(
        left_order=chance.choice((ListOrder.WHOLE, ListOrder.SINCE)),
        left_modified=chance.random() < 0.7,
        page_size=chance.choice((3, 100)),
        lag_ms=0 if offset <= -300_000 else chance.choice((0, 0, 3_000, 25_000)),
        left_offset_ms=chance.choice((0, max(offset, -300_000))),
        right_offset_ms=offset,
        right_tells_time=tells_time,
    )
    return replace(shape, lag_ms=25_000, right_offset_ms=0, left_offset_ms=0) if theme is Theme.DOUBT else shape


class History:
    """Draws what happens next, as long as it is asked."""

    def __init__(self, world: World, chance: Random, theme: Theme) -> None:
        self.world, self.chance, self.theme = world, chance, theme
        self._names = 0
        weights = WEIGHTS[theme]
        self._weights = list(weights.values())
        self._actions = [self._action(name) for name in weights]

    def _action(self, name: str) -> Callable[[], None]:
        world, chance = self.world, self.chance
        actions: dict[str, Callable[[], None]] = {
            "edit": self.edit,
            "create": self.create,
            "rename": self.rename,
            "delete": lambda: world.delete(self.side(), self.n()),
            "deliver": lambda: world.deliver(self.n()),
            "double": lambda: world.deliver(self.n(), keep=True),
            "lose": lambda: world.lose_hook(self.n()),
            "lose_wake": lambda: world.lose_wake(self.n()),
            "double_wake": lambda: world.double_wake(self.n()),
            "work": lambda: world.work_some(chance.randint(1, 25)),
            "pause": lambda: world.pass_time(chance.choice(PAUSES_MS)),
            "kill": lambda: world.kill(self.n()),
            "term": lambda: world.term(self.n()),
            "freeze": lambda: world.freeze(self.n(), chance.choice(FREEZE_MS)),
            "run": world.run,
            "vendor_fault": lambda: world.faults.arm(self.side(), chance.choice(VENDOR_FAULTS)),
            "write_fault": lambda: world.faults.arm(f"{self.side()} write", chance.choice(("lost", "late", "slow"))),
            "steps": lambda: world.work_some(chance.randint(1, 6)),
            "store_fault": lambda: world.faults.arm(chance.choice(("redis", "postgres")), chance.choice(STORE_FAULTS)),
            "tick_fault": lambda: world.faults.arm("tick", chance.choice(("dead", "cut"))),
            "save_fault": lambda: world.faults.arm("save", chance.choice(STORE_FAULTS)),
            "oversleep": lambda: world.oversleep(130_000),
            "race": self.race,
            "edge": self.edge,
            "flush": world.flush,
            "poison": lambda: world.poison(self.side(), self.n()),
        }
        return actions[name]

    def n(self) -> int:
        return self.chance.randrange(1000)

    def side(self) -> Side:
        return Side.LEFT if self.chance.random() < 0.5 else Side.RIGHT

    def act(self) -> None:
        self.chance.choices(self._actions, self._weights)[0]()

    def create(self) -> None:
        if sum(len(vendor.rows) for vendor in self.world.vendors.values()) >= MOST_ROWS[self.theme]:
            return
        if self._names and self.chance.random() < 0.3:
            number = self.chance.randrange(self._names) + 1
        else:
            number = self._names = self._names + 1
        side = self.side()
        if self.theme is Theme.DOUBT and self.chance.random() < 0.7:
            side = Side.RIGHT  # its twin is made where nothing refuses a second one
        self.world.create(side, f"Name {number}")

    def edit(self) -> None:
        at = self.chance.randrange(1, 5)
        value: Value = self.world.word(self.chance.choice((0, 1, 1, 1, 1, 1, 2)))
        if at == 4:
            value = self.world.price(self.chance.randrange(1, 100_000))
        self.world.edit(self.side(), self.n(), at, value)

    def edge(self) -> None:
        """An edit just after a run has read the lists, in the same second, of which no webhook tells."""
        self.world.run()
        self.world.work_some(self.chance.randint(10, 40))
        self.edit()
        self.world.lose_hook(len(self.world.hooks) - 1)

    def race(self) -> None:
        """While an edit is slowly written to the other side, it is edited again, and its twin too."""
        world, side, which, at = self.world, self.side(), self.n(), self.chance.randrange(1, 4)
        world.faults.arm(f"{side.other} write", "slow")
        world.edit(side, which, at, world.word(1))
        self.deliver_all()
        world.work_some(self.chance.randint(15, 40))
        world.edit(side, which, at, world.word(1))
        world.edit(side.other, which, at % 3 + 1, world.word(1))
        self.deliver_all()
        world.work_some(self.chance.randint(30, 60))

    def deliver_all(self) -> None:
        for _ in range(len(self.world.hooks)):
            self.world.deliver(0)

    def rename(self) -> None:
        self._names += 1
        self.world.rename(self.side(), self.n(), f"Name {self._names}")

    def begin(self) -> None:
        """What lies there before: nothing, records that were made without us, or a pair in step."""
        for _ in range(self.chance.randrange(4)):
            self.create()
        if self.theme in (Theme.STORM, Theme.SLEEP):
            self.create()
            self.world.pass_time(1_000)
            self.world.settle()
        elif self.chance.random() < 0.5:
            self.world.hooks.clear()
            self.world.run()


def play(
    seed: int,
    *,
    theme: Theme | None = None,
    mutant: Mutant | None = None,
    avoid: frozenset[Flaw] = OPEN,
    traced: bool = False,
) -> Ended:
    """One whole history: things happen, then they cease, and what must hold is looked at. `theme` None: the seed's."""
    chance = Random(seed)
    theme = theme or chance.choice(list(Theme))
    world = World(shape_of(chance, theme), chance, mutant=mutant, avoid=avoid)
    if traced:
        world.sched.trace = []
    with simulated(world):
        history = History(world, chance, theme)
        history.begin()
        for _ in range(chance.randint(8, 40)):
            history.act()
            if world.breaches:
                break
        if not world.breaches:
            quiesce(world)
    trace = tuple(world.sched.trace or ())
    return Ended(seed, tuple(world.breaches), trace, world.sched.steps, world.seen.writes)
