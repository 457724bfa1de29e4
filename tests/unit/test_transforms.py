"""Each transform, and the law of its way back (FM-8)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sync.model import Value
from shared.sync.transforms import TRANSFORMS
from tests.unit.sync_builders import numbers, texts

_DATES = st.dates().map(lambda day: day.isoformat())
_INPUTS: dict[str, st.SearchStrategy[Value]] = {
    "trim": texts,
    "number": numbers.map(str),
    "number_text": numbers,
    "date_dmy": st.dates().map(lambda day: f"{day.day:02}/{day.month:02}/{day.year:04}"),
    "date_mdy": st.dates().map(lambda day: f"{day.month:02}/{day.day:02}/{day.year:04}"),
}


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize(
    ("name", "value", "there", "back"),
    [
        ("trim", "  a b ", "a b", "a b"),
        ("number", " 18.10 ", Decimal("18.1"), "18.1"),
        ("number_text", Decimal("18.10"), "18.1", Decimal("18.1")),
        ("date_dmy", "31/12/2026", "2026-12-31", "31/12/2026"),
        ("date_mdy", "12/31/2026", "2026-12-31", "12/31/2026"),
        ("date_dmy", "1/2/0987", "0987-02-01", "01/02/0987"),
    ],
)
def test_there_and_back(name: str, value: Value, there: Value, back: Value) -> None:
    transform = TRANSFORMS[name]
    assert transform.apply(value) == there
    assert transform.inverse is not None
    assert transform.inverse(there) == back


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize(
    ("name", "value", "there"),
    [("upper", "aßc", "ASSC"), ("lower", "ABC", "abc"), ("day", "2026-11-01T23:00:00-08:00", "2026-11-01")],
)
def test_one_way(name: str, value: Value, there: Value) -> None:
    assert TRANSFORMS[name].apply(value) == there
    assert TRANSFORMS[name].one_way


@pytest.mark.rule("FM-8")
def test_every_transform_has_its_example_or_is_one_way() -> None:
    assert {name for name, transform in TRANSFORMS.items() if not transform.one_way} == set(_INPUTS)


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize("name", sorted(_INPUTS))
def test_the_way_back_and_there_again_changes_nothing(name: str) -> None:
    transform = TRANSFORMS[name]

    @given(_INPUTS[name])
    def holds(value: Value) -> None:
        assert transform.inverse is not None
        there = transform.apply(value)
        assert transform.apply(transform.inverse(there)) == there

    holds()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "1,5"),
        ("number", ""),
        ("upper", Decimal(1)),
        ("date_dmy", "2026-12-31"),
        ("date_dmy", "31/02/2026"),
        ("day", "today"),
    ],
)
def test_what_cannot_be_read_is_a_value_error(name: str, value: Value) -> None:
    with pytest.raises(ValueError, match=r"."):
        TRANSFORMS[name].apply(value)
