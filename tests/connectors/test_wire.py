"""Numbers, times and text on their way in and out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.connectors import wire
from shared.sync.model import FieldKind


@pytest.mark.parametrize("digits", ["18.10", "0.10", "100", "-0.01", "123456789012345678.99", "1E+3", "0E-8"])
def test_a_decimal_is_written_as_a_number_with_its_digits(digits: str) -> None:
    sent = wire.dumps({"rate": Decimal(digits)})
    assert b'"' not in sent.partition(b":")[2]
    assert wire.number(wire.loads(sent)["rate"]) == Decimal(digits)  # type: ignore[index]
    assert wire.dumps([Decimal("18.10")]) == b"[18.10]"


def test_no_float_ever_comes_in_or_goes_out() -> None:
    assert wire.loads(b'[18.10, 1e2, {"a": 0.1}]') == [Decimal("18.10"), Decimal("1e2"), {"a": Decimal("0.1")}]
    with pytest.raises(TypeError):
        wire.dumps({"rate": 18.1})
    for bad in (Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(TypeError):
            wire.dumps(bad)


def test_a_number_with_a_huge_exponent_does_not_fill_the_memory() -> None:
    assert len(wire.dumps(Decimal("1E+999999"))) < 50


@pytest.mark.parametrize("body", [b"NaN", b"[Infinity]", b"{", b"[" * 100_000, b"1" * 5_000])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.loads(body)


def test_odd_bytes_spoil_their_own_text_only() -> None:
    found = wire.loads(b'[{"name": "A\xff"}, {"name": "B\\u0000\\ud83d"}]')
    assert [wire.text(row["name"]) for row in found] == ["A\ufffe", "B\ufffd\ufffd"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("blank", ["", "  ", "\n", None, [], {}])
def test_blanks_are_none(blank: object) -> None:
    assert [wire.decode(kind, blank) for kind in FieldKind] == [None] * len(FieldKind)


def test_values_by_kind() -> None:
    assert wire.decode(FieldKind.NUMBER, "18.10") == Decimal("18.10")
    assert wire.decode(FieldKind.NUMBER, 7) == Decimal(7)
    assert wire.decode(FieldKind.NUMBER, "seven") == "seven", "the record fails, its page does not"
    assert wire.decode(FieldKind.BOOLEAN, "true") is True
    assert wire.decode(FieldKind.TEXT, 460000000026049) == "460000000026049"
    assert wire.decode(FieldKind.TEXT, " as it is ") == " as it is "


@pytest.mark.parametrize("text", ["2026-06-01T10:00:00-0700", "2026-06-01T10:00:00-07:00", "2026-06-01T17:00:00Z"])
def test_times_are_aware_utc(text: str) -> None:
    assert wire.utc(text) == datetime(2026, 6, 1, 17, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-06-01T10:00:00", "yesterday", "", None, 5])
def test_a_time_without_offset_is_no_time(text: object) -> None:
    assert wire.utc(text) is None


@pytest.mark.rule("P14")
@pytest.mark.parametrize(
    ("message", "sent", "clean"),
    [
        ('The customer "Acme" already exists. Please specify', [], "The customer … already exists. Please specify"),
        ('The customer "Bob "X" Co" already exists.', [], "The customer … already exists."),
        ("The name 'Acme' is taken", [], "The name … is taken"),
        ("The customer's name is too long", [], "The customer's name is too long"),
        ("Contact with a@b.test exists", [], "Contact with … exists"),
        ("Value ACME inc in Name is invalid", ["Acme Inc", "x"], "Value … in Name is invalid"),
        (None, [], ""),
    ],
)
def test_a_vendor_s_sentence_loses_its_values(message: str | None, sent: list[object], clean: str) -> None:
    assert wire.scrub(message, sent) == clean


@pytest.mark.rule("P14")
@given(st.text(min_size=2), st.text(), st.text())
def test_a_value_that_was_sent_is_never_quoted(value: str, head: str, tail: str) -> None:
    """Unless it is a part of the sentence's own words, or blank."""
    wanted = value.strip()
    cleaned = wire.scrub(f"{head}{value}{tail}", [value])
    assert len(wanted) < 2 or wanted in "…" or wanted not in cleaned.replace("…", "\n") or wanted in head + tail


def test_dotted_names_become_groups() -> None:
    assert wire.nested([("a", 1), ("b.c", 2), ("b.d", 3)]) == {"a": 1, "b": {"c": 2, "d": 3}}
