"""A whole stack under the users of deploy/redis.acl, and what its logs, messages and processes show.

Every value of a record, and every secret, is a word that stands nowhere else; then all that the stack left is searched.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from sqlalchemy import create_engine, text

from deploy.local.process import family
from deploy.local.stack import Stack, StackOptions
from deploy.local.supervisor import Process, Spec
from deploy.local.valkey import ValkeyServer
from shared.db.repositories.connections import SEALED_COLUMNS
from shared.vault import load_vault
from tests.callers import Carrying
from tests.e2e.world import BOOKS, FSM, World, await_that, connected
from tests.processes import command_lines
from tests.security.monitor import Monitor, monitoring
from tests.security.redis_users import GuardedValkey, url_of

pytestmark = pytest.mark.rule("P14")

VALUE = "Kanarie"
"""Begins every value of a record; folded to lower case in match keys."""
ROLES = {"api": "door", "beat": "door", "flower": "flower"}


class GuardedStack(Stack):
    """Each process has the Redis user of its role."""

    def _spec(
        self,
        name: str,
        argv: Sequence[str],
        ready: Callable[[Process], bool] | None,
        stop_timeout_s: float = 10.0,
        env: Mapping[str, str] | None = None,
    ) -> Spec:
        mine = {"REDIS_URL": self.options.env[f"REDIS_URL_OF_{ROLES.get(name, 'worker').upper()}"]}
        return super()._spec(name, argv, ready, stop_timeout_s, {**(env or {}), **mine})


@dataclass
class Left:
    """All that was to be seen of a stack that worked, failed and recovered."""

    logs: dict[str, str] = field(default_factory=dict)
    sent: Monitor = field(default_factory=Monitor)
    keys: dict[str, str] = field(default_factory=dict)
    flower: dict[str, str] = field(default_factory=dict)
    commands: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    refused: set[tuple[str, str]] = field(default_factory=set)
    outcomes: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def left() -> Iterator[Left]:
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as name:
        folder = Path(name)
        (folder / "valkey").mkdir()
        valkey = GuardedValkey.start(folder / "valkey", durable=False)
        roles = {role: url_of(valkey, role) for role in ("door", "worker", "flower")}
        options = StackOptions(
            data_dir=folder / "stack",
            sandbox=True,
            durable=False,
            restart=False,
            env={
                "BOTHWAYS_TIME_SCALE": "0.1",
                "BOTHWAYS_LOG_LEVEL": "DEBUG",
                "REDIS_URL": valkey.url,  # for the test itself: each process is given that of its role
                **{f"REDIS_URL_OF_{role.upper()}": url for role, url in roles.items()},
            },
        )
        left = Left()
        try:
            with GuardedStack.start(options) as stack, httpx.Client(timeout=30, trust_env=False) as http:
                with monitoring(valkey.url) as first:
                    world = connected(stack, http)
                    records = first_chapter(world)
                    look_at_flower(left, stack)
                valkey.kill()
                valkey.restart()
                with monitoring(valkey.url) as second:
                    second_chapter(world, records)
                    look(left, stack, world, valkey, roles)
            left.sent = Monitor([*first.lines, *second.lines])
            collect_logs(left, stack, valkey)
            yield left
        finally:
            valkey.destroy()


def company(name: str) -> dict[str, Any]:
    address = {"Service_Street_1": f"{VALUE}street", "Service_City": f"{VALUE}city"}
    return {
        "Company_Name": f"{VALUE} {name}",
        "Website": f"www.{VALUE}.test",
        "Phone": f"{VALUE}phone",
        "Service_Address": address,
    }


def first_chapter(world: World) -> dict[str, str]:
    """A first sync, edits by people, refusals that quote values, vendors in trouble, strangers at the doors."""
    world.seed(FSM, "Companies", [company("one"), company("two"), company("Taken"), company("Twice"), company("TWICE")])
    world.seed(FSM, "Service_And_Parts", [{"Name": f"{VALUE}item", "Unit_Price": 3, "Type": "Service"}])
    individual = {"contact_type": "customer", "customer_sub_type": "individual"}
    world.seed(BOOKS, "contacts", [{"contact_name": f"{VALUE} Taken", **individual}])
    world.seed(BOOKS, "items", [{"name": f"{VALUE}part", "rate": 1, "product_type": "service"}])
    assert world.fetch()["state"] == "completed"
    world.control("POST", BOOKS, "faults", {"kind": "5xx", "applied": "after", "match": {"method": "POST"}})
    world.control("POST", BOOKS, "faults", {"kind": "expired_token"})
    assert world.sync()["state"] == "completed_with_failures"
    ids = {row["Company_Name"]: str(row["id"]) for row in world.records(FSM, "Companies")}
    for kind in ("malformed", "reply_lost"):
        world.control("POST", BOOKS, "faults", {"kind": kind, "match": {"method": "PUT"}})
        world.people[FSM].put("Companies", ids[f"{VALUE} one"], {"Website": f"www.{VALUE}-{kind}.test"})
        world.quiet()
    for path in ("/webhooks/zoho_books/made-up", world.hooks[BOOKS]["url"].partition("/webhooks")[1] + "/x/y"):
        world.http.post(world.stack.api_url + path, content=f'{{"contact": "{VALUE}'.encode())
    world.http.post(world.hooks[FSM]["url"], content=b"no json: " + VALUE.encode(), headers=_fsm_secret(world))
    bad = {"kind": VALUE, "left_org_id": VALUE, VALUE: VALUE}
    world.http.post(f"{world.stack.api_url}/api/v1/integrations", json=bad)
    for wrong in (f"Bearer {carried(world)}x", f"Basic {carried(world)}", f"Bearer bw_99_{carried(world)[-43:]}"):
        answer = world.http.get(f"{world.stack.api_url}/api/v1/runs", headers={"Authorization": wrong})
        assert answer.status_code == 401
    return ids


def second_chapter(world: World, ids: Mapping[str, str]) -> None:
    """After Redis was killed: everybody connects again, also under their own users."""
    await_that(lambda: world.http.get(f"{world.stack.api_url}/readyz").status_code == 200, "the door is back")
    world.people[FSM].put("Companies", ids[f"{VALUE} two"], {"Website": f"www.{VALUE}-again.test"})
    world.quiet()
    record = f"{world.stack.api_url}/api/v1/integrations/{world.integration}/records/companies/left"
    assert world.http.post(f"{record}/{ids[f'{VALUE} two']}/sync").status_code == 202
    world.quiet()


def carried(world: World) -> str:
    """The token of the REST API that the test's own calls carry."""
    assert isinstance(world.http.auth, Carrying)
    return world.http.auth.token


def _fsm_secret(world: World) -> dict[str, str]:
    return {"X-Bothways-Secret": world.hooks[FSM]["header_value"]}


def look(left: Left, stack: Stack, world: World, valkey: ValkeyServer, roles: Mapping[str, str]) -> None:
    left.outcomes = [(row.outcome, row.reason) for row in world.sql("SELECT outcome, reason FROM outcome")]
    left.secrets = secrets_of(stack, world, roles)
    with Redis.from_url(valkey.url, decode_responses=True) as admin:
        left.keys = {str(key): content(admin, str(key)) for key in admin.scan_iter(count=1000)}
        left.refused = {(row["username"], row["object"].lower()) for row in admin.acl_log()}
    left.commands = "\n".join(command_lines(everybody(stack)).values())
    look_at_flower(left, stack)


def look_at_flower(left: Left, stack: Stack) -> None:
    login = (stack.flower_user, stack.flower_password)
    with httpx.Client(base_url=stack.flower_url, auth=login, timeout=30, trust_env=False) as flower:
        pages = ["/api/tasks?limit=10000", "/api/workers?refresh=1", "/workers", "/tasks", "/broker", "/metrics"]
        pages += [f"/worker/{name}" for name in flower.get("/api/workers").json()]
        for path in pages:
            left.flower[path] = left.flower.get(path, "") + "\n" + flower.get(path).text


def everybody(stack: Stack) -> list[int]:
    found = [pid for process in stack.processes.values() for pid in (process.pid, *family(process.pid))]
    assert len(found) >= 6
    return found


def content(admin: Redis, key: str) -> str:
    kinds: dict[str, Callable[[], Any]] = {
        "string": lambda: admin.get(key),
        "hash": lambda: admin.hgetall(key),
        "list": lambda: admin.lrange(key, 0, -1),
        "set": lambda: admin.smembers(key),
        "zset": lambda: admin.zrange(key, 0, -1),
        "stream": lambda: admin.xrange(key),
        "none": lambda: "",
    }
    return f"{key} {kinds[str(admin.type(key))]()}"


def secrets_of(stack: Stack, world: World, roles: Mapping[str, str]) -> dict[str, str]:
    """By name, each as it would be seen: opened from the database, read from the files, or given by the sandbox."""
    vault = load_vault(Path(stack.env["BOTHWAYS_KEY_FILE"]))
    ring = json.loads(Path(stack.env["BOTHWAYS_KEY_FILE"]).read_text())
    found = {f"key {name}": key for name, key in ring["keys"].items()}
    engine = create_engine(stack.env["DATABASE_URL"], hide_parameters=True)
    with engine.connect() as session:
        for row in session.execute(text("SELECT * FROM connection")).mappings():
            for name, column in SEALED_COLUMNS.items():
                if row[column] is not None:
                    plain = vault.open(row[column], row=f"connection:{row['id']}", field=name)
                    found[f"{name} {row['id']}"] = plain.get_secret_value()
    engine.dispose()
    for name, url in {"database": stack.env["DATABASE_URL"], "redis": stack.env["REDIS_URL"], **roles}.items():
        found[f"password {name}"] = url.split("@", maxsplit=1)[0].rsplit(":", 1)[1]
    found["password flower page"] = stack.flower_password
    found["API token"] = carried(world).rpartition("_")[2]
    for vendor in (FSM, BOOKS):
        for user, token in stack.sandbox["vendors"][vendor]["refresh_tokens"].items():
            found[f"{vendor} {user}"] = token
    assert len(found) >= 16, sorted(found)
    assert all(len(secret) >= 12 for secret in found.values())
    return found


def collect_logs(left: Left, stack: Stack, valkey: ValkeyServer) -> None:
    """After the stop, so that what is said while stopping is there too; the sandbox's own is the vendor's matter."""
    assert stack.postgres is not None
    paths = [path for path in (stack.data_dir / "logs").glob("*.log*") if not path.name.startswith("sandbox")]
    paths += [stack.postgres.log_path, valkey.log_path]
    left.logs = {path.name: path.read_text(errors="replace") for path in paths}


# What was searched must have been there.


def test_the_story_had_successes_refusals_and_trouble(left: Left) -> None:
    assert {"created", "updated"} <= {outcome for outcome, _ in left.outcomes}
    assert {"DUPLICATE_NAME", "AMBIGUOUS_MATCH"} <= {reason for _, reason in left.outcomes}


def test_each_process_told_something(left: Left) -> None:
    assert {"api.log", "beat.log", "flower.log", "worker-events.log", "worker-control.log"} <= set(left.logs)
    events = left.logs["worker-events.log"]
    for status in (201, 400, 503):  # the second quotes the name: "The customer … already exists"
        assert f"Zoho Books POST /contacts -> {status}" in events
    assert "zoho accounts POST /oauth/v2/token -> 200" in "".join(left.logs.values())


# Logs, process list, Flower.


def check_free_of(text: str, where: str, secrets: Mapping[str, str]) -> None:
    found = [name for name, secret in secrets.items() if secret in text]
    assert not found, f"{where} shows {found}"
    lower = text.lower()
    at = lower.find(VALUE.lower())
    assert at < 0, f"{where} shows a value: {text[max(0, at - 200) : at + 60]!r}"


def test_no_log_holds_a_value_or_a_secret_though_it_tells_everything(left: Left) -> None:
    """At DEBUG, of the servers too."""
    for name, content in left.logs.items():
        check_free_of(content, name, left.secrets)


def test_no_command_line_holds_a_secret(left: Left) -> None:
    assert "workers.app" in left.commands
    check_free_of(left.commands, "the process list", left.secrets)


def test_flower_shows_wake_ups_and_no_value_or_secret(left: Left) -> None:
    told = left.flower["/api/tasks?limit=10000"].splitlines()
    tasks = [task for page in told if page for task in json.loads(page).values()]
    assert {"events.drain", "results.record", "runs.advance"} <= {task["name"] for task in tasks}
    assert {task["result"] for task in tasks} <= {None, "None"}
    assert any("broker_url" in page for page in left.flower.values()), "the workers' settings are shown"
    secrets = {name: secret for name, secret in left.secrets.items() if name != "password flower page"}
    for path, page in left.flower.items():
        check_free_of(page, path, secrets)


# Celery's messages.

ARGUMENTS = {"events.drain": r"\[\"\d+:(live|bulk):\d+\"\]", "runs.advance": r"\[\d+\]"}
"""What tasks may be given, as JSON: a lane, a run. All others get nothing."""


def messages(sent: Monitor) -> Iterator[dict[str, Any]]:
    """Each Celery message that was put on a queue, its body opened."""
    for _, command, rest in sent.lines:
        if command not in ("LPUSH", "RPUSH") or not rest.startswith("bw:celery:"):
            continue
        raw = ast.literal_eval('b"' + rest.partition(" ")[2] + '"')
        message = json.loads(raw)
        yield {**message, "body": json.loads(base64.b64decode(message["body"]))}


def test_tasks_are_given_keys_and_nothing_else(left: Left) -> None:
    seen = set()
    for message in messages(left.sent):
        task = message["headers"].get("task")
        if task is None:
            continue  # a worker's answer to Flower
        given, named, _ = message["body"]
        assert named == {}
        assert re.fullmatch(ARGUMENTS.get(task, r"\[\]"), json.dumps(given)), (task, given)
        seen.add(task)
    assert {"events.drain", "runs.advance", "results.record", "housekeeping.tick", "events.canary"} <= seen


def test_no_message_event_or_reply_of_celery_holds_a_value_or_a_secret(left: Left) -> None:
    told = "\n".join(json.dumps(message) for message in messages(left.sent))
    broadcast = [rest for _, command, rest in left.sent.lines if command == "PUBLISH"]
    bodies = [base64.b64decode(body) for one in broadcast for body in re.findall(r'body\\": \\"([A-Za-z0-9+/=]+)', one)]
    assert any(b"task-succeeded" in body for body in bodies)
    check_free_of(told, "a queue", left.secrets)
    check_free_of("\n".join(map(repr, bodies)), "a broadcast", left.secrets)
    celery = "\n".join(rest for _, _, rest in left.sent.lines if "bw:celery" in rest)
    check_free_of(celery, "Celery's keys", left.secrets)


# Redis.


def test_values_pass_through_the_result_stream_alone_and_leave_it(left: Left) -> None:
    holding = {
        rest.split(" ")[0] if command != "EVALSHA" else "a script"
        for who, command, rest in left.sent.lines
        if VALUE in rest and who != "lua"
    }
    by_script = {
        (command, rest.split(" ")[0]) for who, command, rest in left.sent.lines if who == "lua" and VALUE in rest
    }
    assert holding <= {"a script"}, holding
    assert by_script == {("XADD", "bw:results"), ("XADD", "bw:results:live")}
    for key, held in left.keys.items():
        check_free_of(held, key, left.secrets)


def test_the_whole_flow_ran_under_users_without_more_rights_than_they_need(left: Left) -> None:
    """Nothing was refused to anybody but the question for the server's configuration, which is refused on purpose."""
    assert left.refused <= {("bothways-worker", "config|get")}, left.refused
    assert {"EVALSHA", "XREADGROUP", "BRPOP", "PUBLISH", "LPUSH"} <= left.sent.commands()
    forbidden = {"FLUSHALL", "FLUSHDB", "CONFIG", "KEYS", "SCAN", "DEBUG", "EVAL", "SHUTDOWN", "ACL", "MODULE"}
    assert not forbidden & (left.sent.commands() - {"ACL", "SCAN"} | left.sent.of_scripts())
