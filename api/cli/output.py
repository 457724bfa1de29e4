"""What people and programs are shown: JSON and results on stdout, everything else on stderr.

Texts of vendors (org names, error messages) are shown without control characters: a terminal would obey them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 200
"""Columns where nobody looks at a terminal: nothing is then cut or folded early."""


def console(stream: TextIO | None = None) -> Console:
    """On stdout unless told; made anew each time, for tests swap the streams."""
    file = stream or sys.stdout
    plain = Console(file=file, highlight=False, markup=False, emoji=False)
    return (
        plain
        if plain.is_terminal
        else Console(file=file, highlight=False, markup=False, emoji=False, width=_WIDE, color_system=None)
    )


def say(message: str) -> None:
    """A line for the person, on stderr."""
    sys.stderr.write(clean(message) + "\n")
    sys.stderr.flush()


def tell(message: str = "") -> None:
    """A line of the result, on stdout."""
    sys.stdout.write(clean(message) + "\n")


def tell_json(value: object) -> None:
    """One line, flushed at once: a program may wait for it."""
    sys.stdout.write(as_json(value) + "\n")
    sys.stdout.flush()


def as_json(value: object) -> str:
    """Times in UTC, decimals as text. Raises TypeError on anything that has no plain form (secrets among them)."""
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Decimal():
            return str(value)
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    dump = getattr(value, "model_dump", None)  # pydantic itself takes a while to import
    if callable(dump):
        return _plain(dump())
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def clean(text: object) -> str:
    """Printable characters only, lines kept."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in str(text))


def local(moment: datetime | None) -> str:
    """In this machine's time zone; a dash where there is none."""
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def words(value: object) -> str:
    """A code as people read it: completed_with_failures -> completed with failures."""
    return str(value).replace("_", " ")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> None:
    """On stdout. `numbers` names the columns that are set to the right."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    right = frozenset(numbers)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(clean("-" if cell is None else cell)) for cell in row))
    console().print(made)
