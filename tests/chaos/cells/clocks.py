"""Our own clocks: ahead, behind, apart from each other, and one that jumps back in the middle of a sync."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.chaos import clocks
from tests.chaos.cell import OTHER_HOLDER_S, Cell, Scene
from tests.chaos.rig import VENDORS
from tests.chaos.shapes import CREW
from tests.chaos.strike import FREEZE

CLOCKED = replace(CREW, env={"BOTHWAYS_TEST_HOOK": clocks.HOOK})
AHEAD_S = 300.0
APART = {"worker-events": AHEAD_S, "worker-events-2": -AHEAD_S, "worker-control": -AHEAD_S, "worker-control-2": AHEAD_S}


def _set(scene: Scene, offsets: Mapping[str, float]) -> None:
    scene.wrong_clocks = True
    clocks.set_offsets(scene.rig.folder, offsets)


def off(scene: Scene, first: Mapping[str, float], then: Mapping[str, float]) -> None:
    """A sync by clocks that are off, which change while it is on; then one more by what they are now."""
    try:
        _set(scene, first)
        scene.load()
        scene.await_writes(10)
        _set(scene, then)
        scene.rig.ended(scene.sync_id or 0)
        scene.people.stop()
        scene.rig.await_quiet("quiet before the edits that nobody tells of", 60)
        for vendor in VENDORS:
            scene.rig.fault(vendor, "webhook_lost", share=1.0)
        for _ in range(20):
            scene.people.some_edit()
        scene.sleep(25)
        scene.rig.ended(scene.rig.begin())
        scene.rig.await_quiet("quiet after the edits", 60)
        for vendor in VENDORS:
            scene.rig.control("DELETE", vendor, "faults")
    finally:
        _set(scene, {})
    scene.over()
    scene.closing_sync = True


def ahead_then_back(scene: Scene) -> None:
    """All of ours jump back by ten minutes."""
    off(scene, {"": AHEAD_S}, {"": -AHEAD_S})


def apart(scene: Scene) -> None:
    off(scene, APART, {name: -offset for name, offset in APART.items()})


def lease_by_a_wrong_clock(scene: Scene) -> None:
    """Who is ten minutes ahead must not think that a lease has ended, nor who is behind that it lasts."""
    try:
        _set(scene, APART)
        scene.rig.strikes.arm("request.sent", FREEZE, n=scene.chance.randint(1, 10), process="worker-events")
        scene.load()
        (strike,) = scene.struck("request.sent")
        scene.over()
        scene.sleep(120)
        scene.frozen(strike)
        scene.rig.thaw(strike.pid)
    finally:
        _set(scene, {})


SLACK = {"clock_slack_ms": 2 * AHEAD_S * 1000 + 10_000}
"""Times that the product writes by its own clock say so much less; what is where, and in which order, says the rest."""

CELLS: list[Cell] = [
    Cell("clock_ours", "n o, jump back", 1, ahead_then_back, CLOCKED, expect=SLACK),
    Cell("clock_ours", "n o, apart", 1, apart, CLOCKED, expect=SLACK),
    Cell("clock_ours", "l", 1, lease_by_a_wrong_clock, CLOCKED, bound_s=OTHER_HOLDER_S, expect=SLACK),
]
