"""Rows of a CSV file that comes in pieces. What is broken in it costs a row, never the file.

Reading can go on from any row's end: a row says at which byte, and on which line, the next one begins.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MOST_ROW_BYTES = 262_144
"""Of one row, all its lines together."""
DELIMITERS = ",;\t"
BOM = "\ufeff"
_END = re.compile(rb"\r\n|\n|\r")
_SHOWN_CHARS = 1_000

_NOT_CLOSED = "a quotation mark is not closed, or stands where none may"
_TOO_LONG = "the row is too long"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row begins: bytes from the file's beginning, and its line, the first of which is 1."""

    byte: int = 0
    line: int = 1


@dataclass(frozen=True, slots=True)
class CsvRow:
    """`problem` "": it could be read; else `cells` is the one line of it that is told of. `after`: where the next row
    begins."""

    line: int
    cells: tuple[str, ...]
    after: Place
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    """`text` None: longer than a row may be."""

    text: str | None
    size: int


class _TooLongError(Exception):
    pass


def delimiter_of(header: str) -> str:
    """The one that parts the header most often; spreadsheets of half the world write semicolons."""
    first = header.partition("\n")[0]
    return max(DELIMITERS, key=lambda one: (first.count(one), one == ","))


class CsvRows:
    """`pieces` are those of the file from `start` on, in any cut. Lines without any text are no rows."""

    def __init__(self, pieces: Iterable[bytes], delimiter: str = ",", start: Place = Place()) -> None:
        self._source = _lines(pieces)
        self._ahead: deque[_Line] = deque()
        self.delimiter = delimiter
        self._at = start

    def __iter__(self) -> Iterator[CsvRow]:
        while (row := self._next()) is not None:
            if row.problem or any(cell.strip() for cell in row.cells):
                yield row

    def _next(self) -> CsvRow | None:
        taken: list[_Line] = []
        try:
            cells = next(csv.reader(self._feed(taken), delimiter=self.delimiter, strict=True))
        except StopIteration:
            return None
        except _TooLongError:
            return self._broken(taken, _TOO_LONG)
        except csv.Error:
            return self._broken(taken, _NOT_CLOSED)
        return self._row(taken, tuple(cells))

    def _feed(self, taken: list[_Line]) -> Iterator[str]:
        size = 0
        while (line := self._ahead.popleft() if self._ahead else next(self._source, None)) is not None:
            taken.append(line)
            size += line.size
            if line.text is None or size > MOST_ROW_BYTES:
                raise _TooLongError
            first = self._at.byte == 0 and len(taken) == 1
            yield line.text.removeprefix(BOM) if first else line.text

    def _broken(self, taken: list[_Line], problem: str) -> CsvRow:
        """Of what could not be read only the first line is given up: the next one is a row of its own again."""
        self._ahead.extendleft(reversed(taken[1:]))
        text = (taken[0].text or "").rstrip("\r\n")[:_SHOWN_CHARS]
        return self._row(taken[:1], (text,), problem)

    def _row(self, taken: list[_Line], cells: tuple[str, ...], problem: str = "") -> CsvRow:
        began = self._at
        self._at = Place(began.byte + sum(line.size for line in taken), began.line + len(taken))
        return CsvRow(began.line, cells, self._at, problem)


def _lines(pieces: Iterable[bytes]) -> Iterator[_Line]:
    """With their ends. Of one that is too long only the size is kept."""
    rest, dropped = b"", 0
    for piece in pieces:
        rest += piece
        start = 0
        for end in _END.finditer(rest):
            if end.end() == len(rest) and end.group() == b"\r":
                break  # its other half may come with the next piece
            yield _line(rest[start : end.end()], dropped)
            start, dropped = end.end(), 0
        rest = rest[start:]
        if len(rest) > MOST_ROW_BYTES and not rest.endswith(b"\r"):
            rest, dropped = b"", dropped + len(rest)
    if rest or dropped:
        yield _line(rest, dropped)


def _line(raw: bytes, dropped: int) -> _Line:
    size = len(raw) + dropped
    return _Line(raw.decode("utf-8", "replace") if size <= MOST_ROW_BYTES else None, size)
