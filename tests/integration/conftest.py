"""An office and a world per test; each has a database and an empty Redis of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.settings import Settings
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.moved_clock import moved_clock as moved_clock  # a fixture, for whoever names it
from tests.integration.world import Office, World, connect, opened

TIME_SCALE = 0.1
"""Leases, looks and waits are a tenth as long. A worker counts as gone after 1 s: less would fail on a busy machine."""
WORKER_GONE_S = 60.0
"""Of a world, where nobody dies. Where a machine stood still for a second others would take over what is under way, and
rightly read and look again; but tests of a world count the calls."""


@pytest.fixture
def settings(make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str) -> Settings:
    return make_settings(database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE)


@pytest.fixture
def office(settings: Settings) -> Iterator[Office]:
    """Nobody works in it: the test calls the engine itself."""
    with opened(settings, threads=0, beat=False) as office:
        yield office


@pytest.fixture
def world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Iterator[World]:
    settings = make_settings(
        database_url=database_url,
        redis_url=redis_url,
        time_scale=TIME_SCALE,
        sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S,
        doubt_span_s=20.0,  # two seconds of looks, longer than the vendors' lists lag here
    )
    with opened(settings) as office:
        yield connect(office, sandbox)
