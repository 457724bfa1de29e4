"""Zoho FSM: what the organisation's currencies, taxes and custom fields ask of a record."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import FSM, Box, fault_of

pytestmark = pytest.mark.rule("OP-3")
ACME = {"Company_Name": "Acme"}
RUSH = {"Last_Name": "Rush", "Email": "l@x.test"}
FAN = {"Name": "Fan", "Unit_Price": 10, "Type": "Service"}
FIELDS: dict[str, dict[str, Any]] = {"Companies": ACME, "Contacts": RUSH, "Service_And_Parts": FAN}
every = pytest.mark.parametrize("module", list(FIELDS))
EURO = {"iso_code": "EUR", "name": "Euro - EUR", "symbol": "€", "exchange_rate": "1.25"}


def create(box: Box, module: str, **more: Any) -> Any:
    return box.fsm("POST", f"/{module}", {"data": [{**FIELDS[module], **more}]})


# Currencies


def test_without_multi_currency_a_currency_is_no_field(box: Box) -> None:
    made = box.make("Companies", **ACME, Currency="EUR", Exchange_Rate=2)
    shown = box.in_fsm("Companies", made)
    assert (shown["Currency"], shown["Exchange_Rate"]) == ("USD", 1)


@pytest.mark.parametrize("left_out", ["Currency", "Exchange_Rate"])
def test_with_multi_currency_a_company_needs_currency_and_rate(box: Box, left_out: str) -> None:
    box.capable(FSM, multi_currency=True)
    given = {name: value for name, value in (("Currency", "USD"), ("Exchange_Rate", 1)) if name != left_out}
    assert fault_of(create(box, "Companies", **given)) == (400, "INVALID_DATA", left_out)
    made = box.make("Companies", **ACME, Currency="USD", Exchange_Rate=1)
    assert box.change("Companies", made, Phone="1").status_code == 200
    assert fault_of(box.change("Companies", made, **{left_out: None})) == (400, "INVALID_DATA", left_out)


def test_a_company_has_one_of_the_organisation_s_currencies(box: Box) -> None:
    box.capable(FSM, multi_currency=True)
    given = {"Currency": "EUR", "Exchange_Rate": 1.25}
    assert fault_of(create(box, "Companies", **given)) == (400, "INVALID_DATA", "Currency")
    box.control(FSM, "POST", "currencies", [EURO])
    shown = box.in_fsm("Companies", box.make("Companies", **ACME, **given))
    assert (shown["Currency"], shown["Exchange_Rate"]) == ("EUR", 1.25)
    box.control(FSM, "POST", "currencies", [{"iso_code": "EUR", "is_active": False}])
    assert fault_of(create(box, "Companies", **given)) == (400, "INVALID_DATA", "Currency")


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_above_zero(box: Box, rate: int) -> None:
    box.capable(FSM, multi_currency=True)
    assert fault_of(create(box, "Companies", Currency="USD", Exchange_Rate=rate))[2] == "Exchange_Rate"


def test_a_contact_needs_no_currency(box: Box) -> None:
    box.capable(FSM, multi_currency=True)
    assert create(box, "Contacts").status_code == 201
    assert fault_of(create(box, "Contacts", Currency="EUR"))[2] == "Currency"


def test_the_currencies_are_no_call_unless_by_capability(box: Box) -> None:
    box.capable(FSM, multi_currency=True)
    assert fault_of(box.fsm("GET", "/org/currencies"))[:2] == (404, "INVALID_URL_PATTERN")
    assert box.fsm("POST", "/org/currencies", {"currencies": [EURO]}).status_code == 404


def test_by_capability_a_currency_is_added_and_changed(box: Box) -> None:
    box.capable(FSM, multi_currency=True, currencies_api=True)
    response = box.fsm("POST", "/org/currencies", {"currencies": [EURO]})
    done = response.json()["currencies"][0]
    assert (response.status_code, done["code"]) == (201, "SUCCESS")
    path = f"/org/currencies/{done['details']['id']}"
    assert box.fsm("PUT", path, {"currencies": [{"exchange_rate": "1.5"}]}).status_code == 200
    (read,) = box.fsm("GET", path).json()["currencies"]
    assert (read["iso_code"], read["exchange_rate"], read["is_base"]) == ("EUR", "1.5", False)
    listed = box.fsm("GET", "/org/currencies").json()["currencies"]
    assert [(one["iso_code"], one["is_base"]) for one in listed] == [("USD", True), ("EUR", False)]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"iso_code": ""}, "INVALID_DATA", "iso_code"),
        ({"iso_code": "euro"}, "INVALID_DATA", "iso_code"),
        ({"iso_code": "USD"}, "DUPLICATE_DATA", "iso_code"),
        ({"exchange_rate": "0"}, "INVALID_DATA", "exchange_rate"),
        ({"symbol": None}, "INVALID_DATA", "symbol"),
    ],
)
def test_currencies_that_cannot_be_added(box: Box, changes: dict[str, Any], code: str, field: str) -> None:
    box.capable(FSM, multi_currency=True, currencies_api=True)
    response = box.fsm("POST", "/org/currencies", {"currencies": [{**EURO, **changes}]})
    assert fault_of(response) == (400, code, field)


def test_the_base_currency_stays_active_and_a_code_stays(box: Box) -> None:
    box.capable(FSM, multi_currency=True, currencies_api=True)
    (base,) = box.fsm("GET", "/org/currencies").json()["currencies"]
    for change in ({"is_active": False}, {"iso_code": "EUR"}):
        assert box.fsm("PUT", f"/org/currencies/{base['id']}", {"currencies": [change]}).status_code == 400


def test_without_multi_currency_there_are_none_to_add(box: Box) -> None:
    box.capable(FSM, currencies_api=True)
    assert fault_of(box.fsm("GET", "/org/currencies"))[:2] == (400, "CURRENCIES_NOT_ENABLED")


# Taxes

TAX: dict[str, dict[str, Any]] = {
    "us": {"Taxable": True, "Tax_Name": "County tax"},
    "in": {"GST_Treatment": "business_gst", "Place_of_Supply": "TN"},
    "uk": {"VAT_Treatment": "uk"},
}


@every
def test_with_taxes_off_a_record_needs_none(box: Box, module: str) -> None:
    assert create(box, module).status_code == 201


@pytest.mark.parametrize("module", ["Companies", "Contacts"])
@pytest.mark.parametrize(
    ("edition", "field"),
    [("us", "Taxable"), ("in", "GST_Treatment"), ("in", "Place_of_Supply"), ("uk", "VAT_Treatment")],
)
def test_what_a_tax_edition_asks_of_companies_and_contacts(box: Box, module: str, edition: str, field: str) -> None:
    box.capable(FSM, taxes=edition)
    short = {name: value for name, value in TAX[edition].items() if name != field}
    response = create(box, module, Tax=short)
    assert fault_of(response) == (400, "INVALID_DATA", field)
    assert response.json()["details"]["parent_api_name"] == "Tax"
    assert create(box, module, Tax=TAX[edition]).status_code == 201
    assert create(box, module, **TAX[edition]).status_code == 201


@pytest.mark.parametrize(
    ("edition", "tax", "field"),
    [
        ("us", {"Taxable": True}, "Taxable"),
        ("in", {"Inter_State_Tax_Rate": "1", "Intra_State_Tax_Rate": "2"}, "Inter_State_Tax_Rate"),
        ("in", {"Inter_State_Tax_Rate": "1", "Intra_State_Tax_Rate": "2"}, "Intra_State_Tax_Rate"),
    ],
)
def test_what_a_tax_edition_asks_of_items(box: Box, edition: str, tax: dict[str, Any], field: str) -> None:
    box.capable(FSM, taxes=edition)
    short = {name: value for name, value in tax.items() if name != field}
    assert fault_of(create(box, "Service_And_Parts", Tax=short)) == (400, "INVALID_DATA", field)
    assert create(box, "Service_And_Parts", Tax=tax).status_code == 201


def test_id_and_percentage_follow_from_the_name_of_a_tax(box: Box) -> None:
    box.capable(FSM, taxes="us")
    tax = box.in_fsm("Companies", box.make("Companies", **ACME, Tax=TAX["us"]))["Tax"]
    assert (tax["Tax_Id"], tax["Tax_Percentage"]) == ("2908070000000135005", 3.5)


@pytest.mark.parametrize(("key", "value"), [("Tax_Name", "None such"), ("Tax_Id", "1")])
def test_an_unknown_tax_is_refused(box: Box, key: str, value: str) -> None:
    box.capable(FSM, taxes="us")
    response = create(box, "Companies", Tax={"Taxable": True, key: value})
    assert fault_of(response) == (400, "INVALID_DATA", key)


def test_taxes_are_seeded(box: Box) -> None:
    box.capable(FSM, taxes="us")
    box.control(FSM, "POST", "taxes", [{"Tax_Id": "7", "Tax_Name": "City", "Tax_Percentage": 1.25}])
    made = box.make("Companies", **ACME, Tax={"Taxable": True, "Tax_Id": "7"})
    assert box.in_fsm("Companies", made)["Tax"]["Tax_Name"] == "City"


def test_what_is_not_taxable_says_why_and_has_no_tax(box: Box) -> None:
    box.capable(FSM, taxes="us")
    made = box.make("Companies", **ACME, Tax=TAX["us"])
    assert fault_of(box.change("Companies", made, Tax={"Taxable": False}))[2] == "Tax_Exemption_Code"
    box.change("Companies", made, Tax={"Taxable": False, "Tax_Exemption_Code": "RESELLER"})
    tax = box.in_fsm("Companies", made)["Tax"]
    assert (tax["Tax_Name"], tax["Tax_Exemption_Code"]) == (None, "RESELLER")


# Custom fields


def define(box: Box, module: str = "Companies", **field: Any) -> None:
    box.control(FSM, "POST", "custom_fields", {module: [{"api_name": "Gate__C", **field}]})


@every
def test_a_defined_field_is_in_every_row(box: Box, module: str) -> None:
    define(box, module)
    made = box.make(module, **FIELDS[module])
    assert box.in_fsm(module, made)["Gate__C"] is None
    assert box.fsm("GET", f"/{module}").json()["data"][0]["Gate__C"] is None
    box.change(module, made, Gate__C="north")
    assert box.in_fsm(module, made)["Gate__C"] == "north"


def test_once_fields_are_defined_others_are_dropped(box: Box) -> None:
    define(box)
    made = box.make("Companies", **ACME, Gate__C="north", Other__C="x")
    shown = box.in_fsm("Companies", made)
    assert (shown["Gate__C"], "Other__C" in shown) == ("north", False)


@pytest.mark.parametrize(
    ("data_type", "good", "bad"),
    [
        ("text", "x", 1), ("integer", 7, 7.5), ("double", 7.5, "7.5"), ("boolean", True, "true"),
        ("date", "2026-02-28", "28.02.2026"), ("datetime", "2026-02-28T10:00:00-08:00", "2026-02-28"),
        ("picklist", "red", "green"),
    ],
)  # fmt: skip
def test_what_a_type_takes_and_refuses(box: Box, data_type: str, good: Any, bad: Any) -> None:
    define(box, data_type=data_type, values=["red"])
    made = box.make("Companies", **ACME, Gate__C=good)
    assert box.in_fsm("Companies", made)["Gate__C"] == good
    assert fault_of(box.change("Companies", made, Gate__C=bad)) == (400, "INVALID_DATA", "Gate__C")
    assert box.change("Companies", made, Gate__C=None).status_code == 200


def test_a_text_has_its_length(box: Box) -> None:
    define(box, length=5)
    response = create(box, "Companies", Gate__C="x" * 6)
    assert response.json()["details"] == {"maximum_length": 5, "api_name": "Gate__C", "parent_api_name": None}


def test_a_mandatory_field_is_filled_and_not_emptied(box: Box) -> None:
    define(box, mandatory=True)
    assert fault_of(create(box, "Companies")) == (400, "INVALID_DATA", "Gate__C")
    made = box.make("Companies", **ACME, Gate__C="north")
    assert box.change("Companies", made, Phone="1").status_code == 200
    assert fault_of(box.change("Companies", made, Gate__C="")) == (400, "INVALID_DATA", "Gate__C")


def test_by_capability_the_fields_of_a_module_are_described(box: Box) -> None:
    box.capable(FSM, fields_api=True)
    define(box, label="Gate", data_type="picklist", values=["north"], mandatory=True, personal=True)
    rows = box.fsm("GET", "/settings/fields", params={"module": "Companies"}).json()["fields"]
    fields = {row["api_name"]: row for row in rows}
    name, gate = fields["Company_Name"], fields["Gate__C"]
    assert (name["system_mandatory"], name["custom_field"], name["length"], name["private"]) == (True, False, 255, None)
    assert (gate["data_type"], gate["system_mandatory"], gate["custom_field"]) == ("picklist", True, True)
    assert (gate["field_label"], gate["private"]["type"]) == ("Gate", "Low")
    assert [one["actual_value"] for one in gate["pick_list_values"]] == ["north"]


def test_a_lookup_and_a_list_of_values_are_described(box: Box) -> None:
    box.capable(FSM, fields_api=True)
    rows = box.fsm("GET", "/settings/fields", params={"module": "Contacts"}).json()["fields"]
    (lookup,) = [row for row in rows if row["api_name"] == "Company"]
    assert (lookup["data_type"], lookup["lookup"]["module"]["api_name"]) == ("lookup", "Companies")
    rows = box.fsm("GET", "/settings/fields", params={"module": "Service_And_Parts"}).json()["fields"]
    (kind,) = [row for row in rows if row["api_name"] == "Type"]
    assert [one["actual_value"] for one in kind["pick_list_values"]] == ["Service", "Goods"]


def test_the_fields_of_no_module_are_refused(box: Box) -> None:
    box.capable(FSM, fields_api=True)
    assert fault_of(box.fsm("GET", "/settings/fields", params={"module": "Nothing"}))[:2] == (400, "INVALID_MODULE")
