"""Currencies and taxes (TR-10), where they are mapped: FSM is given currencies that it lacks; nothing else is made."""

from __future__ import annotations

import pytest

from shared.connectors.zoho_books import lists
from shared.errors import Refused
from shared.integrations.defaults import Line
from shared.services.mappings import MappingService
from shared.services.org_settings import OrgSettingsService
from shared.sync.model import Side
from tests.integration.world import BOOKS, FSM, Json, World

pytestmark = pytest.mark.rule("TR-10")
EUR = "460000000000099"


@pytest.fixture
def mapped(world: World) -> World:
    """Both organisations have multi-currency, and FSM's currencies can be added by API."""
    world.sandbox.switch(FSM, multi_currency=True, currencies_api=True)
    settings = OrgSettingsService(world.office.db, world.office.connections)
    settings.set_capabilities(world.actor, world.orgs[FSM].connection_id, {"currencies_api": True})
    mappings = MappingService(world.office.db)
    lines = [*mappings.get(world.actor, world.integration, "companies").lines, CURRENCY]
    mappings.save(world.actor, world.integration, "companies", lines)
    return world


CURRENCY = Line(left="Currency", right="currency_code")


def rates(world: World) -> dict[str, str]:
    rows: list[Json] = world.sandbox.control(FSM, "GET", "currencies")["currencies"]
    return {one["iso_code"]: str(one["exchange_rate"]) for one in rows}


def test_a_customer_s_currency_is_added_to_fsm_and_its_rate_is_left_alone(mapped: World) -> None:
    mapped.customer("Zylker", currency_id=EUR)
    mapped.customer("Acme")
    mapped.fetch()
    mapped.sync()
    assert {row["Company_Name"]: row["Currency"] for row in mapped.sandbox.rows(FSM, "Companies")} == {
        "Zylker": "EUR", "Acme": "USD",
    }  # fmt: skip
    assert rates(mapped) == {"USD": "1", "EUR": "1"}
    company = mapped.seed_of("Zylker")
    mapped.sandbox.edit(FSM, "Companies", company, Exchange_Rate=1.25, Website="www.a.test")
    mapped.sync()
    assert mapped.fsm(company)["Exchange_Rate"] == 1.25
    assert mapped.books(mapped.twin(company) or "")["website"] == "www.a.test"
    mapped.forget_calls()
    mapped.sync()
    assert mapped.writes() == []


def test_a_company_in_a_currency_that_books_lacks_fails_until_it_is_there(
    mapped: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped.sandbox.control(FSM, "POST", "currencies", {"iso_code": "CHF"})
    mapped.company("Zylker", Currency="CHF", Exchange_Rate=1)
    mapped.company("Acme", Currency="EUR", Exchange_Rate=1)
    mapped.fetch()
    run = mapped.sync()
    failed = [(one["reason"], one["detail"]) for one in mapped.outcomes(run.id, "failed")]
    assert failed == [("CURRENCY_MISSING", "CHF")]
    assert [(row["contact_name"], row["currency_code"]) for row in mapped.sandbox.rows(BOOKS, "contacts")] == [
        ("Acme", "EUR")
    ]
    franc = {"currency_code": "CHF", "currency_format": "1,234,567.89"}
    mapped.sandbox.control(BOOKS, "POST", "seed", {"currencies": [franc]})
    monkeypatch.setattr(lists, "LOOK_AGAIN_S", 0.0)
    mapped.sync()
    found = {row["contact_name"]: row["currency_code"] for row in mapped.sandbox.rows(BOOKS, "contacts")}
    assert found == {"Zylker": "CHF", "Acme": "EUR"}


def test_without_a_way_to_add_it_the_customer_fails_with_what_to_do(mapped: World) -> None:
    settings = OrgSettingsService(mapped.office.db, mapped.office.connections)
    settings.set_capabilities(mapped.actor, mapped.orgs[FSM].connection_id, {"currencies_api": None})
    mapped.customer("Zylker", currency_id=EUR)
    mapped.fetch()
    (failed,) = mapped.outcomes(mapped.sync().id, "failed")
    assert failed["reason"] == "CURRENCY_MISSING"
    assert "Add the currency there" in failed["remedy"]
    assert rates(mapped) == {"USD": "1"}
    mapped.sandbox.control(FSM, "POST", "currencies", {"iso_code": "EUR", "exchange_rate": "1.1"})
    mapped.sync()
    assert [row["Currency"] for row in mapped.sandbox.rows(FSM, "Companies")] == ["EUR"]


# Base currencies that differ


@pytest.fixture
def differing(world: World) -> World:
    """Bound items and a run; then it becomes known that FSM reckons in euro."""
    world.service("Bolt")
    world.fetch()
    world.sync()
    world.office.connections.probe(world.actor, world.orgs[BOOKS].connection_id)
    known = OrgSettingsService(world.office.db, world.office.connections)
    assert known.capabilities(world.actor, world.orgs[BOOKS].connection_id)["base_currency"] == "USD"
    known.set_capabilities(world.actor, world.orgs[FSM].connection_id, {"base_currency": "EUR"})
    world.forget_calls()
    return world


def test_between_two_base_currencies_no_price_is_carried_and_a_run_says_so(differing: World) -> None:
    service = str(differing.sandbox.rows(FSM, "Service_And_Parts")[0]["id"])
    differing.sandbox.edit(FSM, "Service_And_Parts", service, Unit_Price=99)
    run = differing.runs.sync_now(differing.actor, differing.integration)
    differing.office.crew.until(lambda: differing.runs.get(differing.actor, run).ended, "the run ends")
    view = differing.runs.get(differing.actor, run)
    assert (view.state, view.error_code) == ("failed", "BASE_CURRENCIES_DIFFER")
    assert "Unit price is in EUR and Rate in USD" in (view.error_detail or "")
    differing.events.sync_record(differing.actor, differing.integration, "items", Side.LEFT, service)
    differing.quiet()
    assert differing.writes() == []


def test_without_the_prices_the_mapping_is_saved_and_the_rest_is_synced(differing: World) -> None:
    mappings = MappingService(differing.office.db)
    lines = mappings.get(differing.actor, differing.integration, "items").lines
    with pytest.raises(Refused, match="prices may not be mapped"):
        mappings.save(differing.actor, differing.integration, "items", lines)
    mappings.save(differing.actor, differing.integration, "items", [one for one in lines if one.right != "rate"])
    service = str(differing.sandbox.rows(FSM, "Service_And_Parts")[0]["id"])
    differing.sandbox.edit(FSM, "Service_And_Parts", service, Unit_Price=99, Description="Long")
    differing.sync()
    (item,) = differing.sandbox.rows(BOOKS, "items")
    assert (item["rate"], item["description"]) == (10.5, "Long")


# Taxes


COUNTY = "County tax (3.5%)"


@pytest.fixture
def taxed(world: World) -> World:
    """Items' taxes are mapped, FSM's "Local (3.5%)" to Books' "County tax"."""
    world.sandbox.control(FSM, "POST", "taxes", {"Tax_Id": "8", "Tax_Name": "Local", "Tax_Percentage": 3.5})
    world.sandbox.control(FSM, "POST", "taxes", {"Tax_Id": "9", "Tax_Name": "State tax", "Tax_Percentage": 7})
    world.sandbox.switch(FSM, taxes="us")
    mappings = MappingService(world.office.db)
    tax = Line(left="$tax", right="$tax", table=(("Local (3.5%)", COUNTY),))
    lines = [*mappings.get(world.actor, world.integration, "items").lines, tax]
    mappings.save(world.actor, world.integration, "items", lines)
    return world


def test_taxes_are_carried_by_the_table_and_one_that_is_not_in_it_fails(taxed: World) -> None:
    taxed.service("Bolt", Tax={"Taxable": True, "Tax_Name": "Local", "Tax_Percentage": 3.5})
    taxed.service("Nut", Tax={"Taxable": True, "Tax_Name": "State tax", "Tax_Percentage": 7})
    taxed.fetch()
    run = taxed.sync()
    assert {row["name"]: row["tax_name"] for row in taxed.sandbox.rows(BOOKS, "items")} == {"Bolt": "County tax"}
    failed = [(one["reason"], one["detail"]) for one in taxed.outcomes(run.id, "failed")]
    assert failed == [("TAX_NOT_MAPPED", "Tax (name and rate)")]
    assert len([one for one in taxed.sandbox.calls(BOOKS) if one["method"] == "POST" and "taxes" in one["path"]]) == 0
    taxed.forget_calls()
    taxed.sync()
    assert taxed.writes() == []


def test_an_item_s_tax_goes_back_by_the_same_table(taxed: World) -> None:
    taxed.item("Bolt", tax_id="460000000566009", tax_name="County tax", tax_percentage=3.5)
    taxed.fetch()
    taxed.sync()
    (service,) = taxed.sandbox.rows(FSM, "Service_And_Parts")
    assert service["Tax"]["Tax_Name"] == "Local"


def test_without_a_table_taxes_of_one_name_and_rate_are_one(world: World) -> None:
    world.sandbox.switch(FSM, taxes="us")
    mappings = MappingService(world.office.db)
    lines = [*mappings.get(world.actor, world.integration, "items").lines, Line(left="$tax", right="$tax")]
    mappings.save(world.actor, world.integration, "items", lines)
    world.item("Bolt", tax_id="460000000566009", tax_name="County tax", tax_percentage=3.5)
    world.sandbox.control(BOOKS, "POST", "seed", {"taxes": [{"tax_id": "9", "tax_name": "Moon", "tax_percentage": 1}]})
    world.item("Nut", tax_id="9", tax_name="Moon", tax_percentage=1)
    world.fetch()
    (failed,) = world.outcomes(world.sync().id, "failed")
    assert failed["reason"] == "TAX_NOT_MAPPED"
    assert {row["Name"]: row["Tax"]["Tax_Name"] for row in world.sandbox.rows(FSM, "Service_And_Parts")} == {
        "Bolt": "County tax"
    }
