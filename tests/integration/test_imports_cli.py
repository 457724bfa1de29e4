"""`bothways import` and its report as people call them."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli.main import main
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("LK-5", "PE-3")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Bothways = Callable[..., Said]


@pytest.fixture
def bothways(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Bothways]:
    settings = world.office.settings
    for name in [name for name in os.environ if name.startswith("BOTHWAYS_")]:
        monkeypatch.delenv(name)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("BOTHWAYS_KEY_FILE", str(settings.key_file))
    monkeypatch.setenv("BOTHWAYS_SANDBOX_URL", str(settings.sandbox_url))
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    def call(*words: object) -> Said:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(code, out, err)

    yield call
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.fixture
def sweeping(world: World) -> Iterator[None]:
    """The sweep takes up what the program asks for, whose wake-ups go to nobody here."""
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(0.1):
            if world.office.crew.idle and world.office.crew.beat is not None:
                world.office.crew.beat()

    thread = threading.Thread(target=sweep)
    thread.start()
    yield
    over.set()
    thread.join(10)


def test_a_list_is_imported_followed_and_told_of(world: World, bothways: Bothways, sweeping: None) -> None:
    Path("list.csv").write_text("Firma,Website\nZylker,www.z.test\n,www.x.test\n")
    connection = world.orgs[BOOKS].connection_id
    done = bothways("import", connection, "companies", "list.csv", "--column", "Firma=contact_name")
    assert done.code == 2, "it completed, and a row failed"
    assert "import 1: " in done.err
    assert "Import 1 (companies into Zylker Books): completed with failures." in done.out
    assert "2 rows read: 1 created, 0 updated, 0 skipped, 1 failed." in done.out
    assert "find what was imported by its webhooks" in done.out
    shown = bothways("import-report", 1)
    assert (shown.code, "NO_KEY" in shown.out, "created" in shown.out) == (0, True, True)
    told = bothways("--json", "import-report", 1, "--outcome", "failed").json
    assert [(row["line"], row["reason"]) for row in told["report"]] == [(3, "NO_KEY")]
    written = bothways("import-report", 1, "--csv", "--outcome", "failed", "--output", "failed.csv")
    assert written.code == 0
    assert Path("failed.csv").stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(io.StringIO(Path("failed.csv").read_text())))
    assert rows[0]["Website"] == "www.x.test"
    (one,) = bothways("imports", "--json").json
    assert (one["name"], one["state"], one["kind"]) == ("list.csv", "completed_with_failures", "companies")
    assert "list.csv" in bothways("imports").out


def test_started_only_and_cancelled(world: World, bothways: Bothways) -> None:
    Path("list.csv").write_text("Name,Unit price,Type\nA,1,Goods\n")
    connection = world.orgs[FSM].connection_id
    begun = bothways("import", connection, "items", "list.csv", "--no-wait", "--json")
    assert (begun.code, begun.json["state"]) == (0, "queued")
    refused = bothways("import", connection, "items", "list.csv")
    assert (refused.code, "ORG_HELD" in refused.err) == (1, True)
    assert bothways("import-cancel", 1).code == 0
    world.office.crew.until(lambda: world.imports.get(world.actor, 1).ended, "it ends")
    assert bothways("import-report", 1, "--json").json["state"] == "cancelled"
    assert bothways("import-cancel", 1).code == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import", 1, "companies", "list.csv", "--column", "x"), "A column is named as Header=Field."),
        (("import", 1, "people", "list.csv"), "people"),
        (("import", 99, "items", "list.csv"), "There is no connection 99"),
        (("import", 1, "companies", "list.csv"), "'Nonsense' is no field"),
        (("import-report", 99), "There is no import 99"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    world: World, bothways: Bothways, words: tuple[object, ...], said: str
) -> None:
    Path("list.csv").write_text("Nonsense\n1\n")
    answer = bothways(*words)
    assert answer.code != 0
    assert said in answer.err
    assert world.office.value("SELECT count(*) FROM import_job") == 0
