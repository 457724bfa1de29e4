"""Match keys and twins (DU-2)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sync.match import (
    Ambiguous,
    Candidate,
    Keyed,
    Matches,
    NoTwin,
    One,
    Resolution,
    Taken,
    fold_key,
    match_sides,
    resolve,
)
from shared.sync.model import RecordId, Value
from tests.unit.sync_builders import texts


def _ids(*names: str) -> tuple[RecordId, ...]:
    return tuple(RecordId(name) for name in names)


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("Acme", "ACME", True),
        (" Acme\t", "acme", True),
        ("Straße", "STRASSE", True),
        ("Café", "CAFE\u0301", True),
        ("Acme Ltd", "Acme  Ltd", False),
        ("Acme", "Acmé", False),
        (Decimal("18.0"), "18", True),
        (None, "  ", True),
    ],
)
def test_fold_key(a: Value, b: Value, equal: bool) -> None:
    assert (fold_key(a) == fold_key(b)) is equal


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_a_blank_key_folds_to_nothing(blank: Value) -> None:
    assert fold_key(blank) == ""


@pytest.mark.rule("DU-2")
@given(texts)
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold_key(fold_key(text)) == fold_key(text)


def _candidate(name: str, key: str, taken: bool = False) -> Candidate:
    return Candidate(RecordId(name), key, taken)


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize(
    ("key", "candidates", "expected"),
    [
        ("Acme", [], NoTwin()),
        ("Acme", [_candidate("1", "acme ")], One(RecordId("1"))),
        ("Acme", [_candidate("1", "Acme Ltd")], NoTwin()),
        ("Acme", [_candidate("1", "acme"), _candidate("2", "ACME")], Ambiguous(_ids("1", "2"))),
        ("Acme", [_candidate("1", "acme"), _candidate("1", "ACME")], One(RecordId("1"))),
        ("Acme", [_candidate("1", "acme", True)], Taken(_ids("1"))),
        ("Acme", [_candidate("1", "acme", True), _candidate("2", "acme")], One(RecordId("2"))),
        ("", [_candidate("1", "")], NoTwin()),
        (None, [_candidate("1", " ")], NoTwin()),
    ],
)
def test_resolve(key: Value, candidates: list[Candidate], expected: Resolution) -> None:
    assert resolve(key, candidates) == expected


def _keyed(*rows: tuple[str, Value]) -> list[Keyed]:
    return [Keyed(RecordId(name), key) for name, key in rows]


@pytest.mark.rule("DU-2", "SU-4")
def test_match_sides() -> None:
    left = _keyed(("l1", "Acme"), ("l2", "Beta"), ("l3", "beta "), ("l4", "Solo"), ("l5", ""), ("l6", "Two"))
    right = _keyed(("r1", "ACME"), ("r2", "beta"), ("r3", "Else"), ("r4", None), ("r5", "two"), ("r6", "Two"))
    assert match_sides(left, right) == Matches(
        pairs=((RecordId("l1"), RecordId("r1")),),
        ambiguous_left=_ids("l2", "l3", "l6"),
        ambiguous_right=_ids("r2", "r5", "r6"),
        only_left=_ids("l4"),
        only_right=_ids("r3"),
        no_key_left=_ids("l5"),
        no_key_right=_ids("r4"),
    )


@pytest.mark.rule("DU-2")
def test_twice_the_same_key_on_one_side_alone_is_ambiguous() -> None:
    matches = match_sides(_keyed(("l1", "Acme"), ("l2", "acme")), [])
    assert matches.ambiguous_left == _ids("l1", "l2")
    assert not matches.only_left


@pytest.mark.rule("DU-2")
def test_a_record_that_is_listed_twice_is_one_record() -> None:
    matches = match_sides(_keyed(("l1", "Old"), ("l1", "New"), ("l1", "New")), _keyed(("r1", "new")))
    assert matches.pairs == ((RecordId("l1"), RecordId("r1")),)
    assert not matches.only_left


_rows = st.lists(st.tuples(st.integers(0, 12).map(str), st.sampled_from(["", "a", "A ", "b", "B", "c"])), max_size=14)


@pytest.mark.rule("DU-2")
@given(_rows, _rows)
def test_every_record_is_in_one_place_and_no_pair_is_a_choice(
    left: list[tuple[str, str]], right: list[tuple[str, str]]
) -> None:
    matches = match_sides(_keyed(*left), _keyed(*right))
    lefts, rights = dict(left), dict(right)
    here = [pair[0] for pair in matches.pairs] + [*matches.ambiguous_left, *matches.only_left, *matches.no_key_left]
    there = [pair[1] for pair in matches.pairs] + [*matches.ambiguous_right, *matches.only_right, *matches.no_key_right]
    assert sorted(here) == sorted(lefts)
    assert sorted(there) == sorted(rights)
    for a, b in matches.pairs:
        key = fold_key(lefts[a])
        assert key == fold_key(rights[b])
        assert sum(fold_key(k) == key for k in lefts.values()) == 1
        assert sum(fold_key(k) == key for k in rights.values()) == 1
