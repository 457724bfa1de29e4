"""A second list instead of a search before each create: what it saves, and when it is not believed (P3)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest

from shared import points
from shared.connectors.base import Page
from shared.connectors.zoho_books.client import BooksConnector
from shared.engine import confirm
from shared.errors import LeaseLost
from shared.sync.model import ModuleName
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


# In Books, whose contacts a sync lists only as far as the watermark.

OLD = dict.fromkeys(("created_time", "last_modified_time"), "2020-01-01T10:00:00-0800")
FIRMS = tuple(f"Firm {n}" for n in range(8))
"""Twice as many searches as two lists of two pages."""
FOUR = FIRMS[:4]


@pytest.fixture
def dealing(world: World) -> World:
    """A company with its customer, agreed."""
    world.company("Old")
    world.fetch()
    world.sync()
    return world


@pytest.fixture
def beyond(dealing: World) -> World:
    """And a page of contacts that no run has listed."""
    vendors(dealing)
    return dealing


def new_companies(world: World, names: tuple[str, ...]) -> None:
    world.seed(FSM, "Companies", *({"Company_Name": name} for name in names))
    world.forget_calls()


def vendors(world: World, number: int = 200) -> None:
    """Old ones, which no pair is about; they stand in the list of contacts."""
    row = {"contact_type": "vendor", "customer_sub_type": "", **OLD}
    world.seed(BOOKS, "contacts", *({"contact_name": f"Vendor {n}", **row} for n in range(number)))


def in_books(world: World) -> tuple[int, int]:
    """(pages, searches) of contacts."""
    asked = [
        call["query"].keys()
        for call in world.calls(write=False)
        if call["vendor"] == BOOKS and call["path"].endswith("/contacts")
    ]
    searches = sum(bool(query & {"contact_name", "email"}) for query in asked)
    return len(asked) - searches, searches


def refused(world: World) -> list[str]:
    return [write for write in world.writes() if not write.endswith((" 200", " 201"))]


def test_two_lists_take_the_place_of_the_searches_beyond_the_watermark(beyond: World) -> None:
    new_companies(beyond, FIRMS)
    beyond.sync()
    assert in_books(beyond) == (1 + 4, 0)
    beyond.check_agree()


def test_fewer_than_four_searches_a_page_stay(beyond: World) -> None:
    new_companies(beyond, FIRMS[:3])
    beyond.sync()
    assert in_books(beyond) == (1, 3)
    beyond.check_agree()


def test_a_list_that_is_longer_than_pays_is_given_up_on(beyond: World) -> None:
    new_companies(beyond, FOUR)
    beyond.sync()
    assert in_books(beyond) == (1 + 1, 4)
    beyond.check_agree()


def test_the_last_whole_list_says_how_long_the_next_one_is(world: World) -> None:
    world.company("Old")
    vendors(world, 201)
    world.fetch()
    world.sync()
    new_companies(world, FOUR)
    world.sync()
    assert in_books(world) == (1, 4)
    new_companies(world, tuple(f"{name}, too" for name in FIRMS))
    world.sync()
    assert in_books(world) == (1 + 4, 0)
    world.check_agree()


def test_what_is_bound_says_how_long_a_list_is(world: World) -> None:
    world.seed(FSM, "Companies", *({"Company_Name": f"Old {n}"} for n in range(201)))
    world.fetch()
    world.sync()
    vendors(world)
    new_companies(world, FOUR)
    world.sync()
    assert in_books(world) == (2, 4), "none stood in the last whole list"


def test_an_old_customer_of_that_name_is_searched_for(beyond: World) -> None:
    there = beyond.customer(FIRMS[1].upper(), **OLD)
    new_companies(beyond, FIRMS)
    beyond.sync()
    assert in_books(beyond) == (1 + 4, 1)
    assert refused(beyond) == []
    assert beyond.twin(beyond.seed_of(FIRMS[1])) == there
    beyond.check_single()


def test_a_customer_that_is_made_between_the_two_lists_leaves_the_searches(beyond: World) -> None:
    new_companies(beyond, FIRMS)
    with meanwhile(("page.confirmed", 2, lambda: beyond.customer(FIRMS[1]))):
        beyond.sync()
    assert in_books(beyond) == (1 + 4, len(FIRMS))
    beyond.check_agree()


def test_a_customer_that_is_renamed_between_the_two_lists_is_searched_for(beyond: World) -> None:
    """It stands where it stood, for nothing is newer."""
    there = beyond.twin(beyond.seed_of("Old"))
    assert there is not None
    new_companies(beyond, FIRMS)
    renamed = partial(beyond.sandbox.edit, BOOKS, "contacts", there, contact_name=FIRMS[1])
    with meanwhile(("page.confirmed", 2, renamed)):
        run = beyond.sync()
    assert in_books(beyond) == (1 + 4, 1)
    assert [row["reason"] for row in beyond.outcomes(run.id, "failed")] == ["TWIN_TAKEN"]
    assert refused(beyond) == []


@pytest.mark.rule("SU-5")
def test_an_old_individual_of_that_email_is_searched_for(beyond: World) -> None:
    """Books would take a second one."""
    beyond.office.sql("UPDATE integration SET sync_type = 'IV'")
    beyond.sync()
    mails = [f"{n}@a.test" for n in range(12)]
    own = [{"first_name": "Ann", "last_name": "Lee", "email": mails[1].upper(), "is_primary_contact": True}]
    there = beyond.customer("Her own", customer_sub_type="individual", contact_persons=own, **OLD)
    before = len(beyond.sandbox.rows(BOOKS, "contacts"))
    people = [{"First_Name": "Ann", "Last_Name": f"Lee {mail}", "Email": mail} for mail in mails]
    ids = beyond.seed(FSM, "Contacts", *people)
    beyond.forget_calls()
    beyond.sync()
    assert in_books(beyond) == (1 + 4, 1)
    assert beyond.twin(ids[1]) == there
    assert len(beyond.sandbox.rows(BOOKS, "contacts")) == before + len(ids) - 1


def test_a_list_that_shows_a_record_twice_is_not_believed(beyond: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted by seconds alone it may show one of a second on two pages, and another one on none, whenever it is asked
    for."""
    there = beyond.customer(FIRMS[1], **OLD)
    asked = BooksConnector.list_page

    def unsorted(own: BooksConnector, module: ModuleName, *, cursor: str | None, since: datetime | None) -> Page:
        page = asked(own, module, cursor=cursor, since=since)
        return replace(page, rows=tuple(page.rows[0] if row.id == there else row for row in page.rows))

    monkeypatch.setattr(BooksConnector, "list_page", unsorted)
    new_companies(beyond, FIRMS)
    beyond.sync()
    assert in_books(beyond) == (1 + 2, len(FIRMS))
    assert beyond.twin(beyond.seed_of(FIRMS[1])) == there


def test_a_list_that_ended_above_the_watermark_is_the_first_of_the_two(dealing: World) -> None:
    new_companies(dealing, FIRMS[:2])
    dealing.sync()
    assert in_books(dealing) == (1 + 1, 0)
    dealing.check_agree()


def test_an_old_customer_below_the_watermark_is_searched_for(dealing: World) -> None:
    """It stood in the list and was dropped."""
    there = dealing.customer(FIRMS[1].upper(), **OLD)
    new_companies(dealing, FOUR)
    dealing.sync()
    assert in_books(dealing) == (1 + 1, 1)
    assert refused(dealing) == []
    assert dealing.twin(dealing.seed_of(FIRMS[1])) == there
    dealing.check_single()


def test_a_customer_that_is_made_after_the_list_that_ended_leaves_the_searches(dealing: World) -> None:
    new_companies(dealing, FOUR)
    with meanwhile(("page.saved", LISTS, lambda: dealing.customer(FIRMS[1]))):
        dealing.sync()
    assert in_books(dealing) == (1 + 1, len(FOUR))
    dealing.check_agree()
