"""The stub beside the integration of a world: another one on the same Books org."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from shared.services.connections import Connected
from shared.services.integrations import IntegrationService
from tests.integration.world import BOOKS, REDIRECT, World
from tests.plugging import plug_in, take_out
from tests.stub_crm.declared import CRM, CRM_BOOKS

_PLUGGED = Path(__file__).parent / "plugged"


def register() -> None:
    """Also a test hook: BOTHWAYS_TEST_HOOK=tests.stub_crm.world:register."""
    plug_in(_PLUGGED)


@contextmanager
def registered() -> Iterator[None]:
    register()
    try:
        yield
    finally:
        take_out(_PLUGGED)


def add_crm_books(world: World, sync_type: str | None = None) -> int:
    """Enabled, and fetched. Its vendor is never called: nothing of it is listed."""
    state, _ = world.office.connections.begin(
        world.actor, CRM.name, "bench", "client", SecretStr("secret"), REDIRECT,
        org_external_id="crm", org_name="Zylker CRM",
    )  # fmt: skip
    connected = world.office.connections.finish(world.actor, state, "code")
    assert isinstance(connected, Connected)
    made = IntegrationService(world.office.db, world.office.settings).create(
        world.actor, CRM_BOOKS.key, connected.org_id, world.orgs[BOOKS].org_id, "The CRM", sync_type=sync_type
    )
    world.office.sql("UPDATE integration SET fetched_at = clock_timestamp() WHERE id = :id", id=made)
    return made
