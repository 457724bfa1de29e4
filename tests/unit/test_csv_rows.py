"""Rows of a file that comes in pieces: each is told of, whatever is broken; reading goes on from any row's end."""

from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sync.cells import neutral, plain
from shared.sync.csv_rows import MOST_ROW_BYTES, CsvRow, CsvRows, Place, delimiter_of

pytestmark = pytest.mark.rule("LK-5")

CELL = st.text(alphabet=st.sampled_from("ab\",;\n\rü€😀 '=+"), max_size=6)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def read(text: str, size: int = 7, start: Place = Place()) -> list[CsvRow]:
    data = text.encode()
    return list(CsvRows(pieces(data[start.byte :], size), start=start))


def test_rows_know_their_line_and_where_the_next_begins() -> None:
    rows = read('\ufeffa,b\r\n"1\n1",2\n\n,\n3,"x ""y"""\r4,5')
    assert [(row.line, row.cells) for row in rows] == [
        (1, ("a", "b")),
        (2, ("1\n1", "2")),
        (6, ("3", 'x "y"')),
        (7, ("4", "5")),
    ]
    assert [row.after.line for row in rows] == [2, 4, 7, 8]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_it_goes_on_from_the_end_of_any_row(size: int) -> None:
    text = '\ufeffnäme,b\r\n"1\r\n1",ü\r\n\r\n3,"€"\r"broken,4\n5,6\n'
    whole = read(text, size)
    assert len(whole) == 5
    for number, row in enumerate(whole):
        assert read(text, size, row.after) == whole[number + 1 :]


def test_an_open_quote_costs_its_own_line_alone() -> None:
    rows = read('a,b\n1,"2\n3,4\n5,"6"\n')
    assert [(row.line, row.cells, bool(row.problem)) for row in rows] == [
        (1, ("a", "b"), False),
        (2, ('1,"2',), True),
        (3, ("3", "4"), False),
        (4, ("5", "6"), False),
    ]


def test_text_behind_a_closing_quote_is_told_and_not_guessed_at() -> None:
    (row,) = read('"a"b,c\n')
    assert row.problem


def test_a_line_without_end_costs_itself_and_no_memory() -> None:
    long = b"x" * (MOST_ROW_BYTES * 3)
    rows = list(CsvRows([b"a\n", *pieces(long, 100_000), b"\nb\n"]))
    assert [(row.line, bool(row.problem)) for row in rows] == [(1, False), (2, True), (3, False)]
    assert rows[1].cells == ("",)
    assert rows[-1].after.byte == len(long) + 5


def test_a_row_of_many_lines_is_bounded_and_each_line_is_told_of() -> None:
    lines = MOST_ROW_BYTES // 100 + 10
    rows = read('"' + ("y" * 99 + "\n") * lines, 50_000)
    assert rows[0].problem
    assert [row.line for row in rows] == list(range(1, lines + 1))


@pytest.mark.parametrize(
    ("header", "found"), [("a,b;c,d", ","), ("a;b;c,d", ";"), ("a\tb", "\t"), ("a", ","), ("", ",")]
)
def test_the_delimiter_is_the_one_that_parts_the_header(header: str, found: str) -> None:
    assert delimiter_of(header + "\n;;;;;;") == found


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=6), st.integers(1, 9))
def test_what_csv_writes_comes_back_whole_in_whatever_pieces(table: list[list[str]], size: int) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(table)
    expected = [tuple(cells) for cells in table if any(cell.strip() for cell in cells)]
    rows = list(CsvRows(pieces(out.getvalue().encode(), size)))
    assert [row.cells for row in rows] == expected
    assert not any(row.problem for row in rows)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.text(alphabet=st.sampled_from('a",\n\r\0;ü\x1f😀'), max_size=60), st.integers(1, 9))
def test_no_file_makes_it_fail_and_no_line_is_lost(text: str, size: int) -> None:
    rows = list(CsvRows(pieces(text.encode(), size)))
    spans = [(row.line, row.after.line) for row in rows]
    assert all(first < after for first, after in spans)
    assert all(after <= following for (_, after), (following, _) in itertools.pairwise(spans))
    # What lies between two rows holds nothing.
    covered = {line for first, after in spans for line in range(first, after)}
    lines = io.StringIO(text, newline=None).read().split("\n")
    bare = [number for number, line in enumerate(lines, 1) if line.strip(' ",\x1f') and number not in covered]
    assert not bare, (bare, rows)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n\0 \"',;aü1"), max_size=6))
def test_a_cell_of_our_report_comes_in_as_it_was(cell: str) -> None:
    assert plain(neutral([cell])[0]) == cell
