"""Calls the auditor after a cell, and again after a sync where only that can find what the webhooks did not tell."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.auditor import evidence as auditor
from tests.auditor.checks import Expect, Report, audit
from tests.chaos.rig import VENDORS, Rig
from tests.e2e.world import BOOKS, FSM

if TYPE_CHECKING:
    from tests.chaos.cell import Line, Scene

MODULES = (
    (FSM, "Companies"),
    (FSM, "Contacts"),
    (FSM, "Service_And_Parts"),
    (BOOKS, "contacts"),
    (BOOKS, "items"),
)


def mark(rig: Rig) -> auditor.Mark:
    return auditor.mark(sandbox_url=rig.sandbox_url, database_url=rig.database_url)


def judge(rig: Rig, scene: Scene, line: Line) -> None:
    """Fills in what the auditor counted and found.

    Twice, where people's work was not told of by webhooks: what was told must have its outcome before the sync comes
    that finds the rest.
    """
    more = {"healed_s": line.healed_s, "healed_bound_s": scene.cell.bound_s, "time_scale": rig.shape.scale}
    expect = Expect(**{**more, **scene.expect})
    if scene.settled_sync:
        _take(line, look(rig, scene, expect))
        return
    untold = needs_a_sync(rig, scene)
    _take(line, look(rig, scene, replace(expect, synced=False)))
    if not untold:
        return
    rig.wait(lambda: versions_are_settled(rig), "no version at the vendors is of this second", 30)
    rig.ended(rig.begin())
    rig.await_quiet("all is quiet after one more sync", 60)
    _take(line, look(rig, scene, expect))


def look(rig: Rig, scene: Scene, expect: Expect) -> Report:
    found = auditor.collect(
        sandbox_url=rig.sandbox_url, database_url=rig.database_url, redis_url=rig.redis_url, since=scene.mark
    )
    if scene.wrong_clocks:  # the product's own times say nothing about the order: the commits' do
        outcomes = tuple(
            one if one.written_ms is None else replace(one, written_ms=one.at_ms) for one in found.tables.outcomes
        )
        found = replace(found, tables=replace(found.tables, outcomes=outcomes))
    report = audit(found, scene.journal, expect=expect)
    if report.findings and scene.red_evidence is None:
        scene.red_evidence = found
    return report


def needs_a_sync(rig: Rig, scene: Scene) -> bool:
    """A delivery that no door took is found by the next run: the schedule is hours, so we ask for it."""
    if scene.closing_sync:
        return True
    return any(not one["accepted"] for vendor in VENDORS for one in rig.deliveries(vendor, scene.delivery_mark[vendor]))


def versions_are_settled(rig: Rig) -> bool:
    """The vendors' times have a resolution of a second: a younger version may still change without a new time."""
    stamps = [row["_sandbox"]["written_ms"] for where in MODULES for row in rig.records(*where)]
    return time.time() * 1000 - max(stamps, default=0) > 2500


def _take(line: Line, report: Report) -> None:
    for one in report.findings:
        told = f"{one.promise} {one.what} [{one.subject}]"
        if told not in line.findings:
            line.findings.append(told)
            line.promises.append(one.promise)
    line.lost = max(line.lost, report.lost)
    line.doubled = max(line.doubled, report.doubled)
    line.stale_writes = max(line.stale_writes, report.stale_writes)


def keep(rig: Rig, scene: Scene, target: Path) -> None:
    """The evidence of a red cell, as far as there is any: as it was first seen red, and as it is now."""
    if scene.red_evidence is not None:
        scene.red_evidence.save(target / "evidence_first.json")
    with suppress(Exception):
        found = auditor.collect(
            sandbox_url=rig.sandbox_url, database_url=rig.database_url, redis_url=rig.redis_url, since=scene.mark
        )
        found.save(target / "evidence.json")
    with suppress(Exception):
        told: dict[str, Any] = {"noise": rig.noise(), "sync": scene.sync_id}
        (target / "rig.json").write_text(json.dumps(told, indent=1, default=str))
