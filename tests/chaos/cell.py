"""A cell of the matrix: a fault at a step with a seed, played under load on a rig and judged by the auditor."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.auditor.journal import Journal
from tests.auditor.seen import Evidence
from tests.chaos import judge
from tests.chaos.people import People
from tests.chaos.rig import RUN_ENDED, VENDORS, Rig, RigError, Shape
from tests.chaos.strike import Strike

SAME_RUN_S = 60.0
OTHER_HOLDER_S = 110.0
QUIET_WAIT_S = 120.0
"""Of ours, at the scale 0.1: a hang gets a name. A minute of doubt, its looks and a run take ten seconds."""


class DidNotStrikeError(AssertionError):
    """The cell proves nothing: its fault was not there, or not at its step."""


@dataclass(frozen=True)
class Cell:
    """`bound_s` is P7's, in the product's time. `expect` is handed to the auditor."""

    fault: str
    step: str
    seed: int
    body: Callable[[Scene], None]
    shape: Shape = field(default_factory=Shape)
    bound_s: float = SAME_RUN_S
    fresh: bool = False
    """A rig of its own, thrown away afterwards."""
    expect: dict[str, Any] = field(default_factory=dict)
    quiet_wait_s: float = QUIET_WAIT_S
    load: float = 1.0
    """How much work there is, as a share of what the cell's body asks for."""
    unscaled_s: float = 0.0
    """Healing that no setting scales (a library's time-outs): counted at its own length."""

    @property
    def name(self) -> str:
        scale = "" if self.shape.scale < 1 else "@1"
        return f"{self.fault}/{self.step}#{self.seed}{scale}"


@dataclass
class Line:
    """What a cell came to. `healed_s` and `quiet_s` are in the product's time."""

    fault: str
    step: str
    seed: int
    scale: float
    lost: int = 0
    doubled: int = 0
    stale_writes: int = 0
    healed_s: float | None = None
    quiet_s: float | None = None
    took_s: float = 0.0
    findings: list[str] = field(default_factory=list)
    promises: list[str] = field(default_factory=list)
    evidence: str = ""
    again: bool = False
    """Played a second time, alone: the first time others used the machine and it was only slow."""

    @property
    def only_slow(self) -> bool:
        """Nothing is wrong but the time that the run took to go on, or the door to answer: a busy machine alone can
        cause that."""
        words = ("healed after", "the door took longer than its bound")
        return bool(self.findings) and all(any(word in finding for word in words) for finding in self.findings)

    @property
    def ok(self) -> bool:
        return not self.findings and not (self.lost or self.doubled or self.stale_writes)


class Scene:
    """What a cell's body works with."""

    def __init__(self, rig: Rig, cell: Cell) -> None:
        self.rig = rig
        self.cell = cell
        self.chance = random.Random(f"{cell.fault}/{cell.step}/{cell.seed}")
        self.journal = Journal()
        rig.cells += 1
        self.people = People(rig, self.journal, f"c{rig.cells} {cell.seed}", cell.seed)
        self.sync_id: int | None = None
        self.over_at: float | None = None
        self.findings: list[str] = []
        self.expect: dict[str, Any] = dict(cell.expect)
        """For the auditor: what the cell allows, also what only its body knows."""
        self.mark = judge.mark(rig)
        self.call_mark: dict[str, int] = {}
        self.delivery_mark: dict[str, int] = {}
        self._remember()
        self.closing_sync = False
        """Whether one more sync is needed before both sides can agree, whatever the deliveries say."""
        self.wrong_clocks = False
        self.red_evidence: Evidence | None = None
        """What the auditor saw when it first found something."""
        self.settled_sync = False
        """Whether the body itself ended with a sync after everybody's last edit."""
        self._at_over: tuple[Any, ...] | None = None
        self._healed_in_s: float | None = None
        self._watch: threading.Thread | None = None

    # What bodies do

    def scaled(self, seconds: float) -> float:
        """The product's seconds as seconds of ours."""
        return seconds * self.rig.shape.scale

    def sleep(self, seconds: float) -> None:
        """A while in the product's time, for faults that are to last so long."""
        time.sleep(self.scaled(seconds))

    def load(self, each: int = 6, *, per_s: float = 3.0) -> int:
        """New records at every module, a sync that loads them, people who edit meanwhile. Its Sync ID."""
        self.people.bring(max(1, round(each * self.cell.load)))
        self.sync_id = self.rig.begin()
        if per_s:
            self.people.start(per_s * self.cell.load)
        return self.sync_id

    def struck(self, point: str, times: int = 1, within_s: float = 30.0) -> list[Strike]:
        """Waits until the point was struck. Raises DidNotStrikeError."""
        self.await_strike(lambda: len(self.rig.strikes.came(point)) >= times, f"{point} is struck", within_s)
        return self.rig.strikes.came(point)

    def await_strike(self, condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
        """Waits until the fault has met the product. Raises DidNotStrikeError."""
        try:
            self.rig.wait(condition, what, within_s)
        except RigError as error:
            raise DidNotStrikeError(str(error)) from None

    def held(self, point: str, fault: Callable[[], object], *, ms: int = 400, n: int = 1, process: str = "") -> None:
        """Makes whoever passes the point wait there, and does `fault` meanwhile."""
        self.rig.strikes.arm(point, "sleep", ms=ms, n=n, process=process)
        if self.sync_id is None:
            self.load()
        self.struck(point)
        fault()

    def frozen(self, strike: Strike) -> None:
        """Tells the auditor of a process that stood still from its strike until now."""
        spans = self.expect.get("frozen_ms", ())
        self.expect["frozen_ms"] = (*spans, (strike.at * 1000, time.time() * 1000))

    def writes(self) -> int:
        """Records that the product has changed at the vendors since the mark."""
        return sum(
            sum(bool(call["applied"]) for call in self.rig.calls(vendor, self.call_mark[vendor])) for vendor in VENDORS
        )

    def await_writes(self, least: int) -> None:
        """Until the product is in the middle of its work."""
        self.rig.wait(lambda: self.writes() >= least, f"{least} writes", 30)

    def _remember(self) -> None:
        self.call_mark = {
            vendor: max((int(call["seq"]) for call in self.rig.calls(vendor)), default=0) for vendor in VENDORS
        }
        self.delivery_mark = {
            vendor: max((int(one["id"]) for one in self.rig.deliveries(vendor)), default=0) for vendor in VENDORS
        }

    def over(self) -> None:
        """The fault ends here: from now on the product heals itself, and it is watched when the run goes on."""
        self.over_at = time.monotonic()
        self._at_over = self._progress()
        self._watch = threading.Thread(target=self._watch_run, args=(self.over_at,), name="heals", daemon=True)
        self._watch.start()

    def _watch_run(self, since: float) -> None:
        """P7 counts from when a worker lives: how fast a machine starts processes is not the product's."""
        ends = since + max(60.0, self.cell.bound_s * 5 * self.rig.shape.scale)
        lived_at: float | None = None
        while time.monotonic() < ends and since == self.over_at:
            now = self._progress()
            at = time.monotonic()
            if now is not None and (now != self._at_over or now[0] in RUN_ENDED):
                self._healed_in_s = at - (lived_at or at)
                return
            if lived_at is None and self.rig.all_live():
                lived_at = at
            time.sleep(0.1)

    def must(self, condition: bool, what: str) -> None:
        """A finding of the cell's own, beside the auditor's."""
        if not condition:
            self.findings.append(what)

    def must_strike(self, condition: bool, what: str) -> None:
        if not condition:
            raise DidNotStrikeError(what)

    # What the frame does

    def healed_s(self) -> float | None:
        """Waits for the run's first step after the fault; in the product's time. None: no run was cut off.

        Raises RigError where it never went on.
        """
        if self.over_at is None or self._at_over is None or self._watch is None:
            return None
        if self._at_over[0] in RUN_ENDED:
            return 0.0
        self._watch.join()
        if self._healed_in_s is None:
            raise RigError("never came true: the run goes on")
        unscaled_s = min(self._healed_in_s, self.cell.unscaled_s)
        return unscaled_s + (self._healed_in_s - unscaled_s) / self.rig.shape.scale

    def _progress(self) -> tuple[Any, ...] | None:
        if self.sync_id is None:
            return None
        try:
            return self.rig.progress(self.sync_id)
        except (psycopg.Error, redis.RedisError):
            return None


def play(rig: Rig, cell: Cell, evidence: Path) -> Line:
    """Never raises: whatever goes wrong is a finding."""
    line = Line(cell.fault, cell.step, cell.seed, rig.shape.scale)
    began = time.monotonic()
    rig.strikes.forget()
    scene = Scene(rig, cell)
    try:
        _play(rig, cell, scene, line)
    except DidNotStrikeError as error:
        line.findings.append(f"did not strike: {error}")
    except RigError as error:
        line.findings.append(f"P7 {error}; still: {_noise(rig)}")
        line.promises.append("P7")
    except Exception:  # noqa: BLE001  (a mistake of a cell is a red cell, and the others go on)
        line.findings.append(traceback.format_exc(limit=-6))
    line.took_s = time.monotonic() - began
    if not line.ok:
        _keep(rig, scene, line, evidence / cell.name.replace("/", "_").replace("#", "_"))
    return line


def _play(rig: Rig, cell: Cell, scene: Scene, line: Line) -> None:
    try:
        cell.body(scene)
    finally:
        rig.heal()
        rig.await_all_live()
    if scene.over_at is None:
        scene.over()
    line.healed_s = scene.healed_s()
    time.sleep(0.2)  # people work on for a moment after the fault
    scene.people.stop()
    rig.await_quiet("all is quiet", cell.quiet_wait_s)
    line.quiet_s = (time.monotonic() - (scene.over_at or 0.0)) / rig.shape.scale
    judge.judge(rig, scene, line)
    line.findings += scene.findings


def _noise(rig: Rig) -> object:
    try:
        return rig.noise()
    except (psycopg.Error, redis.RedisError, RigError) as error:
        return type(error).__name__


def _keep(rig: Rig, scene: Scene, line: Line, target: Path) -> None:
    line.evidence = str(target)
    rig.keep_evidence(target)
    (target / "findings.txt").write_text("\n".join(line.findings) + "\n")
    with suppress(Exception):  # what people wrote may be no UTF-8
        scene.journal.save(target / "journal.json")
    judge.keep(rig, scene, target)
