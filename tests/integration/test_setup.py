"""Set-up step by step (SU-2), on a real database; nothing runs until it is enabled."""

from __future__ import annotations

import pytest

from shared.errors import NotFound, Refused
from shared.integrations.defaults import Line
from shared.services.integrations import IntegrationService
from shared.services.mappings import MappingService
from shared.services.setup import SetupService, SetupView
from shared.sync.model import Policy
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("SU-2", "SU-5", "DU-3")

STEPS = ["policy", "mapping:companies", "mapping:items"]


@pytest.fixture
def setup(world: World) -> SetupService:
    """The world's orgs, and no integration of them."""
    world.office.sql("DELETE FROM integration")
    integrations = IntegrationService(world.office.db, world.office.settings)
    return SetupService(world.office.db, integrations, MappingService(world.office.db))


def begun(world: World, setup: SetupService) -> int:
    world.integration = setup.begin(world.actor, "fsm_books", world.orgs[FSM].org_id, world.orgs[BOOKS].org_id)
    return world.integration


def done(view: SetupView) -> list[str]:
    return [step.key for step in view.steps if step.done]


def test_step_by_step_to_a_sync(world: World, setup: SetupService) -> None:
    number = begun(world, setup)
    view = setup.get(world.actor, number)
    assert (view.state, view.next_step, done(view)) == ("draft", "policy", [])
    assert [step.key for step in view.steps if step.open] == ["policy"]
    assert [(one.key, one.offered) for one in view.sync_types] == [
        ("I", True), ("II", True), ("III", True), ("IV", True),
    ]  # fmt: skip
    setup.choose(world.actor, number, Policy.CLONE, "I")
    setup.confirm_mapping(world.actor, number, "companies")
    view = setup.choose(world.actor, number, Policy.OVERWRITE, "I")
    assert done(view) == STEPS[:2], "a step may be done again, and what followed stays"
    assert setup.confirm_mapping(world.actor, number, "items").next_step is None
    world.company("Zylker")
    view = setup.enable(world.actor, number)
    assert (view.state, view.policy, done(view)) == ("enabled", "overwrite", STEPS)
    world.fetch()
    assert world.sync().state == "completed"
    with pytest.raises(Refused, match="once"):
        setup.enable(world.actor, number)
    with pytest.raises(Refused) as caught:
        setup.choose(world.actor, number, Policy.CLONE, "I")
    assert caught.value.code == "ALREADY_SET_UP"
    acts = [row["action"] for row in world.office.sql("SELECT action FROM audit_log ORDER BY id DESC LIMIT 7")]
    assert acts.count("integration.setup_step_done") == 4
    assert "integration.enabled" in acts


def test_no_step_before_those_ahead_of_it(world: World, setup: SetupService) -> None:
    number = begun(world, setup)
    with pytest.raises(Refused, match="first the duplicates policy") as caught:
        setup.confirm_mapping(world.actor, number, "companies")
    assert caught.value.code == "SETUP_ORDER"
    setup.choose(world.actor, number, Policy.OVERWRITE, "I")
    with pytest.raises(Refused, match="first the mapping of Companies"):
        setup.confirm_mapping(world.actor, number, "items")
    with pytest.raises(Refused, match="cannot be enabled yet"):
        setup.enable(world.actor, number)
    assert setup.get(world.actor, number).state == "draft"


def test_nothing_runs_by_a_draft_and_it_may_be_discarded(world: World, setup: SetupService) -> None:
    number = begun(world, setup)
    with pytest.raises(Refused) as caught:
        world.runs.sync_now(world.actor, number)
    assert caught.value.code == "NOT_ENABLED"
    with pytest.raises(Refused) as caught:
        world.runs.fetch(world.actor, number)
    assert caught.value.code == "NOT_ENABLED"
    setup.discard(world.actor, number)
    with pytest.raises(NotFound):
        setup.get(world.actor, number)
    setup.discard(world.actor, begun(world, setup))


def test_what_cannot_be_chosen_is_refused_in_a_sentence(world: World, setup: SetupService) -> None:
    number = begun(world, setup)
    for policy, sync_type, code in (
        (Policy.SKIP, "I", "POLICY_NOT_AVAILABLE"),
        (Policy.CLONE, "V", "SYNC_TYPE_NOT_AVAILABLE"),
    ):
        with pytest.raises(Refused) as caught:
            setup.choose(world.actor, number, policy, sync_type)
        assert caught.value.code == code
    setup.choose(world.actor, number, Policy.OVERWRITE, "I")
    with pytest.raises(NotFound):
        setup.confirm_mapping(world.actor, number, "people")
    for act in (setup.get, setup.enable, setup.discard):
        with pytest.raises(NotFound):
            act(world.actor, 999)


def test_a_mapping_that_a_vendor_s_change_has_broken_is_not_confirmed(world: World, setup: SetupService) -> None:
    number = begun(world, setup)
    setup.choose(world.actor, number, Policy.OVERWRITE, "I")
    broken = '{"companies": [{"left": "Gone", "right": "contact_name"}]}'
    world.office.sql("UPDATE integration SET mapping = CAST(:m AS jsonb)", m=broken)
    with pytest.raises(Refused, match="cannot be used") as caught:
        setup.confirm_mapping(world.actor, number, "companies")
    assert caught.value.code == "MAPPING_REFUSED"
    lines = [Line(left="Company_Name", right="contact_name")]
    MappingService(world.office.db).save(world.actor, number, "companies", lines)
    assert done(setup.confirm_mapping(world.actor, number, "companies")) == STEPS[:2]


def test_it_waits_for_an_import(world: World, setup: SetupService) -> None:
    number = begun(world, setup)
    world.office.sql(
        "INSERT INTO org_lease (org_id, workspace_id, holder, kind, taken_at, expires_at) "
        "VALUES (:o, :w, 'import:1', 'import', clock_timestamp(), clock_timestamp() + interval '1 hour')",
        o=world.orgs[BOOKS].org_id, w=world.workspace,
    )  # fmt: skip
    with pytest.raises(Refused) as caught:
        setup.choose(world.actor, number, Policy.OVERWRITE, "I")
    assert caught.value.code == "IMPORT_IN_PROGRESS"


def test_over_rest(world: World, setup: SetupService) -> None:
    body = {
        "kind": "fsm_books", "left_org_id": world.orgs[FSM].org_id, "right_org_id": world.orgs[BOOKS].org_id,
    }  # fmt: skip
    with serving(world.office.settings) as http:
        begun = http.post("/api/v1/drafts", json=body)
        assert (begun.status_code, begun.json()["next_step"]) == (201, "policy")
        path = f"/api/v1/integrations/{begun.json()['integration_id']}"
        assert http.get(path).json()["state"] == "draft"
        refused = http.post(f"{path}/setup/enable")
        assert (refused.status_code, refused.json()["code"]) == (409, "SETUP_ORDER")
        http.put(f"{path}/setup/policy", json={"policy": "overwrite", "sync_type": "I"})
        for pair in ("companies", "items"):
            answer = http.post(f"{path}/setup/mappings/{pair}")
        assert answer.json()["next_step"] is None
        assert http.post(f"{path}/setup/enable").json()["state"] == "enabled"
        assert http.get(f"{path}/setup").json()["next_step"] is None
        again = http.delete(f"/api/v1/drafts/{begun.json()['integration_id']}")
        assert (again.status_code, again.json()["code"]) == (409, "ALREADY_SET_UP")
