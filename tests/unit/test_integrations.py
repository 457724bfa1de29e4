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
from shared.sync.model import FieldPair, ModuleName, Pair, Policy, Record, RecordId, Side
from shared.sync.plan import plan

FB = integration("fsm_books")


def _facts(name: str, side: Side) -> ModuleFacts:
    module: ModuleName = FB.declaration(name).module(side)
    if side is Side.LEFT:
        return fsm.module_facts(fsm.MODULES[module], Capabilities())
    return books.module_facts(books.MODULES[module], Capabilities())


def _pair(name: str, *more: FieldPair) -> Pair:
    left, right = _facts(name, Side.LEFT).fields, _facts(name, Side.RIGHT).fields
    return FB.pair(name, left, right, (*FB.declaration(name).defaults, *more) if more else None)


@pytest.mark.rule("SU-5")
def test_fb_is_found_by_its_folder() -> None:
    assert list(integrations()) == ["fsm_books"]
    assert (FB.left, FB.right, FB.tie_side) == ("zoho_fsm", "zoho_books", Side.RIGHT)
    assert [declared.name for declared in FB.pairs] == ["companies", "items"]
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
@pytest.mark.parametrize("name", ["companies", "items"])
def test_the_default_mapping_may_be_saved_as_it_is(name: str) -> None:
    assert [p for p in FB.check(_pair(name)) if p.code is not ProblemCode.TABLE_VALUE] == []


@pytest.mark.rule("FM-5", "FM-12")
def test_both_addresses_and_no_e_mail() -> None:
    mapped = {fp.left: fp.right for fp in FB.declaration("companies").defaults}
    assert mapped["Company_Name"] == "contact_name"
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
    assert not {"email", "phone", "mobile"} & set(mapped.values())


@pytest.mark.rule("FM-12")
def test_mapping_e_mail_warns() -> None:
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
def test_only_type_one_is_offered_yet() -> None:
    assert [t.key for t in FB.sync_types] == ["I", "II", "III", "IV"]
    assert [t.key for t in FB.sync_types if t.offered] == ["I"]
    assert FB.sync_types[0].pairs == tuple(declared.name for declared in FB.pairs)


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
