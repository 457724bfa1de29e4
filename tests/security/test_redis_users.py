"""What the users of deploy/redis.acl may not do, asked of a real Valkey that runs with the file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from shared.bus import LIVE_RESULTS, RESULTS, Bus, Lane
from tests.conftest import MakeSettings
from tests.security.redis_users import ACL, ROLES, GuardedValkey, password, url_of

pytestmark = pytest.mark.rule("P14")

every_role = pytest.mark.parametrize("role", ROLES)


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedValkey]:
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as name:
        server = GuardedValkey.start(Path(name), durable=False)
        yield server
        server.destroy()


@pytest.fixture
def admin(guarded: GuardedValkey) -> Iterator[Redis]:
    with Redis.from_url(guarded.url, decode_responses=True) as client:
        client.flushall()
        yield client


def client_of(guarded: GuardedValkey, role: str) -> Redis:
    return Redis.from_url(url_of(guarded, role), decode_responses=True, protocol=2)


FORBIDDEN = (
    "FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET appendonly no", "KEYS *", "SCAN 0", "RANDOMKEY",
    "MONITOR", "EVAL return(1) 0", "SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER x on", "MODULE LIST",
    "CLIENT LIST", "CLIENT KILL TYPE normal", "REPLICAOF NO ONE", "SAVE", "BGREWRITEAOF", "SWAPDB 0 1", "SCRIPT FLUSH",
    "FUNCTION LIST", "MIGRATE 127.0.0.1 1 k 0 1", "DUMP bw:marker", "RENAME bw:marker bw:epoch", "MEMORY DOCTOR",
    "SLOWLOG GET", "LATENCY DOCTOR", "PUBLISH other x", "SUBSCRIBE other", "PSUBSCRIBE *",
)  # fmt: skip


@every_role
@pytest.mark.parametrize("command", FORBIDDEN)
def test_nobody_may(guarded: GuardedValkey, role: str, command: str) -> None:
    with client_of(guarded, role) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split(" "))


@every_role
def test_nobody_may_debug(admin: Redis, role: str) -> None:
    """The server refuses it before it looks at the user; its own dry run looks."""
    assert "no permissions" in str(admin.acl_dryrun(f"bothways-{role}", "DEBUG", "SLEEP", "0"))


@every_role
def test_no_key_of_others_is_touched(guarded: GuardedValkey, admin: Redis, role: str) -> None:
    admin.set("other", "x")
    with client_of(guarded, role) as client:
        for command in (["GET", "other"], ["SET", "other", "y"], ["LPUSH", "celery", "x"], ["EXISTS", "other"]):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)
    assert admin.get("other") == "x"


@every_role
def test_a_script_has_no_more_rights_than_who_runs_it(guarded: GuardedValkey, admin: Redis, role: str) -> None:
    admin.set("other", "x")
    with client_of(guarded, role) as client:
        for body in (
            "return redis.call('FLUSHALL')",
            "return redis.call('KEYS', '*')",
            "return redis.call('GET', 'other')",
        ):
            script = client.register_script(body)
            with pytest.raises((NoPermissionError, ResponseError), match=r"(?i)permission"):
                script()
    assert admin.get("other") == "x"


ONLY_WORKERS = (
    ("XRANGE", RESULTS, "-", "+"),
    ("XRANGE", LIVE_RESULTS, "-", "+"),
    ("XREADGROUP", "GROUP", "bothways", "x", "STREAMS", RESULTS, ">"),
    ("XREADGROUP", "GROUP", "bothways", "x", "STREAMS", "bw:lane:1:live:0", ">"),
    ("XDEL", "bw:lane:1:live:0", "1-0"),
    ("XACK", "bw:lane:1:live:0", "bothways", "1-0"),
    ("DEL", "bw:lane:1:live:0"),
    ("DEL", "bw:marker"),
    ("GET", "bw:limit:{zoho_fsm}:org:x"),
)


@pytest.mark.parametrize("role", ["door", "flower"])
@pytest.mark.parametrize("command", ONLY_WORKERS, ids=" ".join)
def test_only_workers_read_values_and_take_events_away(
    guarded: GuardedValkey, role: str, command: tuple[str, ...]
) -> None:
    with client_of(guarded, role) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


@pytest.mark.parametrize("queue", ["events", "runs", "results", "housekeeping"])
def test_flower_puts_nothing_on_a_queue_of_tasks(guarded: GuardedValkey, queue: str) -> None:
    with client_of(guarded, "flower") as client:
        for command in ("LPUSH", "RPUSH", "DEL", "BRPOP"):
            with pytest.raises(NoPermissionError):
                client.execute_command(command, f"bw:celery:{queue}", "1")
        assert client.llen(f"bw:celery:{queue}") == 0


@pytest.mark.rule("P2")
def test_a_worker_that_may_not_ask_takes_the_worst_for_true(
    guarded: GuardedValkey, admin: Redis, make_settings: MakeSettings
) -> None:
    with Redis.from_url(url_of(guarded, "worker"), decode_responses=True, protocol=2) as client:
        bus = Bus(client, make_settings(redis_url=url_of(guarded, "worker")), "w")
        assert bus.server().syncs_always is False
        bus.add([(Lane(1, "live", 0), "{}")])
        assert bus.length([Lane(1, "live", 0)]) == 1


def test_the_file_lists_every_command_and_grants_no_category() -> None:
    lines = [line for line in ACL.read_text().splitlines() if line and not line.startswith("#")]
    assert [line.split()[1] for line in lines] == [f"bothways-{role}" for role in ROLES]
    for role, line in zip(ROLES, lines, strict=True):
        words = line.split()
        assert words[2:5] == ["reset", "on", f">{role.upper()}_PASSWORD"]
        granted = [word for word in words if word.startswith("+")]
        assert "-@all" in words
        assert words.index("-@all") < words.index(granted[0])
        assert all(re.fullmatch(r"\+[a-z]+(\|[a-z]+)?", word) for word in granted), "no +@category, no +all"
        assert not {"+config", "+client", "+script", "+acl", "+xgroup", "+xinfo"} & set(granted), "only named parts"
    assert password("door") not in ACL.read_text()
