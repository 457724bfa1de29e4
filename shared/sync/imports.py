"""Data import (LK-5): which column is which field, and what a row of the file becomes. No I/O, no vendor."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shared.errors import Refused
from shared.sync.cells import plain
from shared.sync.mapping import label
from shared.sync.match import fold_key
from shared.sync.merge import is_known
from shared.sync.model import Change, FieldDef, FieldKind, Fields, ModuleName, Record, Value
from shared.sync.reasons import Code
from shared.sync.values import convert, fit, is_blank, is_unreadable, same


class ImportKind(StrEnum):
    COMPANIES = "companies"
    CONTACTS = "contacts"
    ITEMS = "items"


class OnMatch(StrEnum):
    """What happens to a record of the org that has a row's match key already."""

    SKIP = "skip"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class Lookup:
    """A column that names a record of another module: `header` in the file, `name` the field that the name is looked
    up by, `field` the field of ours that takes the id. Written on create only."""

    header: str
    module: ModuleName
    name: str
    field: str


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where a kind of import goes at a vendor: declared in the vendor's folder.

    `key` is the match key's field (DU-2). `constants` are written on create, and no column may name them. `scope`: what
    a record of the module must be to count as one of this kind. `composed`: a field that the file may leave blank, made
    of others.
    """

    module: ModuleName
    key: str
    constants: Mapping[str, Value] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    composed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lookup: Lookup | None = None

    def covers(self, record: Record) -> bool:
        """What a thin row does not tell is not held against it."""
        return all(not is_known(record, name) or record.get(name) == value for name, value in self.scope.items())


OURS = "bothways"
"""How the headers of the report's own columns begin: in a file that comes in again they are passed over."""
LOOKED_UP = "@lookup"
"""In the place of a field, of the column of the target's lookup."""


@dataclass(frozen=True, slots=True)
class Column:
    """`field` None: a column of our own report."""

    header: str
    field: str | None


def match_headers(
    target: ImportTarget, fields: Mapping[str, FieldDef], headers: Sequence[str], named: Mapping[str, str]
) -> tuple[Column, ...]:
    """Headers are names or labels of fields, without regard to case, blanks, `_` and `-`; `named` (header -> field)
    says it for others. Raises Refused, with a sentence for each header that will not do: nothing is left out unsaid.
    """
    headers = [plain(one.strip()) for one in headers]
    chosen = {_folded(header): wanted for header, wanted in named.items()}
    problems = [f"There is no column {header!r}." for header in named if _folded(header) not in map(_folded, headers)]
    found: list[Column] = []
    for number, header in enumerate(headers, 1):
        if not header.isprintable():
            problems.append(f"The header of column {number} holds a control character.")
            continue
        if _folded(header).startswith(OURS):
            found.append(Column(header, None))
            continue
        name, problem = _field_of(target, fields, chosen.get(_folded(header), header))
        if not header:
            problem = f"Column {number} has no header."
        elif not problem and name in {one.field for one in found}:
            problem = f"Column {header!r} is for a field that another column is for already."
        if problem:
            problems.append(problem)
        found.append(Column(header, name))
    missing = {target.key, *target.composed.get(target.key, ())}
    if not problems and not missing & {one.field for one in found}:
        problems.append(f"A column for the match key is missing: {label(fields[target.key])} ({target.key}).")
    if problems:
        raise Refused(" ".join(problems[:_MOST_PROBLEMS]), code="BAD_COLUMNS")
    return tuple(found)


_MOST_PROBLEMS = 20


def named_columns(given: Iterable[str]) -> dict[str, str]:
    """header -> field, of "Header=Field". Raises Refused."""
    found = {}
    for one in given:
        header, equals, name = one.rpartition("=")
        if not (equals and header.strip() and name.strip()):
            raise Refused("A column is named as Header=Field.", code="BAD_COLUMNS")
        found[header.strip()] = name.strip()
    return found


def _field_of(target: ImportTarget, fields: Mapping[str, FieldDef], wanted: str) -> tuple[str, str]:
    """(field, problem)."""
    folded = _folded(wanted)
    fits = [one for one in fields.values() if _folded(one.name) == folded]
    if not fits and target.lookup is not None and _folded(target.lookup.header) == folded:
        return LOOKED_UP, ""
    fits = fits or [one for one in fields.values() if _folded(one.label) == folded]
    if not fits:
        return "", f"Column {wanted!r} is no field of {target.module}; leave it out, or name its field (Header=Field)."
    if len(fits) > 1:
        names = ", ".join(one.name for one in fits)
        return "", f"Column {wanted!r} may be several fields ({names}); name one (Header=Field)."
    (one,) = fits
    if one.pii:
        return "", f"Column {wanted!r} is a field that is marked as private, which is never written."
    if one.read_only:
        return "", f"Column {wanted!r} is a field that only the vendor writes."
    if one.name in target.constants:
        return "", f"Column {wanted!r} is a field that follows from the kind of import."
    return one.name, ""


def _folded(header: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFC", header).casefold() if not _is_filler(char))


def _is_filler(char: str) -> bool:
    return char.isspace() or char in "_-\u2010\u2011"


# Rows


@dataclass(frozen=True, slots=True)
class Drafted:
    """`fields`: the row's cells that are not blank, by field; `made`: what was composed of them. `key`, `lookup` are
    folded, "" where blank."""

    fields: Fields
    key: str
    lookup: str = ""
    made: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a row cannot be written. `detail` names fields, never their values."""

    code: str
    detail: str = ""


def draft_of(
    target: ImportTarget,
    columns: Sequence[Column],
    fields: Mapping[str, FieldDef],
    cells: Sequence[str],
    most_cell_chars: int,
) -> Drafted | Unfit:
    """`cells` are plain: without what a report of ours put before them."""
    if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
        return Unfit(Code.UNREADABLE_ROW, f"it has {len(cells)} cells, the header has {len(columns)}")
    found: dict[str, Value] = {}
    wrong: list[str] = []
    lookup = ""
    for column, cell in zip(columns, cells, strict=False):
        if column.field is None:
            continue
        text = cell.strip()
        if problem := _unusable(text, most_cell_chars):
            wrong.append(f"{column.header} ({problem})")
        elif column.field == LOOKED_UP:
            lookup = fold_key(text)
        elif text:
            try:
                found[column.field] = _value(text, fields[column.field])
            except ValueError as error:
                wrong.append(f"{column.header} ({error})")
    if wrong:
        return Unfit(Code.BAD_CELL, ", ".join(wrong))
    made = _composed(target, fields, found)
    key = index_key({**made, **found}.get(target.key))
    if key is None:
        return Unfit(Code.BAD_CELL, f"{label(fields[target.key])} (longer than {MOST_KEY_CHARS} characters)")
    return Drafted(found, key, lookup, made) if key else Unfit(Code.NO_KEY, label(fields[target.key]))


MOST_KEY_CHARS = 500
"""Of a match key: what an index of Postgres holds of four-byte characters."""


def index_key(value: Value) -> str | None:
    """The folded match key; None where it is too long to be one."""
    key = fold_key(value)
    return key if len(key) <= MOST_KEY_CHARS else None


def _unusable(text: str, most_chars: int) -> str:
    if len(text) > most_chars:
        return f"longer than {most_chars} characters"
    if is_unreadable(text) or any(unicodedata.category(char) == "Cc" and char not in "\t\r\n" for char in text):
        return "a control character"
    return ""


def _value(text: str, definition: FieldDef) -> Value:
    """Raises ValueError, without the value. Nothing is cut or rounded: whoever made the file can mend it."""
    value = convert(text, definition.kind)
    if definition.kind is FieldKind.PICKLIST and definition.picklist:
        known = {one.casefold(): one for one in definition.picklist}
        if text.casefold() not in known:
            raise ValueError(f"none of {', '.join(definition.picklist[:10])}")
        return known[text.casefold()]
    fitted = fit(value, definition)
    if not fitted.cut:
        return fitted.value
    if isinstance(value, str) and definition.max_length is not None and len(value) > definition.max_length:
        raise ValueError(f"longer than {definition.max_length} characters")
    raise ValueError("a character that the vendor cannot hold" if isinstance(value, str) else "too many digits")


def _composed(target: ImportTarget, fields: Mapping[str, FieldDef], found: Fields) -> dict[str, Value]:
    made: dict[str, Value] = {}
    for name, parts in target.composed.items():
        joined = " ".join(str(found[part]) for part in parts if not is_blank(found.get(part)))
        if is_blank(found.get(name)) and joined and not fit(joined, fields[name]).cut:
            made[name] = joined
    return made


def to_create(
    target: ImportTarget, fields: Mapping[str, FieldDef], drafted: Drafted, lookup_id: str | None
) -> Fields | Unfit:
    linked = {target.lookup.field: lookup_id} if target.lookup is not None and lookup_id else {}
    given = {**drafted.made, **drafted.fields, **linked, **target.constants}
    empty = [label(one) for one in fields.values() if one.required and is_blank(given.get(one.name))]
    return Unfit(Code.MANDATORY_FIELD_EMPTY, ", ".join(empty)) if empty else given


def to_change(
    target: ImportTarget, drafted: Drafted, current: Record, lookup_id: str | None
) -> tuple[Change, ...] | Unfit:
    """What a row changes of a whole record as it is now: cells that are not blank (FM-9). What was composed is for new
    records only."""
    if not target.covers(current):
        return Unfit(Code.WRONG_TYPE)
    if target.lookup is not None and lookup_id and current.get(target.lookup.field) != lookup_id:
        return Unfit(Code.LINK_CANNOT_CHANGE, target.lookup.header)
    return tuple(
        Change(name, current.get(name), value)
        for name, value in drafted.fields.items()
        if not same(current.get(name), value)
    )


def columns_as_json(columns: Iterable[Column]) -> list[list[str | None]]:
    return [[one.header, one.field] for one in columns]


def columns_of(stored: Iterable[Sequence[str | None]]) -> tuple[Column, ...]:
    return tuple(Column(str(header), name) for header, name in stored)
