"""Two versions of the program at once: what an earlier one put on the wire, as frozen in a file, meets this one.

The file is that of wire version 1, as the release before this one writes it. When the wire changes it stays as it is,
and the next version's form comes beside it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from shared.wake import make_sender
from tests.chaos.cell import Cell, Scene
from tests.chaos.cells.workers import _term
from tests.chaos.people import BOOKS_ITEMS, COMPANIES, CONTACTS, ITEMS, WRITES
from tests.chaos.rig import VENDORS
from tests.chaos.shapes import PLAIN
from tests.e2e.world import BOOKS, FSM

WIRE = json.loads((Path(__file__).parents[1] / "fixtures" / "wire_1.json").read_text())
SIDES = {
    (FSM, COMPANIES): ("companies", "left"),
    (BOOKS, CONTACTS): ("companies", "right"),
    (FSM, ITEMS): ("items", "left"),
    (BOOKS, BOOKS_ITEMS): ("items", "right"),
}


def _filled(form: Any, values: dict[str, Any]) -> Any:
    if isinstance(form, dict):
        return {name: _filled(one, values) for name, one in form.items()}
    if isinstance(form, list):
        return [_filled(one, values) for one in form]
    name = form[1:-1] if isinstance(form, str) and form.startswith("{") and form.endswith("}") else ""
    return values.get(name, form)


def previous_version(scene: Scene) -> None:
    """Its doors tell of edits, its workers send wake-ups and results, while ours are replaced one after another."""
    rig = scene.rig
    scene.load(12, per_s=0)
    for vendor in VENDORS:
        rig.fault(vendor, "webhook_lost", share=1.0)
    sender = make_sender(rig.settings())
    told = []
    try:
        for n in range(24):
            where = scene.chance.choice(list(SIDES))
            record = scene.chance.choice(rig.base[where])
            _edit(scene, where, record, n)
            told.append(_tell(scene, sender, where, record, n))
            if n in (8, 16):
                _term(scene, rig.workers[n // 8 - 1])
        scene.over()
        rig.ended(scene.sync_id or 0)
        rig.await_quiet("all is quiet", 60)
    finally:
        sender.close()
    done = {row[0] for row in rig.sql("SELECT event_id FROM event_done WHERE event_id = ANY(%s)", told)}
    scene.must(done == set(told), f"P9 {len(set(told) - done)} events of the previous version have no outcome")
    dead = rig.sql("SELECT count(*) FROM outcome WHERE reason = 'POISON' AND run_id >= %s", scene.sync_id or 0)[0][0]
    scene.must(dead == 0, f"P8 {dead} events of the previous version were set aside")


def _edit(scene: Scene, where: tuple[str, str], record: str, n: int) -> None:
    scene.people.edit(*where, record, WRITES[where][0](f"{scene.people.name.replace(' ', '-')}-v{n}"))


def _tell(scene: Scene, sender: Any, where: tuple[str, str], record: str, n: int) -> str:
    rig, (pair, side) = scene.rig, SIDES[where]
    event = f"old-{rig.cells}-{n}"
    lane = f"{rig.world.integration}:live:{n % 4}"
    values = {
        "event": event, "integration": str(rig.world.integration), "pair": pair, "side": side, "record": record,
        "now_ms": str(int(time.time() * 1000)), "lane": lane, "run": scene.sync_id,
    }  # fmt: skip
    rig.redis.xadd(f"bw:lane:{lane}", {"e": json.dumps(_filled(WIRE["event"], values))})
    rig.redis.sadd("bw:lanes", f"bw:lane:{lane}")
    batch = _filled(WIRE["results"], {**values, "integration": rig.world.integration})
    rig.redis.xadd("bw:results", {"r": json.dumps(batch)})
    for task, args in _filled(WIRE["tasks"], values):
        sender.send_task(task, args=args, ignore_result=True, expires=120)
    return event


CELLS: list[Cell] = [Cell("worker_term", "previous version", 1, previous_version, PLAIN, fresh=True)]
