"""The integration tests' world, and its API's doors by real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import office, settings, world
from tests.integration.test_doors import Door, serving
from tests.integration.world import World

__all__ = ["office", "settings", "world"]


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """Nobody works: what is accepted stays on its lane."""
    world.office.crew.deaf = True
    with serving(world.office.settings) as client:
        yield Door(world, client)
