"""The duplicates policy Clone (DU-3, DU-4): matches get records of their own in Books, and what was there stays."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from shared.engine.pusher import Pusher
from shared.engine.work import Work
from shared.lease import Leases
from shared.services.bindings import BindingService
from shared.services.runs import RunView
from shared.sync.model import Policy, Side
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("DU-3", "DU-4")


@pytest.fixture
def clones(world: World) -> World:
    """Books allows several contacts of one name, and the org's settings say so."""
    world.sandbox.switch(BOOKS, duplicate_contact_names=True)
    told = json.dumps({"limits": {"per_minute": False}, "capabilities": {"duplicate_contact_names": True}})
    world.office.sql("UPDATE org SET settings = CAST(:told AS jsonb) WHERE vendor = :v", told=told, v=BOOKS)
    world.office.sql("UPDATE connection SET updated_at = now()")
    world.office.sql("UPDATE integration SET policy = :p", p=Policy.CLONE.value)
    return world


def named(world: World, name: str) -> list[str]:
    return [str(row["contact_id"]) for row in world.sandbox.rows(BOOKS, "contacts") if row["contact_name"] == name]


def reasons(world: World, run: RunView, outcome: str) -> set[tuple[str, str]]:
    return {(row["record_id"], row["reason"]) for row in world.outcomes(run.id, outcome)}


def test_a_match_gets_a_record_of_its_own_and_the_original_is_left_alone(clones: World) -> None:
    world = clones
    mine = world.company("Zylker", Website="www.fsm.test")
    original = world.customer("Zylker", website="www.books.test")
    alone = world.company("Alone")
    fetched = world.fetch()
    assert fetched.report["companies"] == {
        "bound": 0, "create_left": 0, "create_right": 1, "ambiguous_left": 0, "ambiguous_right": 0, "clone": 1,
    }  # fmt: skip
    assert world.office.value("SELECT count(*) FROM binding") == 0
    assert world.writes() == []
    run = world.sync()
    twin = world.twin(mine)
    assert twin not in (None, original)
    assert sorted(named(world, "Zylker")) == sorted([original, twin or ""])
    assert world.books(twin or "")["website"] == "www.fsm.test"
    assert world.books(original)["website"] == "www.books.test"
    assert world.fsm(mine)["Website"] == "www.fsm.test"
    assert world.twin(alone) is not None
    assert reasons(world, run, "created") == {(mine, ""), (alone, "")}
    assert reasons(world, run, "skipped") == {(original, "KEPT_BY_CLONE")}
    assert len(world.sandbox.rows(FSM, "Companies")) == 2, "the original is not pushed back"


@pytest.mark.rule("DU-7", "P3")
def test_afterwards_the_clone_is_the_twin_and_the_original_is_never_matched(clones: World) -> None:
    world = clones
    mine = world.company("Zylker", Website="www.fsm.test")
    original = world.customer("Zylker", website="www.books.test")
    world.fetch()
    world.sync()
    twin = world.twin(mine) or ""
    world.forget_calls()
    world.sandbox.edit(BOOKS, "contacts", original, website="www.original.test")
    world.sandbox.edit(BOOKS, "contacts", twin, website="www.clone.test")
    run = world.sync()
    assert world.fsm(mine)["Website"] == "www.clone.test"
    assert reasons(world, run, "skipped") == {(original, "KEPT_BY_CLONE")}
    world.fetch()
    world.sync()
    assert world.twin(mine) == twin
    assert len(named(world, "Zylker")) == 2
    world.events.sync_record(world.actor, world.integration, "companies", Side.RIGHT, original)
    world.quiet()
    assert len(world.sandbox.rows(FSM, "Companies")) == 1
    bindings = BindingService(world.office.db, Leases(world.office.settings))
    (kept,) = bindings.aside(world.actor, world.integration)
    assert (kept.record_id, kept.why, kept.other_id) == (original, "kept_by_clone", mine)


def test_by_webhook_too(clones: World) -> None:
    world = clones
    world.fetch()
    original = world.customer("Zylker")
    world.events.sync_record(world.actor, world.integration, "companies", Side.RIGHT, original)
    world.quiet()
    mine = world.twin(original)
    assert mine is not None, "alone it is created in FSM as ever"
    second = world.customer("Zylker")
    run = world.sync()
    assert reasons(world, run, "failed") == {(second, "TWIN_TAKEN")}
    other = world.customer("Acme")
    company = world.company("Acme")
    for side, record in ((Side.RIGHT, other), (Side.LEFT, company)):
        world.events.sync_record(world.actor, world.integration, "companies", side, record)
        world.quiet()
    assert world.twin(company) not in (None, other)
    assert world.twin(other) is None


@pytest.mark.rule("P3")
def test_a_clone_whose_answer_was_lost_is_found_again_and_the_original_is_not_taken_for_it(clones: World) -> None:
    world = clones
    mine = world.company("Zylker", Website="www.fsm.test")
    original = world.customer("Zylker", website="www.books.test")
    world.fetch()
    world.sandbox.fault(BOOKS, "reply_lost", match={"method": "POST", "path": r"/contacts$"})
    world.sync()
    assert any(call["fault"] for call in world.calls())
    twin = world.twin(mine)
    assert twin not in (None, original)
    assert sorted(named(world, "Zylker")) == sorted([original, twin or ""])
    assert world.books(original)["website"] == "www.books.test"


@pytest.mark.rule("P3")
def test_a_worker_that_dies_after_the_intent_has_the_original_set_aside_already(
    clones: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = clones
    mine = world.company("Zylker")
    original = world.customer("Zylker")
    world.fetch()
    seen: list[int] = []
    create = Pusher._create_chunk

    def watched(self: Pusher, side: Side, chunk: Sequence[Work]) -> None:
        seen.append(world.office.value("SELECT count(*) FROM aside WHERE record_id = :r", r=original))
        create(self, side, chunk)

    monkeypatch.setattr(Pusher, "_create_chunk", watched)
    world.sync()
    assert seen == [1]
    assert world.twin(mine) not in (None, original)


def test_where_books_allows_no_duplicates_the_record_fails_with_that_reason(world: World) -> None:
    world.office.sql("UPDATE integration SET policy = :p", p=Policy.CLONE.value)
    mine = world.company("Zylker")
    original = world.customer("Zylker")
    item = world.service("Pump")
    world.item("Pump")
    world.fetch()
    run = world.sync()
    assert reasons(world, run, "failed") == {(mine, "DUPLICATES_NOT_ALLOWED"), (item, "DUPLICATES_NOT_ALLOWED")}
    assert world.writes() == []
    assert world.twin(original) is None
    assert world.office.value("SELECT count(*) FROM aside") == 0


def test_the_policy_is_chosen_with_the_integration(world: World) -> None:
    world.office.sql("DELETE FROM integration")
    orgs = {side: world.orgs[vendor].org_id for side, vendor in ((Side.LEFT, FSM), (Side.RIGHT, BOOKS))}
    body = {"kind": "fsm_books", "left_org_id": orgs[Side.LEFT], "right_org_id": orgs[Side.RIGHT]}
    with serving(world.office.settings) as http:
        refused = http.post("/api/v1/integrations", json={**body, "policy": "skip"})
        assert (refused.status_code, refused.json()["code"]) == (409, "POLICY_NOT_AVAILABLE")
        made = http.post("/api/v1/integrations", json={**body, "policy": "clone"})
        assert (made.status_code, made.json()["policy"]) == (201, "clone")
