"""Taxes by name and rate (TR-10): written by what the organisation has, none is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest

from shared.connectors._zoho.taxes import TAX, tax_name, tax_text
from shared.connectors.base import Draft, Edit, Rejected, Written
from shared.sync.model import Change, Fields, ModuleName, Record, RecordId
from tests.contract.support import CASES, Sandbox, World, world_of

pytestmark = pytest.mark.rule("TR-10")

FSM, BOOKS = "zoho_fsm", "zoho_books"
COUNTY = "County tax (3.5%)"
ITEMS, SERVICES, COMPANIES = ModuleName("items"), ModuleName("Service_And_Parts"), ModuleName("Companies")
MADE: dict[ModuleName, Fields] = {
    ITEMS: {"name": "Bolt", "rate": Decimal(1)},
    SERVICES: {"Name": "Bolt", "Unit_Price": Decimal(1), "Type": "Service"},
    COMPANIES: {"Company_Name": "Zylker"},
}


@pytest.fixture
def opened(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[World]:
    module: ModuleName = request.param
    if module != ITEMS:
        sandbox.switch(FSM, taxes="us")
    world = world_of(sandbox, next(one for one in CASES if one.module == module))
    with closing(world.connector):
        yield world


each = pytest.mark.parametrize("opened", [ITEMS, SERVICES, COMPANIES], indirect=True)


def module_of(world: World) -> ModuleName:
    return ModuleName(world.case.module)


def made(world: World, tax: str | None) -> Record:
    fields = {**MADE[module_of(world)], TAX: tax, **({} if tax or module_of(world) == ITEMS else {"Tax.Taxable": True})}
    (done,) = world.connector.create(module_of(world), [Draft(fields)])
    assert isinstance(done, Written), done
    found = world.connector.fetch(module_of(world), [RecordId(done.id)])[RecordId(done.id)]
    assert found is not None
    return found


@each
def test_a_record_has_the_tax_that_is_named(opened: World) -> None:
    assert made(opened, COUNTY).get(TAX) == COUNTY


@each
def test_a_record_is_given_another_tax_and_none(sandbox: Sandbox, opened: World) -> None:
    sandbox.control(FSM, "POST", "taxes", {"Tax_Id": "9", "Tax_Name": "State tax", "Tax_Percentage": 7})
    sandbox.control(BOOKS, "POST", "seed", {"taxes": [{"tax_id": "9", "tax_name": "State tax", "tax_percentage": 7}]})
    current = made(opened, COUNTY)
    for tax in ("State tax (7%)", None):
        (done,) = opened.connector.update(module_of(opened), [Edit(current, (Change(TAX, current.get(TAX), tax),))])
        assert isinstance(done, Written), done
        found = opened.connector.fetch(module_of(opened), [current.id])[current.id]
        assert found is not None
        assert found.get(TAX) == tax
        current = found


@each
def test_a_tax_that_is_not_there_is_refused_and_none_is_made(sandbox: Sandbox, opened: World) -> None:
    fields = {**MADE[module_of(opened)], TAX: "Moon tax (1%)"}
    (refused,) = opened.connector.create(module_of(opened), [Draft(fields)])
    assert isinstance(refused, Rejected)
    assert refused.code == "TAX_NOT_MAPPED"
    assert not [call for call in sandbox.calls(BOOKS) + sandbox.calls(FSM) if call["applied"]]
    current = made(opened, COUNTY)
    (refused,) = opened.connector.update(module_of(opened), [Edit(current, (Change(TAX, COUNTY, "Moon tax (1%)"),))])
    assert isinstance(refused, Rejected)
    assert refused.code == "TAX_NOT_MAPPED"


@pytest.mark.parametrize("opened", [ITEMS], indirect=True)
def test_a_tax_of_another_rate_is_another_tax(opened: World) -> None:
    fields = {**MADE[ITEMS], TAX: "County tax (4%)"}
    (refused,) = opened.connector.create(ITEMS, [Draft(fields)])
    assert refused == Rejected("TAX_NOT_MAPPED", "", "County tax (4%)")


@pytest.mark.parametrize("opened", [ITEMS], indirect=True)
def test_a_record_without_a_tax_has_none_and_nothing_is_asked(sandbox: Sandbox, opened: World) -> None:
    assert made(opened, None).get(TAX) is None
    assert [call for call in sandbox.calls(BOOKS) if call["path"].endswith("/taxes")] == []


@pytest.mark.parametrize(
    ("name", "rate", "text"),
    [
        ("VAT", Decimal("20.00"), "VAT (20%)"),
        ("VAT", Decimal("0"), "VAT (0%)"),
        ("VAT", Decimal("100"), "VAT (100%)"),
        ("VAT (reduced)", Decimal("5.5"), "VAT (reduced) (5.5%)"),
        ("VAT", None, "VAT"),
        ("", Decimal(1), None),
    ],
)
def test_a_tax_as_one_text(name: str, rate: Decimal | None, text: str | None) -> None:
    assert tax_text(name, rate) == text
    if text is not None:
        assert tax_name(text) == name
