"""An import, a sync and webhook work that all want the same orgs. The import is a stand-in that takes the org rows.

The sync is one that is due by its timer: it waits, where one that a person asks for is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.db.session import Database, make_engine
from shared.lease import Held, Holder, Lease, Leases
from tests.chaos.cell import OTHER_HOLDER_S, Cell, Scene
from tests.chaos.rig import Rig
from tests.chaos.shapes import PLAIN, TRUE
from tests.chaos.strike import EXIT

ONE_BATCH_S = 10.0


class Import:
    """Who imports: takes the orgs whole, holds them for a while, gives them back."""

    def __init__(self, rig: Rig, number: int) -> None:
        settings = rig.settings()
        self._rig = rig
        self._db = Database(make_engine(settings, threads=2))
        self._leases = Leases(settings)
        rows = rig.sql("SELECT id, workspace_id FROM org ORDER BY id")
        self._orgs = [int(row[0]) for row in rows]
        self._holder = Holder(f"import:{number}", "import", rig.world.integration, int(rows[0][1]))

    def take(self, within_s: float) -> tuple[Lease, float]:
        """The lease, and how long it took, in our seconds."""
        asked = time.monotonic()
        found: list[Lease] = []

        def got() -> bool:
            with self._db.transaction() as session:
                lease = self._leases.take(session, self._orgs, self._holder)
            if not isinstance(lease, Held):
                found.append(lease)
            return bool(found)

        self._rig.wait(got, "the import gets its orgs", within_s)
        return found[0], time.monotonic() - asked

    def release(self, lease: Lease) -> None:
        with self._db.transaction() as session:
            self._leases.release(session, lease)

    def close(self) -> None:
        self._db.close()


@contextmanager
def an_import(scene: Scene, number: int) -> Iterator[Import]:
    one = Import(scene.rig, number)
    try:
        yield one
    finally:
        one.close()


def a_sync_is_due(scene: Scene) -> None:
    rig = scene.rig
    before = rig.sql("SELECT coalesce(max(id), 0) FROM run")[0][0]
    rig.sql("UPDATE integration SET next_run_at = clock_timestamp()")
    query = "SELECT id FROM run WHERE kind = 'sync' AND id > %s"
    rig.wait(lambda: rig.sql(query, before), "the sync that is due waits", 30)
    scene.sync_id = int(rig.sql(query, before)[0][0])


def all_at_once(scene: Scene) -> None:
    """Webhook work is on, an import asks, a sync asks: each gets the orgs, none for ever."""
    scene.people.start(25)
    scene.sleep(10)
    with an_import(scene, scene.rig.cells) as one:
        for n in range(3):
            lease, took_s = one.take(60)
            bound_s = scene.scaled(ONE_BATCH_S + 60)
            scene.must(took_s <= bound_s, f"P4 the import waited {took_s:.1f} s for webhook work, not {bound_s:.1f}")
            if n == 0:
                scene.people.bring(8)
                a_sync_is_due(scene)
            scene.sleep(5)
            _nobody_else_writes(scene, lease)
            one.release(lease)
            scene.sleep(3)
        scene.rig.ended(scene.sync_id or 0)
    scene.over()


def _nobody_else_writes(scene: Scene, lease: Lease) -> None:
    ((holder, fence),) = set(scene.rig.sql("SELECT holder, fence FROM org_lease"))
    scene.must((holder, fence) == (lease.holder.name, lease.fence), f"P4 {holder} holds the orgs of the import")
    taken = scene.rig.sql("SELECT max(extract(epoch FROM taken_at)) * 1000 FROM lease_log")[0][0]
    since = [scene.rig.calls(vendor, mark) for vendor, mark in scene.call_mark.items()]
    writes = [call for calls in since for call in calls if call["write"] and call["at"] > float(taken)]
    scene.must(not writes, f"P4 {len(writes)} writes while the import held the orgs")


def import_that_dies(scene: Scene) -> None:
    """Its lease lapses: the sync that waits gets the orgs by the bound for another holder."""
    with an_import(scene, scene.rig.cells) as one:
        one.take(60)
        scene.people.bring(6)
        a_sync_is_due(scene)
        scene.people.start(3)
        scene.sleep(5)
        state = scene.rig.run(scene.sync_id or 0)[0]
        scene.must_strike(state == "queued", f"the sync is {state} while the import holds the orgs")
        scene.over()  # it never says another word


def import_waits_for_a_killed_sync(scene: Scene) -> None:
    """An import behind a run whose workers died: the run goes on, ends, and then the import gets in."""
    scene.rig.strikes.arm("intent.committed", EXIT, n=3, process="worker-events")
    scene.load()
    with an_import(scene, scene.rig.cells) as one:
        scene.struck("intent.committed")
        scene.rig.await_all_live()
        scene.over()
        lease, _ = one.take(90)
        _nobody_else_writes(scene, lease)
        one.release(lease)


CELLS: list[Cell] = [
    Cell("import_race", "l", 1, all_at_once, PLAIN, bound_s=OTHER_HOLDER_S),
    Cell("import_race", "l, import dies", 1, import_that_dies, PLAIN, bound_s=OTHER_HOLDER_S),
    Cell("import_race", "l, sync killed", 1, import_waits_for_a_killed_sync, PLAIN),
    Cell("import_race", "l, import dies", 2, import_that_dies, TRUE, bound_s=OTHER_HOLDER_S),
]
