"""The keeper renews what its process holds, and nothing that was given back meanwhile."""

from __future__ import annotations

import threading

import pytest
from redis import Redis

from shared.bus import BULK, Bus, Lane
from shared.db.session import Database, make_engine
from shared.engine.epoch import Epoch
from shared.engine.keeper import Keeper
from shared.engine.watchdog import Watchdog
from shared.lease import Leases
from shared.settings import Settings

pytestmark = pytest.mark.rule("P7")

LANE = Lane(7, BULK, 0)


class LeavesInside(Bus):
    """Whose drainer leaves just as the keeper renews its lock."""

    leaving: threading.Thread | None = None

    def lock_lane(self, lane: Lane, token: str, ttl_s: float) -> bool:
        if self.leaving is not None and not self.leaving.is_alive():
            self.leaving.start()
            self.leaving.join(0.3)  # as far as it gets
        return super().lock_lane(lane, token, ttl_s)


def keeper_of(bus: Bus, database: Database, settings: Settings) -> Keeper:
    """Not started: the test beats."""
    epoch = Epoch(database, bus, settings.epoch_file)
    return Keeper(bus, database, Leases(settings), settings, epoch, Watchdog(60.0))


def test_a_lane_that_is_left_while_its_lock_is_renewed_is_free(settings: Settings, redis: Redis) -> None:
    bus = LeavesInside(redis, settings, "worker-1")
    database = Database(make_engine(settings, threads=1))
    keeper = keeper_of(bus, database, settings)
    token = bus.new_token()
    assert keeper.take_lane(LANE, token)
    bus.leaving = threading.Thread(target=keeper.leave_lane, args=(LANE, token))
    keeper._beat()
    bus.leaving.join()
    bus.leaving = None
    database.close()
    assert bus.lock_lane(LANE, bus.new_token(), 10.0), "the next drainer gets in"


def test_a_lane_that_is_held_stays_so(settings: Settings, redis: Redis) -> None:
    bus = Bus(redis, settings, "worker-1")
    database = Database(make_engine(settings, threads=1))
    keeper = keeper_of(bus, database, settings)
    token = bus.new_token()
    assert keeper.take_lane(LANE, token)
    redis.delete(f"{LANE.key}:drainer")  # a Redis that lost its data
    keeper._beat()
    database.close()
    assert not bus.lock_lane(LANE, bus.new_token(), 10.0)
