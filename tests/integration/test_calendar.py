"""Days and hours under a clock that the test moves (TR-2, TR-4), which is Postgres': the product reads no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import Refused
from shared.services.integrations import IntegrationService
from tests.integration.moved_clock import MovedClock
from tests.integration.world import World

MOST = 30
"""The default (TR-4)."""
FULL_DAY = """
    INSERT INTO run (workspace_id, integration_id, kind, trigger, state, ended_at)
    SELECT workspace_id, id, 'sync', 'manual', 'completed', clock_timestamp() FROM integration, generate_series(1, :n)
    """
"""So many syncs by hand that have ended."""


@pytest.fixture
def database_url(moved_clock: MovedClock) -> str:
    return moved_clock.url


@pytest.fixture
def at(moved_clock: MovedClock, world: World) -> Callable[[str], None]:
    """Sets the clock, in UTC; the world's days are those of Berlin."""
    IntegrationService(world.office.db, world.office.settings).set_schedule(
        world.actor, world.integration, on=False, time_zone="Europe/Berlin"
    )

    def set_to(moment: str) -> None:
        moved_clock.set(datetime.fromisoformat(moment).replace(tzinfo=UTC))

    return set_to


def refusal(world: World) -> str:
    with pytest.raises(Refused) as caught:
        world.runs.sync_now(world.actor, world.integration)
    assert caught.value.code == "TOO_MANY_SYNCS"
    return str(caught.value)


@pytest.mark.rule("TR-4")
def test_the_thirty_first_of_a_day_of_twenty_five_hours_is_refused(world: World, at: Callable[[str], None]) -> None:
    """In Berlin the clocks are put back on 25 October 2026: that day begins at 22:00 UTC and ends at 23:00."""
    at("2026-10-24T21:59:00")
    world.fetch()
    world.sync()  # of the day before
    for n in range(MOST):
        at(f"2026-10-24T22:{n:02}:10" if n < MOST - 1 else "2026-10-25T12:00:00")
        world.sync()
    at("2026-10-25T22:59:30")
    said = refusal(world)
    assert "30 syncs were started by hand today" in said
    assert "from 2026-10-26 00:00 in Europe/Berlin (2026-10-25 23:00 UTC)" in said
    world.fetch()  # is no sync
    at("2026-10-25T23:00:01")
    assert world.sync().state == "completed"


@pytest.mark.rule("TR-4")
def test_a_day_of_twenty_three_hours_ends_an_hour_earlier(world: World, at: Callable[[str], None]) -> None:
    at("2026-03-28T23:00:05")
    world.fetch()
    world.office.sql(FULL_DAY, n=MOST)
    at("2026-03-29T21:59:30")
    assert "from 2026-03-30 00:00 in Europe/Berlin (2026-03-29 22:00 UTC)" in refusal(world)
    at("2026-03-29T22:00:01")
    assert world.sync().state == "completed"


@pytest.mark.rule("TR-4")
def test_refused_ones_and_those_by_the_clock_do_not_count(world: World, at: Callable[[str], None]) -> None:
    at("2026-06-01T10:00:00")
    world.fetch()
    world.office.sql(FULL_DAY, n=MOST - 1)
    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp()")
    scheduled = "SELECT count(*) FROM run WHERE trigger = 'scheduled' AND ended_at IS NOT NULL"
    world.office.crew.until(lambda: world.office.value(scheduled) == 1, "a sync comes by the clock")
    world.sync()
    refusal(world)
    refusal(world)
    assert world.office.value("SELECT count(*) FROM run WHERE kind = 'sync'") == MOST + 1


@pytest.mark.rule("TR-2")
def test_a_sync_comes_three_hours_after_the_end_of_the_last(world: World, moved_clock: MovedClock) -> None:
    world.fetch()
    world.sync()

    def syncs() -> int:
        world.office.crew.rest()
        return int(world.office.value("SELECT count(*) FROM run WHERE kind = 'sync'"))

    moved_clock.move(timedelta(hours=2, minutes=59))
    for _ in range(2):
        world.office.crew.beat()  # type: ignore[misc]
    assert syncs() == 1
    moved_clock.move(timedelta(minutes=1, seconds=1))
    world.office.crew.beat()  # type: ignore[misc]
    assert syncs() == 2
    ended = "SELECT count(*) FROM run WHERE trigger = 'scheduled' AND ended_at IS NOT NULL"
    world.office.crew.until(lambda: world.office.value(ended) == 1, "it ends")
