"""What a run queues: each record once, in its order, from where it had come; and what was lost on its way again."""

from __future__ import annotations

from typing import Any

import pytest

from shared.bus import BULK, Bus, Items
from shared.engine import queue
from shared.engine.context import load_context
from shared.errors import Unavailable
from tests.integration.world import FSM, World

pytestmark = pytest.mark.rule("P1", "DU-8")

COMPANIES, SERVICES = 5, 4


@pytest.fixture
def listed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A first sync is to make nine records, two of them at a time, and to bring one bound record along."""
    for number in range(COMPANIES):
        world.company(f"Company {number}")
    for number in range(SERVICES):
        world.service(f"Service {number}")
    world.service("Both", Unit_Price=7)
    world.item("Both", rate=7)
    world.fetch()
    monkeypatch.setattr(queue, "QUEUE_CHUNK", 2)
    return world


def made(world: World) -> tuple[int, int]:
    return len(world.sandbox.rows("zoho_books", "contacts")), len(world.sandbox.rows("zoho_books", "items"))


def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes onto the bulk lanes from now on, in its order: pair and side, and the record's id."""
    told: list[str] = []
    add = Bus.add

    def noting(bus: Bus, items: Items) -> Any:
        told.extend(payload for lane, payload in items if lane.cls == BULK)
        return add(bus, items)

    monkeypatch.setattr(Bus, "add", noting)
    return told


def test_bound_records_go_first_then_parents_and_each_goes_once(listed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sent(monkeypatch)
    run = listed.sync()
    assert made(listed) == (COMPANIES, SERVICES + 1)
    pairs = [payload.split('"pair":"')[1].split('"')[0] for payload in told]
    assert pairs == ["items"] + ["companies"] * COMPANIES + ["items"] * SERVICES
    assert len(set(told)) == len(told)
    (row,) = listed.office.sql("SELECT queued, pending, queued_to FROM run WHERE id = :run", run=run.id)
    assert (row["queued"], row["pending"]) == (len(told), 0)
    assert (row["queued_to"]["rank"], row["queued_to"]["pair"]) == (1, "items")


@pytest.mark.parametrize("chunk", range(1, 6))
def test_what_was_queued_and_never_sent_is_sent_again(
    listed: World, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """The process dies, or Redis is away, between the transaction that remembers the chunk and the sending of it."""
    add, calls = Bus.add, iter(range(1, 100))

    def failing(bus: Bus, items: Items) -> Any:
        if items and items[0][0].cls == BULK and next(calls) == chunk:
            raise Unavailable("Redis cannot be reached.")
        return add(bus, items)

    monkeypatch.setattr(Bus, "add", failing)
    run = listed.sync()
    assert next(calls) > chunk
    assert made(listed) == (COMPANIES, SERVICES + 1)
    outcomes = [(row["pair"], row["record_id"]) for row in listed.outcomes(run.id)]
    assert len(outcomes) == len(set(outcomes)) == COMPANIES + SERVICES + 1


@pytest.mark.parametrize("marked", [2, COMPANIES + SERVICES + 1])
def test_a_run_that_marked_its_rows_ends_as_it_was_begun(listed: World, marked: int) -> None:
    """It was cut off by the update that brought migration 0021: what it had queued until then is marked, and lost."""
    office = listed.office
    lanes = [lane for lane in load_context(office.ports, listed.integration).lanes() if lane.cls == BULK]
    for lane in lanes:
        office.bus.pause(lane, 60)
    run = listed.runs.sync_now(listed.actor, listed.integration)
    all_of_them = COMPANIES + SERVICES + 1
    queued = f"SELECT 1 FROM run WHERE queued = {all_of_them}"
    office.crew.until(lambda: office.sql(queued), "all its events stand in lanes")
    for lane in lanes:
        office.bus.redis.delete(lane.key)
        office.bus.resume(lane)
    mark = "UPDATE staged SET state = 'queued' WHERE ctid IN (SELECT ctid FROM staged WHERE state = 'listed' LIMIT :n)"
    office.sql(mark, n=marked)
    office.sql("UPDATE run SET queued = :n, pending = :n, queued_to = NULL WHERE id = :run", n=marked, run=run)
    listed.ended(run)
    assert made(listed) == (COMPANIES, SERVICES + 1)


def test_a_count_that_is_wrong_keeps_no_run_open(listed: World) -> None:
    """Two versions that work on one run beside each other may count a record twice."""
    listed.office.sql("CREATE FUNCTION one_more() RETURNS trigger AS 'BEGIN new.pending = new.pending + 1; RETURN new; "
                      "END' LANGUAGE plpgsql")  # fmt: skip
    listed.office.sql("CREATE TRIGGER one_more BEFORE UPDATE OF queued ON run FOR EACH ROW EXECUTE FUNCTION one_more()")
    listed.sync()
    assert made(listed) == (COMPANIES, SERVICES + 1)


def test_nothing_of_an_earlier_queue_is_left_out_by_its_side(listed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides have records of one pair, a chunk ends between them."""
    for number in range(3):
        listed.item(f"Item {number}")
    told = sent(monkeypatch)
    listed.sync()
    names = {row["Name"] for row in listed.sandbox.rows(FSM, "Service_And_Parts")}
    assert {f"Item {number}" for number in range(3)} <= names
    assert made(listed) == (COMPANIES, SERVICES + 4)
    assert len(set(told)) == len(told) == COMPANIES + SERVICES + 1 + 3
