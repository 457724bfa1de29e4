"""Secrets at rest and on screen, on a real Postgres."""

from __future__ import annotations

import itertools

import pytest
from pydantic import SecretStr

from shared.db.repositories.connections import SEALED_COLUMNS
from shared.errors import ConfigError
from shared.settings import Settings, load_settings
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P14", "SU-1")


def test_a_sealed_text_that_is_moved_to_another_connection_or_field_does_not_open(world: World) -> None:
    """Whoever can write to the table could else have another org's token sent to a place of theirs."""
    office = world.office
    columns = sorted(SEALED_COLUMNS.values())
    office.connections.rotate_webhook_secret(world.actor, world.orgs[FSM].connection_id)
    office.connections.rotate_webhook_secret(world.actor, world.orgs[BOOKS].connection_id)
    (mine, theirs) = office.sql(f"SELECT {', '.join(columns)} FROM connection ORDER BY id")
    names = {column: name for name, column in SEALED_COLUMNS.items()}
    safe = office.connections._safe
    filled = [column for column in columns if mine[column] is not None]
    assert len(filled) >= 5
    first = world.orgs[FSM].connection_id
    for column in filled:
        safe.vault.open(mine[column], row=f"connection:{first}", field=names[column])
        with pytest.raises(ConfigError) as refused:
            safe.vault.open(theirs[column], row=f"connection:{first}", field=names[column])
        assert refused.value.code == "SEAL_BROKEN"
    for column, other in itertools.permutations(filled, 2):
        with pytest.raises(ConfigError):
            safe.vault.open(mine[column], row=f"connection:{first}", field=names[other])


def test_the_product_says_so_and_calls_nobody(world: World) -> None:
    office, connection = world.office, world.orgs[BOOKS].connection_id
    office.sql(
        "UPDATE connection SET sealed_refresh_token = other.sealed_refresh_token, sealed_access_token = NULL "
        "FROM connection other WHERE connection.id = :id AND other.id <> :id",
        id=connection,
    )
    world.sandbox.control("zoho_accounts", "DELETE", "calls")
    connector = office.connections.open_connector(connection)
    with pytest.raises(ConfigError) as refused:
        connector.list_page(next(iter(connector.facts.modules)), cursor=None, since=None)
    connector.close()
    assert refused.value.code == "SEAL_BROKEN"
    assert world.sandbox.calls("zoho_accounts") == []


def test_settings_show_no_address_and_a_dump_of_them_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://u:pass-hidden@h/d")
    monkeypatch.setenv("REDIS_URL", "redis://:pass-hidden@h/0")
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "pass-hidden" not in shown
    assert {
        name for name, one in Settings.model_fields.items() if "url" in name and "Secret" in str(one.annotation)
    } == {
        "database_url",
        "redis_url",
    }
    assert settings.redis_url == SecretStr("redis://:pass-hidden@h/0")
