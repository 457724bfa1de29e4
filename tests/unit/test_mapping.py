"""A value from one side to the other, and what is checked when a mapping is saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given

from shared.sync import mapping
from shared.sync.mapping import Mapped, ProblemCode, check_mapping, forward, ways
from shared.sync.model import FieldDef, FieldFlow, FieldKind, FieldPair, Pair, Side, Value
from shared.sync.transforms import Transform
from shared.sync.values import same
from tests.unit.sync_builders import FLAG, LEFT, NUMBER, PICK, RICH, RIGHT, defs, simple, texts

D = Decimal
_KINDS = (("Service", "service"), ("Goods", "goods"), ("Part", "goods"), ("Service", "digital_service"))
TABLE = FieldPair("Kind", "kind", table=_KINDS)
AS_NUMBER = FieldPair("a", "b", transforms=("trim", "number"))
DAY, TIME = FieldKind.DATE, FieldKind.DATETIME


@pytest.mark.rule("FM-8", "FM-10")
@pytest.mark.parametrize(
    ("pair", "value", "source", "target", "expected"),
    [
        (FieldPair("a", "b"), "x", Side.LEFT, FieldDef("b"), Mapped("x")),
        (FieldPair("a", "b"), None, Side.LEFT, FieldDef("b"), Mapped(None)),
        (FieldPair("a", "b"), "abcdef", Side.LEFT, FieldDef("b", max_length=3), Mapped("abc", cut=True)),
        (FieldPair("a", "b"), D("1.255"), Side.RIGHT, FieldDef("a", NUMBER, decimals=2), Mapped(D("1.26"), cut=True)),
        (FieldPair("a", "b"), "18.10", Side.LEFT, FieldDef("b", NUMBER), Mapped(D("18.10"))),
        (FieldPair("a", "b", default_right="x"), " ", Side.LEFT, FieldDef("b"), Mapped("x")),
        (FieldPair("a", "b", default_right="x"), None, Side.RIGHT, FieldDef("a"), Mapped(None)),
        (FieldPair("a", "b", default_left="x"), None, Side.RIGHT, FieldDef("a"), Mapped("x")),
        (FieldPair("a", "b", default_right="x"), "y", Side.LEFT, FieldDef("b"), Mapped("y")),
        (TABLE, "Part", Side.LEFT, FieldDef("kind"), Mapped("goods")),
        (TABLE, "Service", Side.LEFT, FieldDef("kind"), Mapped("service")),
        (TABLE, "goods", Side.RIGHT, FieldDef("Kind"), Mapped("Goods")),
        (TABLE, "digital_service", Side.RIGHT, FieldDef("Kind"), Mapped("Service")),
        (TABLE, None, Side.LEFT, FieldDef("kind"), Mapped(None)),
        (AS_NUMBER, " 1.50 ", Side.LEFT, FieldDef("b", NUMBER), Mapped(D("1.50"))),
        (AS_NUMBER, D("1.50"), Side.RIGHT, FieldDef("a"), Mapped("1.5")),
        (FieldPair("a", "b", transforms=("trim",), table=(("x", "y"),)), " x ", Side.LEFT, FieldDef("b"), Mapped("y")),
        (FieldPair("a", "b", transforms=("upper",), table=(("X", "y"),)), "x", Side.LEFT, FieldDef("b"), Mapped("y")),
    ],
)
def test_forward(pair: FieldPair, value: Value, source: Side, target: FieldDef, expected: Mapped) -> None:
    assert forward(pair, value, source, target) == expected


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize(
    ("pair", "value", "source", "target"),
    [
        (TABLE, "Tool", Side.LEFT, FieldDef("kind", label="Product type")),
        (TABLE, "service", Side.LEFT, FieldDef("kind", label="Product type")),
        (TABLE, "Goods", Side.RIGHT, FieldDef("Kind", label="Product type")),
        (FieldPair("a", "b"), "much", Side.LEFT, FieldDef("b", NUMBER, "Product type")),
        (FieldPair("a", "b", transforms=("number",)), "1,5", Side.LEFT, FieldDef("b", label="Product type")),
        (FieldPair("a", "b", transforms=("upper",)), "X", Side.RIGHT, FieldDef("a", label="Product type")),
    ],
)
def test_a_value_that_cannot_be_mapped_names_the_field_and_not_the_value(
    pair: FieldPair, value: Value, source: Side, target: FieldDef
) -> None:
    assert forward(pair, value, source, target) == Mapped(None, reason="VALUE_NOT_MAPPED", field="Product type")


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize(
    ("fp", "right"),
    [
        (FieldPair("a", "b"), FieldDef("b", max_length=5)),
        (FieldPair("a", "b"), FieldDef("b", bmp_only=True)),
        (FieldPair("a", "b", transforms=("trim",)), FieldDef("b")),
        (FieldPair("a", "b", default_right="none"), FieldDef("b")),
    ],
)
def test_what_came_over_goes_back_and_comes_over_the_same(fp: FieldPair, right: FieldDef) -> None:
    @given(texts)
    def holds(value: str) -> None:
        there = forward(fp, value, Side.LEFT, right).value
        back = forward(fp, there, Side.RIGHT, FieldDef("a")).value
        assert same(forward(fp, back, Side.LEFT, right).value, there)

    holds()


@pytest.mark.rule("FM-8")
def test_inverses_run_in_reverse_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def adds(end: str) -> Transform:
        return Transform(end, end, lambda value: f"{value}{end}", lambda value: str(value).removesuffix(end))

    monkeypatch.setattr(mapping, "TRANSFORMS", {"x": adds("x"), "y": adds("y")})
    fp = FieldPair("a", "b", transforms=("x", "y"))
    assert forward(fp, "v", Side.LEFT, FieldDef("b")) == Mapped("vxy")
    assert forward(fp, "vxy", Side.RIGHT, FieldDef("a")) == Mapped("v")


@pytest.mark.rule("FM-8")
@pytest.mark.parametrize("right", ["service", "goods", "digital_service"])
def test_a_table_comes_back_to_its_first_line(right: str) -> None:
    back = forward(TABLE, right, Side.RIGHT, FieldDef("Kind")).value
    there = forward(TABLE, back, Side.LEFT, FieldDef("kind")).value
    assert there == ("service" if right == "digital_service" else right)


# Checks on save


def _codes(pair: Pair) -> list[tuple[ProblemCode, str]]:
    return [(problem.code, problem.pair_key) for problem in check_mapping(pair) if not problem.warning]


def _two(line: FieldPair, left: FieldDef, right: FieldDef) -> Pair:
    return simple(line, left=[left], right=[right])


@pytest.mark.rule("FM-1")
def test_the_rich_pair_may_be_saved() -> None:
    assert _codes(RICH) == []


@pytest.mark.rule("FM-1")
@pytest.mark.parametrize(
    ("line", "left", "right", "code"),
    [
        (FieldPair("a", "b", transforms=("magic",)), FieldDef("a"), FieldDef("b"), ProblemCode.UNKNOWN_TRANSFORM),
        (FieldPair("a", "b", transforms=("upper",)), FieldDef("a"), FieldDef("b"), ProblemCode.ONE_WAY_TRANSFORM),
        (FieldPair("a", "b"), FieldDef("a", read_only=True), FieldDef("b"), ProblemCode.READ_ONLY),
        (FieldPair("a", "b"), FieldDef("a"), FieldDef("b", read_only=True), ProblemCode.READ_ONLY),
        (FieldPair("a", "b"), FieldDef("a", pii=True), FieldDef("b"), ProblemCode.PII),
        (FieldPair("a", "b"), FieldDef("a"), FieldDef("b", pii=True), ProblemCode.PII),
        (FieldPair("a", "b"), FieldDef("a", NUMBER), FieldDef("b"), ProblemCode.TYPES_DIFFER),
        (FieldPair("a", "b"), FieldDef("a"), FieldDef("b", FLAG), ProblemCode.TYPES_DIFFER),
        (FieldPair("a", "b"), FieldDef("a", DAY), FieldDef("b", TIME), ProblemCode.TYPES_DIFFER),
        (FieldPair("a", "b", transforms=("number",)), FieldDef("a"), FieldDef("b", FLAG), ProblemCode.TYPES_DIFFER),
        (FieldPair("a", "b", transforms=("date_dmy",)), FieldDef("a", PICK), FieldDef("b"), ProblemCode.TYPES_DIFFER),
    ],
)
def test_a_line_that_may_not_be_saved(line: FieldPair, left: FieldDef, right: FieldDef, code: ProblemCode) -> None:
    assert _codes(_two(line, left, right)) == [(code, "a|b")]


@pytest.mark.rule("FM-1", "FM-8")
@pytest.mark.parametrize(
    ("line", "left", "right"),
    [
        (FieldPair("a", "b", flow=FieldFlow.TO_RIGHT), FieldDef("a", read_only=True), FieldDef("b")),
        (FieldPair("a", "b", flow=FieldFlow.TO_LEFT), FieldDef("a"), FieldDef("b", read_only=True)),
        (FieldPair("a", "b", flow=FieldFlow.TO_RIGHT, transforms=("upper",)), FieldDef("a"), FieldDef("b")),
        (FieldPair("a", "b", flow=FieldFlow.TO_RIGHT), FieldDef("a", NUMBER), FieldDef("b")),
        (FieldPair("a", "b", transforms=("number",)), FieldDef("a"), FieldDef("b", NUMBER)),
        (FieldPair("a", "b", transforms=("trim", "number")), FieldDef("a"), FieldDef("b", NUMBER)),
        (FieldPair("a", "b", transforms=("number_text",)), FieldDef("a", NUMBER), FieldDef("b")),
        (FieldPair("a", "b", transforms=("date_dmy",)), FieldDef("a"), FieldDef("b", FieldKind.DATE)),
        (FieldPair("a", "b", table=(("x", "true"),)), FieldDef("a", PICK), FieldDef("b", FLAG)),
        (FieldPair("a", "b"), FieldDef("a", PICK), FieldDef("b")),
    ],
)
def test_a_line_that_may_be_saved(line: FieldPair, left: FieldDef, right: FieldDef) -> None:
    assert check_mapping(_two(line, left, right)) == ()


@pytest.mark.rule("FM-1")
def test_fields_that_do_not_exist_are_named() -> None:
    pair = replace(RICH, mapping=(*RICH.mapping, FieldPair("Gone", "lost")))
    problems = check_mapping(pair)
    assert [p.sentence for p in problems if p.code is ProblemCode.NO_SUCH_FIELD] == [
        "The field Gone does not exist.",
        "The field lost does not exist.",
    ]


@pytest.mark.rule("FM-1")
def test_mandatory_fields_of_both_targets_are_mapped_or_constant() -> None:
    left = [FieldDef("Due", label="Due day", required=True), FieldDef("Auto", required=True, read_only=True)]
    right = [FieldDef("group", label="Group", required=True), FieldDef("tax", label="Tax", required=True)]
    pair = replace(simple(left=left, right=right), constants={Side.RIGHT: {"group": "A"}})
    problems = check_mapping(pair)
    assert [p.code for p in problems] == [ProblemCode.MANDATORY_NOT_MAPPED] * 2
    assert "Due day is mandatory" in problems[0].sentence
    assert "Tax is mandatory" in problems[1].sentence


@pytest.mark.rule("FM-1")
def test_nothing_is_mandatory_where_nothing_is_written() -> None:
    left = [FieldDef("Due", required=True)]
    pair = simple(left=left)
    one_way = replace(pair, mapping=(FieldPair("Name", "name", flow=FieldFlow.TO_RIGHT),))
    assert _codes(pair) == [(ProblemCode.MANDATORY_NOT_MAPPED, "")]
    assert _codes(one_way) == []


@pytest.mark.rule("FM-1")
def test_a_pair_is_there_once_and_the_key_stays() -> None:
    doubled = replace(RICH, mapping=(*RICH.mapping, RICH.mapping[1]))
    assert (ProblemCode.DUPLICATE, "Note|note") in _codes(doubled)
    keyless = replace(RICH, mapping=RICH.mapping[1:])
    assert (ProblemCode.KEY_NOT_MAPPED, "") in _codes(keyless)
    on_create = replace(RICH, mapping=(replace(RICH.mapping[0], on_create=True), *RICH.mapping[1:]))
    assert (ProblemCode.KEY_NOT_MAPPED, "") in _codes(on_create)


@pytest.mark.rule("FM-1")
def test_a_table_value_that_a_vendor_does_not_list_warns() -> None:
    pair = _two(FieldPair("a", "b", table=(("x", "y"), ("z", "w"))), FieldDef("a", picklist=("x",)), FieldDef("b"))
    assert [(p.code, p.warning, p.sentence) for p in check_mapping(pair)] == [
        (ProblemCode.TABLE_VALUE, True, "a does not list z.")
    ]


# FM-3: shared fields


def _carrying(pair: Pair) -> dict[str, tuple[bool, bool]]:
    return {way.pair.key: (way.to_left, way.to_right) for way in ways(pair)}


@pytest.mark.rule("FM-3")
def test_on_the_way_back_the_mandatory_field_is_used() -> None:
    carried = _carrying(RICH)
    assert carried["Main|copy"] == (False, True)
    assert carried["Main|main"] == (True, True)
    warned = [p.sentence for p in check_mapping(RICH) if p.code is ProblemCode.SHARED_FIELD]
    assert warned == ["Main is filled from main, not from copy: two pairs share it."]


@pytest.mark.rule("FM-3")
@pytest.mark.parametrize(
    ("required", "expected"),
    [((), "m|x"), (("x",), "m|x"), (("y",), "m|y"), (("x", "y"), "m|x"), (("z",), "m|z")],
)
def test_else_the_one_mapped_first(required: Iterable[str], expected: str) -> None:
    lines = [FieldPair("m", name) for name in ("x", "y", "z")]
    pair = simple(*lines, right=[FieldDef(name, required=name in set(required)) for name in ("x", "y", "z")])
    assert [way.pair.key for way in ways(pair) if way.to_left and way.pair.left == "m"] == [expected]
    assert all(way.to_right for way in ways(pair))


@pytest.mark.rule("FM-3")
def test_two_sources_of_one_target_are_chosen_alike() -> None:
    pair = simple(FieldPair("m", "x"), FieldPair("n", "x"), left=[FieldDef("n", required=True), FieldDef("m")])
    assert _carrying(pair) == {"Name|name": (True, True), "m|x": (True, False), "n|x": (True, True)}


@pytest.mark.rule("FM-8")
def test_a_flow_or_a_one_way_transform_stops_the_way_back() -> None:
    pair = simple(
        FieldPair("a", "b", flow=FieldFlow.TO_RIGHT),
        FieldPair("c", "d", flow=FieldFlow.TO_LEFT),
        FieldPair("e", "f", transforms=("upper",)),
    )
    assert list(_carrying(pair).values()) == [(True, True), (False, True), (True, False), (False, True)]


def test_the_builders_cover_every_kind_of_line() -> None:
    assert set(LEFT) == {fp.left for fp in RICH.mapping}
    assert set(RIGHT) == {fp.right for fp in RICH.mapping} | {"sub_type"}
    assert defs(FieldDef("a")) == {"a": FieldDef("a")}
