"""Three-way merge, one row per rule (DU-6, DU-3, FM-9, FM-10)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from shared.sync.merge import (
    MergeResult,
    Trouble,
    apply_writes,
    merge,
    newer_side,
    pending_of,
    read_back,
    with_pending,
)
from shared.sync.model import (
    Change,
    Conflict,
    FieldDef,
    FieldFlow,
    FieldPair,
    Pair,
    Record,
    RecordId,
    Sent,
    Side,
    Value,
)
from shared.sync.reasons import Code
from tests.unit.sync_builders import NUMBER, RICH, lefty, replace, righty, simple

D = Decimal
L, R = Side.LEFT, Side.RIGHT
Two = tuple[Value, Value]
Writes = dict[Side, dict[str, Value]]
NOTE = simple(FieldPair("a", "b"), left=[FieldDef("a", bmp_only=True)], right=[FieldDef("b", max_length=5)])
RATE = simple(FieldPair("a", "b"), left=[FieldDef("a", NUMBER)], right=[FieldDef("b", NUMBER, decimals=2)])
TABLE = simple(FieldPair("a", "b", table=(("Goods", "goods"), ("Part", "goods"), ("Work", "work"))))
DEFAULT = simple(FieldPair("a", "b", default_right="none"))
DEFAULTS = simple(FieldPair("a", "b", default_left="nil", default_right="none"))
TO_RIGHT = simple(FieldPair("a", "b", flow=FieldFlow.TO_RIGHT))
TO_LEFT = simple(FieldPair("a", "b", flow=FieldFlow.TO_LEFT))
MUST = simple(FieldPair("a", "b"), right=[FieldDef("b", label="Bee", required=True)])


def _merge(pair: Pair, now: Two, base: Two | None, **more: object) -> MergeResult:
    left, right = lefty(Name="n", a=now[0]), righty(name="n", b=now[1])
    bases: dict[str, Two] = {"Name|name": ("n", "n")}
    if base is not None:
        bases["a|b"] = base
    return merge(pair, left, right, bases, **more)  # type: ignore[arg-type]


def _written(result: MergeResult) -> Writes:
    return {side: {change.field: change.new for change in changes} for side, changes in result.writes.items()}


WITH_BASE: list[tuple[str, Pair, Two, Two, Writes, Two]] = [
    ("nothing changed", NOTE, ("x", "x"), ("x", "x"), {}, ("x", "x")),
    ("left changed", NOTE, ("y", "x"), ("x", "x"), {R: {"b": "y"}}, ("y", "y")),
    ("right changed", NOTE, ("x", "y"), ("x", "x"), {L: {"a": "y"}}, ("y", "y")),
    ("left cleared", NOTE, (None, "x"), ("x", "x"), {R: {"b": None}}, (None, None)),
    ("right cleared", NOTE, ("x", ""), ("x", "x"), {L: {"a": None}}, (None, "")),
    ("both, the same", NOTE, ("y", "y"), ("x", "x"), {}, ("y", "y")),
    ("both cleared", NOTE, (None, ""), ("x", "x"), {}, (None, "")),
    ("blank is blank", NOTE, (None, ""), ("", None), {}, ("", None)),
    ("cut in the base", NOTE, ("abcdefgh", "abcde"), ("abcdefgh", "abcde"), {}, ("abcdefgh", "abcde")),
    ("both, agreeing but for the cut", NOTE, ("abcdefgh", "abcde"), ("x", "x"), {}, ("abcdefgh", "abcde")),
    ("right becomes what left is there", NOTE, ("abcdefgh", "abcde"), ("abcdefgh", "x"), {}, ("abcdefgh", "abcde")),
    ("left changed behind the cut", NOTE, ("abcdeXYZ", "abcde"), ("abcdefgh", "abcde"), {}, ("abcdeXYZ", "abcde")),
    ("emoji stays home", NOTE, ("ab", "ab😀"), ("ab", "ab"), {}, ("ab", "ab😀")),
    ("rounded in the base", RATE, (D("1.005"), D("1.01")), (D("1.005"), D("1.01")), {}, (D("1.005"), D("1.01"))),
    ("written otherwise", RATE, (D("1.50"), D("1.5")), (D("1.5"), D("1.500")), {}, (D("1.5"), D("1.500"))),
    ("left changed, rounded", RATE, (D("2.999"), D("1")), (D("1"), D("1")), {R: {"b": D("3")}}, (D("2.999"), D("3"))),
    ("many to one", TABLE, ("Part", "goods"), ("Goods", "goods"), {}, ("Part", "goods")),
    ("table, left changed", TABLE, ("Work", "goods"), ("Part", "goods"), {R: {"b": "work"}}, ("Work", "work")),
    ("table, right changed", TABLE, ("Work", "goods"), ("Work", "work"), {L: {"a": "Goods"}}, ("Goods", "goods")),
    ("unknown, but untouched", TABLE, ("Odd", "goods"), ("Odd", "goods"), {}, ("Odd", "goods")),
    ("cleared to the default", DEFAULT, (None, "x"), ("x", "x"), {R: {"b": "none"}}, (None, "none")),
    ("default is not carried back", DEFAULT, (None, "none"), (None, "none"), {}, (None, "none")),
    ("default, agreed", DEFAULT, (None, "none"), ("x", "x"), {}, (None, "none")),
    ("both cleared, no default written", DEFAULTS, (None, None), ("x", "x"), {}, (None, None)),
    ("one way, source changed", TO_RIGHT, ("y", "x"), ("x", "x"), {R: {"b": "y"}}, ("y", "y")),
    ("one way, target changed", TO_RIGHT, ("x", "y"), ("x", "x"), {}, ("x", "x")),
    ("one way left, source changed", TO_LEFT, ("x", "y"), ("x", "x"), {L: {"a": "y"}}, ("y", "y")),
    ("one way left, target changed", TO_LEFT, ("y", "x"), ("x", "x"), {}, ("x", "x")),
]  # fmt: skip


@pytest.mark.rule("DU-6", "FM-9", "FM-10")
@pytest.mark.parametrize(
    ("pair", "now", "base", "writes", "agreed"), [row[1:] for row in WITH_BASE], ids=[row[0] for row in WITH_BASE]
)
def test_with_a_base(
    pair: Pair,
    now: Two,
    base: Two,
    writes: Writes,
    agreed: Two,
) -> None:
    result = _merge(pair, now, base)
    assert _written(result) == writes
    assert result.base["a|b"] == agreed
    assert result.conflicts == ()
    assert result.troubles == ()


WITHOUT_BASE: list[tuple[str, Pair, Two, Writes, Two]] = [
    ("the same", NOTE, ("x", "x"), {}, ("x", "x")),
    ("both blank", NOTE, (None, ""), {}, (None, "")),
    ("blank yields to right", NOTE, (None, "x"), {L: {"a": "x"}}, ("x", "x")),
    ("blank yields to left", NOTE, ("x", ""), {R: {"b": "x"}}, ("x", "x")),
    ("the same but for the cut", NOTE, ("abcdefgh", "abcde"), {}, ("abcdefgh", "abcde")),
    ("a default is no value", DEFAULT, (None, "x"), {L: {"a": "x"}}, ("x", "x")),
    ("both blank, no default written", DEFAULTS, (None, None), {}, (None, None)),
    ("one way, blank source", TO_RIGHT, (None, "x"), {}, (None, "x")),
    ("one way, blank target", TO_RIGHT, ("x", None), {R: {"b": "x"}}, ("x", "x")),
    ("one way, the source is the master", TO_RIGHT, ("x", "y"), {R: {"b": "x"}}, ("x", "x")),
    ("one way left, the source is the master", TO_LEFT, ("x", "y"), {L: {"a": "y"}}, ("y", "y")),
]


@pytest.mark.rule("FM-9", "DU-8")
@pytest.mark.parametrize(
    ("pair", "now", "writes", "agreed"), [row[1:] for row in WITHOUT_BASE], ids=[row[0] for row in WITHOUT_BASE]
)
def test_without_a_base(pair: Pair, now: Two, writes: Writes, agreed: Two) -> None:
    for newer in (L, R, None):
        result = _merge(pair, now, None, newer=newer)
        assert _written(result) == writes
        assert result.base["a|b"] == agreed
        assert result.conflicts == ()


@pytest.mark.rule("FM-9")
def test_a_value_of_which_nothing_would_be_left_does_not_blank_the_other_side() -> None:
    result = _merge(NOTE, ("x", "😀"), None, newer=R)
    assert result.writes == {}
    assert result.base["a|b"] == ("x", "😀")


@pytest.mark.rule("DU-3")
@pytest.mark.parametrize(
    ("newer", "tie", "writes"),
    [
        (L, R, {R: {"b": "x"}}),
        (R, L, {L: {"a": "y"}}),
        (None, R, {L: {"a": "y"}}),
        (None, L, {R: {"b": "x"}}),
    ],
)
def test_first_match_the_newer_record_wins_and_it_is_no_conflict(newer: Side | None, tie: Side, writes: Writes) -> None:
    result = _merge(replace(NOTE, tie_side=tie), ("x", "y"), None, newer=newer)
    assert _written(result) == writes
    assert result.conflicts == ()


@pytest.mark.rule("DU-6")
@pytest.mark.parametrize(("newer", "tie", "winner"), [(L, R, L), (R, L, R), (None, R, R), (None, L, L)])
def test_both_changed_is_a_conflict_with_both_values(newer: Side | None, tie: Side, winner: Side) -> None:
    result = _merge(replace(NOTE, tie_side=tie), ("y", "z"), ("x", "x"), newer=newer)
    assert result.conflicts == (Conflict("a", "b", "y", "z", winner),)
    value = "y" if winner is L else "z"
    assert _written(result) == {winner.other: {"b" if winner is L else "a": value}}
    assert result.base["a|b"] == (value, value)


@pytest.mark.rule("DU-6")
def test_clearing_against_an_edit_is_a_conflict_too() -> None:
    result = _merge(NOTE, (None, "z"), ("x", "x"), newer=L)
    assert result.conflicts == (Conflict("a", "b", None, "z", L),)
    assert _written(result) == {R: {"b": None}}


@pytest.mark.rule("DU-6")
@pytest.mark.parametrize(("pair", "winner", "writes"), [(TO_RIGHT, L, {R: {"b": "y"}}), (TO_LEFT, R, {L: {"a": "z"}})])
def test_a_one_way_pair_has_one_master_whatever_is_newer(pair: Pair, winner: Side, writes: Writes) -> None:
    for newer in (L, R, None):
        result = _merge(pair, ("y", "z"), ("x", "x"), newer=newer)
        assert result.conflicts == (Conflict("a", "b", "y", "z", winner),)
        assert _written(result) == writes


@pytest.mark.rule("DU-6")
def test_only_fields_that_both_changed_are_in_conflict() -> None:
    pair = simple(FieldPair("a", "b"), FieldPair("c", "d"), FieldPair("e", "f"))
    left, right = lefty(Name="n", a="1", c="2", e="0"), righty(name="n", b="9", d="0", f="3")
    base: Mapping[str, Two] = {"Name|name": ("n", "n")} | dict.fromkeys(("a|b", "c|d", "e|f"), ("0", "0"))
    result = merge(pair, left, right, base, newer=L)
    assert [c.left_field for c in result.conflicts] == ["a"]
    assert _written(result) == {R: {"b": "1", "d": "2"}, L: {"e": "3"}}
    assert result.writes[R][0] == Change("b", "9", "1")


# FM-10: reading back


READ_BACK: list[tuple[str, Two, Two, Writes, Two]] = [
    ("cut by the vendor", ("abcd", "ab"), ("abcd", "abcd"), {}, ("abcd", "ab")),
    ("other case", ("abcd", "ABCD"), ("abcd", "abcd"), {}, ("abcd", "ABCD")),
    ("as sent", ("abcd", "abcd"), ("abcd", "abcd"), {}, ("abcd", "abcd")),
    ("an edit all the same", ("abcd", "xyz"), ("abcd", "abcd"), {L: {"a": "xyz"}}, ("xyz", "xyz")),
    ("cleared meanwhile", ("abcd", None), ("abcd", "abcd"), {L: {"a": None}}, (None, None)),
    ("form at right, edit at left", ("new", "ab"), ("abcd", "abcd"), {R: {"b": "new"}}, ("new", "new")),
]  # fmt: skip


@pytest.mark.rule("FM-10")
@pytest.mark.parametrize(
    ("now", "sent", "writes", "agreed"), [row[1:] for row in READ_BACK], ids=[row[0] for row in READ_BACK]
)
def test_what_the_vendor_made_of_our_write_becomes_the_base(
    now: Two,
    sent: Two,
    writes: Writes,
    agreed: Two,
) -> None:
    result = _merge(NOTE, now, sent, unread=frozenset({R}))
    assert _written(result) == writes
    assert result.base["a|b"] == agreed
    assert result.conflicts == ()


@pytest.mark.rule("FM-10")
def test_only_an_unread_side_is_read_back() -> None:
    now: Two = ("abcd", "ab")
    assert _written(_merge(NOTE, now, ("abcd", "abcd"))) == {L: {"a": "ab"}}
    assert _written(_merge(NOTE, now, ("abcd", "abcd"), unread=frozenset({L}))) == {L: {"a": "ab"}}
    assert _merge(NOTE, now, ("abcd", "abcd"), unread=frozenset({R})).adopted == ("a|b",)
    assert _merge(NOTE, ("ab", "abcd"), ("abcd", "abcd"), unread=frozenset({L})).writes == {}


@pytest.mark.rule("FM-10")
@pytest.mark.parametrize(
    ("sent", "got", "adopted"),
    [(D("2.505"), D("2.51"), True), (D("2.505"), D("2.5"), True), (D("2.505"), D("3.2"), False)],
)
def test_a_rounding_is_read_back(sent: Decimal, got: Decimal, adopted: bool) -> None:
    pair = replace(RATE, right_fields={**RATE.right_fields, "b": FieldDef("b", NUMBER)})
    result = _merge(pair, (sent, got), (sent, sent), unread=frozenset({R}))
    assert (result.writes == {}) is adopted


@pytest.mark.rule("FM-10")
def test_the_emoji_of_the_brief() -> None:
    """FSM cuts what Books holds; the cut form never comes back over the original."""
    pair = simple(FieldPair("a", "b"), left=[FieldDef("a", label="Note", bmp_only=True)])
    result = _merge(pair, ("x", "abc😀d"), ("x", "x"))
    assert _written(result) == {L: {"a": "abc"}}
    assert result.base["a|b"] == ("abc", "abc😀d")
    assert result.warnings == ("Note holds less than the source: the value was cut or rounded.",)
    again = _merge(pair, ("abc", "abc😀d"), result.base["a|b"])
    assert again.writes == {}


@pytest.mark.rule("FM-10")
def test_the_answer_of_a_write_is_read_back_for_what_was_written() -> None:
    base: Mapping[str, Two] = {"Name|name": ("n", "n"), "a|b": ("acme.com", "acme.com")}
    changes = [Change("b", None, "acme.com")]
    shown = righty(name="edited meanwhile", b="https://acme.com/")
    after = read_back(NOTE, base, R, changes, shown)
    assert after == {"Name|name": ("n", "n"), "a|b": ("acme.com", "https://acme.com/")}
    assert _written(merge(NOTE, lefty(Name="n", a="acme.com"), shown, after)) == {L: {"Name": "edited meanwhile"}}
    assert read_back(NOTE, base, R, changes, replace(righty(), complete=False)) == base
    assert read_back(NOTE, base, L, [Change("a", None, "x")], lefty(a="X"))["a|b"] == ("X", "acme.com")
    assert read_back(NOTE, {}, R, changes, shown) == {}


# Troubles


@pytest.mark.rule("FM-1", "FM-10")
def test_troubles_are_told_and_nothing_is_written_there() -> None:
    assert _merge(MUST, (None, "x"), ("x", "x")).troubles == (Trouble(Code.MANDATORY_FIELD_EMPTY, "Bee"),)
    assert _merge(TABLE, ("Odd", "goods"), ("Goods", "goods")).troubles == (Trouble(Code.VALUE_NOT_MAPPED, "b"),)
    short = simple(right=[FieldDef("name", label="Display name", max_length=3)])
    result = merge(short, lefty(Name="Acme"), righty(name="Old"), {"Name|name": ("Old", "Old")})
    assert result.troubles == (Trouble(Code.KEY_CUT, "Display name"),)
    assert result.writes == {}


@pytest.mark.rule("FM-9")
def test_a_line_that_is_new_or_gone() -> None:
    result = _merge(NOTE, ("x", "x"), None)
    assert result.base == {"Name|name": ("n", "n"), "a|b": ("x", "x")}
    dropped = merge(simple(), lefty(Name="n"), righty(name="n"), {"Name|name": ("n", "n"), "a|b": ("x", "y")})
    assert dropped.base == {"Name|name": ("n", "n")}


@pytest.mark.rule("FM-3")
def test_a_shared_field_reaches_all_that_map_it_at_once() -> None:
    base: Mapping[str, Two] = {"Main|copy": ("x", "x"), "Main|main": ("x", "x")}
    left = Record(RecordId("L1"), {"Name": "n", "Main": "x"})
    edited = Record(RecordId("R1"), {"name": "n", "copy": "x", "main": "y", "sub_type": "business"})
    result = merge(RICH, left, edited, base)
    assert _written(result) == {L: {"Main": "y"}, R: {"copy": "y"}}
    copied = Record(RecordId("R1"), {"name": "n", "copy": "z", "main": "x", "sub_type": "business"})
    assert merge(RICH, left, copied, base).writes == {}


@pytest.mark.rule("FM-3", "DU-6")
def test_a_field_that_is_written_twice_on_the_way_is_one_change() -> None:
    """Main is edited on both sides and the right one wins: copy gets the left value first, then the winner's."""
    base: Mapping[str, Two] = {"Main|copy": ("x", "x"), "Main|main": ("x", "x")}
    result = merge(RICH, lefty(Main="l"), righty(copy="x", main="r"), base, newer=R)
    assert result.writes == {L: (Change("Main", "l", "r"),), R: (Change("copy", "x", "r"),)}
    assert len(result.conflicts) == 1


@pytest.mark.rule("DU-6")
def test_a_thin_row_says_nothing_of_what_it_lacks() -> None:
    left = lefty(Name="n", a="y")
    thin = replace(righty(name="n"), complete=False)
    base: Mapping[str, Two] = {"Name|name": ("n", "n"), "a|b": ("x", "x")}
    result = merge(NOTE, left, thin, base)
    assert result.writes == {}
    assert result.base == base
    assert merge(NOTE, left, thin, {}).base == {"Name|name": ("n", "n")}


@pytest.mark.rule("DU-3")
@pytest.mark.parametrize(
    ("left", "right", "expected"), [(2, 1, L), (1, 2, R), (1, 1, None), (None, 1, None), (1, None, None)]
)
def test_newer_side(left: int | None, right: int | None, expected: Side | None) -> None:
    assert newer_side(lefty(left), righty(right)) is expected


def test_apply_writes_leaves_the_rest() -> None:
    record = lefty(Name="n", a="x")
    after = apply_writes(record, [Change("a", "x", None), Change("b", None, "y")])
    assert after.fields == {"Name": "n", "a": None, "b": "y"}
    assert record.fields == {"Name": "n", "a": "x"}


# Writes of unknown fate


@pytest.mark.parametrize(
    ("name", "now", "wrote"),
    [
        ("applied: ours", ("y", "y"), {}),
        ("applied, and the left was edited since", ("z", "y"), {R: {"b": "z"}}),
        ("applied, and the right was edited since", ("y", "z"), {L: {"a": "z"}}),
        ("never applied: the left's edit is still to be carried", ("y", "x"), {R: {"b": "y"}}),
        ("never applied, and the left was edited again", ("z", "x"), {R: {"b": "z"}}),
    ],
)
def test_a_write_of_unknown_fate_is_ours_where_the_side_holds_it(name: str, now: Two, wrote: Writes) -> None:
    """The base is ("x", "x"), the left was edited to "y", and "y" was sent to the right."""
    base: dict[str, Two] = {"Name|name": ("n", "n"), "a|b": ("x", "x")}
    records = {L: lefty(Name="n", a=now[0]), R: righty(name="n", b=now[1])}
    pending = {R: Sent({"a|b": ("y", "y")}, {"a|b": "x"})}
    believed = with_pending(NOTE, base, pending, records)
    assert _written(merge(NOTE, records[L], records[R], believed, newer=R)) == wrote


def test_what_a_vendor_cut_is_ours_too_but_not_what_it_held_before() -> None:
    """Five letters leave "abcde" of "abcdefgh"; where the side held that before, nothing tells that it was written."""
    base: dict[str, Two] = {"a|b": ("x", "x")}
    records = {L: lefty(a="abcdefgh"), R: righty(b="abcde")}
    cut = with_pending(NOTE, base, {R: Sent({"a|b": ("abcdefgh", "abcdefgh")}, {"a|b": "x"})}, records)
    assert cut["a|b"] == ("abcdefgh", "abcde")
    held = with_pending(NOTE, base, {R: Sent({"a|b": ("abcdefgh", "abcdefgh")}, {"a|b": "abcde"})}, records)
    assert held["a|b"] == ("x", "x")


def test_a_row_that_does_not_show_the_field_tells_nothing() -> None:
    base: dict[str, Two] = {"a|b": ("x", "x")}
    thin = replace(righty(name="n"), complete=False)
    pending = {R: Sent({"a|b": ("y", "y")}, {"a|b": "x"})}
    assert with_pending(NOTE, base, pending, {L: lefty(a="y"), R: thin}) == base


def test_what_is_pending_is_what_is_written() -> None:
    base: dict[str, Two] = {"Name|name": ("n", "n"), "a|b": ("y", "y")}
    assert pending_of(NOTE, base, {R: [Change("b", "x", "y")], L: []}) == {R: Sent({"a|b": ("y", "y")}, {"a|b": "x"})}
