"""What counts as the same value, what is kept of it, and how it lies in JSON."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sync.model import FieldDef, FieldKind, Value
from shared.sync.values import (
    convert,
    decode_base,
    decode_fields,
    decode_value,
    encode_base,
    encode_fields,
    encode_value,
    fit,
    is_blank,
    number_text,
    plausible_form,
    row_hash,
    same,
)
from tests.unit.sync_builders import numbers, strange_numbers, texts, values

D = Decimal


@pytest.mark.rule("DU-6", "FM-10")
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (None, "", True),
        (None, "  ", True),
        (" \n", "", True),
        (None, False, False),
        (None, D(0), False),
        ("a", "a", True),
        ("a", "A", False),
        ("a", " a", False),
        ("é", "e\u0301", True),
        ("a\r\nb", "a\nb", True),
        ("a\rb", "a\nb", True),
        (D("18.0"), D("18"), True),
        (D("18.0"), "18.00", True),
        (D("18.0"), " 18", True),
        (D("18"), "18a", False),
        (D("18"), "1.8E1", False),
        (D("18"), "١٨", False),
        ("1", "1.0", False),
        (D(1), True, False),
        (True, "true", False),
        (True, True, True),
        (True, False, False),
        (D("NaN"), D("NaN"), True),
        (D("NaN"), D("1"), False),
        (D("sNaN"), D("1"), False),
        (D("Infinity"), D("Infinity"), True),
        (D("1E+999999"), D("1E+999999"), True),
    ],
)
def test_same(a: Value, b: Value, expected: bool) -> None:
    assert same(a, b) is expected
    assert same(b, a) is expected


@pytest.mark.rule("DU-6")
@given(values, values)
def test_same_is_reflexive_and_symmetric_for_any_value(a: Value, b: Value) -> None:
    assert same(a, a)
    assert same(a, b) is same(b, a)


@pytest.mark.rule("DU-6")
@given(values, values)
def test_rows_that_are_the_same_hash_alike(a: Value, b: Value) -> None:
    alike = row_hash({"x": a}) == row_hash({"x": b})
    assert alike is (same(a, b) and (type(a) is type(b) or is_blank(a)))


@pytest.mark.rule("TR-5")
def test_row_hash_knows_names_blanks_and_order() -> None:
    row: dict[str, Value] = {"a": "1", "b": D("18.0"), "c": None, "d": " "}
    assert row_hash(row) == row_hash({"b": D("18"), "a": "1"})
    assert row_hash({"a": "b"}) != row_hash({"b": "a"})
    assert row_hash({"a": "x", "b": "y"}) != row_hash({"a": "y", "b": "x"})
    assert row_hash({"a": D(1)}) != row_hash({"a": True})
    assert row_hash({"a": D("12345678901234567890123456789012.1")}) != row_hash(
        {"a": D("12345678901234567890123456789012.2")}
    )


@pytest.mark.rule("TR-5")
def test_row_hash_is_the_same_in_every_process_and_release() -> None:
    assert row_hash({"a": "x", "n": D("-18.10"), "t": True}) == "fc10a58f61a2cc042475777f"


@pytest.mark.rule("DU-6")
@given(st.dictionaries(texts, values, max_size=4))
def test_json_is_lossless(fields: dict[str, Value]) -> None:
    wire = json.loads(json.dumps(encode_fields(fields)))
    back = decode_fields(wire)
    assert list(back) == list(fields)
    for name, value in fields.items():
        assert type(back[name]) is type(value)
        assert repr(back[name]) == repr(value)


@pytest.mark.rule("DU-6")
def test_json_forms() -> None:
    assert encode_value(D("18.10")) == {"d": "18.10"}
    base: dict[str, tuple[Value, Value]] = {"A|b": (D("1.50"), None), "C|d": (True, "x")}
    assert decode_base(json.loads(json.dumps(encode_base(base)))) == base


@pytest.mark.parametrize("raw", [1, 1.5, [], {"d": 1}, {"e": "1"}, {"d": "1", "e": "2"}])
def test_json_of_others_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="not an encoded value"):
        decode_value(raw)


@pytest.mark.parametrize("raw", ["ab", ["a"], ["a", "b", "c"], None])
def test_a_base_that_is_no_pair_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="not an encoded"):
        decode_base({"A|b": raw})


@pytest.mark.rule("FM-10")
@pytest.mark.parametrize(
    ("value", "definition", "kept", "cut"),
    [
        ("abcdef", FieldDef("f", max_length=6), "abcdef", False),
        ("abcdefg", FieldDef("f", max_length=6), "abcdef", True),
        ("äöüßéx", FieldDef("f", max_length=5), "äöüßé", True),
        ("ab😀cd", FieldDef("f", bmp_only=True), "ab", True),
        ("ab\uffffcd", FieldDef("f", bmp_only=True), "ab\uffffcd", False),
        ("ab😀cd", FieldDef("f"), "ab😀cd", False),
        ("abcdef😀", FieldDef("f", bmp_only=True, max_length=3), "abc", True),
        ("😀", FieldDef("f", bmp_only=True), "", True),
        (D("1.005"), FieldDef("f", FieldKind.NUMBER, decimals=2), D("1.01"), True),
        (D("-1.005"), FieldDef("f", FieldKind.NUMBER, decimals=2), D("-1.01"), True),
        (D("1.5"), FieldDef("f", FieldKind.NUMBER, decimals=0), D("2"), True),
        (D("1.500"), FieldDef("f", FieldKind.NUMBER, decimals=2), D("1.50"), False),
        (D("1.5"), FieldDef("f", FieldKind.NUMBER), D("1.5"), False),
        (D("1E-999999"), FieldDef("f", FieldKind.NUMBER, decimals=2), D("0.00"), True),
        (D("NaN"), FieldDef("f", FieldKind.NUMBER, decimals=2), D("NaN"), False),
        (
            D("12345678901234567890123456789.126"),
            FieldDef("f", decimals=2),
            D("12345678901234567890123456789.13"),
            True,
        ),
        (None, FieldDef("f", max_length=1), None, False),
        (True, FieldDef("f", max_length=1), True, False),
    ],
)
def test_fit(value: Value, definition: FieldDef, kept: Value, cut: bool) -> None:
    fitted = fit(value, definition)
    assert same(fitted.value, kept)
    assert fitted.cut is cut


@pytest.mark.rule("FM-10")
@given(texts | numbers | strange_numbers, st.integers(0, 6), st.booleans())
def test_fitting_again_loses_nothing_more(value: Value, room: int, bmp: bool) -> None:
    definition = FieldDef("f", max_length=room, decimals=room, bmp_only=bmp)
    once = fit(value, definition)
    again = fit(once.value, definition)
    assert same(again.value, once.value)
    assert not again.cut
    assert once.cut or same(once.value, value)
    if isinstance(value, str) and isinstance(once.value, str):
        assert value.startswith(once.value)
        assert len(once.value) <= room


@pytest.mark.rule("FM-10")
@pytest.mark.parametrize(
    ("sent", "got", "kind", "expected"),
    [
        ("Acme", "Acme", FieldKind.TEXT, True),
        (" Acme  Ltd ", "acme ltd", FieldKind.TEXT, True),
        ("Acme Ltd", "ACME", FieldKind.TEXT, True),
        ("Acme Ltd", "Acme GmbH", FieldKind.TEXT, False),
        ("Acme", "Acme Ltd", FieldKind.TEXT, False),
        ("Acme", "", FieldKind.TEXT, False),
        ("Acme", None, FieldKind.TEXT, False),
        ("", "Acme", FieldKind.TEXT, False),
        (None, "", FieldKind.TEXT, True),
        (D("18.105"), D("18.11"), FieldKind.NUMBER, True),
        (D("18.105"), D("18.10"), FieldKind.NUMBER, True),
        (D("18.105"), D("18.1"), FieldKind.NUMBER, True),
        (D("18.105"), D("18"), FieldKind.NUMBER, True),
        (D("2.5"), D("2"), FieldKind.NUMBER, True),
        (D("2.5"), D("3"), FieldKind.NUMBER, True),
        (D("18.105"), D("18.2"), FieldKind.NUMBER, False),
        (D("18"), D("20"), FieldKind.NUMBER, False),
        (D("180"), D("18"), FieldKind.NUMBER, False),
        (D("18.1"), "18.10", FieldKind.TEXT, True),
        (D("18.1"), "18.1 kg", FieldKind.TEXT, False),
        (D("NaN"), D("1"), FieldKind.NUMBER, False),
        (True, False, FieldKind.BOOLEAN, False),
        ("2026-11-01T10:00:00+00:00", "2026-11-01T11:00:00+01:00", FieldKind.DATETIME, True),
        ("2026-11-01T10:00:00+00:00", "2026-11-01T11:00:00+00:00", FieldKind.DATETIME, False),
        ("2026-11-01T10:00:00+00:00", "2026-11-01T10:00:00", FieldKind.DATETIME, False),
        ("2026-11-01T10:00:00", "soon", FieldKind.DATETIME, False),
    ],
)
def test_plausible_form(sent: Value, got: Value, kind: FieldKind, expected: bool) -> None:
    assert plausible_form(sent, got, FieldDef("f", kind)) is expected


@pytest.mark.rule("FM-10")
@given(texts | numbers, st.integers(1, 6), st.booleans())
def test_what_fitting_keeps_is_a_plausible_form(value: Value, room: int, bmp: bool) -> None:
    kind = FieldKind.TEXT if isinstance(value, str) else FieldKind.NUMBER
    definition = FieldDef("f", kind, max_length=room, decimals=room - 1, bmp_only=bmp)
    kept = fit(value, definition).value
    assert plausible_form(value, kept, definition) or is_blank(kept)


@given(values, values, st.sampled_from(FieldKind))
def test_no_value_makes_a_comparison_raise(a: Value, b: Value, kind: FieldKind) -> None:
    assert plausible_form(a, b, FieldDef("f", kind)) in (True, False)
    assert plausible_form(a, a, FieldDef("f", kind))


@pytest.mark.rule("FM-1")
@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (D("18.10"), FieldKind.TEXT, "18.1"),
        (D("100"), FieldKind.TEXT, "100"),
        (D("-0.0"), FieldKind.TEXT, "0"),
        (D("1E+999999"), FieldKind.TEXT, "1E+999999"),
        (True, FieldKind.TEXT, "true"),
        ("x", FieldKind.PICKLIST, "x"),
        (" ", FieldKind.TEXT, None),
        (" 18.1", FieldKind.NUMBER, D("18.1")),
        ("yes", FieldKind.BOOLEAN, True),
        ("False", FieldKind.BOOLEAN, False),
        ("2026-11-01", FieldKind.DATE, "2026-11-01"),
        ("2026-11-01T10:00:00+00:00", FieldKind.DATETIME, "2026-11-01T10:00:00+00:00"),
    ],
)
def test_convert(value: Value, kind: FieldKind, expected: Value) -> None:
    got = convert(value, kind)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.rule("FM-1")
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("18,1", FieldKind.NUMBER),
        ("1e3", FieldKind.NUMBER),
        (True, FieldKind.NUMBER),
        (D("NaN"), FieldKind.NUMBER),
        ("maybe", FieldKind.BOOLEAN),
        (D(2), FieldKind.BOOLEAN),
        ("01.11.2026", FieldKind.DATE),
        ("2026-11-01T10:00:00", FieldKind.DATE),
        ("2026-11-01", FieldKind.DATETIME),
        (D(1), FieldKind.DATE),
    ],
)
def test_convert_refuses_and_shows_no_value(value: Value, kind: FieldKind) -> None:
    with pytest.raises(ValueError, match=r"^(not a|neither|Invalid isoformat)"):
        convert(value, kind)


@given(numbers)
def test_number_text_keeps_the_number(number: Decimal) -> None:
    assert Decimal(number_text(number)) == number
