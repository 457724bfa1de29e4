"""Workers that are killed in the middle of an import, at each of its steps and at any time: the next one goes on."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from redis import Redis

from shared.engine import data_import
from shared.services.imports import ImportView
from tests.chaos.strike import EXIT, FOLDER, FREEZE, HOOK, Strikes
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.imports.support import bad_rows, environment, rows, worker
from tests.integration.crew import await_that
from tests.integration.world import BOOKS, FSM, World, check_import, connect, opened

pytestmark = pytest.mark.rule("LK-5", "P3", "P7")

POINTS = (
    "lease.taken", "import.read", "import.listed", "import.matched", "import.intended", "reply.read", "import.saved",
    "lease.released",
)  # fmt: skip


@pytest.fixture
def world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Iterator[World]:
    """Nobody works but the processes that a test starts; one that was killed counts as gone after a second."""
    settings = make_settings(
        database_url=database_url,
        redis_url=redis_url,
        time_scale=0.1,
        sandbox_url=sandbox.base_url,
        doubt_span_s=5.0,
    )
    with opened(settings, threads=0, beat=False) as office:
        yield connect(office, sandbox)


def ended(world: World, import_id: int) -> ImportView:
    view = world.imports.get(world.actor, import_id)
    assert view.state == "completed_with_failures", (view.state, view.error_code, view.error_detail)
    check_import(world.office, import_id)
    return view


def created(world: World, least: int) -> bool:
    return bool(world.office.value("SELECT coalesce(max(created), 0) FROM import_job") >= least)


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_killed_at_a_step_is_followed_by_another(
    world: World, tmp_path: Path, vendor: str, point: str
) -> None:
    strikes = Strikes(tmp_path / "strikes")
    env = environment(world.office.settings, BOTHWAYS_TEST_HOOK=HOOK, **{FOLDER: str(strikes.folder)})
    if vendor == FSM:  # it asks for the type too, and takes as many records of one name as are sent
        world.service("item 000003")
        file = "Name,Unit_Price,Type\n" + "".join(line.replace("\n", ",Goods\n") for line in rows(30))
    else:
        world.item("item 000003")
        file = "Name,Rate\n" + "".join(rows(30))
    import_id = world.begin_import(vendor, "items", file)
    strikes.arm(point, EXIT)
    with worker(env, import_id) as first:
        first.wait(60)
    assert strikes.came(point), "it was killed there"
    with worker(env, import_id) as second:
        assert second.wait(60) == 0
    view = ended(world, import_id)
    assert (view.created, view.skipped, view.failed) == (28, 1, bad_rows(30))
    names = Counter(
        str(row["Name" if vendor == FSM else "name"]).casefold()
        for row in world.sandbox.rows(vendor, "Service_And_Parts" if vendor == FSM else "items")
    )
    assert names.most_common(1)[0][1] == 1, names.most_common(3)
    assert len(names) == 29


@pytest.mark.rule("P13")
def test_two_thousand_rows_killed_twice(world: World) -> None:
    size = 2_000
    env = environment(world.office.settings)
    import_id = world.begin_import(BOOKS, "items", "Name,Rate\n" + "".join(rows(size)))
    for stop in (300, 1_100):
        with worker(env, import_id) as process:
            await_that(partial(created, world, stop), f"{stop} are made", within_s=60)
            process.kill()
    with worker(env, import_id) as process:
        assert process.wait(120) == 0
    view = ended(world, import_id)
    assert (view.rows, view.failed, view.created) == (size, bad_rows(size), size - bad_rows(size))
    names = Counter(row["name"] for row in world.sandbox.rows(BOOKS, "items"))
    assert len(names) == sum(names.values()) == size - bad_rows(size)
    lines = {row["line"] for row in world.office.sql("SELECT line FROM import_row")}
    assert lines == set(range(2, size + 2)), "every row is in the report"
    reasons = {row["reason"] for row in world.office.sql("SELECT DISTINCT reason FROM import_row WHERE reason <> ''")}
    assert reasons == {"UNREADABLE_ROW", "BAD_CELL", "NO_KEY"}


@pytest.mark.rule("P10")
def test_a_worker_that_is_asked_to_stop_ends_its_call_and_the_next_goes_on(world: World) -> None:
    import_id = world.begin_import(FSM, "companies", "Company_Name\n" + "".join(f"C{n}\n" for n in range(200)))
    office = world.office
    thread = Thread(target=data_import.advance, args=(office.ports, office.keeper, import_id))
    thread.start()
    await_that(lambda: created(world, 20), "it writes")
    office.keeper.stopping.set()
    thread.join(10)
    assert not thread.is_alive()
    assert office.value("SELECT count(*) FROM import_row WHERE state IN ('writing', 'doubt')") == 0
    made = len(world.sandbox.rows(FSM, "Companies"))
    assert office.value("SELECT created FROM import_job") == made < 200
    data_import.advance(office.ports, office.keeper, import_id)  # it takes up nothing new
    assert len(world.sandbox.rows(FSM, "Companies")) == made
    with worker(environment(office.settings), import_id) as process:
        assert process.wait(60) == 0
    assert world.imports.get(world.actor, import_id).created == len(world.sandbox.rows(FSM, "Companies")) == 200
    assert office.value("SELECT max(tries) FROM import_row") == 1


@pytest.mark.rule("P4")
@pytest.mark.parametrize("point", ["import.intended", "reply.read", "import.saved"])
def test_a_worker_that_was_frozen_sends_and_saves_nothing_once_another_went_on(
    world: World, tmp_path: Path, point: str
) -> None:
    """FSM takes doubles: nothing but our own care keeps them away."""
    strikes = Strikes(tmp_path / "strikes")
    env = environment(world.office.settings, BOTHWAYS_TEST_HOOK=HOOK, **{FOLDER: str(strikes.folder)})
    import_id = world.begin_import(FSM, "companies", "Company_Name\n" + "".join(f"C{n}\n" for n in range(30)))
    strikes.arm(point, FREEZE, n=2)
    with worker(env, import_id) as frozen:
        await_that(lambda: strikes.came(point), "it is frozen", within_s=60)
        with worker(env, import_id) as second:
            assert second.wait(60) == 0
        frozen.send_signal(signal.SIGCONT)
        assert frozen.wait(30) == 0
    view = world.imports.get(world.actor, import_id)
    assert (view.state, view.created) == ("completed", 30)
    check_import(world.office, import_id)
    names = Counter(row["Company_Name"] for row in world.sandbox.rows(FSM, "Companies"))
    assert len(names) == sum(names.values()) == 30


def test_a_row_that_ends_its_worker_each_time_fails_alone(world: World, tmp_path: Path) -> None:
    strikes = Strikes(tmp_path / "strikes")
    env = environment(world.office.settings, BOTHWAYS_TEST_HOOK=HOOK, **{FOLDER: str(strikes.folder)})
    import_id = world.begin_import(FSM, "companies", "Company_Name\nPoison\n")
    for _ in range(3):
        strikes.arm("import.intended", EXIT)
        with worker(env, import_id) as process:
            process.wait(60)
    with worker(env, import_id) as process:
        assert process.wait(60) == 0
    (row,) = world.imports.rows(world.actor, import_id)
    assert (row.outcome, row.reason) == ("failed", "POISON")
    assert world.writes() == []
