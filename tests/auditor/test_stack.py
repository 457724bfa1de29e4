"""On a real stack: silent while all is well, and red for the right promise once it is tampered with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.auditor.checks import Edit, Expect, Journal, Report, audit
from tests.auditor.evidence import Evidence, Mark, collect, mark
from tests.e2e.test_main_job import fill
from tests.e2e.world import BOOKS, FSM, World, await_that, running_world

SCALE = 0.1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("audited"), time_scale=SCALE) as found:
        fill(found, 9)
        found.fetch()
        found.sync()
        found.quiet()
        yield found


class Room:
    """The auditor beside a world: a mark, a journal, and people who keep it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stores = {"database_url": world.stack.env["DATABASE_URL"], "redis_url": world.stack.env["REDIS_URL"]}
        self.journal = Journal()
        self.mark = mark(sandbox_url=world.sandbox, database_url=self.stores["database_url"])
        self.left = {row["Company_Name"]: row["id"] for row in world.records(FSM, "Companies")}
        self.right = {row["contact_name"]: row["contact_id"] for row in world.records(BOOKS, "contacts")}

    def put(self, vendor: str, record: str, body: dict[str, Any]) -> None:
        began = time.time() * 1000
        module = "Companies" if vendor == FSM else "contacts"
        self.world.people[vendor].put(module, record, body)
        self.journal.append(Edit(vendor, module, record, body, began, time.time() * 1000))

    def evidence(self) -> Evidence:
        return collect(sandbox_url=self.world.sandbox, since=self.mark, **self.stores)

    def look(self, **expect: Any) -> Report:
        return audit(self.evidence(), self.journal, expect=Expect(time_scale=SCALE, healed_s=0.0, **expect))

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.stores["database_url"].replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement.encode())


def keys(report: Report) -> set[tuple[str, str]]:
    return {(one.promise, one.what) for one in report.findings}


def silenced(world: World, body: Any) -> None:
    """Something at the vendors that nobody is told of."""
    for vendor in (FSM, BOOKS):
        world.control("DELETE", vendor, "webhooks")
    try:
        body()
    finally:
        for vendor, hook in world.hooks.items():
            world.control("POST", vendor, "webhooks", hook)


def work(room: Room) -> None:
    """Edits on both sides, one after the other and at once, arrive by webhook; then a sync finds nothing more."""
    room.put(FSM, room.left["Company 1"], {"Website": "https://new.example.com"})
    room.put(BOOKS, room.right["Company 2"], {"billing_address": {"city": "Hull"}})
    room.put(FSM, room.left["Company 7"], {"Website": "https://left.example.com"})
    room.put(BOOKS, room.right["Company 7"], {"website": "https://right.example.com"})
    room.put(BOOKS, room.right["Company 3"], {"billing_address": {"city": "Renamed"}, "website": ""})
    room.world.quiet()
    await_that(room.world.versions_are_settled, "no version at the vendors is of this second")
    room.world.sync()
    room.world.quiet()


@pytest.mark.rule("P1", "P2", "P3", "P4", "P5", "P6", "P8", "P9", "P11", "P12", "P13")
def test_silent_while_all_is_well(world: World, tmp_path: Path) -> None:
    room = Room(world)
    work(room)
    silent_from_ms = time.time() * 1000
    world.sync()
    world.quiet()
    report = room.look(silent_from_ms=silent_from_ms)
    assert report.ok, report.text()
    assert len(room.evidence().deliveries) >= 5
    kept = tmp_path / "evidence.json"
    evidence = room.evidence()
    evidence.save(kept)
    assert Evidence.load(kept) == evidence
    secret = json.dumps(world.hooks)
    told = kept.read_text()
    assert not any(word in told for word in (world.people[FSM].token, *secret.split('"')) if len(word) > 20)


@pytest.mark.rule("P3", "P5", "P12")
def test_tampering_at_the_vendors_is_found(world: World) -> None:
    room = Room(world)
    work(room)
    edited = room.left["Company 4"]

    def tamper() -> None:
        world.control("PUT", FSM, f"edits/Companies/{edited}", {"Website": "tampered"})
        world.control("POST", BOOKS, "edits/contacts", {"contact_name": "company 5 ", "contact_type": "customer"})

    silenced(world, tamper)
    report = room.look()
    assert keys(report) == {
        ("P3", "a second record has the name of a bound one"),
        ("P5", "the sides differ in website"),
        ("P5", "website changed, and nobody had edited it"),
    }, report.text()
    assert (report.lost, report.doubled, report.stale_writes) == (1, 1, 0)
    world.sync()  # the change is found; the double is somebody's to clear up
    world.quiet()
    assert keys(room.look()) >= {("P8", "failed (TWIN_TAKEN), and nothing in the scenario explains it")}
    double = next(row for row in world.records(BOOKS, "contacts") if row["contact_name"].strip() == "company 5")
    silenced(world, lambda: world.control("DELETE", BOOKS, f"edits/contacts/{double['contact_id']}"))
    world.sync()
    world.quiet()
    report = Room(world).look()
    assert report.ok, report.text()


@pytest.mark.rule("P1", "P4", "P8", "P9", "P11", "P12")
@pytest.mark.parametrize(
    ("statement", "back", "promise", "words"),
    [
        (
            "UPDATE run_count SET records = records + 1 WHERE run_id = 2",
            "UPDATE run_count SET records = records - 1 WHERE run_id = 2",
            "P9",
            "counted",
        ),
        (
            "UPDATE run SET pending = 3 WHERE id = 2",
            "UPDATE run SET pending = 0 WHERE id = 2",
            "P9",
            "3 records pending",
        ),
        (
            "UPDATE outcome SET fence = fence - 1 WHERE id = (SELECT max(id) FROM outcome)",
            "UPDATE outcome SET fence = fence + 1 WHERE id = (SELECT max(id) FROM outcome)",
            "P4",
            "committed",
        ),
        (
            "UPDATE lease_log SET released_at = released_at + interval '1 hour' WHERE fence = 1",
            "UPDATE lease_log SET released_at = released_at - interval '1 hour' WHERE fence = 1",
            "P4",
            "two held an org at once",
        ),
        (
            "UPDATE watermark SET read_from = read_from + interval '1 hour'",
            "UPDATE watermark SET read_from = read_from - interval '1 hour'",
            "P12",
            "later than the start",
        ),
        (
            "UPDATE connection SET status = 'broken', broken_reason = 'x' WHERE id = 1",
            "UPDATE connection SET status = 'live', broken_reason = NULL WHERE id = 1",
            "P11",
            "the connection is broken",
        ),
        (
            "INSERT INTO intent (workspace_id, integration_id, pair, side, record_id, folded_key, batch_id, fence) "
            "VALUES (1, 1, 'companies', 'left', '1', 'x', 'b', 1)",
            "DELETE FROM intent",
            "P3",
            "still open",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("P") else "",
)
def test_tampering_with_the_tables_is_found(world: World, statement: str, back: str, promise: str, words: str) -> None:
    room = Room(world)
    before = room.look()
    assert before.ok, before.text()
    room.sql(statement)
    try:
        report = room.look()
    finally:
        room.sql(back)
    assert any(one.promise == promise and words in one.what for one in report.findings), report.text()
    assert room.look().ok


@pytest.mark.rule("P1", "P2")
def test_tampering_with_redis_is_found(world: World) -> None:
    """The beat goes on meanwhile: what is looked at is taken before it can mend anything."""
    room = Room(world)
    with redis.Redis.from_url(room.stores["redis_url"], decode_responses=True) as client:
        client.xadd("bw:lane:9:live:0", {"e": json.dumps({"rec": "77"})})
        report = room.look()
        client.delete("bw:lane:9:live:0")
    assert keys(report) == {
        ("P1", "entries lie on a stream that is said to be empty"),
        ("P1", "a lane with entries is in no list, so nobody is woken for it"),
    }
    assert report.findings[0].subject == "bw:lane:9:live:0 77"


@pytest.mark.rule("P1")
def test_a_swallowed_delivery_is_found(world: World) -> None:
    """The door's answer was 2xx, and the event is gone: its outcome is taken out of the log."""
    room = Room(world)
    room.put(FSM, room.left["Company 6"], {"Website": "https://swallowed.example.com"})
    world.quiet()
    assert room.look().ok
    room.sql("CREATE TABLE taken AS SELECT * FROM outcome WHERE origin = 'webhook' ORDER BY id DESC LIMIT 2")
    room.sql("UPDATE outcome SET record_id = 'gone' WHERE id IN (SELECT id FROM taken)")
    report = room.look()
    room.sql("UPDATE outcome o SET record_id = t.record_id FROM taken t WHERE t.id = o.id")
    room.sql("DROP TABLE taken")
    assert {one.promise for one in report.findings} == {"P1"}, report.text()
    assert report.lost == 2


def test_the_program(world: World, tmp_path: Path) -> None:
    """A process of its own: a mark, then a report, as text and JSON; its exit code tells."""
    room = Room(world)
    env = {**os.environ, "DATABASE_URL": room.stores["database_url"], "REDIS_URL": room.stores["redis_url"]}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.auditor", "--sandbox", world.sandbox, *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    marked = tmp_path / "mark.json"
    assert run("--mark", str(marked)).returncode == 0
    assert Mark.load(marked).records == room.mark.records
    room.put(BOOKS, room.right["Company 8"], {"website": "https://8.example.com"})
    world.quiet()
    room.journal.save(tmp_path / "journal.json")
    words = ["--since", str(marked), "--journal", str(tmp_path / "journal.json")]
    told = run(*words, "--keep", str(tmp_path / "kept.json"))
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.startswith("silent")
    room.journal.append(Edit(BOOKS, "contacts", room.right["Company 8"], {"website": "lost"}, 1e15, 1e15 + 1))
    room.journal.save(tmp_path / "journal.json")
    red = run(*words, "--json")
    assert red.returncode == 1
    assert json.loads(red.stdout)["lost"] == 1
    command = [sys.executable, "-m", "tests.auditor", "--evidence", str(tmp_path / "kept.json")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).returncode == 0
