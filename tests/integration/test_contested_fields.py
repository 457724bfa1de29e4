"""Two integrations that write the same fields of one org (FM-11): two FSM organisations with one of Books."""

from __future__ import annotations

import pytest

from shared.errors import Refused
from shared.integrations.defaults import Line
from shared.services.integrations import IntegrationService
from shared.services.mappings import MappingService
from shared.services.setup import SetupService
from shared.sync.model import FieldFlow, Policy
from tests.callers import token_of
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, World

pytestmark = pytest.mark.rule("FM-11")


@pytest.fixture
def mappings(world: World) -> MappingService:
    return MappingService(world.office.db)


@pytest.fixture
def other(world: World) -> int:
    """A second FSM organisation, in the same Books; a draft."""
    office = world.office
    org = office.sql(
        "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre, settings) "
        "SELECT workspace_id, vendor, 'second', 'South', data_centre, settings FROM org WHERE vendor = 'zoho_fsm' "
        "RETURNING id"
    )[0]["id"]
    columns = (
        "workspace_id, vendor, status, version, data_centre, accounts_server, api_domain, client_id, scopes, "
        "capabilities"
    )
    office.sql(
        f"INSERT INTO connection (org_id, {columns}) SELECT :org, {columns} FROM connection WHERE vendor = 'zoho_fsm'",
        org=org,
    )
    service = IntegrationService(office.db, office.settings)
    return service.create(
        world.actor, "fsm_books", org, world.orgs[BOOKS].org_id, name="South", sync_type="I", draft=True
    )


def lines_of(world: World, mappings: MappingService, integration: int) -> tuple[Line, ...]:
    return mappings.get(world.actor, integration, "companies").lines


def test_saving_shows_the_other_and_asks(world: World, mappings: MappingService, other: int) -> None:
    lines = lines_of(world, mappings, other)
    with pytest.raises(Refused) as refused:
        mappings.save(world.actor, other, "companies", lines)
    assert refused.value.code == "FIELD_CONTESTED"
    assert "writes Display name, Website" in str(refused.value)
    assert "and 9 more too" in str(refused.value)
    assert world.office.value("SELECT mapping FROM integration WHERE id = :id", id=other) == {}
    saved = mappings.save(world.actor, other, "companies", lines, last_change_wins=True)
    assert {one.label for one in saved.contested} >= {"Display name", "Website"}
    assert mappings.save(world.actor, other, "companies", lines), "it is not asked for the same fields again"
    told = world.office.sql("SELECT after FROM audit_log WHERE action = 'integration.mapping_saved'")
    assert "right:website" in told[0]["after"]["contested"]


def test_a_field_that_is_added_later_is_asked_about(world: World, mappings: MappingService, other: int) -> None:
    phone = Line(left="Phone", right="contact_number")
    mappings.save(
        world.actor, other, "companies", [*lines_of(world, mappings, other), phone], last_change_wins=True
    )  # fmt: skip
    world.office.sql("UPDATE integration SET state = 'enabled' WHERE id = :id", id=other)
    lines = lines_of(world, mappings, world.integration)
    mappings.save(world.actor, world.integration, "companies", lines, last_change_wins=True)
    with pytest.raises(Refused, match="South writes Contact number too"):
        mappings.save(world.actor, world.integration, "companies", [*lines, phone])


def test_a_field_that_one_of_them_writes_is_not_shared(world: World, mappings: MappingService, other: int) -> None:
    lines = [
        line.model_copy(update={"flow": FieldFlow.TO_LEFT}) for line in lines_of(world, mappings, other)
    ]  # fmt: skip
    assert mappings.save(world.actor, other, "companies", lines).contested == ()


def test_drafts_and_other_modules_are_not_asked_about(world: World, mappings: MappingService, other: int) -> None:
    lines = lines_of(world, mappings, world.integration)
    assert mappings.save(world.actor, world.integration, "companies", lines).contested == (), "the other is a draft"
    world.office.sql("UPDATE integration SET state = 'enabled' WHERE id = :id", id=other)
    contested = mappings.get(world.actor, world.integration, "items").contested
    assert {one.name for one in contested} == {"name", "rate", "description", "sku", "unit"}, "of items alone"


def test_records_that_only_one_of_them_syncs_are_not_shared(
    world: World, mappings: MappingService, other: int
) -> None:  # fmt: skip
    """Individual customers by the one, business customers by the other."""
    world.office.sql("UPDATE integration SET sync_type = 'II', state = 'enabled' WHERE id = :id", id=other)
    assert mappings.get(world.actor, world.integration, "companies").contested == ()
    world.office.sql("UPDATE integration SET sync_type = 'I' WHERE id = :id", id=other)
    assert mappings.get(world.actor, world.integration, "companies").contested != ()


def test_set_up_asks_too(world: World, mappings: MappingService, other: int) -> None:
    office = world.office
    setup = SetupService(office.db, IntegrationService(office.db, office.settings), mappings)
    setup.choose(world.actor, other, Policy.OVERWRITE, "I")
    with pytest.raises(Refused) as refused:
        setup.confirm_mapping(world.actor, other, "companies")
    assert refused.value.code == "FIELD_CONTESTED"
    view = setup.confirm_mapping(world.actor, other, "companies", last_change_wins=True)
    assert view.next_step == "mapping:items"


def test_over_rest(world: World, mappings: MappingService, other: int) -> None:
    body = {"lines": [one.model_dump(mode="json") for one in lines_of(world, mappings, other)]}
    path = f"/api/v1/integrations/{other}/mappings/companies"
    with serving(world.office.settings) as http:
        http.headers["Authorization"] = f"Bearer {token_of(world.office.db)}"
        asked = http.put(path, json=body)
        assert (asked.status_code, asked.json()["code"]) == (409, "FIELD_CONTESTED")
        agreed = http.put(path, json={**body, "last_change_wins": True})
        assert agreed.status_code == 200
        assert agreed.json()["contested"][0]["others"] == [
            world.office.value("SELECT name FROM integration WHERE id = 1")
        ]
        assert http.delete(path).status_code == 200, "the same fields"
