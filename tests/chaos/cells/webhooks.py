"""Webhooks that are lost, doubled, late, out of order, ten thousand at once, or for nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos.cell import Cell, Scene
from tests.chaos.rig import VENDORS
from tests.chaos.shapes import PLAIN, TRUE
from tests.e2e.world import BOOKS, FSM

Body = Callable[[Scene], None]
MODULES = {FSM: ("Companies", "Service_And_Parts"), BOOKS: ("contacts", "items")}


def troubled(*kinds: str, share: float = 0.6, lasts_s: float = 40.0, **more: Any) -> Body:
    def body(scene: Scene) -> None:
        for kind in kinds:
            for vendor in VENDORS:
                scene.rig.fault(vendor, kind, share=share, seed=scene.cell.seed, **more)
        scene.load(per_s=15)
        scene.await_strike(lambda: sum(_struck(scene, vendor) for vendor in VENDORS) > 8, "deliveries are struck")
        scene.sleep(lasts_s)
        for vendor in VENDORS:
            scene.rig.control("DELETE", vendor, "faults")
            scene.rig.control("POST", vendor, "deliveries/flush")
        scene.over()

    return body


def _struck(scene: Scene, vendor: str) -> int:
    return sum(int(one["struck"]) for one in scene.rig.control("GET", vendor, "faults")["faults"])


def flood(*, copies: int = 1, count: int = 12, which: str = "existing", at_once: int = 64, **more: Any) -> Body:
    """Deliveries of no change, from both vendors and for all modules."""

    def body(scene: Scene) -> None:
        if which == "deleted":
            _delete_some(scene)
        scene.load(6)
        sent = 0
        for vendor, modules in MODULES.items():
            for module in modules:
                wanted = {"module": module, "count": count, "which": which, "copies": copies, "at_once": at_once}
                sent += int(scene.rig.control("POST", vendor, "deliveries/flood", {**wanted, **more})["sent"])
        scene.must_strike(sent >= 4 * count * copies * 0.5, f"{sent} deliveries")
        scene.over()
        scene.rig.wait(lambda: _all_sent(scene), "the flood is over", 300)
        if "organization_id" in more:
            found = [one for v in VENDORS for one in scene.rig.deliveries(v, scene.delivery_mark[v])]
            scene.expect["foreign"] = frozenset(one["id"] for one in found if one["organization_id"] == "999")

    return body


def _all_sent(scene: Scene) -> bool:
    return all(scene.rig.control("GET", vendor, "deliveries?since=1000000000")["idle"] for vendor in VENDORS)


def _delete_some(scene: Scene) -> None:
    """Known at both sides, then gone: the flood tells of them once more."""
    for (vendor, module), ids in scene.rig.base.items():
        if vendor == FSM:
            for record_id in ids[-2:]:
                scene.people.delete(vendor, module, record_id)
            del ids[-2:]
    scene.rig.await_quiet("the deletions are known", 60)


CELLS: list[Cell] = [
    Cell("webhook_lost", "all", 1, troubled("webhook_lost", share=1.0), PLAIN),
    Cell("webhook_lost", "some", 2, troubled("webhook_lost", share=0.4), PLAIN),
    Cell("webhook_doubled", "all", 1, troubled("webhook_doubled", share=1.0), PLAIN),
    Cell("webhook_doubled", "and reordered", 1, troubled("webhook_doubled", "webhook_reordered", share=0.5), PLAIN),
    Cell("webhook_reordered", "some", 1, troubled("webhook_reordered"), PLAIN),
    Cell("webhook_reordered", "10 min late", 1, troubled("webhook_late", share=0.5, ms=60_000), PLAIN),
    Cell("webhook_reordered", "some", 3, troubled("webhook_reordered", lasts_s=8.0), TRUE),
    Cell("webhook_flood", "10,000", 1, flood(copies=250, count=10, at_once=256), PLAIN, fresh=True, quiet_wait_s=400),
    Cell("webhook_flood", "unknown records", 1, flood(which="unknown", count=50), PLAIN, fresh=True),
    Cell("webhook_flood", "deleted records", 1, flood(which="deleted", count=2, copies=20), PLAIN, fresh=True),
    Cell("webhook_flood", "another org", 1, flood(copies=5, organization_id="999"), PLAIN, fresh=True),
]
