"""Plays a cell with a mutant until the auditor is red by its promise, and without one to see that it is silent."""

from __future__ import annotations

import re
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.auditor.checks import Expect
from tests.chaos import judge
from tests.chaos.cell import Cell, DidNotStrikeError, Scene
from tests.chaos.rig import Rig, RigError, Shape
from tests.mutants.cells import Small, Told
from tests.mutants.hook import HOOK, MUTANT
from tests.mutants.mutants import Mutant

SEEDS = (1, 2, 3)
NEVER_QUIET_S, MUTANT_QUIET_S, QUIET_S = 25.0, 60.0, 120.0
"""How long it may take until all is quiet, where P7 itself is broken, where another promise is, and else. P7 allows 6 s
of these stacks' time; a busy machine adds to it."""

_PROMISE = re.compile(r"(P\d+) ")


@dataclass
class Played:
    """`missed`: the fault did not strike, or the cell itself failed, which says nothing of the product."""

    cell: str
    seed: int
    took_s: float = 0.0
    findings: list[str] = field(default_factory=list)
    missed: str = ""

    @property
    def promises(self) -> list[str]:
        told = {found.group(1) for one in self.findings if (found := _PROMISE.match(one))}
        return sorted(told, key=lambda one: int(one[1:]))

    @property
    def green(self) -> bool:
        return not self.findings and not self.missed


@dataclass
class Verdict:
    """What became of a mutant, or (`mutant` None) of the product as it is."""

    small: Small
    mutant: Mutant | None
    played: list[Played] = field(default_factory=list)
    took_s: float = 0.0
    failed: str = ""

    @property
    def name(self) -> str:
        return self.mutant.name if self.mutant else "-"

    @property
    def ok(self) -> bool:
        if self.failed or not self.played:
            return False
        last = self.played[-1]
        return self.mutant.promise in last.promises if self.mutant else last.green

    def told(self) -> str:
        if self.failed:
            return self.failed
        last = self.played[-1]
        if self.mutant is None:
            return "green" if last.green else f"RED: {', '.join(last.promises) or last.missed}"
        if self.ok:
            others = [one for one in last.promises if one != self.mutant.promise]
            also = f" (and {', '.join(others)})" if others else ""
            return f"caught by {self.mutant.promise}{also}, seed {last.seed}, in {last.took_s:.0f} s"
        return f"NOT CAUGHT: {'; '.join(one.missed or ', '.join(one.promises) or 'green' for one in self.played)}"

    def as_dict(self) -> dict[str, Any]:
        last = self.played[-1] if self.played else None
        return {
            "mutant": self.mutant.name if self.mutant else None,
            "promise": self.mutant.promise if self.mutant else None,
            "cell": self.small.name,
            "ok": self.ok,
            "seed": last.seed if last else None,
            "caught_by": last.promises if last else [],
            "took_s": round(last.took_s, 1) if last else None,
            "findings": last.findings if last else [],
            "told": self.told(),
        }


def shape_of(small: Small, mutant: Mutant | None) -> Shape:
    """Also the product as it is runs with the hook: nothing but the mutant makes the difference."""
    return replace(
        small.shape,
        env={**small.shape.env, "BOTHWAYS_TEST_HOOK": HOOK, MUTANT: mutant.name if mutant else ""},
    )


def catch(small: Small, mutant: Mutant, evidence: Path | None = None) -> Verdict:
    """On a stack of its own, by up to three seeds. Evidence is kept of those that were not caught."""
    verdict = Verdict(small, mutant)
    began = time.monotonic()
    try:
        with Rig.start(shape_of(small, mutant)) as rig:
            for seed in SEEDS:
                quiet_s = NEVER_QUIET_S if mutant.promise == "P7" else MUTANT_QUIET_S
                verdict.played.append(play(rig, small, seed, quiet_s, promise=mutant.promise))
                if verdict.ok or verdict.played[-1].findings:
                    break  # what is red is no place for another try
            if evidence is not None and not verdict.ok:
                rig.keep_evidence(evidence)
    except Exception:  # noqa: BLE001  (a stack that does not start is told in the table)
        verdict.failed = "the rig failed: " + traceback.format_exc(limit=-4)
    verdict.took_s = time.monotonic() - began
    return verdict


def confirm(rig: Rig, small: Small, evidence: Path | None) -> Verdict:
    """The product as it is, on a stack that it may share with other cells."""
    verdict = Verdict(small, None)
    verdict.played.append(play(rig, small, 1, QUIET_S, evidence=evidence))
    verdict.took_s = verdict.played[-1].took_s
    return verdict


def play(
    rig: Rig, small: Small, seed: int, quiet_s: float, *, promise: str = "", evidence: Path | None = None
) -> Played:
    """Ends early where `promise` is found broken."""
    played = Played(small.name, seed)
    began = time.monotonic()
    rig.strikes.forget()
    shape = shape_of(small, None)
    scene = Scene(rig, Cell("mutants", small.name, seed, small.body, shape, expect=dict(small.expect)))
    try:
        _play(rig, scene, quiet_s, played, promise)
    except Told as told:
        played.findings += told.findings
    except DidNotStrikeError as error:
        played.missed = f"did not strike: {error}"
    except RigError as error:
        played.findings.append(f"P7 {error}")
    except Exception:  # noqa: BLE001  (a mistake of a cell is told in the table)
        played.missed = traceback.format_exc(limit=-5)
    played.findings += scene.findings
    played.took_s = time.monotonic() - began
    if evidence is not None and not played.green:
        rig.keep_evidence(evidence)
        (evidence / "findings.txt").write_text("\n".join([*played.findings, played.missed]) + "\n")
        judge.keep(rig, scene, evidence)
    return played


def _play(rig: Rig, scene: Scene, quiet_s: float, played: Played, promise: str) -> None:
    try:
        scene.cell.body(scene)
    finally:
        rig.heal()
        rig.await_all_live()
    _await_quiet(rig, quiet_s, played)
    _judge(rig, scene, played, synced=False)
    if promise in played.promises or not judge.needs_a_sync(rig, scene):
        return
    rig.wait(lambda: judge.versions_are_settled(rig), "no version at the vendors is of this second", 30)
    rig.ended(rig.begin(), within_s=quiet_s)
    _await_quiet(rig, quiet_s, played)
    _judge(rig, scene, played, synced=True)


def _await_quiet(rig: Rig, quiet_s: float, played: Played) -> None:
    """What is there when nobody goes on is for the auditor to judge all the same."""
    try:
        rig.wait(rig.is_quiet, "all is quiet", quiet_s)
    except RigError as error:
        played.findings.append(f"P7 {error}; still: {_noise(rig)}")


def _noise(rig: Rig) -> object:
    with suppress(Exception):
        return rig.noise()
    return "a server is away"


def _judge(rig: Rig, scene: Scene, played: Played, *, synced: bool) -> None:
    expect = Expect(**{"time_scale": rig.shape.scale, "synced": synced, **scene.expect})
    for one in judge.look(rig, scene, expect).findings:
        told = f"{one.promise} {one.what} [{one.subject}]"
        if told not in played.findings:
            played.findings.append(told)
