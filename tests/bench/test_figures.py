"""A floor that is not held is said, and makes the bench fail; what nothing is asked of is not judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import log
from tests.bench.figures import Found, Row, at_least, at_most, share, table


@pytest.mark.parametrize(("value", "held"), [(0.6, True), (0.599, False), (0.7, True)])
def test_a_ratio_holds_its_floor_from_the_floor_on(value: float, held: bool) -> None:
    assert at_least("x", value, 0.6).held is held


@pytest.mark.parametrize(("value", "held"), [(1.05, True), (1.051, False), (1.0, True)])
def test_a_figure_holds_its_ceiling_up_to_the_ceiling(value: float, held: bool) -> None:
    assert at_most("x", value, 1.05).held is held


@pytest.mark.parametrize(("part", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_shares_are_by_the_nearest_rank(part: float, value: int) -> None:
    assert share(list(range(100, 0, -1)), part) == value


def test_the_table_says_which_floor_is_not_held() -> None:
    rows = [at_least("fast enough", 2.0, 1.0), at_least("too slow", 0.5, 1.0, "4 of 8"), Row("told", "7 ms")]
    lines = table([("speed", Found({}, rows, ("X=1: why",)))]).splitlines()
    said = {line.strip().split("  ")[0]: line for line in lines if line.strip()}
    assert said["fast enough"].endswith("held")
    assert said["too slow"].endswith("NOT HELD")
    assert "4 of 8" in said["too slow"]
    assert said["told"].endswith("7 ms")
    assert "with X=1: why" in said


@pytest.mark.parametrize(("value", "code"), [(2.0, 0), (0.5, 1)])
def test_what_is_measured_is_written_and_judged(
    value: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Found({"ratio": value}, [at_least("ratio", value, 1.0)], ("X=1: why",))
    monkeypatch.setattr(log, "measure", lambda folder, size: found)
    assert bench.main(["--only", "log", "--size", "0.5", "--json", str(tmp_path / "bench.json")]) == code
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["log"], written["about"]["size"], written["about"]["settings"]) == (
        {"ratio": value}, 0.5, ["X=1: why"],
    )  # fmt: skip
    assert ("Not held: log: ratio." in capsys.readouterr().out) is bool(code)
