"""The bench's own arithmetic: what a section holds against a figure must not itself be wrong."""

from __future__ import annotations

import pytest

from tests.bench.calls import least_first, least_incremental, pages, term
from tests.bench.figures import Json
from tests.bench.firm import Firm
from tests.bench.idle import least_lists
from tests.bench.memory import high_water_mib
from tests.bench.scaling import speed
from tests.e2e.world import BOOKS, FSM


def test_records_a_second_are_of_all_writes_and_of_those_in_the_middle() -> None:
    """Twenty writes, one each second; the last, which comes late, is no part of the steady rate."""
    log: list[Json] = [{"asks": "write", "status": 200, "records": 1, "at": n, "ended": n + 0.5} for n in range(19)]
    log += [{"asks": "write", "status": 200, "records": 1, "at": 39.0, "ended": 40.0}, {"asks": "list"}]
    found = speed(log, 20)
    assert (found.all, found.steady) == (0.5, 1.0)


def test_a_record_that_was_written_twice_is_no_speed() -> None:
    log = [{"asks": "write", "status": 200, "records": 1, "at": n, "ended": n} for n in range(3)]
    with pytest.raises(AssertionError, match="not 2"):
        speed(log, 2)


def test_the_peak_of_resident_memory() -> None:
    assert high_water_mib("VmPeak:\t 900000 kB\nVmHWM:\t  139264 kB\nVmRSS:\t  1 kB\n") == 136


def test_the_least_lists_of_an_idle_sync() -> None:
    assert (least_lists(100_000), least_lists(1_001)) == (101, 3)


def test_the_least_of_a_firm_of_three_of_each() -> None:
    """One equal, one that lacks a value in Books, one in FSM; three more at each side alone."""
    firm = Firm(share=3, edits=2)
    assert firm.lacking == {FSM: 1, BOOKS: 1}
    assert least_first(firm) == {"lists": 10, "details": 3 + 6 + 4, "reads": 8, "writes": 24 + 8}
    assert least_incremental(firm) == {"lists": 5, "details": 10, "reads": 16, "writes": 32}
    assert pages(150) == 1 + 2 + 1 + 2 + 1


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"path": "/books/v3/contacts", "query": {"page": "1", "sort_column": "x"}}, "lists"),
        ({"path": "/books/v3/contacts", "query": {"page": "1", "email": "x"}}, "looks"),
        ({"path": "/books/v3/contacts/1", "record": "1"}, "reads"),
        ({"path": "/books/v3/contacts/2", "record": "2"}, "details"),
        ({"path": "/books/v3/contacts/1", "record": "1", "method": "PUT", "write": True}, "writes"),
        ({"path": "/books/v3/settings/taxes"}, "zoho_books GET /books/v3/settings/taxes"),
    ],
)
def test_what_a_call_is_for(call: Json, expected: str) -> None:
    assert term(BOOKS, {"method": "GET", "write": False, "record": None, "query": {}} | call, {"1"}) == expected
