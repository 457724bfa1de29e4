"""What a person tells of an org, over REST: capabilities, custom fields, personal fields."""

from __future__ import annotations

import httpx
import pytest

from shared.errors import NotFound, Refused
from shared.integrations.defaults import Line
from shared.services.mappings import MappingService
from shared.services.org_settings import OrgSettingsService
from shared.sync.mapping import ProblemCode
from tests.integration.test_connections_rest import http as http
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("FM-2", "FM-7", "OP-3")


@pytest.fixture
def settings_of(world: World) -> OrgSettingsService:
    return OrgSettingsService(world.office.db, world.office.connections)


REGION = {"name": "Region__C", "label": "Region", "max_length": 40}


def put(http: httpx.Client, path: str, body: object) -> httpx.Response:
    return http.put(f"/api/v1/connections/{path}", json=body)


def test_a_capability_is_set_and_taken_back(world: World, http: httpx.Client) -> None:
    number = world.orgs[FSM].connection_id
    before = http.get(f"/api/v1/connections/{number}").json()["capabilities"]
    answer = put(http, f"{number}/capabilities", {"capabilities": {"inactive_writable": True, "create_batch": 50}})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {**before, "inactive_writable": True, "create_batch": 50}
    changed_at = world.office.value("SELECT updated_at FROM connection WHERE id = :id", id=number)
    connector = world.office.ports.connectors.get(number, changed_at)
    assert {one.state_field for one in connector.facts.modules.values() if one.creates} == {"$inactive"}, (
        "workers open it anew"
    )
    assert put(http, f"{number}/capabilities", {"capabilities": {"create_batch": None}}).json() == {
        **before, "inactive_writable": True,
    }  # fmt: skip
    assert world.office.value("SELECT settings->'limits' FROM org WHERE vendor = 'zoho_fsm'") == {"per_minute": False}


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"flying": True}, "UNKNOWN_CAPABILITY"),
        ({"duplicate_contact_names": True}, "UNKNOWN_CAPABILITY"),
        ({"create_batch": True}, "WRONG_KIND"),
        ({"inactive_writable": 1}, "WRONG_KIND"),
        ({"item_update_path": 3}, "WRONG_KIND"),
    ],
)
def test_a_wrong_one_is_refused_in_a_sentence(
    world: World, http: httpx.Client, wanted: dict[str, object], code: str
) -> None:
    answer = put(http, f"{world.orgs[FSM].connection_id}/capabilities", {"capabilities": wanted})
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert world.office.value("SELECT settings ? 'capabilities' FROM org WHERE vendor = 'zoho_fsm'") is False


def test_custom_fields_are_mapped_and_synced_both_ways(world: World, http: httpx.Client) -> None:
    """FSM's are told by a person, for its call is closed; those of Books come with the probe."""
    world.sandbox.control(BOOKS, "POST", "custom_fields", {"contact": [{"label": "Region", "api_name": "cf_region"}]})
    fsm, books = world.orgs[FSM].connection_id, world.orgs[BOOKS].connection_id
    told = put(http, f"{fsm}/fields/Companies/custom", {"fields": [REGION]})
    assert told.status_code == 200, told.text
    http.post(f"/api/v1/connections/{books}/probe")
    fields = http.get(f"/api/v1/connections/{books}/fields").json()["contacts"]
    assert [one["name"] for one in fields if one["custom"]] == ["cf_region"]
    lines = [Line(left="Company_Name", right="contact_name"), Line(left="Region__C", right="cf_region")]
    MappingService(world.office.db).save(world.actor, world.integration, "companies", lines)
    mine = world.company("Zylker", Region__C="North")
    world.fetch()
    world.sync()
    theirs = world.twin(mine) or ""
    assert world.books(theirs)["custom_field_hash"] == {"cf_region": "North"}
    world.sandbox.edit(BOOKS, "contacts", theirs, custom_field_hash={"cf_region": "South"})
    world.sync()
    assert world.fsm(mine)["Region__C"] == "South"
    world.forget_calls()
    world.sync()
    assert world.writes() == []


def test_a_personal_field_is_offered_to_nobody(world: World, http: httpx.Client) -> None:
    number = world.orgs[FSM].connection_id
    mappings = MappingService(world.office.db)
    answer = put(http, f"{number}/fields/Companies/private", {"names": ["Website"]})
    assert [one["name"] for one in answer.json() if one["pii"]] == ["Website"]
    view = mappings.get(world.actor, world.integration, "companies")
    assert "Website" not in {one.name for one in view.left_fields}
    assert ProblemCode.PII in {one.code for one in view.problems}, "the default mapping names it"
    with pytest.raises(Refused, match="personal or health data"):
        mappings.save(world.actor, world.integration, "companies", None)
    assert put(http, f"{number}/fields/Companies/private", {"names": []}).status_code == 200
    assert not mappings.get(world.actor, world.integration, "companies").problems


def test_what_is_marked_after_it_was_mapped_is_carried_no_more(world: World, http: httpx.Client) -> None:
    number = world.orgs[FSM].connection_id
    mine = world.company("Zylker", Website="www.old.test")
    world.fetch()
    world.sync()
    theirs = world.twin(mine) or ""
    put(http, f"{number}/fields/Companies/private", {"names": ["Website"]})
    world.sandbox.edit(FSM, "Companies", mine, Website="www.secret.test", Service_Address={"City": "Pune"})
    world.sync()
    now = world.books(theirs)
    assert (now["website"], now["shipping_address"]["city"]) == ("www.old.test", "Pune")
    other = world.company("Kanary", Website="www.secret.test")
    world.sync()
    assert world.books(world.twin(other) or "")["website"] == ""


def test_what_is_not_there_and_what_is_twice(world: World, settings_of: OrgSettingsService, http: httpx.Client) -> None:
    number = world.orgs[FSM].connection_id
    for path, body, status in (
        ("fields/Nothing/custom", {"fields": []}, 404),
        ("fields/Nothing/private", {"names": []}, 404),
        ("fields/Companies/private", {"names": ["Nothing"]}, 404),
        ("fields/Companies/custom", {"fields": [REGION, REGION]}, 409),
        ("fields/Companies/custom", {"fields": [{**REGION, "name": "Website"}]}, 409),
        ("fields/Companies/custom", {"fields": [{**REGION, "kind": "money"}]}, 422),
        ("capabilities", {"capabilities": {"create_batch": 1.5}}, 422),
    ):
        answer = put(http, f"{number}/{path}", body)
        assert (answer.status_code, bool(answer.json()["message"])) == (status, True), (path, answer.text)
    with pytest.raises(NotFound):
        settings_of.fields(world.actor, 99)


@pytest.mark.rule("SU-7", "P3")
def test_helper_fields_are_made_once_and_used(world: World, http: httpx.Client) -> None:
    world.sandbox.switch(BOOKS, custom_field_upsert=True)
    path = f"/api/v1/connections/{world.orgs[BOOKS].connection_id}"
    assert {one["name"] for one in http.get(f"{path}/helpers").json()} == {""}
    for _ in range(2):
        made = http.post(f"{path}/helpers").json()
        assert {(one["module"], one["name"]) for one in made} == {
            ("contacts", "cf_bothways_id"), ("items", "cf_bothways_id"),
        }  # fmt: skip
    asked = [call for call in world.sandbox.calls(BOOKS) if call["method"] == "POST" and "fields" in call["path"]]
    assert len(asked) == 2
    assert http.get(path).json()["capabilities"]["upsert_field"] == "cf_bothways_id"
    assert http.get(f"/api/v1/connections/{world.orgs[FSM].connection_id}/helpers").json() == []

    mine = world.company("Zylker")
    world.fetch()
    world.forget_calls()
    world.sandbox.fault(BOOKS, "reply_lost", match={"method": "PUT"}, count=1)
    world.sync()
    world.quiet()
    assert {call["method"] for call in world.calls(write=True)} == {"PUT"}
    assert [row["custom_field_hash"] for row in world.sandbox.rows(BOOKS, "contacts")] == [{"cf_bothways_id": mine}]
    assert world.twin(mine)
