"""The auditor's parts: it stands alone, reads values as they come, and keeps what it saw."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.auditor.builders import World, edit, told
from tests.auditor.fields import BOOKS, COMPANIES, FSM, ITEMS, LEFT, RIGHT, agree, holds, number, read, same, sent, text
from tests.auditor.journal import Journal
from tests.auditor.report import EXPECT, Expect
from tests.auditor.seen import Evidence, Mark

HERE = Path(__file__).parent
PROGRAM = [path for path in HERE.glob("*.py") if not path.name.startswith("test_")]
NAME, PRICE = COMPANIES.fields[0], ITEMS.fields[1]


def test_it_shares_no_code_with_what_it_audits() -> None:
    assert len(PROGRAM) >= 10
    for path in PROGRAM:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            ours = [name for name in names if name.split(".")[0] in ("api", "workers", "shared", "deploy", "tests")]
            assert all(name.startswith("tests.auditor") for name in ours), f"{path.name}: {ours}"


def test_nothing_of_the_product_is_loaded_with_it() -> None:
    look = (
        "import sys, tests.auditor.__main__\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('api', 'workers', 'shared', 'deploy')])"
    )
    told_ = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert told_.stdout.strip() == "[]"


def test_what_vendors_show_is_read_under_one_name() -> None:
    left = {"Company_Name": "A", "Billing_Address": {"Billing_City": "York", "id": "1"}, "Service_Address": None}
    right = {"contact_name": "A", "website": "", "billing_address": {"city": "York", "zip": " "}}
    assert read(COMPANIES, LEFT, left) == read(COMPANIES, RIGHT, right)
    assert read(COMPANIES, LEFT, left)["billing.city"] == "York"
    assert read(ITEMS, LEFT, {"Name": "P", "Unit_Price": 18})["price"] == "18"


def test_what_people_send_names_what_they_change() -> None:
    assert sent(COMPANIES, LEFT, {"Service_Address": {"City": "Hull"}, "Phone": "1"}) == {"service.city": "Hull"}
    assert sent(COMPANIES, LEFT, {"Service_Address": {"Service_City": ""}}) == {"service.city": None}
    assert sent(COMPANIES, RIGHT, {"shipping_address.city": "Ely", "website": None}) == {
        "service.city": "Ely",
        "website": None,
    }
    assert len(sent(COMPANIES, LEFT, {"Billing_Address": None})) == 6
    assert edit({"Company_Name": "X"}, kind="delete").values() == {}
    assert edit({"Last_Name": "X"}, module="Contacts").values() == {"last_name": "X"}
    assert edit({"Last_Name": "X"}, module="Requests").values() == {}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("18.10", "18.1"), (18, "18"), ("", None), (None, None), (0, "0"), ("1E+70", "1E+70"), ("NaN", "NaN"), ("x", "x")],
)
def test_numbers(given: object, kept: str | None) -> None:
    assert number(given) == kept


def test_texts() -> None:
    assert text("a\r\nb") == "a\nb"
    assert text(" \n") is None
    assert text("e\u0301") == "é"
    long = text("x" * 5_000_000) or ""
    assert len(long) < 4100
    assert long != text("x" * 5_000_001)


def test_when_two_values_are_one() -> None:
    assert same(None, "  ")
    assert same("Acme ", "Acme")
    assert not same("Acme", "acme")
    assert holds(NAME, RIGHT, "n" * 300, "n" * 200)
    assert not holds(NAME, RIGHT, "n" * 300, "n" * 199)
    assert holds(NAME, LEFT, "Acme \U0001f600 Ltd", "Acme")
    assert not holds(NAME, RIGHT, "Acme \U0001f600 Ltd", "Acme")
    assert not holds(NAME, RIGHT, "Acme", None)
    assert not holds(NAME, RIGHT, None, "Acme")
    assert holds(PRICE, RIGHT, "10.005", "10.01")
    assert holds(PRICE, RIGHT, "10.099", "10.1")
    assert not holds(PRICE, RIGHT, "10.01", "10.02")
    assert not holds(PRICE, RIGHT, "10.5", "11")
    assert not holds(PRICE, RIGHT, "x", "11")
    assert agree(NAME, "n" * 200, "n" * 200)
    assert agree(NAME, "n" * 250, "n" * 200)
    assert not agree(NAME, "n" * 250, "n" * 100)


def test_what_was_seen_is_kept_and_comes_back(tmp_path: Path) -> None:
    world = told(World())
    evidence = world.evidence()
    evidence.save(tmp_path / "evidence.json")
    assert Evidence.load(tmp_path / "evidence.json") == evidence
    assert evidence.since is not None
    evidence.since.save(tmp_path / "mark.json")
    assert Mark.load(tmp_path / "mark.json") == evidence.since
    journal = Journal()
    journal.extend(world.edits)
    journal.append(edit({"contact_name": "é"}, BOOKS, sure=False))
    journal.save(tmp_path / "journal.json")
    assert Journal.load(tmp_path / "journal.json") == journal
    assert [one.vendor for one in journal.of(FSM, "101")] == [FSM]
    expect = Expect(failed=frozenset({"1"}), frozen_ms=((1.0, 2.0),))
    assert EXPECT.validate_json(EXPECT.dump_json(expect)) == expect
