"""A sync, an import and a sync of CRM–Books, asked for at the same moment by ten processes, beside webhook work (LK-1,
LK-4): one at a time has each org, who is refused is told of whom, and who waits gets in.

BOTHWAYS_TEST_RACES says how often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from redis import Redis

from shared.settings import Settings
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE, WORKER_GONE_S
from tests.integration.crew import await_that
from tests.integration.hands import environment, hands
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, Json, World, connect, opened
from tests.stub_crm.world import add_crm_books, registered

RACES = int(os.environ.get("BOTHWAYS_TEST_RACES", "6"))


@pytest.fixture
def settings(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Settings:
    return make_settings(
        database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S, manual_syncs_per_day=0, tick_s=1.0,
        test_hook="tests.stub_crm.world:register",
    )  # fmt: skip


@pytest.fixture
def world(settings: Settings, sandbox: Sandbox) -> Iterator[World]:
    with registered(), opened(settings, threads=0, beat=False) as office:
        yield connect(office, sandbox)


@contextmanager
def callers(settings: Settings, asked: Sequence[tuple[str, int]]) -> Iterator[list[subprocess.Popen[str]]]:
    made = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.caller", what, str(number)], env=environment(settings),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for what, number in asked
    ]  # fmt: skip
    try:
        for one in made:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        yield made
    finally:
        for one in made:
            one.kill()
            one.wait(10)
            for pipe in (one.stdin, one.stdout):
                if pipe is not None:
                    pipe.close()


def ask(processes: Sequence[subprocess.Popen[str]]) -> list[Json]:
    """All at one moment."""
    moment = time.time() + 0.1
    for one in processes:
        assert one.stdin is not None
        one.stdin.write(f"{moment}\n")
        one.stdin.flush()
    return [json.loads(one.stdout.readline()) for one in processes if one.stdout is not None]


def busy(world: World) -> list[Json]:
    return world.office.sql(
        "SELECT 'run' AS what, id FROM run WHERE kind <> 'webhook' AND ended_at IS NULL "
        "UNION ALL SELECT 'import', id FROM import_job WHERE ended_at IS NULL"
    )


# Two that held one org at once: their leases overlap. One that is taken over from ends as the next begins.
OVERLAPS = """
    SELECT a.org_id, a.holder, b.holder AS other FROM lease_log a JOIN lease_log b
      ON b.org_id = a.org_id AND b.fence > a.fence AND b.taken_at < coalesce(a.released_at, a.expires_at, b.taken_at)
    """


@pytest.mark.rule("LK-1", "LK-3", "LK-4", "P4")
def test_one_has_each_org_and_who_waits_gets_in(world: World, settings: Settings) -> None:
    world.office.sql("UPDATE integration SET fetched_at = clock_timestamp(), schedule_on = false")
    crm = add_crm_books(world, "I")
    world.office.sql("UPDATE integration SET schedule_on = false")
    companies = [world.company(f"Company {n}") for n in range(3)]
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
    own, into = ("sync", world.integration), ("import", world.orgs[BOOKS].connection_id)
    asked = [own, own, own, own, ("sync", crm), ("sync", crm), ("sync", crm), into, into, into]
    got: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    with hands(settings, 3), callers(settings, asked) as processes:
        for n in range(RACES):
            for company in companies:  # webhook work, which gives way
                world.sandbox.edit(FSM, "Companies", company, Website=f"www.{n}.test")
                body = {"module": "Companies", "event": "edit", "id": company}
                told = delivery(FSM, body, setup.secret)
                assert world.accept_webhook(FSM, setup.path.rsplit("/", 1)[1], told) == 1
            answers = ask(processes)
            for (what, number), answer in zip(asked, answers, strict=True):
                name = f"{what} {number}"
                if "got" in answer:
                    got[name] += 1
                    continue
                refused[name] += 1
                assert answer["code"] == "ORG_HELD", answer
                assert answer["holder"].partition(":")[0] in ("run", "import"), "it names the holder"
                assert " since 20" in answer["said"], "and since when"
            assert any("got" in answer for answer in answers)
            for kind in set(asked):
                accepted = [a for one, a in zip(asked, answers, strict=True) if one == kind and "got" in a]
                assert len(accepted) <= 1, "one of a kind"
            await_that(lambda: not busy(world), f"race {n}: who was accepted ends", 60)
        lanes = "SELECT count(*) FROM due WHERE why <> 'failed'"
        await_that(lambda: not world.office.value(lanes), "nothing waits", 60)
        website = f"www.{RACES - 1}.test"
        await_that(
            lambda: all(str(world.books(str(world.twin(one)))["website"]) == website for one in companies),
            "and the webhooks' work is done", 60,
        )  # fmt: skip
    assert world.office.sql(OVERLAPS) == []
    found = world.office.sql(
        "SELECT state, count(*) AS n FROM (SELECT state FROM run WHERE kind <> 'webhook' "
        "UNION ALL SELECT state FROM import_job) s GROUP BY state"
    )
    assert found == [{"state": "completed", "n": got.total()}], (found, got)
    print(f"accepted {dict(got)}, refused {dict(refused)}")
    assert refused.total() == RACES * len(asked) - got.total()
