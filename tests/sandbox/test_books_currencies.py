"""Zoho Books: currencies, exchange rates, and the currency of a contact."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box, refusal

pytestmark = pytest.mark.rule("OP-3")
PATH = "/settings/currencies"
USD, EUR = "460000000000097", "460000000000099"
POUND = {"currency_code": "GBP", "currency_format": "1,234,567.89", "currency_symbol": "£"}


def codes(box: Box, **params: str) -> list[str]:
    return [one["currency_code"] for one in box.books("GET", PATH, params=params).json()["currencies"]]


def add(box: Box, **changes: Any) -> Any:
    return box.books("POST", PATH, {**POUND, **changes})


def test_the_base_currency_is_flagged(box: Box) -> None:
    rows = box.books("GET", PATH).json()["currencies"]
    assert {one["currency_code"]: one["is_base_currency"] for one in rows} == {"USD": True, "EUR": False}


def test_the_list_can_leave_out_the_base_currency(box: Box) -> None:
    assert codes(box, filter_by="Currencies.ExcludeBaseCurrency") == ["EUR"]


def test_a_currency_is_added(box: Box) -> None:
    response = add(box)
    made = response.json()["currency"]
    assert (response.status_code, made["currency_name"]) == (201, "GBP- Pound Sterling")
    assert (made["currency_symbol"], made["price_precision"], made["is_base_currency"]) == ("£", 2, False)
    assert box.books("GET", f"{PATH}/{made['currency_id']}").json()["currency"] == made
    assert codes(box) == ["USD", "EUR", "GBP"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency_code": ""}, 4),
        ({"currency_format": None}, 4),
        ({"currency_code": "pounds"}, 2),
        ({"currency_symbol": "pound"}, 15),
        ({"price_precision": 7}, 2),
        ({"currency_code": "EUR"}, 1000),
    ],
)
def test_currencies_that_cannot_be_added(box: Box, changes: dict[str, Any], code: int) -> None:
    assert refusal(add(box, **changes)) == (400, code)


def test_a_currency_is_changed(box: Box) -> None:
    body = {"currency_code": "EUR", "currency_format": "1.234.567,89", "price_precision": 0}
    assert box.books("PUT", f"{PATH}/{EUR}", body).json()["currency"]["price_precision"] == 0
    assert refusal(box.books("PUT", f"{PATH}/{EUR}", {"currency_code": "EUR"})) == (400, 4)


def test_a_currency_is_deleted(box: Box) -> None:
    assert box.books("DELETE", f"{PATH}/{EUR}").json()["message"] == "The currency has been deleted."
    assert refusal(box.books("GET", f"{PATH}/{EUR}")) == (404, 1002)


def test_the_base_currency_cannot_be_deleted(box: Box) -> None:
    assert box.books("DELETE", f"{PATH}/{USD}").status_code == 400


def test_a_currency_that_a_contact_has_cannot_be_deleted(box: Box) -> None:
    box.make_in_books("contacts", contact_name="A", currency_id=EUR)
    assert box.books("DELETE", f"{PATH}/{EUR}").status_code == 400


def test_currencies_are_seeded(box: Box) -> None:
    box.seed(BOOKS, currencies=[{"currency_id": "7", "currency_code": "JPY", "price_precision": 0}])
    assert codes(box) == ["USD", "EUR", "JPY"]


# Of a contact


def test_a_contact_has_the_base_currency_by_default(box: Box) -> None:
    shown = box.in_books("contacts", box.make_in_books("contacts", contact_name="A"))
    assert (shown["currency_id"], shown["currency_code"]) == (USD, "USD")


def test_a_contact_has_the_currency_given(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A", currency_id=EUR)
    assert box.in_books("contacts", made)["currency_code"] == "EUR"
    assert box.books("GET", "/contacts").json()["contacts"][0]["currency_code"] == "EUR"


def test_an_unknown_currency_is_refused(box: Box) -> None:
    assert refusal(box.books("POST", "/contacts", {"contact_name": "A", "currency_id": "1"})) == (400, 2)


@pytest.mark.parametrize(("has_transaction", "status"), [(False, 200), (True, 400)])
def test_the_currency_stays_after_the_first_transaction(box: Box, has_transaction: bool, status: int) -> None:
    row = {"contact_name": "A", "has_transaction": has_transaction}
    made = box.seed(BOOKS, contacts=[row])["contacts"][0]
    assert box.books("PUT", f"/contacts/{made}", {"currency_id": EUR}).status_code == status
    assert box.books("PUT", f"/contacts/{made}", {"currency_id": EUR if status == 200 else USD}).status_code == 200


def test_with_multi_currency_off_there_is_only_the_base_currency(box: Box) -> None:
    box.capable(BOOKS, multi_currency=False)
    assert codes(box) == ["USD"]
    assert add(box).status_code == 400
    assert refusal(box.books("POST", "/contacts", {"contact_name": "A", "currency_id": EUR})) == (400, 2)
    assert box.books("POST", "/contacts", {"contact_name": "A", "currency_id": USD}).status_code == 201


# Exchange rates


def rates(box: Box, **params: str) -> list[tuple[str, float]]:
    rows = box.books("GET", f"{PATH}/{EUR}/exchangerates", params=params).json()["exchange_rates"]
    return [(one["effective_date"], one["rate"]) for one in rows]


def add_rate(box: Box, date: str, rate: Any) -> Any:
    return box.books("POST", f"{PATH}/{EUR}/exchangerates", {"effective_date": date, "rate": rate})


def test_a_rate_is_added_and_answered_as_a_number(box: Box) -> None:
    response = add_rate(box, "2026-01-01", 1.25)
    assert (response.status_code, response.json()["exchange_rate"]) == (201, 1.25)
    assert rates(box) == [("2026-01-01", 1.25)]


def test_a_currency_shows_the_rate_that_is_in_force(box: Box) -> None:
    for date, rate in (("2025-06-01", 1.5), ("2025-01-01", 1.25), ("2999-01-01", 9)):
        add_rate(box, date, rate)
    shown = box.books("GET", f"{PATH}/{EUR}").json()["currency"]
    assert (shown["exchange_rate"], shown["effective_date"]) == (1.5, "2025-06-01")


def test_rates_are_listed_by_date_from_a_date_on(box: Box) -> None:
    for date in ("2025-06-01", "2025-01-01", "2025-03-01"):
        add_rate(box, date, 2)
    assert [date for date, _ in rates(box)] == ["2025-01-01", "2025-03-01", "2025-06-01"]
    assert [date for date, _ in rates(box, from_date="2025-03-01")] == ["2025-03-01", "2025-06-01"]


def test_a_rate_is_read_changed_and_deleted(box: Box) -> None:
    add_rate(box, "2025-01-01", 2)
    (row,) = box.books("GET", f"{PATH}/{EUR}/exchangerates").json()["exchange_rates"]
    path = f"{PATH}/{EUR}/exchangerates/{row['exchange_rate_id']}"
    assert box.books("PUT", path, {"rate": 3}).json()["exchange_rate"] == 3
    assert box.books("GET", path).json()["exchange_rate"] == 3
    assert box.books("DELETE", path).json()["code"] == 0
    assert refusal(box.books("GET", path)) == (404, 1002)


@pytest.mark.parametrize(
    ("body", "code"), [({}, 4), ({"rate": "x"}, 2), ({"rate": 0}, 2), ({"rate": 1, "effective_date": "1.1.2026"}, 2)]
)
def test_rates_that_cannot_be_added(box: Box, body: dict[str, Any], code: int) -> None:
    assert refusal(box.books("POST", f"{PATH}/{EUR}/exchangerates", body)) == (400, code)


def test_an_unknown_currency_has_no_rates(box: Box) -> None:
    assert refusal(box.books("GET", f"{PATH}/1/exchangerates")) == (404, 1002)
