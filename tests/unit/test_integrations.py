"""The declarations of the integrations, against the connectors' own field definitions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import shared.integrations
from shared.connectors.base import Capabilities, ModuleFacts
from shared.connectors.zoho_books import modules as books
from shared.connectors.zoho_fsm import modules as fsm
from shared.errors import NotFound
from shared.integrations.defaults import Line
from shared.integrations.registry import integration, integrations
from shared.sync.mapping import ProblemCode, forward
from shared.sync.model import ActionKind, Family, FieldPair, ModuleName, Pair, Policy, Record, RecordId, Side
from shared.sync.plan import in_scope, plan

FB = integration("fsm_books")


def _facts(name: str, side: Side) -> ModuleFacts:
    module: ModuleName = FB.declaration(name).module(side)
    if side is Side.LEFT:
        return fsm.module_facts(fsm.MODULES[module], Capabilities())
    return books.module_facts(books.MODULES[module], Capabilities())


def _pair(name: str, *more: FieldPair, sync_type: str | None = None) -> Pair:
    left, right = _facts(name, Side.LEFT).fields, _facts(name, Side.RIGHT).fields
    return FB.pair(name, left, right, (*FB.declaration(name).defaults, *more) if more else None, sync_type)


@pytest.mark.rule("SU-5")
def test_fb_is_found_by_its_folder() -> None:
    assert list(integrations()) == ["fsm_books"]
    assert (FB.left, FB.right, FB.tie_side) == (("zoho_fsm",), ("zoho_books", "zoho_invoice"), Side.RIGHT)
    assert (FB.vendors(Side.LEFT), FB.vendors(Side.RIGHT)) == (FB.left, FB.right)
    assert [declared.name for declared in FB.pairs] == ["companies", "contact_persons", "contacts", "items"]
    assert FB.policies == (Policy.OVERWRITE, Policy.CLONE)
    with pytest.raises(NotFound):
        integration("fsm_moon")
    with pytest.raises(NotFound):
        FB.declaration("moons")


def test_a_folder_that_declares_nothing_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty_one").mkdir()
    (tmp_path / "empty_one" / "__init__.py").write_text("")
    monkeypatch.setattr(shared.integrations, "__path__", [*shared.integrations.__path__, str(tmp_path)])
    with pytest.raises(TypeError, match="empty_one"):
        integrations.__wrapped__()
    sys.modules.pop("shared.integrations.empty_one", None)


@pytest.mark.rule("FM-1", "FM-2", "FM-5")
@pytest.mark.parametrize("name", [declared.name for declared in FB.pairs])
def test_the_default_mapping_may_be_saved_as_it_is(name: str) -> None:
    assert [p for p in FB.check(_pair(name)) if p.code is not ProblemCode.TABLE_VALUE] == []


@pytest.mark.rule("FM-5")
@pytest.mark.parametrize("name", ["companies", "contacts"])
def test_both_addresses_are_mapped(name: str) -> None:
    mapped = {fp.left: fp.right for fp in FB.declaration(name).defaults}
    for left, right in (("Service_Address", "shipping_address"), ("Billing_Address", "billing_address")):
        group = {l.split(".")[1]: r for l, r in mapped.items() if l.startswith(left)}  # noqa: E741
        assert group == {
            "Street_1": f"{right}.address",
            "Street_2": f"{right}.street2",
            "City": f"{right}.city",
            "State": f"{right}.state",
            "Zip_Code": f"{right}.zip",
            "Country": f"{right}.country",
        }


@pytest.mark.rule("FM-12")
@pytest.mark.parametrize(("name", "mapped"), [("companies", False), ("contact_persons", True), ("contacts", True)])
def test_e_mail_and_telephones_are_those_of_people(name: str, mapped: bool) -> None:
    fields = {fp.right for fp in FB.declaration(name).defaults}
    assert fields & {"email", "phone", "mobile"} == ({"email", "phone", "mobile"} if mapped else set())


@pytest.mark.rule("FM-12")
def test_mapping_a_company_s_e_mail_warns() -> None:
    problems = FB.check(_pair("companies", FieldPair("Email", "email")))
    assert ProblemCode.BETTER_NOT in {p.code for p in problems if p.warning and p.pair_key == "Email|email"}


@pytest.mark.rule("SU-5")
def test_a_company_becomes_a_business_customer_and_others_are_left_alone() -> None:
    pair = _pair("companies")
    company = Record(RecordId("1"), {"Company_Name": "Acme", "Billing_Address.City": "Ulm", "Email": "a@example.com"})
    action = plan(pair, Policy.OVERWRITE, Side.LEFT, company, None, None)
    assert {change.field: change.new for change in action.writes[Side.RIGHT]} == {
        "contact_type": "customer",
        "customer_sub_type": "business",
        "contact_name": "Acme",
        "billing_address.city": "Ulm",
    }
    for fields in (
        {"contact_type": "vendor", "customer_sub_type": "business"},
        {"contact_type": "customer", "customer_sub_type": "individual"},
    ):
        other = Record(RecordId("9"), {"contact_name": "Acme", **fields})
        assert plan(pair, Policy.OVERWRITE, Side.RIGHT, None, other, None).reason == "WRONG_TYPE"


def _person(**fields: str) -> Record:
    return Record(RecordId("1"), {"Last_Name": "Lee", "$full_name": "Ann Lee", "Email": "ann@x.test", **fields})


@pytest.mark.rule("SU-5")
def test_a_contact_becomes_an_individual_customer_named_after_it() -> None:
    pair = _pair("contacts")
    action = plan(pair, Policy.OVERWRITE, Side.LEFT, _person(First_Name="Ann", Phone="1"), None, None)
    assert {change.field: change.new for change in action.writes[Side.RIGHT]} == {
        "contact_type": "customer",
        "customer_sub_type": "individual",
        "contact_name": "Ann Lee",
        "first_name": "Ann",
        "last_name": "Lee",
        "email": "ann@x.test",
        "phone": "1",
    }
    for sub_type, kind in (("individual", ActionKind.CREATE), ("business", ActionKind.SKIP)):
        fields = {"contact_name": "A", "last_name": "Lee", "email": "ann@x.test", "customer_sub_type": sub_type}
        customer = Record(RecordId("9"), {**fields, "contact_type": "customer"})
        assert plan(pair, Policy.OVERWRITE, Side.RIGHT, None, customer, None).kind is kind


@pytest.mark.rule("SU-5")
def test_a_name_that_books_gives_a_customer_is_no_name_of_a_contact() -> None:
    pair = _pair("contacts")
    customer = {"contact_name": "The Lees", "last_name": "Lee", "email": "ann@x.test", "contact_type": "customer"}
    record = Record(RecordId("9"), {**customer, "customer_sub_type": "individual"})
    action = plan(pair, Policy.OVERWRITE, Side.RIGHT, None, record, None)
    assert {change.field: change.new for change in action.writes[Side.LEFT]} == {
        "Last_Name": "Lee",
        "Email": "ann@x.test",
    }


@pytest.mark.rule("DU-10")
def test_a_contact_of_a_company_becomes_a_person_of_its_customer() -> None:
    pair = _pair("contact_persons")
    company = {"Company.id": "c1", "Company.name": "Acme"}
    family = Family(RecordId("c1"), RecordId("b1"))
    person = _person(First_Name="Ann", **company)
    action = plan(pair, Policy.OVERWRITE, Side.LEFT, person, None, None, family)
    assert {change.field: change.new for change in action.writes[Side.RIGHT]} == {
        "contact_id": "b1",
        "first_name": "Ann",
        "last_name": "Lee",
        "email": "ann@x.test",
    }
    nameless = plan(pair, Policy.OVERWRITE, Side.LEFT, _person(**company), None, None, family)
    assert (nameless.kind, nameless.reason, nameless.detail) == (
        ActionKind.FAIL,
        "MANDATORY_FIELD_EMPTY",
        "First name",
    )


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        (Side.LEFT, "Service", "service"),
        (Side.LEFT, "Goods", "goods"),
        (Side.LEFT, "Part", "goods"),
        (Side.RIGHT, "service", "Service"),
        (Side.RIGHT, "goods", "Goods"),
        (Side.RIGHT, "digital_service", "Service"),
    ],
)
def test_types_of_items(source: Side, value: str, expected: str) -> None:
    pair = _pair("items")
    line = next(fp for fp in pair.mapping if fp.on_create)
    target = source.other
    assert forward(line, value, source, pair.fields(target)[line.field(target)]).value == expected


@pytest.mark.rule("SU-5")
def test_every_sync_type_may_be_chosen_and_the_last_is_the_default() -> None:
    assert [t.key for t in FB.sync_types if t.offered] == ["I", "II", "III", "IV"]
    assert FB.sync_type(FB.default_type).key == "IV"
    with pytest.raises(NotFound):
        FB.sync_type("V")


@pytest.mark.rule("SU-5")
@pytest.mark.parametrize(
    ("key", "company", "of_a_company", "of_none"),
    [
        ("I", "companies", None, None),
        ("II", None, "contacts", "contacts"),
        ("III", "companies", "contact_persons", None),
        ("IV", "companies", "contact_persons", "contacts"),
    ],
)
def test_which_pair_a_record_of_fsm_belongs_to(
    key: str, company: str | None, of_a_company: str | None, of_none: str | None
) -> None:
    synced = FB.sync_type(key).pairs
    pairs = {name: _pair(name, sync_type=key) for name in synced}

    def belongs(module: str, **fields: str) -> str | None:
        record = Record(RecordId("1"), fields)
        fits = [n for n, p in pairs.items() if p.left_module == module and in_scope(p, Side.LEFT, record)]
        assert len(fits) < 2, fits
        return fits[0] if fits else None

    assert "items" in synced
    assert belongs("Companies", Company_Name="Acme") == company
    assert belongs("Contacts", Last_Name="Lee", **{"Company.id": "c1"}) == of_a_company
    assert belongs("Contacts", Last_Name="Lee") == of_none


@pytest.mark.rule("DU-8", "DU-10")
def test_a_pair_inside_another_comes_after_it() -> None:
    """Parents first (DU-8), in the order in which a sync takes the pairs."""
    names = [declared.name for declared in FB.pairs]
    for declared in FB.pairs:
        if declared.parent is not None:
            assert names.index(declared.parent.pair) < names.index(declared.name)
            for sync_type in FB.sync_types:
                assert declared.name not in sync_type.pairs or declared.parent.pair in sync_type.pairs


@pytest.mark.rule("SU-6")
@pytest.mark.parametrize(
    "line",
    [
        {"left": "a"},
        {"left": "a", "right": "b", "code": "x"},
        {"left": "a", "right": "b", "flow": "up"},
        {"left": "a", "right": "b", "default_left": 1.5},
    ],
)
def test_a_bad_line_is_refused(line: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Line.model_validate(line)
