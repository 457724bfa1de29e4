"""What people open in a spreadsheet runs no formula (reliability section 7, CSV out)."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sync.cells import neutral
from tests.integration.world import World

FORMULAS = ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\0=1")
CELL = st.text(alphabet=st.sampled_from("=+-@\t\r\n\0 \"',;aü1"), max_size=6)


@pytest.mark.rule("LG-3", "P14")
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("before", ["", " ", '"', "'", ' "', "\"'", "   "])
def test_a_formula_is_text_also_after_blanks_and_quotes(before: str, formula: str) -> None:
    assert neutral([before + formula]) == ["'" + before + formula]


@pytest.mark.rule("LG-3")
@pytest.mark.parametrize("plain", ["", "Acme", "1=1", "a-b", "Müller & Söhne", "1011000000195001", '"quoted"'])
def test_what_is_no_formula_is_left_as_it_is(plain: str) -> None:
    assert neutral([plain]) == [plain]


@pytest.mark.rule("LG-3", "P14")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(CELL, min_size=1, max_size=4))
def test_no_cell_begins_as_a_formula_and_each_comes_back_whole(cells: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(neutral(cells))
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    for cell, back in zip(cells, row, strict=True):
        assert back in (cell, "'" + cell)
        assert back.lstrip(' "')[:1] not in ("=", "+", "-", "@", "\t", "\r", "\0")


@pytest.mark.rule("LG-3")
def test_every_cell_of_the_failures_goes_through_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By cells that a vendor chooses: its ids."""
    world.company("=Acme()")
    world.company("=ACME()")
    world.fetch()
    run = world.sync().id
    world.office.sql("UPDATE outcome SET record_id = '=cmd()', twin_id = '+1' WHERE run_id = :run", run=run)
    rows = list(csv.reader(io.StringIO("".join(world.runs.failures_csv(world.actor, run)), newline="")))
    assert len(rows) == 3
    assert {(row[2], row[3]) for row in rows[1:]} == {("'=cmd()", "'+1")}
