"""Signing in, and which hosts a secret or a token can be sent to, whatever a redirect or a table says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr

from shared.connectors._zoho.centres import CENTRES
from shared.connectors.registry import get_vendor, vendor_names
from shared.errors import ConfigError
from tests.integration.world import BOOKS, FSM, REDIRECT, World

pytestmark = pytest.mark.rule("SU-1", "P14")

EVIL = "https://www.zohoapis.com.evil.test"


def test_a_state_is_long_lives_ten_minutes_and_is_stored_as_a_hash(world: World) -> None:
    office = world.office
    before = office.value("SELECT clock_timestamp()")
    state, url = office.connections.begin(world.actor, BOOKS, "sandbox", "id", SecretStr("secret"), REDIRECT)
    after = office.value("SELECT clock_timestamp()")
    assert len(state) >= 43, "32 random bytes"
    assert state in url
    (row,) = office.sql("SELECT p::text AS all_of_it, expires_at FROM pending_sign_in p WHERE used_at IS NULL")
    assert before + timedelta(minutes=10) <= row["expires_at"] <= after + timedelta(minutes=10)
    assert state not in row["all_of_it"]


@pytest.mark.parametrize("vendor", vendor_names())
def test_secrets_and_tokens_go_to_https_hosts_of_a_fixed_list(vendor: str) -> None:
    """Without a sandbox in the settings: what is in the vendors' list of data centres, and nothing else."""
    known = get_vendor(vendor).sign_in.data_centres(None)
    assert known == CENTRES
    hosts = {one for centre in known.values() for one in (centre.accounts_server, *centre.api_domains)}
    assert hosts == {
        f"https://{server}.{domain}"
        for server, domain in (
            *(("accounts", f"zoho.{end}") for end in ("com", "eu", "in", "com.au", "jp", "com.cn", "sa")),
            ("accounts", "zohocloud.ca"),
            *(("www", f"zohoapis.{end}") for end in ("com", "eu", "in", "com.au", "jp", "com.cn", "ca", "sa")),
        )
    }


@pytest.mark.parametrize("address", [EVIL, "http://169.254.169.254", "http://127.0.0.1:1", "http://www.zohoapis.com"])
def test_an_address_that_somebody_wrote_into_the_table_gets_no_token(world: World, address: str) -> None:
    for vendor in (FSM, BOOKS):
        world.office.sql("UPDATE connection SET api_domain = :address, accounts_server = :address", address=address)
        with pytest.raises(ConfigError) as refused:
            world.office.connections.open_connector(world.orgs[vendor].connection_id)
        assert refused.value.code == "FOREIGN_HOST"


def test_the_accounts_server_is_that_of_the_data_centre_not_that_of_the_table(world: World) -> None:
    world.office.sql("UPDATE connection SET accounts_server = :evil, sealed_access_token = NULL", evil=EVIL)
    world.sandbox.control("zoho_accounts", "DELETE", "calls")
    connector = world.office.connections.open_connector(world.orgs[BOOKS].connection_id)
    for module in (name for name, one in connector.facts.modules.items() if one.inside is None):
        connector.list_page(module, cursor=None, since=None)
    connector.close()
    assert [call["status"] for call in world.sandbox.calls("zoho_accounts")] == [200]
