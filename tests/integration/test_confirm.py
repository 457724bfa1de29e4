"""A second list instead of a search before each create: what it saves, and when it is not believed (P3)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from shared import points
from shared.engine import confirm
from shared.errors import LeaseLost
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P3", "DU-8")

NEW = ("New 0", "New 1", "New 2")
LISTS = 4
"""Of companies and of items, at each side, a page each."""
FIRST_OF_SERVICES = 3
"""Of the pages that a run saves: those of companies and customers go before."""


@pytest.fixture
def synced(world: World) -> World:
    """Two services with their items, agreed."""
    for name in ("Old 0", "Old 1"):
        world.service(name)
    world.fetch()
    world.sync()
    return world


def listed(world: World) -> int:
    return sum(call["path"] == "/fsm/v1/Service_And_Parts" and call["method"] == "GET" for call in world.calls())


def looks(world: World) -> int:
    return sum(call["vendor"] == FSM and call["path"].endswith("/search") for call in world.calls())


def names(world: World) -> Counter[str]:
    return Counter(str(row["Name"]) for row in world.sandbox.rows(FSM, "Service_And_Parts"))


def service_of(world: World, name: str) -> str:
    return next(str(row["id"]) for row in world.sandbox.rows(FSM, "Service_And_Parts") if row["Name"] == name)


def new_items(world: World) -> None:
    for name in NEW:
        world.item(name)
    world.forget_calls()


@contextmanager
def meanwhile(*events: tuple[str, int, Callable[[], object]]) -> Iterator[None]:
    """Each (point, number, what): it happens the so many-th time that the point is passed; who passes it next waits."""
    passed = Counter[str]()
    lock = threading.Lock()

    def strike(name: str) -> None:
        with lock:
            passed[name] += 1
            for point, number, what in events:
                if (point, number) == (name, passed[name]):
                    what()

    points.arm(strike)
    try:
        yield
    finally:
        points.arm(None)
    for point, number, _ in events:
        assert passed[point] >= number, f"{point} was passed {passed[point]} times"


def test_a_second_list_takes_the_place_of_a_search_for_each(synced: World) -> None:
    new_items(synced)
    synced.sync()
    assert (listed(synced), looks(synced)) == (2, 0)
    assert names(synced) == Counter(["Old 0", "Old 1", *NEW])
    synced.check_agree()


def test_one_create_is_searched_for(synced: World) -> None:
    synced.item("New 0")
    synced.forget_calls()
    synced.sync()
    assert (listed(synced), looks(synced)) == (1, 1), "a page is no less than a search"


def test_what_a_person_makes_between_the_lists_leaves_the_searches(synced: World) -> None:
    new_items(synced)
    with meanwhile(("page.saved", LISTS, lambda: synced.service("New 1"))):
        synced.sync()
    assert (listed(synced), looks(synced)) == (2, 3)
    assert names(synced) == Counter(["Old 0", "Old 1", *NEW])
    synced.check_agree()


def test_a_key_that_the_second_list_shows_is_searched_for(synced: World) -> None:
    """A service was renamed between the lists: they show the same ids."""
    old = service_of(synced, "Old 1")
    new_items(synced)
    with meanwhile(("page.saved", LISTS, lambda: synced.sandbox.edit(FSM, "Service_And_Parts", old, Name="New 1"))):
        run = synced.sync()
    assert (listed(synced), looks(synced)) == (2, 1)
    assert [row["reason"] for row in synced.outcomes(run.id, "failed")] == ["TWIN_TAKEN"]
    assert names(synced) == Counter(["Old 0", "New 1", "New 0", "New 2"])


def test_a_list_that_was_cut_off_is_not_begun_again(synced: World) -> None:
    def lost() -> None:
        raise LeaseLost("as if others had taken the org")

    new_items(synced)
    with meanwhile(("page.confirmed", 1, lost)):
        synced.sync()
    assert (listed(synced), looks(synced)) == (2, 3)
    assert names(synced) == Counter(["Old 0", "Old 1", *NEW])
    synced.check_agree()


def test_a_list_of_long_ago_is_made_twice_anew(synced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "YOUNG", timedelta(0))
    new_items(synced)
    synced.sync()
    assert (listed(synced), looks(synced)) == (3, 0)
    synced.check_agree()


def test_what_was_confirmed_long_ago_is_searched_for(synced: World) -> None:
    new_items(synced)

    def later() -> None:
        """All staged rows wait as if for a minute."""
        synced.office.sql("UPDATE staged SET absent_at = absent_at - interval '61 seconds'")

    with meanwhile(("batch.claimed", 1, later)):
        synced.sync()
    assert looks(synced) == 3
    synced.check_agree()


@pytest.mark.rule("SU-5")
def test_an_email_that_a_companys_person_is_made_with_is_searched_for(world: World) -> None:
    """FSM would take an individual of that e-mail, and no list shows yet that a company's contact may have it."""
    world.office.sql("UPDATE integration SET sync_type = 'IV'")
    home = {"id": world.company("Acme")}
    world.seed(FSM, "Contacts", {"First_Name": "Ann", "Last_Name": "Lee", "Email": "lee@a.test", "Company": home})
    world.fetch()
    world.sync()
    people = {who: {"first_name": "Ann", "last_name": who, "email": f"{who}@a.test"} for who in ("x", "y", "z")}
    world.customer("Both", contact_persons=[people["x"]])
    for who, row in people.items():
        own = [{**row, "is_primary_contact": True}]
        world.customer(f"Ann {who}", customer_sub_type="individual", contact_persons=own)
    world.forget_calls()
    world.sync()
    assert sum(call["path"] == "/fsm/v1/Contacts/search" for call in world.calls()) == 1


# Of several pages.


@pytest.fixture
def two_pages(world: World) -> World:
    """A page of services and one more, of which all but the first and the last are bound by Fetch; and items at Books
    alone."""
    world.seed(
        FSM, "Service_And_Parts", *({"Name": f"S {n:03}", "Unit_Price": 10.5, "Type": "Service"} for n in range(201))
    )
    world.seed(BOOKS, "items", *({"name": f"S {n:03}", "rate": 10.5, "product_type": "service"} for n in range(1, 200)))
    world.fetch()
    new_items(world)
    return world


def test_a_row_that_a_deletion_moved_past_the_first_list_is_found(two_pages: World) -> None:
    """One of page one goes before page two is read, whose first stands on page one by then. FSM lists newest first."""
    world = two_pages
    world.item("S 000")
    gone = service_of(world, "S 001")
    with meanwhile(("page.saved", FIRST_OF_SERVICES, lambda: world.sandbox.delete(FSM, "Service_And_Parts", gone))):
        world.sync()
    assert world.office.value("SELECT count(*) FROM listing WHERE confirm_at IS NOT NULL") == 1
    assert [name for name, count in names(world).items() if count > 1] == []
    assert looks(world) == len([*NEW, "S 000"])


def test_a_row_that_a_deletion_moved_past_the_second_list_is_found(two_pages: World) -> None:
    """Renamed between the lists, and moved onto a page that the second one had read: its key is in none of them."""
    world = two_pages
    last, gone = service_of(world, "S 000"), service_of(world, "S 001")
    with meanwhile(
        ("page.saved", FIRST_OF_SERVICES + 1, lambda: world.sandbox.edit(FSM, "Service_And_Parts", last, Name="New 1")),
        ("page.confirmed", 1, lambda: world.sandbox.delete(FSM, "Service_And_Parts", gone)),
    ):
        world.sync()
    assert [name for name, count in names(world).items() if count > 1] == []
    assert looks(world) >= len(NEW)
