"""Setting up webhooks (SU-8): made by API where the vendor lets us, and awaited before they count as live."""

from __future__ import annotations

import json

import pytest

from shared.errors import Refused
from shared.services import events
from tests.integration.crew import await_that
from tests.integration.test_doors import BODIES, Door, door
from tests.integration.world import BOOKS, FSM, Json

__all__ = ["door"]
pytestmark = pytest.mark.rule("SU-8")


def view(door: Door, vendor: str) -> Json:
    found = door.http.get(f"/api/v1/connections/{door.world.orgs[vendor].connection_id}")
    assert found.status_code == 200
    answer: Json = found.json()
    return answer


def create(door: Door, vendor: str) -> None:
    connection = door.world.orgs[vendor].connection_id
    door.world.office.connections.make_webhooks(door.world.actor, connection, str(door.http.base_url).rstrip("/"))


def made(door: Door) -> tuple[list[Json], list[Json]]:
    """The webhooks and the workflows that Books has of ours."""
    rows = door.world.sandbox.control(BOOKS, "GET", "state")["modules"]["webhooks"]
    return [one for one in rows if "webhook_name" in one], [one for one in rows if "workflow_name" in one]


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_a_connection_is_live_once_a_delivery_came_with_the_secret_in_force(door: Door, vendor: str) -> None:
    assert view(door, vendor)["webhook_live_at"] is None
    door.deliver(vendor, BODIES[vendor], secret="of somebody else")
    assert view(door, vendor)["webhook_live_at"] is None
    assert door.deliver(vendor, BODIES[vendor]).status_code == 200
    first = view(door, vendor)["webhook_live_at"]
    assert first is not None
    assert door.deliver(vendor, BODIES[vendor]).status_code == 200
    assert view(door, vendor)["webhook_live_at"] == first, "the first is told"


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_a_new_secret_is_awaited_anew_and_the_one_before_does_not_count(door: Door, vendor: str) -> None:
    before = door.secret(vendor)
    connection = door.world.orgs[vendor].connection_id
    door.world.office.connections.rotate_webhook_secret(door.world.actor, connection)
    assert door.deliver(vendor, BODIES[vendor], secret=before).status_code == 200, "it is good still"
    assert view(door, vendor)["webhook_live_at"] is None
    assert door.deliver(vendor, BODIES[vendor]).status_code == 200
    assert view(door, vendor)["webhook_live_at"] is not None
    door.world.office.connections.rotate_webhook_secret(door.world.actor, connection)
    assert view(door, vendor)["webhook_live_at"] is None


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
def test_a_door_that_does_not_know_of_the_new_secret_yet_notes_nothing(
    door: Door, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "CACHE_S", 600.0)
    before = door.secret(vendor)
    door.deliver(vendor, BODIES[vendor], secret="of somebody else")  # the door has looked now
    connection = door.world.orgs[vendor].connection_id
    door.world.office.connections.rotate_webhook_secret(door.world.actor, connection)
    assert door.deliver(vendor, BODIES[vendor], secret=before).status_code == 200
    assert view(door, vendor)["webhook_live_at"] is None


def test_webhooks_are_made_at_books_and_tell_of_every_change(door: Door) -> None:
    create(door, BOOKS)
    customer = door.world.customer("Zylker")
    item = door.world.item("Bolt")
    for module, record, fields in (
        ("contacts", customer, {"website": "www.a.test"}), ("items", item, {"rate": 12}),
    ):  # fmt: skip
        door.world.sandbox.edit(BOOKS, module, record, **fields)
    await_that(lambda: len(door.entries()) == 2, "both are told of")
    assert {(event.pair, event.record_id) for event in door.entries()} == {("companies", customer), ("items", item)}
    assert view(door, BOOKS)["webhook_live_at"] is not None


def test_making_them_again_replaces_them_with_the_secret_in_force(door: Door) -> None:
    create(door, BOOKS)
    first = made(door)
    connection = door.world.orgs[BOOKS].connection_id
    secret = door.world.office.connections.rotate_webhook_secret(door.world.actor, connection).secret
    create(door, BOOKS)
    webhooks, workflows = made(door)
    assert (len(webhooks), len(workflows)) == (2, 2)
    assert {one["webhook_id"] for one in webhooks}.isdisjoint(one["webhook_id"] for one in first[0])
    assert {one["secret"] for one in webhooks} == {secret.get_secret_value()}
    assert {one["actions"][0]["action_id"] for one in workflows} == {one["webhook_id"] for one in webhooks}


def test_what_a_broken_try_left_behind_goes_with_the_next(door: Door) -> None:
    door.world.sandbox.fault(BOOKS, "reply_lost", match={"method": "POST", "path": "workflows"}, count=1)
    connection = door.world.orgs[BOOKS].connection_id
    answer = door.http.post(f"/api/v1/connections/{connection}/webhook/create")
    assert (answer.status_code, answer.json()["code"]) == (502, "IN_DOUBT")
    assert [len(one) for one in made(door)] == [1, 1]
    create(door, BOOKS)
    assert [len(one) for one in made(door)] == [2, 2]


def test_fsm_takes_none_by_api_and_the_steps_are_told(door: Door) -> None:
    with pytest.raises(Refused) as refused:
        create(door, FSM)
    assert (refused.value.code, "the steps are shown" in str(refused.value)) == ("WEBHOOKS_BY_HAND", True)
    connection = door.world.orgs[FSM].connection_id
    answer = door.http.post(f"/api/v1/connections/{connection}/webhook/create")
    assert (answer.status_code, answer.json()["code"]) == (409, "WEBHOOKS_BY_HAND")
    assert door.http.post(f"/api/v1/connections/{connection}/webhook").json()["steps"]


def test_the_secret_is_in_no_answer_but_the_one_that_shows_it(door: Door) -> None:
    connection = door.world.orgs[BOOKS].connection_id
    answer = door.http.post(f"/api/v1/connections/{connection}/webhook/create")
    assert answer.status_code == 200
    assert door.secret(BOOKS) not in answer.text
    assert door.secret(BOOKS) not in json.dumps(view(door, BOOKS))
