"""`bothways` as people and programs call it, on real servers and a sandbox process."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import logging
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import text

from api.cli import callback
from api.cli.main import main
from shared.db.session import Database, make_engine
from shared.errors import ConfigError, Refused
from shared.services.connections import ConnectionService
from shared.services.integrations import IntegrationService
from shared.services.workspaces import default_workspace
from shared.settings import Settings
from shared.sync.access import host

pytestmark = pytest.mark.rule("PE-3")

CLIENT_ID, CLIENT_SECRET = "1000.SANDBOXCLIENT0000000000000000000", "sandbox-client-secret"
TABLES = "run, integration, pending_sign_in, connection, org, workspace, outcome"


@pytest.fixture(scope="module")
def settings(module_database_url: str, redis_url: str, sandbox_url: str, key_file: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": module_database_url,
        "REDIS_URL": redis_url,
        "BOTHWAYS_KEY_FILE": str(key_file),
        "BOTHWAYS_SANDBOX_URL": sandbox_url,
        "BOTHWAYS_API_HOST": "127.0.0.1",
        "BOTHWAYS_API_PORT": "8123",
        "BOTHWAYS_CLIENT_SECRET": CLIENT_SECRET,
    }


@pytest.fixture(autouse=True)
def _environment(settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The settings of this test alone, an empty working folder, and logging as it was."""
    for name in [name for name in os.environ if name.startswith("BOTHWAYS_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.fixture
def database(settings: Mapping[str, str], _environment: None) -> Iterator[Database]:
    """Empty, but for the workspace."""
    database = Database(make_engine(Settings(), threads=4))
    with database.transaction() as session:
        session.execute(text(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE"))
    default_workspace(database)
    yield database
    database.close()


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
def bothways(capsys: pytest.CaptureFixture[str]) -> Bothways:
    def call(*words: object) -> Said:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(code, out, err)

    return call


@contextmanager
def process(*words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The program as a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "api.cli.main", *words]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, env={**os.environ, "PYTHONUNBUFFERED": "", **env}, **pipes) as made:
        try:
            yield made
        finally:
            made.kill()


def sign_in(vendor: str, *more: str, browser: Callable[[str], None]) -> Said:
    """`connect` as a program uses it: the first line at once, then the rest."""
    words = ("connect", vendor, "--data-centre", "sandbox", "--client-id", CLIENT_ID, "--port", "0", "--json", *more)
    with process(*words) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        if first:
            browser(json.loads(first)["authorize_url"])
        rest, err = program.communicate(timeout=20)
        return Said(program.returncode, first + rest, err)


def person(url: str) -> None:
    answer = httpx.get(url, follow_redirects=True, trust_env=False)
    assert answer.status_code == 200
    assert "goes on in the terminal" in answer.text
    assert "code=" not in answer.text


@dataclass
class World:
    """An integration of two orgs, without connections."""

    database: Database
    workspace: int
    integration: int

    def sql(self, statement: str, **values: object) -> Any:
        with self.database.transaction() as session:
            result = session.execute(text(statement), values)
            return result.scalar() if "RETURNING" in statement or statement.startswith("SELECT") else None

    def fetched(self) -> None:
        self.sql("UPDATE integration SET fetched_at = now()")

    def run(self, state: str = "completed", kind: str = "sync", report: str = "{}") -> int:
        made: int = self.sql(
            "INSERT INTO run (workspace_id, integration_id, kind, trigger, state, pending, queued, report, "
            "started_at, ended_at) VALUES (:w, :i, :kind, 'manual', :state, 0, 0, CAST(:report AS jsonb), now(), "
            "now()) RETURNING id",
            w=self.workspace, i=self.integration, kind=kind, state=state, report=report,
        )  # fmt: skip
        return made

    def count(self, run: int, outcome: str, records: int, reason: str = "", conflicts: int = 0) -> None:
        self.sql(
            "INSERT INTO run_count (run_id, direction, pair, outcome, reason, workspace_id, records, conflicts, "
            "listed) VALUES (:run, 'zoho_fsm>zoho_books', 'companies', :outcome, :reason, :w, :n, :c, 0)",
            run=run, outcome=outcome, reason=reason, w=self.workspace, n=records, c=conflicts,
        )  # fmt: skip

    def outcome(
        self, run: int, record: str, outcome: str = "failed", reason: str = "NO_KEY", detail: str = "", event: str = "e"
    ) -> None:
        self.sql(
            "INSERT INTO outcome (workspace_id, integration_id, run_id, event_id, events, origin, pair, direction, "
            "record_id, outcome, reason, detail, changes, conflicts, warnings, attempt, fence) VALUES (:w, :i, :run, "
            ":event, 1, 'poll', 'companies', 'zoho_fsm>zoho_books', :record, :outcome, :reason, :detail, '[]', '[]', "
            "'[]', 1, 1)",
            w=self.workspace, i=self.integration, run=run, record=record, outcome=outcome, reason=reason, detail=detail,
            event=event,
        )  # fmt: skip


@pytest.fixture
def world(database: Database) -> World:
    workspace = default_workspace(database)
    with database.transaction() as session:
        for vendor in ("zoho_fsm", "zoho_books"):
            session.execute(
                text(
                    "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre, settings) "
                    "VALUES (:w, :vendor, 'x', :name, 'us', '{}')"
                ),
                {"w": workspace, "vendor": vendor, "name": f"Org \x1b[31m of {vendor}"},
            )
    made = IntegrationService(database, Settings()).create(host(workspace), "fsm_books", 1, 2)
    return World(database, workspace, made)


@contextmanager
def worker(world: World, *states: str, step_s: float = 0.1) -> Iterator[None]:
    """Takes the queued run through these states."""

    def work() -> None:
        run = None
        while run is None:
            time.sleep(step_s / 4)
            run = world.sql("SELECT id FROM run WHERE state = 'queued'")
        for state in states:
            time.sleep(step_s)
            ended = ", ended_at = now()" if state in ("completed", "completed_with_failures", "failed") else ""
            world.sql(
                f"UPDATE run SET state = :state, started_at = now() {ended} WHERE id = :run", state=state, run=run
            )

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(10)


# Connecting


@pytest.mark.rule("SU-1", "SU-8")
def test_a_program_connects_both_vendors(
    database: Database, bothways: Bothways, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = sign_in("zoho_fsm", "--org-name", "Zylker", browser=person)
    assert done.code == 0, done.err
    fsm = json.loads(done.out.splitlines()[1])
    assert fsm["connection"]["org_name"] == "Zylker"
    assert fsm["webhook"]["url"].startswith("http://127.0.0.1:8123/webhooks/zoho_fsm/")
    assert "secret" not in fsm["webhook"]
    books_done = sign_in("zoho_books", "--show-webhook-secret", browser=person)
    books = json.loads(books_done.out.splitlines()[1])
    assert len(books["webhook"]["secret"]) >= 32
    assert CLIENT_SECRET not in done.out + done.err + books_done.out + books_done.err

    assert [one["vendor"] for one in bothways("connections", "--json").json] == ["zoho_fsm", "zoho_books"]
    assert "Zylker Books" in bothways("connections").out
    secret = bothways("--json", "webhook", 1).json["secret"]
    shown = bothways("webhook", 1).out
    assert secret not in done.out
    for value in ("X-Bothways-Secret", secret, fsm["webhook"]["url"], '"modified_time"'):
        assert value in shown
    monkeypatch.setenv("BOTHWAYS_PUBLIC_URL", "https://sync.example.com/")
    assert bothways("webhook", 1, "--json").json["url"].startswith("https://sync.example.com/webhooks/zoho_fsm/")
    assert "No delivery has come yet with this secret." in bothways("webhook", 1).out
    assert bothways("webhook", 1, "--create").err.startswith("WEBHOOKS_BY_HAND: ")
    assert bothways("webhook", 2, "--create").out.startswith("The webhooks are made.\nNo delivery has come yet")
    assert bothways("webhook", 2, "--wait", 0.2).code == 1
    with database.transaction() as session:
        session.execute(text("UPDATE connection SET webhook_live_at = clock_timestamp() WHERE id = 2"))
    assert bothways("webhook", 2, "--wait", 5).out.startswith("Live: the first delivery with this secret came at ")

    made = bothways("integrations", "add", "fsm_books", "--left", 1, "--right", 2, "--json").json
    assert bothways("integrations", "--json").json == [made]
    again = bothways("integrations", "add", "fsm_books", "--left", 1, "--right", 2)
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("EXISTS: ")


@pytest.mark.rule("SU-1", "SU-8")
def test_zoho_invoice_is_connected_and_serves_on_the_accounting_side(database: Database, bothways: Bothways) -> None:
    assert sign_in("zoho_fsm", "--org-name", "Zylker", browser=person).code == 0
    done = sign_in("zoho_invoice", browser=person)
    assert done.code == 0, done.err
    shown = json.loads(done.out.splitlines()[1])
    assert shown["connection"]["org_name"] == "Zylker Invoice"
    assert shown["webhook"]["url"].startswith("http://127.0.0.1:8123/webhooks/zoho_invoice/")
    assert "In Zoho Invoice open Settings" in bothways("webhook", 2).out
    assert bothways("webhook", 2, "--create").out.startswith("The webhooks are made.")
    wrong = bothways("integrations", "add", "fsm_books", "--left", 1, "--right", 1)
    assert wrong.err.startswith("WRONG_VENDOR: ")
    assert "an org of zoho_books or zoho_invoice on the right side" in wrong.err
    assert bothways("integrations", "add", "fsm_books", "--left", 1, "--right", 2).code == 0


def test_a_foreign_state_is_refused_and_ends_nothing(database: Database) -> None:
    def strangers_first(url: str) -> None:
        redirect = httpx.URL(url).params["redirect_uri"]
        for query in ("?code=theirs&state=guessed", "?code=theirs", "?error=access_denied&state=%ff", ""):
            assert httpx.get(redirect + query, trust_env=False).status_code == 400
        assert httpx.get(redirect.replace("callback", "other"), trust_env=False).status_code == 404
        person(url)

    assert sign_in("zoho_fsm", "--org-name", "Zylker", browser=strangers_first).code == 0


def test_a_declined_sign_in_is_told(database: Database, sandbox_url: str) -> None:
    switch = f"{sandbox_url}/_sandbox/zoho_accounts/capabilities"
    httpx.post(switch, json={"consent_denied": True}, trust_env=False)
    try:
        done = sign_in("zoho_books", browser=lambda url: void(httpx.get(url, follow_redirects=True, trust_env=False)))
    finally:
        httpx.post(switch, json={"consent_denied": False}, trust_env=False)
    assert done.code == 1
    assert done.err.startswith("ACCESS_DENIED: The sign-in was declined.")


def void(_answer: object) -> None:
    """For callbacks that answer nothing."""


def test_an_org_that_the_sign_in_does_not_reach(database: Database, bothways: Bothways) -> None:
    done = sign_in("zoho_books", "--org-id", "77", browser=person)
    assert (done.code, done.err[:12]) == (1, "UNKNOWN_ORG:")
    assert bothways("connections", "--json").json == []


def test_a_wrong_client_secret(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("not-the-one\n")
    done = sign_in("zoho_books", "--client-secret-file", str(file), browser=person)
    assert done.code == 1
    assert done.err.startswith("CLIENT_REFUSED: ")
    assert "not-the-one" not in done.err


def test_nobody_signs_in_and_a_port_that_is_taken() -> None:
    with callback.listening(0) as listener:
        with pytest.raises(Refused, match="Run it again"):
            listener.wait(0.05)
        with pytest.raises(ConfigError, match="--port"), callback.listening(listener.server_port):
            pass


# Bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("connect", "zoho_nothing", "--client-id", "x"), "UNKNOWN_VENDOR: There is no vendor 'zoho_nothing'; known"),
        (("connect", "zoho_books", "--client-id", "x", "--data-centre", "mars", "--port", "0"), "UNKNOWN_CENTRE: "),
        (("connect", "zoho_books"), "NO_CLIENT_ID: "),
        (
            ("connect", "zoho_books", "--client-id", "x", "--client-secret-file", "none"),
            "NO_CLIENT_SECRET: none cannot",
        ),
        (("connect", "zoho_fsm", "--client-id", "x", "--port", "0"), "ORG_NAME_MISSING: "),
        (("webhook", "77"), "UNKNOWN_CONNECTION: "),
        (("integrations", "add", "nothing", "--left", "1", "--right", "2"), "UNKNOWN_KIND: "),
        (("integrations", "add", "fsm_books", "--left", "8", "--right", "9"), "UNKNOWN_ORG: "),
        (("fetch", "77"), "UNKNOWN_INTEGRATION: There is no integration 77."),
        (("sync", "77"), "UNKNOWN_INTEGRATION: "),
        (("runs", "--integration", "77"), "UNKNOWN_INTEGRATION: "),
        (("run", "77"), "UNKNOWN_RUN: There is no sync 77."),
        (("failures", "77"), "UNKNOWN_RUN: "),
        (("failures", "77", "--csv"), "UNKNOWN_RUN: "),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    database: Database, bothways: Bothways, words: tuple[str, ...], said: str
) -> None:
    for flags in ((), ("--json",)):
        if flags and "--csv" in words:
            continue
        told = bothways(*flags, *words)
        assert (told.code, told.out) == (1, "")
        assert told.err.startswith(said)
        assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("run", "x"), ("run", "0"), ("run", "99999999999999999999"), ("sync",), ("nothing",), ("runs", "--limit", "0"),
        ("run", "1", "--outcome", "odd"), ("failures", "1", "--csv", "--json"), ("connect", "zoho_fsm", "--port", "x"),
        ("connect", "zoho_fsm", "--client-secret", "on-the-command-line"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_no_sync_with_failures(bothways: Bothways, words: tuple[str, ...]) -> None:
    told = bothways(*words)
    assert (told.code, told.out) == (1, "")
    assert "Error: " in told.err


ALL_COMMANDS = (
    ("connections",), ("webhook", "1"), ("integrations",), ("fetch", "1"), ("sync", "1"), ("runs",), ("run", "1"),
    ("integrations", "add", "fsm_books", "--left", "1", "--right", "2"), ("failures", "1"), ("failures", "1", "--csv"),
    ("connect", "zoho_books", "--client-id", "x", "--port", "0"),
    ("tokens",), ("tokens", "add", "x", "--role", "viewer"), ("tokens", "revoke", "1"), ("audit",),
    ("capabilities", "1"), ("fields", "1"),
)  # fmt: skip


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_a_database_that_is_away(bothways: Bothways, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://me:hush@127.0.0.1:1/none")
    told = bothways(*words)
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("UNAVAILABLE: ")
    assert "hush" not in told.err


def test_a_redis_that_is_away_starts_nothing(world: World, bothways: Bothways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    told = bothways("fetch", 1, "--no-wait")
    assert (told.code, told.err[:12]) == (1, "UNAVAILABLE:")
    assert world.sql("SELECT count(*) FROM run") == 0
    assert bothways("runs", "--json").json == [], "looking needs no Redis"


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", "nonsense-hush"), ("DATABASE_URL", "mysql://me:hush@h/d"), ("REDIS_URL", "nonsense-hush")],
)
def test_addresses_of_the_wrong_kind(
    bothways: Bothways, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    told = bothways("runs")
    assert (told.code, told.err[:13]) == (1, "BAD_SETTINGS:")
    assert "hush" not in told.err


def test_a_database_without_tables(
    empty_database_url: str, bothways: Bothways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    assert bothways("runs").err.startswith("NOT_MIGRATED: ")


def test_a_mistake_of_ours_is_a_sentence(
    database: Database, bothways: Bothways, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(*_words: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(ConnectionService, "list", broken)
    told = bothways("connections")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("INTERNAL: ")
    assert "BOTHWAYS_DEBUG=1" in told.err
    (tmp_path / ".bothways/logs").mkdir(parents=True)
    log = tmp_path / ".bothways/logs/cli.log"
    assert str(log.relative_to(tmp_path)) in bothways("connections").err
    assert "KeyError: 'oops'" in log.read_text()
    monkeypatch.setenv("BOTHWAYS_DEBUG", "1")
    assert main(["connections"]) == 1
    assert "Traceback" in capsys.readouterr().err


# Syncs


@pytest.mark.rule("SU-4", "LG-1")
@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("completed_with_failures", 2), ("failed", 1)])
def test_a_sync_is_followed_to_its_end(world: World, bothways: Bothways, end: str, code: int) -> None:
    refused = bothways("sync", 1)
    assert (refused.code, refused.err[:12]) == (1, "FETCH_FIRST:")
    world.fetched()
    with worker(world, "listing", "draining", end, step_s=0.6):
        told = bothways("sync", 1)
    assert told.code == code
    assert f"sync 1: {end.replace('_', ' ')}" in told.err
    assert "Sync 1 (sync of" in told.out
    with worker(world, end):
        view = bothways("sync", 1, "--json")
    assert (view.code, view.json["state"], view.json["id"]) == (code, end, 2)


@pytest.mark.rule("TR-6")
def test_one_record_is_synced_and_its_outcome_told(world: World, bothways: Bothways) -> None:
    words = ("sync-record", world.integration, "companies", "left", "r1")
    assert bothways(*words).err.startswith("FETCH_FIRST:")
    world.fetched()
    assert bothways("sync-record", world.integration, "nothing", "left", "r1").err.startswith("UNKNOWN_PAIR:")
    kept = bothways(*words, "--wait-s", 0, "--json")
    assert (kept.code, kept.json["outcome"]) == (0, None)
    waiting = bothways(*words, "--wait-s", 0.2)
    assert (waiting.code, waiting.out) == (1, "It is kept, and synced as soon as its orgs are free.\n")
    run = world.run(state="draining")
    ending = threading.Thread(target=_end_the_newest_event, args=(world, run))
    ending.start()
    told = bothways(*words)
    ending.join(10)
    assert (told.code, told.out) == (2, f"Failed (sync {run}).\n")
    assert "The match key is empty" in told.err


def _end_the_newest_event(world: World, run: int) -> None:
    """As the result task would, once a third event lies on the lane."""
    with redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as client:
        lane = f"bw:lane:{world.integration}:live:{Settings().shards}"
        while len(entries := client.xrange(lane)) < 3:
            time.sleep(0.02)
    event = json.loads(entries[-1][1]["e"])["id"]
    world.outcome(run, "r1", event=event)
    world.sql(
        "INSERT INTO event_done (event_id, outcome_event, workspace_id) VALUES (:e, :e, :w)", e=event, w=world.workspace
    )


@pytest.mark.rule("OP-4")
def test_the_limits_of_an_org_are_told_and_set(database: Database, bothways: Bothways) -> None:
    assert sign_in("zoho_fsm", "--org-name", "Zylker", browser=person).code == 0

    def held(*words: object) -> dict[str, int]:
        return {one["name"]: one["calls"] for one in bothways("limits", 1, *words, "--json").json}

    assert held() == {"per_minute": 5_000, "concurrent": 5}
    assert held("--per-day", 25_000, "--concurrent", 15) == {
        "per_minute": 5_000, "concurrent": 15, "per_day": 25_000,
    }  # fmt: skip
    assert "at the same time" in bothways("limits", 1).out
    assert held("--off") == {}
    assert bothways("limits", 1).out == "No limit is held.\n"
    assert held("--published") == {"per_minute": 5_000, "concurrent": 5}
    assert bothways("limits", 1, "--off", "--per-day", 1).err.startswith("BAD_OPTIONS:")


def test_bars_on_a_terminal(world: World) -> None:
    world.fetched()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "api.cli.main", "sync", "1"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with (
        worker(world, "listing", "completed", step_s=2.0),
        subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env) as made,
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while chunk := os.read(ours, 4096):
                shown += chunk
        os.close(ours)
        assert made.wait(10) == 0
    screen = shown.decode()
    assert "sync 1: listing" in screen
    assert "━" in screen
    assert "Sync 1 (sync of" in screen.splitlines()[-2]
    assert "\x1b[31m of zoho" not in screen, "the names of orgs are shown clean"


def test_one_is_started_and_left_and_the_next_refused(world: World, bothways: Bothways) -> None:
    started = bothways("fetch", 1, "--no-wait", "--json")
    assert (started.code, started.json["kind"], started.json["state"]) == (0, "fetch", "queued")
    held = bothways("fetch", 1, "--no-wait")
    assert (held.code, held.out) == (1, "")
    assert held.err.startswith("ORG_HELD: Sync 1 of this integration is on since")


def test_ctrl_c_leaves_the_sync_going(world: World) -> None:
    world.fetched()
    with process("sync", "1") as program:
        assert program.stderr is not None
        assert program.stderr.readline() == "sync 1: queued\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=10)
    assert (program.returncode, out) == (130, "")
    assert err == "\nSync 1 goes on. Look at it with `bothways run 1`.\n"
    assert world.sql("SELECT state FROM run") == "queued"


@pytest.mark.rule("SU-4")
def test_the_report_of_fetch(world: World, bothways: Bothways) -> None:
    report = {
        "companies": {"bound": 41, "create_left": 42, "create_right": 43, "ambiguous_left": 44, "ambiguous_right": 45}
    }
    run = world.run(kind="fetch", report=json.dumps(report))
    shown = bothways("run", run).out
    line = next(line for line in shown.splitlines() if line.startswith("companies"))
    assert line.split() == ["companies", "41", "42", "43", "44", "45"]
    assert "would create in zoho_fsm" in shown
    assert bothways("run", run, "--json").json["report"] == report


@pytest.mark.rule("LG-1", "LG-2", "LG-4")
def test_counts_details_and_reasons(world: World, bothways: Bothways) -> None:
    run = world.run("completed_with_failures")
    world.count(run, "created", 7)
    world.count(run, "updated", 5, conflicts=3)
    world.count(run, "failed", 2, reason="NO_KEY")
    world.outcome(run, "r1", "created", "")
    world.outcome(run, "r2", "failed", "NO_KEY", detail="Name \x1b[2J")
    shown = bothways("run", run).out
    assert "\x1b" not in shown
    assert next(line for line in shown.splitlines() if line.startswith("zoho_fsm>zoho_books")).split() == [
        "zoho_fsm>zoho_books", "companies", "7", "5", "0", "0", "2", "3",
    ]  # fmt: skip
    assert "Fill the named field" in shown
    both = bothways("run", run, "--details", "--json").json
    assert [row["record_id"] for row in both["details"]] == ["r1", "r2"]
    assert [row["record_id"] for row in bothways("run", run, "--outcome", "failed", "--json").json["details"]] == ["r2"]
    assert len(bothways("run", run, "--details", "--limit", 1, "--json").json["details"]) == 1
    assert "details" not in bothways("run", run, "--json").json
    failed = bothways("failures", run, "--json").json
    assert [(row["record_id"], row["sentence"][:22]) for row in failed] == [("r2", "The match key is empty")]
    assert failed[0]["at"].endswith("Z")
    listed = bothways("runs", "--json").json
    assert [(one["id"], one["records"], one["failed"]) for one in listed] == [(run, 14, 2)]
    assert "completed with failures" in bothways("runs", "--integration", 1, "--limit", 1).out


@pytest.mark.rule("LG-3")
def test_failures_as_csv(world: World, bothways: Bothways, tmp_path: Path) -> None:
    run = world.run("completed_with_failures")
    for record in ("=1+1", "@x", "plain"):
        world.outcome(run, record, detail='say "hi", then\nleave')
    told = bothways("failures", run, "--csv")
    rows = list(csv.reader(io.StringIO(told.out, newline="")))
    assert [row[2] for row in rows] == ["record", "'=1+1", "'@x", "plain"]
    assert told.out.endswith("\r\n")
    written = bothways("failures", run, "--output", tmp_path)
    assert (written.code, written.out) == (0, "")
    file = tmp_path / f"FailureLogs-{run}.csv"
    assert file.read_bytes() == told.out.encode()
    assert file.stat().st_mode & 0o777 == 0o600
    bad = bothways("failures", run, "--csv", "--output", tmp_path / "none" / "x.csv")
    assert (bad.code, bad.err[:11]) == (1, "BAD_OUTPUT:")


def test_a_reader_that_goes_away_is_no_trouble(world: World) -> None:
    run = world.run()
    for number in range(20):
        world.outcome(run, f"r{number}")
    for words in (("run", "1", "--details"), ("failures", "1", "--csv")):
        with process(*words) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            program.stdout.close()
            assert (program.wait(20), program.stderr.read()) == (141, "")


# Beside a local stack


def test_a_second_terminal_finds_the_stack(
    world: World, settings: Mapping[str, str], bothways: Bothways, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = world.run()
    folder = tmp_path / ".bothways"
    folder.mkdir()
    left = folder / "env.json"

    def call(**changed: str) -> Said:
        left.write_text(json.dumps({**settings, **changed}))
        left.chmod(0o600)
        for name in settings:
            monkeypatch.setenv(name, "")
        return bothways("runs", "--json")

    assert [one["id"] for one in call().json] == [run]
    told = call(DATABASE_URL="postgresql+psycopg://127.0.0.1:1/none")
    assert (told.code, told.out) == (1, "")
    assert "Is the stack in .bothways still running" in told.err


def test_programs_of_deploy_take_over(bothways: Bothways, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, words: seen.append(words[1:]))
    monkeypatch.setenv("BOTHWAYS_DATA_DIR", "here")
    bothways("up", "--sandbox", "--api-port", "1", "--help")
    bothways("up", "--data-dir=there")
    bothways("sandbox", "--port", "7")
    assert seen == [
        ["-m", "deploy.local.stack", "--data-dir", "here", "--sandbox", "--api-port", "1", "--help"],
        ["-m", "deploy.local.stack", "--data-dir=there"],
        ["-m", "deploy.sandbox", "--port", "7"],
    ]
    monkeypatch.setattr("api.cli.commands.stack.find_spec", lambda _name: None)
    told = bothways("demo")
    assert (told.code, told.err[:13]) == (1, "NOT_INSTALLED")


def test_the_sandbox_as_a_program() -> None:
    with process("sandbox", "--port", "0") as program:
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        assert httpx.get(f"{told['base_url']}/_sandbox/health", trust_env=False).status_code == 200
        assert told["client_id"] == CLIENT_ID
        program.terminate()
        program.wait(10)


def test_help_names_every_command(bothways: Bothways) -> None:
    shown = bothways("--help")
    assert shown.code == 0
    for name in ("up", "demo", "sandbox", *(words[0] for words in ALL_COMMANDS)):
        assert f"  {name} " in shown.out


def test_keys_are_rotated_by_a_command(database: Database, bothways: Bothways, settings: Mapping[str, str]) -> None:
    assert sign_in("zoho_fsm", "--org-name", "Zylker", browser=person).code == 0
    assert bothways("rotate-keys", "--json").json == {"resealed": 0}
    ring = json.loads(Path(settings["BOTHWAYS_KEY_FILE"]).read_text())
    newer = {"current": "newer", "keys": {**ring["keys"], "newer": base64.b64encode(bytes(range(32))).decode()}}
    Path("newer.json").write_text(json.dumps(newer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOTHWAYS_KEY_FILE", "newer.json")
        assert bothways("rotate-keys").out == "1 connections were sealed anew.\n"
        Path("newer.json").write_text(json.dumps({**newer, "keys": {"newer": newer["keys"]["newer"]}}))  # type: ignore[index]
        assert bothways("webhook", 1, "--json").code == 0, "readable without the old key"
