"""What people change about bindings, on real servers with workers at work (DU-1, TR-9)."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable

import pytest

from shared import points
from shared.engine import batch as engine_batch
from shared.errors import NotAllowed, NotFound, Refused
from shared.lease import Leases
from shared.services.bindings import HEADER, BindingService
from shared.services.integrations import IntegrationService
from shared.services.records import RecordService
from shared.sync.access import Actor, Permission
from shared.sync.model import Side
from tests.callers import token_of
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("DU-1")

LEFT, RIGHT = Side.LEFT, Side.RIGHT


@pytest.fixture
def bindings(world: World) -> BindingService:
    return BindingService(world.office.db, Leases(world.office.settings))


def synced(world: World, name: str = "Zylker") -> tuple[str, str]:
    """A company and its customer, agreed."""
    mine = world.company(name, Website="www.a.test")
    world.fetch()
    world.sync()
    twin = world.twin(mine)
    assert twin is not None
    world.forget_calls()
    return mine, twin


def reasons(world: World, run_id: int, outcome: str) -> set[tuple[str, str]]:
    return {(row["record_id"], row["reason"]) for row in world.outcomes(run_id, outcome)}


# Unbinding.


def test_what_is_unbound_is_left_alone_on_both_sides(world: World, bindings: BindingService) -> None:
    mine, twin = synced(world)
    assert bindings.unbind(world.actor, world.integration, "companies", LEFT, mine) == twin
    world.sandbox.edit(FSM, "Companies", mine, Website="www.left.test")
    world.sandbox.edit(BOOKS, "contacts", twin, website="www.right.test")
    world.fetch()
    assert world.twin(mine) is None
    run = world.sync()
    assert world.twin(mine) is None
    assert world.writes() == []
    assert reasons(world, run.id, "skipped") == {(mine, "SET_ASIDE"), (twin, "SET_ASIDE")}
    assert run.state == "completed"
    world.events.sync_record(world.actor, world.integration, "companies", LEFT, mine)
    world.quiet()
    assert world.writes() == []
    aside = bindings.aside(world.actor, world.integration)
    assert [(one.side, one.record_id, one.other_id, one.by_name) for one in aside] == [
        (LEFT, mine, twin, "cli"),
        (RIGHT, twin, mine, "cli"),
    ]
    records = RecordService(world.office.db, IntegrationService(world.office.db, world.office.settings))
    page = records.get(world.actor, world.integration, "companies", RIGHT, twin)
    assert page.twin_id is None
    assert page.aside is not None
    assert (page.aside.other_id, page.aside.by_name) == (mine, "cli")


def test_a_record_of_that_name_is_neither_bound_to_it_nor_made_beside_it(
    world: World, bindings: BindingService
) -> None:
    mine, twin = synced(world)
    bindings.unbind(world.actor, world.integration, "companies", RIGHT, twin)
    another = world.company("zylker ")
    run = world.sync()
    assert reasons(world, run.id, "failed") == {(another, "TWIN_SET_ASIDE")}
    world.events.sync_record(world.actor, world.integration, "companies", LEFT, another)
    world.quiet()
    assert world.writes() == []
    assert world.twin(another) is None
    assert world.twin(mine) is None


def test_released_on_both_sides_they_find_each_other_again(world: World, bindings: BindingService) -> None:
    mine, twin = synced(world)
    bindings.unbind(world.actor, world.integration, "companies", LEFT, mine)
    bindings.release(world.actor, world.integration, "companies", RIGHT, twin)
    world.quiet()
    assert world.twin(mine) is None, "the other one is still set aside"
    bindings.release(world.actor, world.integration, "companies", LEFT, mine)
    world.quiet()
    assert world.twin(mine) == twin
    assert bindings.aside(world.actor, world.integration) == []
    world.check_agree()
    with pytest.raises(Refused, match="not set aside"):
        bindings.release(world.actor, world.integration, "companies", LEFT, mine)


@pytest.mark.rule("P5", "P9")
def test_unbinding_in_the_middle_of_a_batch(
    world: World, bindings: BindingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned by the binding is not saved: the record is looked at afresh, and then left alone."""
    mine, twin = synced(world)
    read, go_on = threading.Event(), threading.Event()
    at = points.at

    def halt(point: str) -> None:
        at(point)
        if point == "source.read" and not read.is_set():
            read.set()
            assert go_on.wait(20)

    monkeypatch.setattr(engine_batch, "at", halt)
    world.sandbox.edit(FSM, "Companies", mine, Website="www.new.test")
    world.events.sync_record(world.actor, world.integration, "companies", LEFT, mine)
    assert read.wait(20)
    bindings.unbind(world.actor, world.integration, "companies", LEFT, mine)
    go_on.set()
    world.quiet()
    assert world.twin(mine) is None
    last = world.office.sql("SELECT outcome, reason FROM outcome WHERE record_id = :r ORDER BY id DESC LIMIT 1", r=mine)
    assert last == [{"outcome": "skipped", "reason": "SET_ASIDE"}]
    assert world.books(twin)["contact_name"] == "Zylker"


# Binding by hand.


@pytest.mark.rule("P3")
def test_two_of_different_names_are_bound_by_hand_and_merged(world: World, bindings: BindingService) -> None:
    mine = world.company("Zylker", Website="www.a.test")
    theirs = world.customer("Zylker Ltd", website="")
    world.fetch()
    bindings.bind(world.actor, world.integration, "companies", mine, theirs)
    world.quiet()
    assert world.books(theirs)["website"] == "www.a.test"
    assert world.fsm(mine)["Company_Name"] == world.books(theirs)["contact_name"]
    world.sync()
    world.check_agree()
    assert len(world.sandbox.rows(BOOKS, "contacts")) == 1
    found = bindings.search(world.actor, world.integration)
    assert [(one.left_id, one.right_id, one.bound_by_sync) for one in found] == [(mine, theirs, None)]


def test_a_wrong_twin_is_changed_for_the_right_one(world: World, bindings: BindingService) -> None:
    mine, wrong = synced(world)
    right = world.customer("Zylker Ltd")
    bindings.unbind(world.actor, world.integration, "companies", LEFT, mine)
    bindings.bind(world.actor, world.integration, "companies", mine, right)
    world.quiet()
    run = world.sync()
    assert world.twin(mine) == right
    assert reasons(world, run.id, "skipped") == {(wrong, "SET_ASIDE")}, "the wrong one stays as it is"
    assert [one.record_id for one in bindings.aside(world.actor, world.integration)] == [wrong]
    assert world.books(right)["contact_name"] == world.fsm(mine)["Company_Name"]


def test_what_cannot_be_bound_is_refused_in_a_sentence(world: World, bindings: BindingService) -> None:
    mine, twin = synced(world)
    other = world.customer("Another")
    bindings.bind(world.actor, world.integration, "companies", mine, twin)  # they are: nothing to do
    for left, right in ((mine, other), ("1", twin)):
        with pytest.raises(Refused, match=r"is bound to \d+\. Unbind it first\.") as caught:
            bindings.bind(world.actor, world.integration, "companies", left, right)
        assert caught.value.code == "BOUND_ALREADY"
    world.office.sql(
        "INSERT INTO intent (workspace_id, integration_id, pair, side, record_id, folded_key, batch_id, fence) "
        "VALUES (:w, :i, 'companies', 'right', :r, 'another', 'b', 1)",
        w=world.workspace, i=world.integration, r=other,
    )  # fmt: skip
    with pytest.raises(Refused, match="is being made") as caught:
        bindings.bind(world.actor, world.integration, "companies", "1", other)
    assert caught.value.code == "TWIN_IN_DOUBT"
    assert len(bindings.search(world.actor, world.integration)) == 1
    unknown: list[Callable[[], object]] = [
        lambda: bindings.bind(world.actor, 999, "companies", "1", "2"),
        lambda: bindings.bind(world.actor, world.integration, "people", "1", "2"),
        lambda: bindings.search(world.actor, world.integration, pair="people"),
    ]
    for act in unknown:
        with pytest.raises(NotFound):
            act()
    with pytest.raises(Refused, match="is not bound"):
        bindings.unbind(world.actor, world.integration, "companies", LEFT, other)


# A twin that was deleted.


@pytest.mark.rule("TR-9")
def test_a_deleted_twin_is_made_again_when_a_person_says_so(world: World, bindings: BindingService) -> None:
    mine, twin = synced(world)
    with pytest.raises(Refused, match="its twin exists"):
        bindings.create_again(world.actor, world.integration, "companies", LEFT, mine)
    world.sandbox.delete(BOOKS, "contacts", twin)
    world.sandbox.edit(FSM, "Companies", mine, Website="www.later.test")
    run = world.sync()
    assert reasons(world, run.id, "skipped") == {(mine, "TWIN_DELETED")}
    world.sync()
    assert [row for row in world.writes() if "POST" in row] == []
    found = bindings.search(world.actor, world.integration, state="right_deleted")
    assert [one.left_id for one in found] == [mine]
    bindings.create_again(world.actor, world.integration, "companies", LEFT, mine)
    world.quiet()
    again = world.twin(mine)
    assert again not in (None, twin)
    assert world.books(again or "")["website"] == "www.later.test"
    world.sync()
    world.check_agree()


# Searching, and files.


def test_bindings_are_found_by_name_and_id_page_by_page(world: World, bindings: BindingService) -> None:
    names = ["Acme 100%", "Acme 1000", "acme_x", "Zylker"]
    for name in names:
        world.company(name)
    world.service("Acme service")
    world.fetch()
    world.sync()

    def found(**asked: str | int) -> list[str]:
        return [one.left_name for one in bindings.search(world.actor, world.integration, **asked)]  # type: ignore[arg-type]

    assert sorted(found(search="ACME")) == ["Acme 100%", "Acme 1000", "Acme service", "acme_x"]
    assert found(search="100%") == ["Acme 100%"]
    assert found(search="e_x") == ["acme_x"]
    assert found(search="acme", pair="items") == ["Acme service"]
    one = bindings.search(world.actor, world.integration, search="Zylker")[0]
    assert found(search=one.right_id) == ["Zylker"]
    assert found(state="left_deleted") == []
    pages, after = [], 0
    while page := bindings.search(world.actor, world.integration, after_id=after, limit=2):
        pages.append(len(page))
        after = page[-1].id
    assert pages == [2, 2, 1]


def test_a_file_of_all_bindings_comes_back_as_the_same(world: World, bindings: BindingService) -> None:
    for name in ("=cmd()", "Zylker, Ltd"):
        world.company(name)
    world.fetch()
    world.sync()
    told = "".join(bindings.csv(world.actor, world.integration))
    rows = list(csv.DictReader(io.StringIO(told, newline="")))
    assert tuple(rows[0]) == HEADER
    assert sorted(row["left_name"] for row in rows) == ["'=cmd()", "Zylker, Ltd"]
    again = bindings.import_csv(world.actor, world.integration, told)
    assert (again.bound, again.same, again.refused) == (0, 2, [])


def test_bindings_come_in_by_a_file_and_bad_lines_are_told(world: World, bindings: BindingService) -> None:
    lefts = [world.company(f"Left {n}") for n in range(3)]
    rights = [world.customer(f"Right {n}") for n in range(3)]
    world.fetch()
    lines = [
        "left_record,right_record,modules,note",
        f"{lefts[0]},{rights[0]},companies,",
        f"{lefts[1]},{rights[0]},companies,",
        f"{lefts[1]},,companies,",
        f"{lefts[1]},{rights[1]},people,",
        f"{lefts[2]},{rights[2]},companies,",
    ]
    told = bindings.import_csv(world.actor, world.integration, "\ufeff" + "\r\n".join(lines))
    assert (told.bound, told.same) == (2, 0)
    assert [(one.line, one.code) for one in told.refused] == [(3, "TWICE"), (4, "BAD_ID"), (5, "UNKNOWN_PAIR")]
    world.quiet()
    assert (world.twin(lefts[0]), world.twin(lefts[2])) == (rights[0], rights[2])
    assert world.twin(lefts[1]) is None


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "modules;left_record;right_record\n", 'modules,left_record,right_record\n"x"y,1,2\n']
)
def test_a_file_that_is_none_is_refused_in_a_sentence(world: World, bindings: BindingService, text: str) -> None:
    with pytest.raises(Refused) as caught:
        bindings.import_csv(world.actor, world.integration, text)
    assert caught.value.code == "BAD_CSV"


# Who may, and over REST.


def test_who_may_look_and_who_may_change(world: World, bindings: BindingService) -> None:
    def may(*permissions: Permission) -> Actor:
        return Actor(world.workspace, "Ann", world.actor.kind, frozenset(permissions))

    looks: list[Callable[[Actor], object]] = [
        lambda actor: bindings.search(actor, world.integration),
        lambda actor: bindings.aside(actor, world.integration),
        lambda actor: bindings.csv(actor, world.integration),
    ]
    changes: list[Callable[[Actor], object]] = [
        lambda actor: bindings.bind(actor, world.integration, "companies", "1", "2"),
        lambda actor: bindings.unbind(actor, world.integration, "companies", LEFT, "1"),
        lambda actor: bindings.release(actor, world.integration, "companies", LEFT, "1"),
        lambda actor: bindings.import_csv(actor, world.integration, ",".join(HEADER[:3])),
    ]
    for look in looks:
        with pytest.raises(NotAllowed):
            look(may(Permission.VIEW, Permission.CONFIGURE))
        look(may(Permission.READ_LOGS))
    for change in changes:
        with pytest.raises(NotAllowed):
            change(may(Permission.READ_LOGS, Permission.SYNC))
        change(may(Permission.CONFIGURE))


def test_over_rest(world: World) -> None:
    mine, twin = synced(world)
    base = f"/api/v1/integrations/{world.integration}"
    with serving(world.office.settings, token=token_of(world.office.db)) as http:
        (found,) = http.get(f"{base}/bindings", params={"search": "zyl"}).json()
        assert (found["left_id"], found["right_id"], found["state"]) == (mine, twin, "live")
        answer = http.get(f"{base}/bindings.csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="Bindings-{world.integration}.csv"'
        assert http.delete(f"{base}/records/companies/left/{mine}/binding").json() == {"twin_id": twin}
        again = http.delete(f"{base}/records/companies/left/{mine}/binding")
        assert (again.status_code, again.json()["code"]) == (409, "NOT_BOUND")
        assert [one["record_id"] for one in http.get(f"{base}/aside").json()] == [mine, twin]
        assert http.get(f"{base}/records/companies/left/{mine}").json()["aside"]["other_id"] == twin
        told = http.post(f"{base}/bindings.csv", content=answer.text, headers={"Content-Type": "text/csv"}).json()
        assert told == {"bound": 1, "same": 0, "refused": []}
        new = {"pair": "companies", "left_id": mine, "right_id": twin}
        assert http.post(f"{base}/bindings", json=new).status_code == 204
        refused = http.post(f"{base}/bindings", json={**new, "right_id": "7"})
        assert (refused.status_code, refused.json()["code"]) == (409, "BOUND_ALREADY")
        assert http.post(f"{base}/records/companies/left/{mine}/create-again").json()["code"] == "TWIN_EXISTS"
        assert http.post(f"{base}/records/companies/left/{mine}/release").json()["code"] == "NOT_SET_ASIDE"
        binary = http.post(f"{base}/bindings.csv", content=b"\xff\xfe", headers={"Content-Type": "text/csv"})
        assert binary.status_code == 422
    world.quiet()
