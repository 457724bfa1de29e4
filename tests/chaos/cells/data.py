"""What people and vendors put into records: edits at both ends at once, and things no orderly vendor holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.chaos.cell import OTHER_HOLDER_S, Cell, Scene
from tests.chaos.people import BOOKS_ITEMS, COMPANIES, CONTACTS, ITEMS
from tests.chaos.shapes import PLAIN, TRUE
from tests.chaos.strike import EXIT
from tests.e2e.world import BOOKS, FSM

Body = Callable[[Scene], None]
EVENTS = "worker-events"
TWINS = (((FSM, COMPANIES), (BOOKS, CONTACTS)), ((FSM, ITEMS), (BOOKS, BOOKS_ITEMS)))
SAME_FIELD: dict[tuple[str, str], Callable[[str], dict[str, Any]]] = {
    (FSM, COMPANIES): lambda word: {"Website": f"https://{word}.test"},
    (BOOKS, CONTACTS): lambda word: {"website": f"https://{word}.test"},
    (FSM, ITEMS): lambda word: {"Description": word},
    (BOOKS, BOOKS_ITEMS): lambda word: {"description": word},
}
NAME = {
    (FSM, COMPANIES): "Company_Name",
    (BOOKS, CONTACTS): "contact_name",
    (FSM, ITEMS): "Name",
    (BOOKS, BOOKS_ITEMS): "name",
}


def clashes(scene: Scene) -> None:
    """The same field at both ends, again and again, while a sync is on: one value wins, at both ends."""
    scene.load()
    for n in range(40):
        twins = scene.chance.choice(TWINS)
        at = scene.chance.randrange(scene.rig.shape.base)
        for side, where in enumerate(twins):
            if scene.chance.random() < 0.8:
                write = SAME_FIELD[where]
                scene.people.edit(*where, scene.rig.base[where][at], write(f"{_word(scene)}-{side}-{n}"))
        time.sleep(scene.chance.uniform(0.0, 0.06))
    scene.over()
    scene.closing_sync = True


def clashes_while_killed(scene: Scene) -> None:
    """And a worker dies of it."""
    scene.rig.strikes.arm("reply.read", EXIT, n=scene.chance.randint(5, 20), process=EVENTS)
    clashes(scene)
    scene.struck("reply.read")
    scene.rig.await_all_live()
    scene.over()


def renames(scene: Scene) -> None:
    """The match key of bound records changes while they are worked on; no second twin may come of it."""
    scene.load()
    for n in range(12):
        where = scene.chance.choice([one for twins in TWINS for one in twins])
        at = scene.chance.randrange(scene.rig.shape.base)
        scene.people.edit(*where, scene.rig.base[where][at], {NAME[where]: f"{_word(scene)} renamed {n}"})
        time.sleep(scene.chance.uniform(0.0, 0.2))
    scene.over()
    scene.closing_sync = True


def deletions(scene: Scene) -> None:
    """A record is deleted at one end while it is edited at the other."""
    scene.load()
    for twins in TWINS:
        for _ in range(2):
            at = scene.chance.randrange(len(scene.rig.base[twins[0]]))
            gone, kept = (twins[0], twins[1]) if scene.chance.random() < 0.5 else (twins[1], twins[0])
            ids = {where: scene.rig.base[where].pop(at) for where in twins}
            scene.people.desks = [desk for desk in scene.people.desks if desk[2] not in ids.values()]
            scene.people.edit(*kept, ids[kept], SAME_FIELD[kept](f"{_word(scene)}-kept-{at}"))
            scene.people.delete(*gone, ids[gone])
            scene.people.edit(*kept, ids[kept], SAME_FIELD[kept](f"{_word(scene)}-kept-again-{at}"))
    scene.over()
    scene.closing_sync = True


def same_name_at_both(scene: Scene) -> None:
    """People make a record of one name at both sides within the same second."""
    scene.load(4)
    for n in range(6):
        name = f"{_word(scene)} both {n}"
        scene.people.make(FSM, COMPANIES, {"Company_Name": name, "Website": f"https://{n}.test"})
        scene.people.make(BOOKS, CONTACTS, {"contact_name": name, "contact_type": "customer"})
        scene.people.make(BOOKS, BOOKS_ITEMS, {"name": name, "rate": 3.5, "product_type": "service"})
        scene.people.make(FSM, ITEMS, {"Name": name, "Unit_Price": 3.5, "Type": "Service"})
        time.sleep(scene.chance.uniform(0.0, 0.1))
    scene.over()
    scene.closing_sync = True


def _word(scene: Scene) -> str:
    return f"c{scene.rig.cells}x{scene.cell.seed}"


# Poison


def poison(vendor: str, module: str, fields: dict[str, Any], *, must_fail: bool) -> Body:
    """One record that nobody can digest, among many that anybody can: those go on (P8)."""

    def body(scene: Scene) -> None:
        bad = scene.people.make(vendor, module, fields)
        scene.people.desks = [desk for desk in scene.people.desks if desk[2] != bad]
        kind = "poison" if must_fail else "failed"
        scene.expect[kind] = frozenset({bad})
        scene.load()
        scene.sleep(20)
        scene.over()
        scene.rig.ended(scene.sync_id or 0)
        _others_came_through(scene)
        scene.people.stop()
        scene.rig.await_quiet("all is quiet", 60)
        scene.rig.control("DELETE", vendor, f"edits/{module}/{bad}")
        scene.rig.await_quiet("all is quiet without it", 60)

    return body


def _others_came_through(scene: Scene) -> None:
    rows = scene.rig.sql(
        "SELECT count(*) FROM outcome WHERE run_id = %s AND outcome IN ('created', 'updated', 'bound')", scene.sync_id
    )
    scene.must(rows[0][0] >= 20, f"P8 only {rows[0][0]} records came through beside the poison")


def kills_its_worker(scene: Scene) -> None:
    """An event whose work ends the process each time is a dead letter after three tries; its lane goes on."""
    scene.rig.await_quiet("quiet before", 30)
    where = (FSM, COMPANIES)
    victim = scene.rig.base[where][scene.chance.randrange(scene.rig.shape.base)]
    scene.rig.strikes.arm("source.read", EXIT, times=3, process=EVENTS)
    scene.people.edit(*where, victim, {"Website": f"https://{_word(scene)}-poison.test"})
    scene.struck("source.read", 3, within_s=60)
    scene.expect["failed"] = frozenset({victim})
    scene.rig.await_all_live()
    scene.load()
    scene.over()
    found: list[tuple[Any, ...]] = []

    def buried() -> bool:
        found[:] = scene.rig.sql(
            "SELECT reason, attempt FROM outcome WHERE record_id = %s AND outcome = 'failed'", victim
        )
        return bool(found)

    scene.rig.wait(buried, "the event is a dead letter", 30)
    scene.must(found[0][0] == "POISON", f"P8 its reason is {found[0][0]}")
    scene.closing_sync = True


BIG = "x" * 5_000_000

CELLS: list[Cell] = [
    Cell("both_sides_edit", "clash", 1, clashes, PLAIN),
    Cell("both_sides_edit", "clash, killed", 1, clashes_while_killed, PLAIN),
    Cell("both_sides_edit", "rename", 1, renames, PLAIN),
    Cell("both_sides_edit", "delete", 1, deletions, PLAIN, fresh=True),
    Cell("both_sides_edit", "same name", 1, same_name_at_both, PLAIN),
    Cell("both_sides_edit", "clash", 4, clashes, TRUE),
    Cell(
        "poison",
        "5 MB",
        1,
        poison(FSM, ITEMS, {"Name": "Poison 5 MB", "Unit_Price": 1, "Description": BIG}, must_fail=False),
        PLAIN,
        fresh=True,
    ),
    Cell(
        "poison",
        "no number",
        1,
        poison(
            BOOKS, BOOKS_ITEMS, {"name": "Poison number", "rate": "1e400", "product_type": "service"}, must_fail=False
        ),
        PLAIN,
        fresh=True,
    ),
    Cell(
        "poison",
        "40 digits",
        1,
        poison(FSM, ITEMS, {"Name": "Poison digits", "Unit_Price": 10**39}, must_fail=False),
        PLAIN,
        fresh=True,
    ),
    Cell(
        "poison",
        "no UTF-8",
        1,
        poison(FSM, COMPANIES, {"Company_Name": "Poison \udcff\udcfe"}, must_fail=True),
        PLAIN,
        fresh=True,
    ),
    # A sync waits for the batch of a dead worker as for any other holder.
    Cell("poison", "kills its worker", 1, kills_its_worker, PLAIN, fresh=True, bound_s=OTHER_HOLDER_S),
    Cell("poison", "kills its worker", 2, kills_its_worker, TRUE, fresh=True, bound_s=OTHER_HOLDER_S),
]
