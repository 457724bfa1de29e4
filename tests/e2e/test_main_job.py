"""The main job in real processes: first sync, silence afterwards, webhooks, and a worker that is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.e2e.world import BOOKS, FSM, Json, World, await_that, running_world, tally


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For all tests here: each has records of its own, and leaves all quiet."""
    with running_world(tmp_path_factory.mktemp("main_job")) as found:
        yield found


def company(number: int, prefix: str = "", **more: object) -> Json:
    return {
        "Company_Name": f"{prefix}Company {number}",
        "Website": f"https://{number}.example.com",
        "Service_Address": {"Street_1": f"{number} High Street", "City": "Leeds"},
        **more,
    }


def customer(number: int, prefix: str = "", **more: object) -> Json:
    return {
        "contact_name": f"{prefix}Company {number}",
        "contact_type": "customer",
        "customer_sub_type": "business",
        "billing_address": {"address": f"{number} Low Road", "city": "York"},
        **more,
    }


def fill(world: World, size: int, prefix: str = "") -> None:
    """`size` companies and items on each side, a third of them on both, with differences."""
    shared_from = size - size // 3
    right = range(shared_from, shared_from + size)
    world.seed(FSM, "Companies", [company(n, prefix) for n in range(size)])
    world.seed(BOOKS, "contacts", [customer(n, prefix) for n in right])
    world.seed(
        FSM,
        "Service_And_Parts",
        [{"Name": f"{prefix}Item {n}", "Unit_Price": n + 0.5, "Type": "Service"} for n in range(size)],
    )
    world.seed(
        BOOKS,
        "items",
        [
            {
                "name": f"{prefix}ITEM {n} " if n % 2 else f"{prefix}Item {n}",
                "rate": n + 0.25,
                "product_type": "service",
            }
            for n in right
        ],
    )


@pytest.mark.rule("SU-4", "DU-8", "DU-7", "P6", "P9")
def test_first_sync_then_silence(world: World) -> None:
    fill(world, 24, "S ")
    world.forget_calls()
    before = world.sql("SELECT coalesce(max(id), 0) FROM outcome")[0][0]
    fetched = world.fetch()
    assert fetched["state"] == "completed"
    assert fetched["report"]["companies"] == {
        "bound": 8,
        "create_left": 16,
        "create_right": 16,
        "ambiguous_left": 0,
        "ambiguous_right": 0,
    }
    assert world.writes() == []
    first = world.sync()
    assert first["state"] == "completed", first
    counts = tally(first)
    assert counts["created"] == 64
    assert counts["updated"] == 16
    world.quiet()
    world.check_agreement()
    written = sum(call["applied"] for call in world.writes())
    assert written >= 80
    world.forget_calls()
    await_that(world.versions_are_settled, "no version at the vendors is of this second")
    second = tally(world.sync())
    assert second["unchanged"] + second["echo"] == second.total() >= 160
    world.quiet()
    assert world.writes() == []
    world.forget_calls()
    world.sync()
    world.quiet()
    paths = {(call["method"], call["record"]) for vendor in (FSM, BOOKS) for call in world.ours(vendor)}
    assert paths == {("GET", None)}
    webhooks = world.sql(
        "SELECT outcome, sum(events) FROM outcome WHERE origin = 'webhook' AND id > :before GROUP BY outcome",
        before=before,
    )
    assert dict(tuple(row) for row in webhooks) == {"echo": written}
    world.check_counters()


@pytest.mark.rule("TR-1", "P1")
def test_a_change_arrives_by_webhook_alone(world: World) -> None:
    fill(world, 6, "W ")
    world.fetch()
    synced = world.start("sync")
    world.ended(synced)
    world.quiet()
    left = {row["Company_Name"]: row["id"] for row in world.records(FSM, "Companies")}
    right = {row["contact_name"]: row["contact_id"] for row in world.records(BOOKS, "contacts")}
    world.people[FSM].put("Companies", left["W Company 1"], {"Website": "https://new.example.com"})
    world.people[BOOKS].put("contacts", right["W Company 2"], {"billing_address": {"city": "Hull"}})
    made = world.people[BOOKS].post("items", {"name": "Brand new", "rate": 12.34, "product_type": "service"})
    assert made

    def arrived() -> bool:
        customers = {row["contact_name"]: row for row in world.records(BOOKS, "contacts")}
        companies = {row["Company_Name"]: row for row in world.records(FSM, "Companies")}
        names = {row["Name"] for row in world.records(FSM, "Service_And_Parts")}
        return (
            customers["W Company 1"]["website"] == "https://new.example.com"
            and (companies["W Company 2"]["Billing_Address"] or {}).get("Billing_City") == "Hull"
            and "Brand new" in names
        )

    await_that(arrived, "all three changes are on the other side")
    world.quiet()
    world.check_agreement()
    later = world.sql("SELECT DISTINCT kind FROM run WHERE id > :synced", synced=synced)
    assert [row[0] for row in later] in (["webhook"], []), "no sync brought it"


@pytest.mark.rule("P1", "P3", "P7", "P9")
@pytest.mark.parametrize(
    ("seed", "victims"),
    [
        (1, ("worker-events",)),
        (2, ("worker-control",)),
        (3, ("worker-events", "worker-control")),
    ],
)
def test_killed_in_the_middle_of_a_first_sync(world: World, seed: int, victims: tuple[str, ...]) -> None:
    chance = random.Random(seed)
    fill(world, 40, f"{seed} ")
    world.fetch()
    world.forget_calls()
    sync_id = world.start("sync")
    enough = chance.randrange(5, 100)
    await_that(lambda: sum(call["applied"] for call in world.writes()) >= enough, f"{enough} writes")
    for name in victims:
        world.stack.processes[name].kill()
    for name in victims:
        world.stack.processes[name].restart()
    run = world.ended(sync_id)
    assert run["state"] == "completed", (run, world.failures(sync_id))
    world.quiet()
    world.check_agreement()
    world.check_counters()
