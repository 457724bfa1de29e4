"""Match keys and twins (DU-2)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

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
    alike,
    fold_key,
    key_of,
    match_sides,
    name_of,
    resolve,
    staged_keys,
)
from shared.sync.model import Pair, RecordId, Side, Value
from shared.sync.values import UNREADABLE
from tests.unit.sync_builders import PEOPLE, RICH, SINGLES, lefty, righty, texts

L, R = Side.LEFT, Side.RIGHT


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


# The key of a record, or its names


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize(
    ("pair", "fields", "key", "name"),
    [
        (PEOPLE, {"Mail": " Ann@X.test ", "First": "Ann", "Last": "Lee"}, "ann@x.test", "Ann@X.test"),
        (PEOPLE, {"Mail": " ", "First": "Ann ", "Last": " LEE"}, "ann lee", "Ann LEE"),
        (PEOPLE, {"First": None, "Last": "Lee"}, "lee", "Lee"),
        (PEOPLE, {"First": "", "Last": " "}, "", ""),
        (SINGLES, {"First": "Ann", "Last": "Lee"}, "", ""),
        (RICH, {"Name": "Straße"}, "strasse", "Straße"),
    ],
)
def test_a_record_is_known_by_its_key_else_by_its_names(
    pair: Pair, fields: dict[str, Any], key: str, name: str
) -> None:
    """`key` is what is compared, `name` what people wrote and a vendor is asked for."""
    assert (key_of(pair, L, lefty(**fields)), name_of(pair, L, lefty(**fields))) == (key, name)


ANN: dict[str, Any] = {"Mail": "ann@x.test", "First": "Ann", "Last": "Lee"}


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize(
    ("mine", "theirs", "equal"),
    [
        ({}, {"mail": "ANN@x.test ", "first": "Somebody"}, True),
        ({}, {"mail": "other@x.test", "first": "Ann", "last": "Lee"}, False),
        ({}, {"mail": None, "first": "ann", "last": "LEE "}, True),
        ({"Mail": ""}, {"mail": "ann@x.test", "first": "Ann", "last": "Lee"}, True),
        ({"Mail": None}, {"mail": " ", "first": "Ann", "last": "Lee"}, True),
        ({}, {"first": "Ann"}, False),
        ({"Mail": None, "First": None, "Last": None}, {"mail": None}, False),
        ({"Mail": None, "First": "ann@x.test", "Last": None}, {"mail": "ann@x.test", "first": "Bob"}, False),
    ],
)
def test_two_are_alike_by_key_where_both_have_it_else_by_name(
    mine: dict[str, Any], theirs: dict[str, Any], equal: bool
) -> None:
    left, right = lefty(**{**ANN, **mine}), righty(**theirs)
    assert alike(PEOPLE, L, left, right) is equal
    assert alike(PEOPLE, R, right, left) is equal


@pytest.mark.rule("DU-2")
def test_names_make_nobody_alike_where_a_pair_does_not_match_by_them() -> None:
    assert not alike(SINGLES, L, lefty(First="Ann", Last="Lee"), righty(first="Ann", last="Lee"))


# What listed records are joined by


@pytest.mark.rule("DU-2", "DU-10")
def test_people_of_two_families_never_share_a_key() -> None:
    """Whichever side they are on, and by whatever they are known."""
    ann, theirs = lefty(**ANN), righty(mail="ANN@x.test", first="ann", last="lee")
    home, other = staged_keys(PEOPLE, L, ann, "c1"), staged_keys(PEOPLE, L, ann, "c2")
    assert staged_keys(PEOPLE, R, theirs, "c1") == home
    assert len({*home, *other}) == 4
    assert "" not in home


@pytest.mark.rule("DU-2", "DU-10")
def test_who_has_no_key_or_no_name_is_joined_by_none() -> None:
    key, name = staged_keys(PEOPLE, L, lefty(**ANN), "c1")
    assert staged_keys(PEOPLE, L, lefty(**{**ANN, "Mail": " "}), "c1") == ("", name)
    assert staged_keys(PEOPLE, L, lefty(**{**ANN, "First": "", "Last": None}), "c1") == (key, "")


@pytest.mark.rule("DU-2")
def test_a_second_key_that_breaks_ties_counts_beside_the_first_alone() -> None:
    def keys(mail: Value, home: Value) -> tuple[str, str]:
        return staged_keys(SINGLES, L, lefty(**{**ANN, "Mail": mail, "Home.name": home}))

    acme = keys("ann@x.test", "Acme")
    assert keys("ANN@x.test", " acme") == acme
    assert staged_keys(SINGLES, R, righty(mail="ann@x.test", home="ACME")) == acme
    assert keys("ann@x.test", "Beta")[0] == acme[0] != keys("bob@x.test", "Acme")[0]
    assert len({acme[1], keys("ann@x.test", "Beta")[1], keys("bob@x.test", "Acme")[1]}) == 3
    assert keys("ann@x.test", " ") == (acme[0], "")
    assert keys(None, "Acme") == ("", "")
    assert staged_keys(RICH, L, lefty(Name=" Acme")) == ("acme", "")


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize("pair", [PEOPLE, SINGLES], ids=lambda pair: pair.name)
def test_a_key_with_bytes_that_are_no_text_joins_nothing(pair: Pair) -> None:
    assert staged_keys(pair, L, lefty(Mail=f"ann{UNREADABLE}@x.test"), "c1") == ("", "")


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


# Second keys

_Row = tuple[str, Value, str]


def _twice_keyed(*rows: _Row) -> list[Keyed]:
    return [Keyed(RecordId(name), key, second) for name, key, second in rows]


def _pairs(*names: tuple[str, str]) -> tuple[tuple[RecordId, RecordId], ...]:
    return tuple((RecordId(a), RecordId(b)) for a, b in names)


BY_NAME: list[tuple[str, list[_Row], list[_Row], Matches]] = [
    ("one has no key", [("l1", "", "ann")], [("r1", "k", "ann")], Matches(pairs=_pairs(("l1", "r1")))),
    ("the other has none", [("l1", "k", "ann")], [("r1", None, "ann")], Matches(pairs=_pairs(("l1", "r1")))),
    ("neither has one", [("l1", "", "ann")], [("r1", "", "ann")], Matches(pairs=_pairs(("l1", "r1")))),
    (
        "both have one, of their own",
        [("l1", "k1", "ann")],
        [("r1", "k2", "ann")],
        Matches(only_left=_ids("l1"), only_right=_ids("r1")),
    ),
    (
        "several of the name on one side",
        [("l1", "", "ann"), ("l2", "k2", "ann")],
        [("r1", "k3", "ann")],
        Matches(ambiguous_left=_ids("l1", "l2"), ambiguous_right=_ids("r1")),
    ),
    (
        "several on both",
        [("l1", "k1", "ann"), ("l2", "k2", "ann")],
        [("r1", "", "ann"), ("r2", "k3", "ann")],
        Matches(ambiguous_left=_ids("l1", "l2"), ambiguous_right=_ids("r1", "r2")),
    ),
    (
        "another name",
        [("l1", "", "ann")],
        [("r1", "", "bob")],
        Matches(no_key_left=_ids("l1"), no_key_right=_ids("r1")),
    ),
    ("no name", [("l1", "", "")], [("r1", "", "")], Matches(no_key_left=_ids("l1"), no_key_right=_ids("r1"))),
    (
        "by key first, and then there is one of the name",
        [("l1", "k", "ann"), ("l2", "", "ann")],
        [("r1", "", "ann"), ("r2", "k", "bob")],
        Matches(pairs=_pairs(("l1", "r2"), ("l2", "r1"))),
    ),
    (
        "a name chooses among no two of one key",
        [("l1", "k", "ann"), ("l2", "k", "bob")],
        [("r1", "", "ann")],
        Matches(ambiguous_left=_ids("l1", "l2"), no_key_right=_ids("r1")),
    ),
]


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize(("left", "right", "expected"), [row[1:] for row in BY_NAME], ids=[row[0] for row in BY_NAME])
def test_names_join_where_one_has_no_key(left: list[_Row], right: list[_Row], expected: Matches) -> None:
    assert match_sides(_twice_keyed(*left), _twice_keyed(*right)) == expected


TIES: list[tuple[str, list[_Row], list[_Row], Matches]] = [
    (
        "told apart",
        [("l1", "k", "k a"), ("l2", "k", "k b")],
        [("r1", "k", "k b"), ("r2", "k", "k a")],
        Matches(pairs=_pairs(("l1", "r2"), ("l2", "r1"))),
    ),
    (
        "one is told, and the other is left",
        [("l1", "k", "k a"), ("l2", "k", "")],
        [("r1", "k", "k a")],
        Matches(pairs=_pairs(("l1", "r1")), only_left=_ids("l2")),
    ),
    (
        "one is told of three",
        [("l1", "k", "k a"), ("l2", "k", "k b"), ("l3", "k", "")],
        [("r1", "k", "k a"), ("r2", "k", "k c")],
        Matches(pairs=_pairs(("l1", "r1")), ambiguous_left=_ids("l2", "l3"), ambiguous_right=_ids("r2")),
    ),
    (
        "not told apart",
        [("l1", "k", "k a"), ("l2", "k", "k a")],
        [("r1", "k", "k a")],
        Matches(ambiguous_left=_ids("l1", "l2"), ambiguous_right=_ids("r1")),
    ),
    ("no tie to break", [("l1", "k", "k a")], [("r1", "k", "k b")], Matches(pairs=_pairs(("l1", "r1")))),
    (
        "a second key joins nobody without a first",
        [("l1", "", "a")],
        [("r1", "", "a")],
        Matches(no_key_left=_ids("l1"), no_key_right=_ids("r1")),
    ),
]


@pytest.mark.rule("DU-2")
@pytest.mark.parametrize(("left", "right", "expected"), [row[1:] for row in TIES], ids=[row[0] for row in TIES])
def test_the_parent_breaks_a_tie_of_keys(left: list[_Row], right: list[_Row], expected: Matches) -> None:
    assert match_sides(_twice_keyed(*left), _twice_keyed(*right), ties=True) == expected


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


_keys, _names = st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "ann", "bob"])
_sides = st.lists(st.tuples(st.integers(0, 12).map(str), _keys, _names), max_size=10)
_Rows = dict[str, tuple[str, str]]


def _all_in_one_place(matches: Matches, left: _Rows, right: _Rows) -> None:
    here = [a for a, _ in matches.pairs] + [*matches.ambiguous_left, *matches.only_left, *matches.no_key_left]
    there = [b for _, b in matches.pairs] + [*matches.ambiguous_right, *matches.only_right, *matches.no_key_right]
    assert (sorted(here), sorted(there)) == (sorted(left), sorted(right))


@pytest.mark.rule("DU-2")
@given(_sides, _sides)
def test_no_pair_by_names_is_a_choice(lefts: list[_Row], rights: list[_Row]) -> None:
    """Keys are told first; of those that are left there is one of the name on each side."""
    sides: list[_Rows] = [{name: (str(key), second) for name, key, second in rows} for rows in (lefts, rights)]
    matches = match_sides(*([Keyed(RecordId(n), *row) for n, row in side.items()] for side in sides))
    _all_in_one_place(matches, *sides)
    keys = [[key for key, _ in side.values() if key] for side in sides]
    doubled = {key for one in keys for key in one if one.count(key) > 1}
    told = doubled | set(keys[0]) & set(keys[1])
    left_over = [{n: row for n, row in side.items() if row[0] not in told} for side in sides]
    for pair in matches.pairs:
        (key, second), (other_key, other_second) = (side[n] for side, n in zip(sides, pair, strict=True))
        if key and key == other_key:
            assert key not in doubled
            continue
        assert second == other_second != ""
        assert "" in (key, other_key)
        for side, n in zip(left_over, pair, strict=True):
            assert [other for other, row in side.items() if row[1] == second] == [n]


@pytest.mark.rule("DU-2")
@given(_sides, _sides)
def test_no_pair_by_a_broken_tie_is_a_choice(lefts: list[_Row], rights: list[_Row]) -> None:
    """Whoever is alone of the key and the second key, on both sides, is told apart; then one of the key is left."""
    sides: list[_Rows] = [
        {name: (str(key), f"{key} {second}" if key and second else "") for name, key, second in rows}
        for rows in (lefts, rights)
    ]
    matches = match_sides(*([Keyed(RecordId(n), *row) for n, row in side.items()] for side in sides), ties=True)
    _all_in_one_place(matches, *sides)
    apart = [
        second
        for second in {row[1] for row in sides[0].values()} - {""}
        if all(sum(row[1] == second for row in side.values()) == 1 for side in sides)
    ]
    for pair in matches.pairs:
        (key, second), (other_key, other_second) = (side[n] for side, n in zip(sides, pair, strict=True))
        assert key == other_key != ""
        if second == other_second and second in apart:
            continue
        for side, n in zip(sides, pair, strict=True):
            assert [o for o, row in side.items() if row[0] == key and row[1] not in apart] == [n]
