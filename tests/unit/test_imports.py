"""Headers to fields, rows to records: the pure half of a data import."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.connectors.base import Capabilities
from shared.connectors.registry import get_vendor, vendor_names
from shared.errors import Refused
from shared.sync.imports import (
    LOOKED_UP,
    Column,
    Drafted,
    ImportKind,
    ImportTarget,
    Unfit,
    columns_as_json,
    columns_of,
    draft_of,
    match_headers,
    named_columns,
    to_change,
    to_create,
)
from shared.sync.model import Change, FieldDef, FieldKind, ModuleName, Record, RecordId

pytestmark = pytest.mark.rule("LK-5")

FIELDS = {
    one.name: one
    for one in (
        FieldDef("contact_name", label="Display name", required=True, max_length=10),
        FieldDef("e_mail", label="E-mail"),
        FieldDef("first_name", label="First name"),
        FieldDef("rate", FieldKind.NUMBER, "Rate", decimals=2),
        FieldDef("kind", FieldKind.PICKLIST, "Kind", picklist=("Goods", "Service")),
        FieldDef("taxable", FieldKind.BOOLEAN, "Taxable"),
        FieldDef("born", FieldKind.DATE, "Born"),
        FieldDef("note", label="Note", bmp_only=True),
        FieldDef("status", label="Status", read_only=True),
        FieldDef("health", label="Health", pii=True),
        FieldDef("type", label="Type"),
        FieldDef("city_a", label="City"),
        FieldDef("city_b", label="City"),
    )
}
TARGET = ImportTarget(
    ModuleName("contacts"),
    "e_mail",
    constants={"type": "customer"},
    scope={"type": "customer"},
    composed={"contact_name": ("first_name",)},
)


def matched(*headers: str, **named: str) -> tuple[Column, ...]:
    return match_headers(TARGET, FIELDS, headers, named)


def refused(*headers: str, **named: str) -> str:
    with pytest.raises(Refused) as caught:
        matched(*headers, **named)
    assert caught.value.code == "BAD_COLUMNS"
    return str(caught.value)


def test_headers_are_names_or_labels_in_whatever_case_and_spacing() -> None:
    found = matched("DISPLAY  NAME", "email", " first-name ", "Rate", "Bothways what to do")
    assert [one.field for one in found] == ["contact_name", "e_mail", "first_name", "rate", None]
    assert columns_of(columns_as_json(found)) == found


def test_other_headers_are_named() -> None:
    found = matched("Mail", "Stadt", **{"mail": "E-mail", "Stadt": "city_b"})
    assert [one.field for one in found] == ["e_mail", "city_b"]


def test_nothing_is_dropped_in_silence() -> None:
    headers = ("e_mail", "Shoe size", "City", "Status", "Health", "type", "", "E-Mail", "Bothways\0")
    said = refused(*headers, **{"Gone": "rate"})
    for part in ("'Shoe size' is no field", "several fields (city_a, city_b)", "'Status' is a field that only",
                 "'Health' is a field that is marked as private", "'type' is a field that follows", "Column 7 has no",
                 "another column is for already", "There is no column 'Gone'", "column 9 holds a control"):  # fmt: skip
        assert part in said


def test_the_match_key_must_be_there() -> None:
    assert "match key is missing: E-mail (e_mail)" in refused("Display name")


def test_columns_on_the_command_line() -> None:
    assert named_columns(["a=b=c", " x = y"]) == {"a=b": "c", "x": "y"}
    for bad in ("a", "=b", "a=", "a= "):
        with pytest.raises(Refused):
            named_columns([bad])


def drafted(headers: tuple[str, ...], *cells: str) -> Drafted | Unfit:
    return draft_of(TARGET, matched(*headers), FIELDS, cells, 50)


ALL = ("e_mail", "contact_name", "rate", "kind", "taxable", "born", "note")


def test_cells_become_values_of_their_fields() -> None:
    found = drafted(ALL, " Ann@A.test ", "Ann", "1.50", "goods", "Yes", "2020-02-29", "x\ny")
    assert found == Drafted(
        {
            "e_mail": "Ann@A.test",
            "contact_name": "Ann",
            "rate": Decimal("1.50"),
            "kind": "Goods",
            "taxable": True,
            "born": "2020-02-29",
            "note": "x\ny",
        },
        "ann@a.test",
    )


@pytest.mark.parametrize(
    ("cells", "detail"),
    [
        ({"rate": "1,50"}, "rate (not a number)"),
        ({"rate": "1.505"}, "rate (too many digits)"),
        ({"rate": "1e9"}, "rate (not a number)"),
        ({"kind": "Part"}, "kind (none of Goods, Service)"),
        ({"taxable": "maybe"}, "taxable (neither true nor false)"),
        ({"born": "29.2.2020"}, "born (not a date)"),
        ({"contact_name": "A name of many letters"}, "contact_name (longer than 10 characters)"),
        ({"note": "smile 😀"}, "note (a character that the vendor cannot hold)"),
        ({"note": "a\0b"}, "note (a control character)"),
        ({"note": "n" * 51}, "note (longer than 50 characters)"),
        ({"rate": "x", "born": "2020-02-30"}, "rate (not a number), born ("),
    ],
)
def test_a_bad_cell_names_its_column_and_never_its_value(cells: dict[str, str], detail: str) -> None:
    row = {"e_mail": "a@a.test", **cells}
    found = drafted(ALL, *(row.get(name, "") for name in ALL))
    assert isinstance(found, Unfit)
    assert found.code == "BAD_CELL"
    assert found.detail.startswith(detail)
    assert not any(value in found.detail for value in cells.values() if len(value) > 4)


def test_a_row_has_a_cell_for_each_column() -> None:
    assert drafted(("e_mail", "rate"), "a@a.test") == Unfit("UNREADABLE_ROW", "it has 1 cells, the header has 2")
    assert isinstance(drafted(("e_mail", "rate"), "a@a.test", "1", "x"), Unfit)
    assert isinstance(drafted(("e_mail", "rate"), "a@a.test", "1", " "), Drafted)


def test_a_key_fits_into_an_index() -> None:
    columns = matched("e_mail")
    assert isinstance(draft_of(TARGET, columns, FIELDS, ("😀" * 500,), 1000), Drafted)
    too_long = Unfit("BAD_CELL", "E-mail (longer than 500 characters)")
    assert draft_of(TARGET, columns, FIELDS, ("ß" * 251,), 1000) == too_long, "by what is compared"


def test_a_row_without_its_key_names_it() -> None:
    assert drafted(("e_mail", "rate"), " ", "1") == Unfit("NO_KEY", "E-mail")


def test_a_name_is_composed_where_the_file_has_none() -> None:
    found = drafted(("e_mail", "first_name"), "a@a.test", "Ann")
    assert isinstance(found, Drafted)
    assert to_create(TARGET, FIELDS, found, None) == {
        "contact_name": "Ann", "e_mail": "a@a.test", "first_name": "Ann", "type": "customer",
    }  # fmt: skip
    current = Record(
        RecordId("1"), {"contact_name": "Old", "e_mail": "a@a.test", "first_name": "A", "type": "customer"}
    )
    assert to_change(TARGET, found, current, None) == (Change("first_name", "A", "Ann"),)


def test_what_is_mandatory_is_asked_of_new_records_alone() -> None:
    found = drafted(("e_mail", "rate"), "a@a.test", "2.0")
    assert isinstance(found, Drafted)
    assert to_create(TARGET, FIELDS, found, None) == Unfit("MANDATORY_FIELD_EMPTY", "Display name")
    current = Record(RecordId("1"), {"e_mail": "a@a.test", "rate": Decimal(2), "type": "customer"})
    assert to_change(TARGET, found, current, None) == ()


def test_a_record_of_another_type_is_not_changed() -> None:
    found = drafted(("e_mail",), "a@a.test")
    assert isinstance(found, Drafted)
    assert to_change(TARGET, found, Record(RecordId("1"), {"type": "vendor"}), None) == Unfit("WRONG_TYPE")
    thin = Record(RecordId("1"), {}, complete=False)
    assert TARGET.covers(thin), "what a list does not show is not held against it"


def test_a_link_is_written_on_create_and_never_changed() -> None:
    fsm = get_vendor("zoho_fsm").facts(Capabilities())
    target, fields = fsm.imports[ImportKind.CONTACTS], fsm.modules[fsm.imports[ImportKind.CONTACTS].module].fields
    columns = match_headers(target, fields, ("E-mail", "Last name", "Firma"), {"Firma": "company"})
    assert [one.field for one in columns] == ["Email", "Last_Name", LOOKED_UP]
    found = draft_of(target, columns, fields, ("a@a.test", "Lee", " Acme LTD"), 100)
    assert isinstance(found, Drafted)
    assert found.lookup == "acme ltd"
    made = to_create(target, fields, found, "7")
    assert not isinstance(made, Unfit)
    assert made["Company.id"] == "7"
    there = Record(RecordId("1"), {"Email": "a@a.test", "Last_Name": "Lee", "Company.id": "8"})
    assert to_change(target, found, there, "7") == Unfit("LINK_CANNOT_CHANGE", "Company")
    assert to_change(target, found, there, "8") == ()


@pytest.mark.parametrize("vendor", vendor_names())
def test_what_a_vendor_declares_is_in_its_modules(vendor: str) -> None:
    facts = get_vendor(vendor).facts(Capabilities())
    assert set(facts.imports) == set(ImportKind)
    for target in facts.imports.values():
        module = facts.modules[target.module]
        assert module.inside is None
        assert not module.fields[target.key].read_only
        assert {*target.composed, *(name for parts in target.composed.values() for name in parts)} <= set(module.fields)
        assert set(target.scope) <= set(module.fields)
        if target.lookup is not None:
            assert target.lookup.field in module.fields
            assert target.lookup.name in facts.modules[target.lookup.module].fields
