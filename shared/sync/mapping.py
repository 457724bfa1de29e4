"""Field pairs: a value from one side to the other, and the checks on save (FM-1 to FM-3, FM-8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from shared.sync.model import FieldDef, FieldFlow, FieldKind, FieldPair, Pair, Side, Value
from shared.sync.reasons import Code
from shared.sync.transforms import TRANSFORMS, Transform
from shared.sync.values import convert, fit, is_blank


class Mapped(msgspec.Struct, frozen=True):
    """A value in the target's terms. `cut`: the target holds less of it (FM-10). `reason` set: it cannot be
    mapped, `value` says nothing, and `field` names the target's field for people."""

    value: Value
    cut: bool = False
    reason: str | None = None
    field: str = ""


def label(definition: FieldDef) -> str:
    """A field as people know it."""
    return definition.label or definition.name


def forward(pair: FieldPair, value: Value, source: Side, target_def: FieldDef) -> Mapped:
    """`value` of the `source` side as the other side is to hold it.

    Left to right: transforms, then table; right to left: table, then the inverses in reverse order. Then the
    kind is converted and the value fitted. A blank value takes the target side's default, else stays blank.
    """
    if is_blank(value):
        default = pair.default_right if source is Side.LEFT else pair.default_left
        fitted = fit(default, target_def)
        return Mapped(fitted.value, fitted.cut)
    try:
        mapped = convert(_changed(pair, value, source), target_def.kind)
    except ValueError:
        reason = Code.TAX_NOT_MAPPED if target_def.tax else Code.VALUE_NOT_MAPPED
        return Mapped(None, reason=reason, field=label(target_def))
    fitted = fit(mapped, target_def)
    return Mapped(fitted.value, fitted.cut)


def _changed(pair: FieldPair, value: Value, source: Side) -> Value:
    """Raises ValueError where a transform or the table does not know the value."""
    if not pair.transforms:
        return _looked_up(pair.table, value, source) if pair.table else value
    if source is Side.LEFT:
        value = _transformed(pair.transforms, value, _apply)
        return _looked_up(pair.table, value, source) if pair.table else value
    value = _looked_up(pair.table, value, source) if pair.table else value
    return _transformed(reversed(pair.transforms), value, _invert)


def _transformed(names: Iterable[str], value: Value, step: Callable[[Transform, Value], Value]) -> Value:
    for name in names:
        value = value if is_blank(value) else step(TRANSFORMS[name], value)
    return value


def _apply(transform: Transform, value: Value) -> Value:
    return transform.apply(value)


def _invert(transform: Transform, value: Value) -> Value:
    if transform.inverse is None:
        raise ValueError("one-way")
    return transform.inverse(value)


def _looked_up(table: tuple[tuple[str, str], ...], value: Value, source: Side) -> str:
    text = convert(value, FieldKind.TEXT)
    for left, right in table:
        if text == (left if source is Side.LEFT else right):
            return right if source is Side.LEFT else left
    raise ValueError("not in the table")


def without_private(pair: Pair) -> Pair:
    """A field that was marked as personal after it was mapped is carried no more (FM-2)."""
    lines = tuple(fp for fp in pair.mapping if not any(_is_private(pair, fp, side) for side in Side))
    return pair if len(lines) == len(pair.mapping) else replace(pair, mapping=lines)


def without_foreign_prices(pair: Pair) -> Pair:
    """A price is not carried between two base currencies (TR-10), whatever was mapped before that was known."""
    lines = tuple(fp for fp in pair.mapping if not _currencies_differ(pair, fp))
    return pair if len(lines) == len(pair.mapping) else replace(pair, mapping=lines)


def foreign_prices(pair: Pair) -> tuple[str, ...]:
    """A sentence for each price that is mapped between two base currencies."""
    return tuple(
        _differing(pair.left_fields[fp.left], pair.right_fields[fp.right])
        for fp in pair.mapping
        if _currencies_differ(pair, fp)
    )


def _differing(left: FieldDef, right: FieldDef) -> str:
    return (
        f"{label(left)} is in {left.currency} and {label(right)} in {right.currency}: where the base currencies "
        "differ, prices may not be mapped."
    )


def _currencies_differ(pair: Pair, fp: FieldPair) -> bool:
    left, right = pair.left_fields.get(fp.left), pair.right_fields.get(fp.right)
    return bool(left and right and left.currency and right.currency and left.currency != right.currency)


def _is_private(pair: Pair, fp: FieldPair, side: Side) -> bool:
    definition = pair.fields(side).get(fp.field(side))
    return definition is not None and definition.pii


# Which way each pair carries


@dataclass(frozen=True, slots=True)
class Way:
    """A field pair with the ways it really carries: its own flow, less what FM-3 gives to another pair."""

    pair: FieldPair
    to_left: bool
    to_right: bool

    def into(self, side: Side) -> bool:
        return self.to_left if side is Side.LEFT else self.to_right


def ways(pair: Pair) -> tuple[Way, ...]:
    """In the mapping's order. Where several pairs would write one field, only the chosen one does (FM-3)."""
    found: tuple[Way, ...] | None = pair.memo.get("ways")
    if found is None:
        found = pair.memo["ways"] = _ways(pair)
    return found


def _ways(pair: Pair) -> tuple[Way, ...]:
    if not has_shared_fields(pair):
        return tuple(Way(fp, _carries(fp, Side.LEFT), _carries(fp, Side.RIGHT)) for fp in pair.mapping)
    lefts, rights = _writers(pair, Side.LEFT), _writers(pair, Side.RIGHT)
    return tuple(Way(fp, _chosen(lefts, fp, Side.LEFT), _chosen(rights, fp, Side.RIGHT)) for fp in pair.mapping)


def lasting(pair: Pair) -> tuple[FieldPair, ...]:
    """Those that are not for creation only: what both sides agree on, and go on agreeing on."""
    found: tuple[FieldPair, ...] | None = pair.memo.get("lasting")
    if found is None:
        found = pair.memo["lasting"] = tuple(fp for fp in pair.mapping if not fp.on_create)
    return found


def has_shared_fields(pair: Pair) -> bool:
    count = len(pair.mapping)
    return len({fp.left for fp in pair.mapping}) < count or len({fp.right for fp in pair.mapping}) < count


def _carries(fp: FieldPair, into: Side) -> bool:
    if into is Side.RIGHT:
        return fp.flow is not FieldFlow.TO_LEFT
    if fp.flow is FieldFlow.TO_RIGHT:
        return False
    return not fp.transforms or not any(TRANSFORMS[name].one_way for name in fp.transforms if name in TRANSFORMS)


_Writers = Mapping[tuple[str, bool], FieldPair]


def _writers(pair: Pair, side: Side) -> _Writers:
    """Per field of `side`: the pair that writes it: the first whose field at the other side is mandatory, else the
    first. Pairs for creation only are chosen among themselves; a lasting pair outdoes them on create."""
    chosen: dict[tuple[str, bool], FieldPair] = {}
    for fp in (fp for fp in pair.mapping if _carries(fp, side)):
        key = (fp.field(side), fp.on_create)
        if key not in chosen or (_demanded(pair, fp, side.other) and not _demanded(pair, chosen[key], side.other)):
            chosen[key] = fp
    return chosen


def _demanded(pair: Pair, fp: FieldPair, side: Side) -> bool:
    definition = pair.fields(side).get(fp.field(side))
    return definition is not None and definition.required


def _chosen(writers: _Writers, fp: FieldPair, side: Side) -> bool:
    return _carries(fp, side) and writers[(fp.field(side), fp.on_create)] is fp


# Checks on save


class ProblemCode(StrEnum):
    NO_SUCH_FIELD = "NO_SUCH_FIELD"
    UNKNOWN_TRANSFORM = "UNKNOWN_TRANSFORM"
    ONE_WAY_TRANSFORM = "ONE_WAY_TRANSFORM"
    TYPES_DIFFER = "TYPES_DIFFER"
    READ_ONLY = "READ_ONLY"
    MANDATORY_NOT_MAPPED = "MANDATORY_NOT_MAPPED"
    PII = "PII"
    DUPLICATE = "DUPLICATE"
    KEY_NOT_MAPPED = "KEY_NOT_MAPPED"
    SHARED_FIELD = "SHARED_FIELD"
    TABLE_VALUE = "TABLE_VALUE"
    CURRENCIES_DIFFER = "CURRENCIES_DIFFER"
    BETTER_NOT = "BETTER_NOT"
    """An integration advises against it (FM-12)."""


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """`sentence` names fields by label. `pair_key` is "" where no single line is meant. `warning`: may be saved."""

    code: ProblemCode
    sentence: str
    pair_key: str = ""
    warning: bool = False


def check_mapping(pair: Pair) -> tuple[MappingProblem, ...]:
    """All that is wrong with a mapping, in its own order; nothing without `warning` may be saved."""
    problems = [problem for fp in pair.mapping for problem in _check_line(pair, fp)]
    problems += _check_duplicates(pair)
    problems += _check_key(pair)
    problems += _check_shared(pair)
    problems += [p for side in Side for p in _check_mandatory(pair, side)]
    return tuple(problems)


def _check_line(pair: Pair, fp: FieldPair) -> Iterator[MappingProblem]:
    left, right = pair.left_fields.get(fp.left), pair.right_fields.get(fp.right)
    for name, definition in ((fp.left, left), (fp.right, right)):
        if definition is None:
            yield _problem(ProblemCode.NO_SUCH_FIELD, f"The field {name} does not exist.", fp)
    unknown = [name for name in fp.transforms if name not in TRANSFORMS]
    for name in unknown:
        yield _problem(ProblemCode.UNKNOWN_TRANSFORM, f"There is no transform called {name}.", fp)
    if left is None or right is None or unknown:
        return
    if _currencies_differ(pair, fp):
        yield _problem(ProblemCode.CURRENCIES_DIFFER, _differing(left, right), fp)
    yield from _check_access(fp, left, right)
    yield from _check_kinds(fp, left, right)
    yield from _check_table(fp, left, right)


def _check_access(fp: FieldPair, left: FieldDef, right: FieldDef) -> Iterator[MappingProblem]:
    for side, definition in ((Side.LEFT, left), (Side.RIGHT, right)):
        if definition.pii:
            text = f"{label(definition)} is marked as personal or health data and cannot be mapped."
            yield _problem(ProblemCode.PII, text, fp)
        if definition.read_only and _flows(fp, side):
            text = f"{label(definition)} cannot be written; let the pair carry values the other way only."
            yield _problem(ProblemCode.READ_ONLY, text, fp)


def _flows(fp: FieldPair, into: Side) -> bool:
    """What the line asks for; `_carries` is what it can have."""
    return fp.flow is not (FieldFlow.TO_LEFT if into is Side.RIGHT else FieldFlow.TO_RIGHT)


_TEXTS = frozenset({FieldKind.TEXT, FieldKind.PICKLIST})


def _converts(source: FieldKind, target: FieldKind) -> bool:
    """Whether every value of one kind is one of the other: all goes into text, nothing else is guessed."""
    return source is target or target is FieldKind.TEXT or (source in _TEXTS and target in _TEXTS)


def _check_kinds(fp: FieldPair, left: FieldDef, right: FieldDef) -> Iterator[MappingProblem]:
    one_way = [name for name in fp.transforms if TRANSFORMS[name].one_way]
    if _flows(fp, Side.LEFT) and one_way:
        text = f"The transform {one_way[0]} has no way back; let the pair carry values to the right only."
        yield _problem(ProblemCode.ONE_WAY_TRANSFORM, text, fp)
    way_there = _flows(fp, Side.RIGHT) and not _chain_fits(fp, left.kind, right.kind)
    way_back = _flows(fp, Side.LEFT) and not one_way and not _chain_fits(fp, right.kind, left.kind, back=True)
    if way_there or way_back:
        text = (
            f"{label(left)} ({left.kind}) and {label(right)} ({right.kind}) do not convert into each other as the "
            "pair asks; choose a transform, or one way."
        )
        yield _problem(ProblemCode.TYPES_DIFFER, text, fp)


def _chain_fits(fp: FieldPair, start: FieldKind, end: FieldKind, *, back: bool = False) -> bool:
    """A table takes text and gives text, so it stands between any two kinds that text fits."""
    if fp.table:
        start = FieldKind.PICKLIST if start in _TEXTS else start
    kind = start
    for name in reversed(fp.transforms) if back else fp.transforms:
        step = TRANSFORMS[name]
        takes, gives = (step.gives, step.takes) if back else (step.takes, step.gives)
        if takes is not None and not _converts(kind, takes):
            return False
        kind = gives or kind
    return bool(fp.table) or _converts(kind, end)


def _check_table(fp: FieldPair, left: FieldDef, right: FieldDef) -> Iterator[MappingProblem]:
    for definition, values in ((left, {a for a, _ in fp.table}), (right, {b for _, b in fp.table})):
        strange = sorted(values - set(definition.picklist)) if definition.picklist else []
        if strange:
            text = f"{label(definition)} does not list {', '.join(strange)}."
            yield _problem(ProblemCode.TABLE_VALUE, text, fp, warning=True)


def _check_duplicates(pair: Pair) -> Iterator[MappingProblem]:
    for key, count in Counter(fp.key for fp in pair.mapping).items():
        if count > 1:
            left, right = key.split("|", 1)
            text = f"{_name(pair, Side.LEFT, left)} and {_name(pair, Side.RIGHT, right)} are paired {count} times."
            yield MappingProblem(ProblemCode.DUPLICATE, text, key)


def _check_key(pair: Pair) -> Iterator[MappingProblem]:
    if not pair.makes:
        return
    keys = (pair.key_left, pair.key_right)
    if not any((fp.left, fp.right) == keys and not fp.on_create for fp in pair.mapping):
        left, right = _name(pair, Side.LEFT, keys[0]), _name(pair, Side.RIGHT, keys[1])
        text = f"{left} and {right} find a record's twin: they must stay mapped to each other."
        yield MappingProblem(ProblemCode.KEY_NOT_MAPPED, text)


def _check_shared(pair: Pair) -> Iterator[MappingProblem]:
    if not has_shared_fields(pair):
        return
    for side in Side:
        writers = _writers(pair, side)
        for fp in (fp for fp in pair.mapping if _carries(fp, side)):
            used = writers[(fp.field(side), fp.on_create)]
            if used is not fp and used.key != fp.key:
                text = (
                    f"{_name(pair, side, fp.field(side))} is filled from "
                    f"{_name(pair, side.other, used.field(side.other))}, not from "
                    f"{_name(pair, side.other, fp.field(side.other))}: two pairs share it."
                )
                yield _problem(ProblemCode.SHARED_FIELD, text, fp, warning=True)


def _check_mandatory(pair: Pair, side: Side) -> Iterator[MappingProblem]:
    """A side that no pair writes is never created on, so nothing is mandatory there."""
    filled = {fp.field(side) for fp in pair.mapping if _flows(fp, side)}
    if not filled or not pair.makes:
        return
    filled |= set(pair.constants.get(side, {}))
    foreign = {one.currency for one in pair.fields(side.other).values() if one.currency}
    for name, definition in pair.fields(side).items():
        if definition.currency and foreign - {definition.currency}:
            continue  # it may not be mapped (TR-10): nothing is made there
        if definition.required and not definition.read_only and name not in filled:
            text = f"{label(definition)} is mandatory in {pair.module(side)} and nothing is mapped to it."
            yield MappingProblem(ProblemCode.MANDATORY_NOT_MAPPED, text)


def _problem(code: ProblemCode, text: str, fp: FieldPair, *, warning: bool = False) -> MappingProblem:
    return MappingProblem(code, text, fp.key, warning)


def _name(pair: Pair, side: Side, field: str) -> str:
    definition = pair.fields(side).get(field)
    return field if definition is None else label(definition)
