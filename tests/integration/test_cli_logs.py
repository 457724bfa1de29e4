"""`bothways notify`, `runs` page by page and `logs export`."""

from __future__ import annotations

import csv
import io
import stat
from pathlib import Path

import pytest

from tests.integration.test_cli import Bothways, World, _environment, bothways, database, settings, world

__all__ = ["_environment", "bothways", "database", "settings", "world"]


@pytest.mark.rule("LG-8", "PE-3")
def test_who_is_told_is_set_and_shown(world: World, bothways: Bothways) -> None:
    assert bothways("notify", 1).out.startswith("Nobody is told.")
    told = bothways("notify", 1, "--to", "ann@example.com", "--to", "ben@example.com", "--on", "manual,automatic")
    assert told.err == "Saved.\n"
    assert "Told of failed syncs, of manual ones, of automatic ones: ann@example.com, ben@example.com." in told.out
    assert "Mail is not set up (BOTHWAYS_SMTP_HOST)" in told.out
    assert "Mail is not set up" in bothways("health").out
    kept = bothways("notify", 1, "--on", "-", "--json").json
    assert kept["notifications"] == {
        "addresses": ["ann@example.com", "ben@example.com"], "manual": False, "automatic": False,
    }  # fmt: skip
    run = world.run("failed")
    world.sql(
        "INSERT INTO notification (workspace_id, integration_id, run_id, kind, addresses, detail) "
        "VALUES (:w, 1, :r, 'run_failed', '[\"ann@example.com\"]', 'The mail server answered 451.')",
        w=world.workspace, r=run,
    )  # fmt: skip
    shown = bothways("notify", 1).out
    assert "run failed" in shown
    assert "The mail server answered 451." in shown
    assert bothways("notify", 1, "--nobody", "--json").json["notifications"]["addresses"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--to", "no address"), "BAD_ADDRESS"),
        (("--on", "sometimes"), "BAD_OPTIONS"),
        (("--nobody", "--to", "a@x"), "BAD_OPTIONS"),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_sentence(
    world: World, bothways: Bothways, words: tuple[str, ...], code: str
) -> None:
    said = bothways("notify", 1, *words)
    assert (said.code, said.err.partition(":")[0]) == (1, code)


@pytest.mark.rule("LG-1")
def test_older_syncs_are_a_page_further(world: World, bothways: Bothways) -> None:
    runs = [world.run("completed") for _ in range(5)]
    first = bothways("runs", "--limit", 2)
    assert first.err.startswith("Older ones: --before ")
    cursor = first.err.split()[-1]
    assert [one["id"] for one in bothways("runs", "--limit", 9, "--before", cursor, "--json").json] == runs[2::-1]
    world.sql("UPDATE run SET created_at = created_at - interval '3 months' WHERE id = :r", r=runs[0])
    assert len(bothways("runs", "--json").json) == 4
    assert len(bothways("runs", "--since", "2020-01-01", "--json").json) == 5
    assert bothways("runs", "--before", "yesterday").err.startswith("BAD_CURSOR: ")


@pytest.mark.rule("LG-1", "P14")
def test_months_are_exported_into_a_file_of_its_owner(world: World, bothways: Bothways, tmp_path: Path) -> None:
    run = world.run("completed_with_failures")
    for record in ("r1", "r2"):
        world.outcome(run, record, reason="NO_KEY", event=record)
    month = str(world.sql("SELECT to_char(timezone('UTC', now()), 'YYYY-MM')"))
    said = bothways("logs", "export", 1, "--month", month, "--out", tmp_path)
    file = tmp_path / f"SyncLog-1-{month}.csv"
    assert (said.code, said.err) == (0, f"Written to {file}.\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    assert [row["record"] for row in rows] == ["r1", "r2"]
    assert bothways("logs", "export", 1, "--from", month, "--to", month).out == file.read_bytes().decode()
    assert bothways("logs", "export", 1, "--from", "2026-06", "--to", "2026-05").err.startswith("BAD_MONTH: ")
    assert bothways("logs", "export", 1).err.startswith("BAD_OPTIONS: ")
    assert bothways("logs", "export", 7, "--month", month).err.startswith("UNKNOWN_INTEGRATION: ")
    assert bothways("logs", "export", 1, "--month", month, "--out", tmp_path / "no" / "x").err.startswith(
        "BAD_OUTPUT: "
    )


def test_a_file_that_is_not_read_to_its_end_is_not_left(
    world: World, bothways: Bothways, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.errors import Unavailable
    from shared.services.log_export import LogExportService

    def breaks(*_: object) -> object:
        yield "at,sync\r\n"
        raise Unavailable("The database cannot be reached; try again in a few seconds.")

    monkeypatch.setattr(LogExportService, "_pages", breaks)
    file = tmp_path / "log.csv"
    file.write_text("of before")
    assert bothways("logs", "export", 1, "--month", "2026-05", "--out", file).err.startswith("UNAVAILABLE: ")
    assert file.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [file]
