"""Currencies (TR-10): FSM is given those that it lacks, with a rate of one; Books is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import pytest

from shared.connectors.base import Capabilities, Draft, Edit, Rejected, WriteResult, Written
from shared.connectors.zoho_books import lists
from shared.errors import RetryableError
from shared.sync.model import Change, ModuleName, RecordId
from tests.contract.support import CASES, Sandbox, World, world_of

pytestmark = pytest.mark.rule("TR-10")

FSM, BOOKS = "zoho_fsm", "zoho_books"
COMPANIES, CONTACTS = ModuleName("Companies"), ModuleName("contacts")
CURRENCIES = "/fsm/v1/org/currencies"


@pytest.fixture
def books(sandbox: Sandbox) -> Iterator[World]:
    world = world_of(sandbox, next(one for one in CASES if one.module == CONTACTS))
    with closing(world.connector):
        yield world


@pytest.fixture
def fsm(sandbox: Sandbox) -> Iterator[World]:
    """Where currencies can be added by API, and we were told so."""
    sandbox.switch(FSM, multi_currency=True, currencies_api=True)
    plain = world_of(sandbox, next(one for one in CASES if one.module == COMPANIES))
    plain.connector.close()
    link = replace(plain.link, capabilities=Capabilities({"currencies_api": True}))
    world = replace(plain, link=link, connector=plain.vendor.connect(link))
    with closing(world.connector):
        yield world


def customer(world: World, name: str, code: str | None) -> WriteResult:
    fields = {"contact_name": name, "contact_type": "customer", "currency_code": code}
    return world.connector.create(CONTACTS, [Draft(fields)])[0]


def company(world: World, name: str, code: str | None) -> WriteResult:
    return world.connector.create(COMPANIES, [Draft({"Company_Name": name, "Currency": code})])[0]


def codes(sandbox: Sandbox) -> dict[str, Decimal]:
    rows = sandbox.control(FSM, "GET", "currencies")["currencies"]
    return {one["iso_code"]: Decimal(one["exchange_rate"]) for one in rows}


def asked(sandbox: Sandbox, vendor: str, path: str) -> list[str]:
    return [call["method"] for call in sandbox.calls(vendor) if call["path"].endswith(path)]


# Books


def test_a_customer_has_the_currency_that_is_named_by_its_code(sandbox: Sandbox, books: World) -> None:
    made = [customer(books, name, "EUR") for name in ("A", "B")]
    assert all(isinstance(one, Written) and one.record and one.record.get("currency_code") == "EUR" for one in made)
    assert {row["currency_code"] for row in sandbox.rows(BOOKS, "contacts")} == {"EUR"}
    assert asked(sandbox, BOOKS, "/settings/currencies") == ["GET"], "once for all of them"


def test_a_customer_without_one_has_the_base_currency_and_nothing_is_asked(sandbox: Sandbox, books: World) -> None:
    assert isinstance(customer(books, "A", None), Written)
    assert [row["currency_code"] for row in sandbox.rows(BOOKS, "contacts")] == ["USD"]
    assert asked(sandbox, BOOKS, "/settings/currencies") == []


def test_a_currency_that_books_lacks_is_not_made_and_its_record_is_refused(
    sandbox: Sandbox, books: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert customer(books, "A", "CHF") == Rejected("CURRENCY_MISSING", "", "CHF")
    assert customer(books, "B", "CHF") == Rejected("CURRENCY_MISSING", "", "CHF")
    assert asked(sandbox, BOOKS, "/settings/currencies") == ["GET"], "not for each of them"
    assert sandbox.rows(BOOKS, "contacts") == []
    franc = {"currency_code": "CHF", "currency_format": "1,234,567.89"}
    sandbox.control(BOOKS, "POST", "seed", {"currencies": [franc]})
    monkeypatch.setattr(lists, "LOOK_AGAIN_S", 0.0)
    assert isinstance(customer(books, "A", "CHF"), Written), "a person has added it"


def test_a_customer_changes_its_currency(sandbox: Sandbox, books: World) -> None:
    made = customer(books, "A", None)
    assert isinstance(made, Written)
    assert made.record is not None
    edit = Edit(made.record, (Change("currency_code", "USD", "EUR"),))
    (done,) = books.connector.update(CONTACTS, [edit])
    assert isinstance(done, Written)
    assert [row["currency_code"] for row in sandbox.rows(BOOKS, "contacts")] == ["EUR"]
    refused = Edit(made.record, (Change("currency_code", "USD", "CHF"), Change("notes", None, "x")))
    assert books.connector.update(CONTACTS, [refused]) == (Rejected("CURRENCY_MISSING", "", "CHF"),)
    assert [row["notes"] for row in sandbox.rows(BOOKS, "contacts")] == [""]


# FSM


def test_a_currency_that_fsm_lacks_is_added_once_with_a_rate_of_one(sandbox: Sandbox, fsm: World) -> None:
    assert all(isinstance(company(fsm, name, "EUR"), Written) for name in ("A", "B"))
    assert codes(sandbox) == {"USD": 1, "EUR": 1}
    assert asked(sandbox, FSM, CURRENCIES) == ["GET", "POST"]
    rows = sandbox.rows(FSM, "Companies")
    assert [(row["Currency"], row["Exchange_Rate"]) for row in rows] == [("EUR", 1)] * 2


def test_a_rate_that_a_person_gave_stays(sandbox: Sandbox, fsm: World) -> None:
    made = company(fsm, "A", "EUR")
    assert isinstance(made, Written)
    sandbox.control(FSM, "POST", "currencies", {"iso_code": "EUR", "exchange_rate": "1.25"})
    sandbox.edit(FSM, "Companies", made.id, Exchange_Rate=1.25)
    current = fsm.connector.fetch(COMPANIES, [RecordId(made.id)])[RecordId(made.id)]
    assert current is not None
    (done,) = fsm.connector.update(COMPANIES, [Edit(current, (Change("Website", None, "www.a.test"),))])
    assert isinstance(done, Written)
    assert isinstance(company(fsm, "B", "EUR"), Written)
    assert codes(sandbox)["EUR"] == Decimal("1.25")
    assert [Decimal(str(row["Exchange_Rate"])) for row in sandbox.rows(FSM, "Companies")] == [Decimal("1.25"), 1]


def test_a_company_is_given_a_currency_that_is_added_for_it(sandbox: Sandbox, fsm: World) -> None:
    made = company(fsm, "A", "USD")
    assert isinstance(made, Written)
    current = fsm.connector.fetch(COMPANIES, [RecordId(made.id)])[RecordId(made.id)]
    assert current is not None
    (done,) = fsm.connector.update(COMPANIES, [Edit(current, (Change("Currency", "USD", "GBP"),))])
    assert isinstance(done, Written)
    assert [row["Currency"] for row in sandbox.rows(FSM, "Companies")] == ["GBP"]


def test_an_inactive_one_cannot_be_added_and_its_record_is_refused(sandbox: Sandbox, fsm: World) -> None:
    sandbox.control(FSM, "POST", "currencies", {"iso_code": "EUR", "is_active": False})
    refused = company(fsm, "A", "EUR")
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.vendor_message) == ("CURRENCY_MISSING", "EUR")
    assert sandbox.rows(FSM, "Companies") == []


def test_when_it_is_not_known_whether_it_was_added_the_record_comes_again(sandbox: Sandbox, fsm: World) -> None:
    sandbox.fault(FSM, "reply_lost", match={"method": "POST", "path": "org/currencies"}, count=1)
    with pytest.raises(RetryableError):
        company(fsm, "A", "EUR")
    assert sandbox.rows(FSM, "Companies") == []
    assert isinstance(company(fsm, "A", "EUR"), Written)
    assert codes(sandbox) == {"USD": 1, "EUR": 1}


def test_without_a_way_to_add_it_the_vendor_s_refusal_names_it(sandbox: Sandbox, fsm: World) -> None:
    link = replace(fsm.link, capabilities=Capabilities())
    with closing(fsm.vendor.connect(link)) as connector:
        refused = company(replace(fsm, connector=connector), "A", "EUR")
    assert isinstance(refused, Rejected)
    assert refused.code == "CURRENCY_MISSING"
    assert codes(sandbox) == {"USD": 1}
