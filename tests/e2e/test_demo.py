"""The demonstration as people start it: its last line, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.demo import changes, northwind
from deploy.demo.__main__ import main as demo_main
from deploy.demo.changes import Change
from deploy.demo.errors import DemoError, StopAsked
from deploy.demo.measure import Verdict, _judge_side, percentile
from deploy.demo.place import emptied
from deploy.demo.shapes import BOOKS, COMPANY, FSM, KINDS, PRODUCT, VENDORS, Values, fold
from deploy.demo.story import Ending

COMMAND = (sys.executable, "-m", "deploy.demo")
MARK = "BOTHWAYS_TEST_DEMO"
"""In the environment of every process of a demonstration, by which they are found again."""


def survivors(mark: str) -> list[str]:
    """Command lines of the processes that were started under this mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone meanwhile, or a stranger's
            continue
    return found


def started(mark: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    return f"{os.getpid()}-{request.node.name}"


@pytest.mark.rule("OP-1", "TR-1", "P3")
def test_it_shows_a_whole_sync_stays_up_until_ctrl_c_and_ends_quietly(mark: str, tmp_path: Path) -> None:
    demo = started(mark, "--data-dir", str(tmp_path / "demo"))
    assert demo.stdout is not None
    assert demo.stderr is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if "In a second terminal" in line:
            break
    demo.send_signal(signal.SIGINT)
    rest, err = demo.communicate(timeout=120)
    assert (demo.returncode, err) == (0, ""), rest
    assert survivors(mark) == []
    shown = "".join(lines)
    assert re.search(r"Changes +(\d+) made, \1 arrived; p50 \d+ ms, p99 \d+ ms", shown)
    assert re.search(r"Duplicates +0 *\n *Lost +0 *\n", shown)
    assert re.search(r"All syncs +[1-9]\d* bound, [1-9]\d* created, [1-9]\d* updated, 3 failed", shown)
    assert "password" in shown
    assert "without a token: 401 NO_TOKEN" in shown
    assert "bw_1_…" in shown
    assert not re.search(r"bw_\d+_\w", shown), "what is shown of it does not open anything"


FIGURES = {"bound": 20, "created": 176, "updated": 72, "failed": 3}


def ending(lost: dict[str, int] | None = None, delay_ms: float = 50.0) -> Ending:
    kind = KINDS[0]
    made = [Change(FSM, kind, f"k{n}", f"K{n}", {}, delay_ms=delay_ms) for n in range(60)]
    return Ending(made, Verdict(records=395, lost={("company", name): "gone" for name in lost or {}}), FIGURES, False)


@pytest.mark.parametrize(
    ("end", "code", "lost", "said"),
    [
        (ending(), 0, 0, ""),
        (ending(lost={"acme": 1}), 1, 1, "Records are wrong: 0 are doubled, 1 are lost."),
        (ending(delay_ms=9_000), 1, 0, "The changes took longer than promised"),
        (None, 130, None, ""),
    ],
    ids=["well", "lost", "late", "stopped"],
)
def test_once_ends_with_its_figures_as_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: Ending | None,
    code: int,
    lost: int | None,
    said: str,
) -> None:
    """Without the story, which is the same whether it then ends or stays up."""

    @contextmanager
    def no_stack(*_: object, **__: object) -> Iterator[None]:
        yield

    def told(*_: object) -> Ending:
        if end is None:
            raise StopAsked
        return end

    monkeypatch.setattr("deploy.demo.__main__.Stack.start", no_stack)
    monkeypatch.setattr("deploy.demo.__main__._told", told)
    assert demo_main(["--once"]) == code
    out, err = capsys.readouterr()
    assert err.startswith(said)
    assert bool(err) == bool(said)
    if lost is None:
        return
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert figures.keys() == {
        "records", "bound", "created", "updated", "failed", "duplicates", "lost", "webhook_delay_ms",
    }  # fmt: skip
    assert figures["webhook_delay_ms"].keys() == {"p50", "p99", "n"}
    assert (figures["lost"], figures["duplicates"], figures["records"]) == (lost, 0, 395)
    assert {name: figures[name] for name in FIGURES} == FIGURES


@pytest.mark.parametrize("after_s", [0.3, 2.0, 5.0])
def test_a_signal_on_the_way_stops_everything(mark: str, tmp_path: Path, after_s: float) -> None:
    demo = started(mark, "--once", "--data-dir", str(tmp_path / "demo"))
    time.sleep(after_s)  # wherever it then is
    demo.send_signal(signal.SIGTERM)
    _, err = demo.communicate(timeout=120)
    assert (demo.returncode, err) in ((130, ""), (-signal.SIGTERM, ""))
    assert survivors(mark) == []


def test_a_folder_of_something_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoError, match="something else"):
        emptied(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_earlier_demonstration_is_emptied(tmp_path: Path) -> None:
    path = emptied(tmp_path / "demo")
    (path / "postgres").mkdir()
    (path / "keys.json").write_text("{}")
    emptied(path)
    assert sorted(one.name for one in path.iterdir()) == ["bothways.lock", "demo"]


# What is dealt out, and what is counted


def test_half_and_half_and_a_tenth_on_both() -> None:
    cast = northwind.deal(datetime(2026, 1, 2, tzinfo=UTC))
    companies, products = northwind.load()
    assert (len(companies), len(products)) == (120, 77)
    assert cast.shared == 12 + 8
    assert abs(cast.count(FSM, COMPANY) - cast.count(BOOKS, COMPANY)) < 3
    assert abs(cast.count(FSM, PRODUCT) - cast.count(BOOKS, PRODUCT)) < 3


def test_at_least_25_changes_each_way_of_different_records() -> None:
    cast = northwind.deal(datetime(2026, 1, 2, tzinfo=UTC))
    planned = changes.plan(cast)
    for vendor in VENDORS:
        assert len(planned[vendor]) >= 25
        assert {(one.kind.label, one.new) for one in planned[vendor]} == {
            (kind.label, new) for kind in KINDS for new in (True, False)
        }
    touched = [(one.kind.label, one.key) for listed in planned.values() for one in listed]
    assert len(touched) == len(set(touched))
    assert not set(touched) & cast.failing.keys()
    for listed in planned.values():
        for change in listed:
            before = {} if change.new else cast.truth[change.kind.label, change.key]
            assert any(before.get(name) != value for name, value in change.values.items()), change


def test_every_address_is_on_a_domain_for_examples() -> None:
    cast = northwind.deal(datetime(2026, 1, 2, tzinfo=UTC))
    for row in cast.seeds[FSM]["Companies"]:
        assert row["Email"].rpartition("@")[2] in ("example.com", "example.org", "example.net")
        assert row["Email"].isascii()
        assert row["Website"] in ("",) or row["Website"].endswith(".example")


def judged(rows: dict[str, list[dict[str, Any]]]) -> Verdict:
    verdict = Verdict()
    truth: dict[str, Values] = {"chai": {"name": "Chai", "price": Decimal("18")}}
    _judge_side(verdict, PRODUCT, "FSM", rows, truth, {"twice": 2})
    return verdict


@pytest.mark.parametrize(
    ("rows", "duplicates", "lost"),
    [
        ({"chai": [{"name": "Chai", "price": Decimal("18.00")}]}, 0, 0),
        ({"chai": [{"name": "Chai", "price": Decimal("18.01")}]}, 0, 1),
        ({"chai": [{"name": "CHAI", "price": Decimal("18")}]}, 0, 1),
        ({}, 0, 1),
        ({"chai": [{"name": "Chai", "price": Decimal("18")}] * 2}, 1, 0),
        ({"chai": [{"name": "Chai", "price": Decimal("18")}], "chang": [{"name": "Chang"}]}, 1, 0),
        ({"chai": [{"name": "Chai", "price": Decimal("18")}], "twice": [{"name": "Twice"}] * 2}, 0, 0),
        ({"chai": [{"name": "Chai", "price": Decimal("18")}], "twice": [{"name": "Twice"}] * 3}, 1, 0),
    ],
)
def test_what_is_doubled_or_lost_is_seen(rows: dict[str, list[dict[str, Any]]], duplicates: int, lost: int) -> None:
    verdict = judged(rows)
    assert (len(verdict.duplicates), len(verdict.lost)) == (duplicates, lost)


def test_percentiles_are_by_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (50.0, 99.0)
    assert percentile([7.0], 0.99) == 7.0


def test_names_are_folded_as_people_read_them() -> None:
    assert fold(" Königlich ESSEN ") == fold("ko\u0308niglich essen")
