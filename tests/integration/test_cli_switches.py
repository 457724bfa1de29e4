"""`bothways schedule`, `pause`, `disable`, `enable`, `support enable` and `invoicing`, and the same over REST."""

from __future__ import annotations

import pytest

from shared.settings import Settings
from shared.sync.access import Role
from tests.callers import token_of
from tests.integration.test_cli import Bothways, World, _environment, bothways, database, settings, world
from tests.integration.test_doors import serving

__all__ = ["_environment", "bothways", "database", "settings", "world"]

pytestmark = pytest.mark.rule("PE-3", "ST-4", "TR-2", "TR-7")


def test_when_it_syncs_and_in_whose_days(world: World, bothways: Bothways) -> None:
    number = world.integration
    assert "3 hours after the end of the last one" in bothways("schedule", number).out
    told = bothways("schedule", number, "--every", "30m", "--time-zone", "Europe/Berlin")
    assert told.code == 0
    assert "0.5 hours" in told.out
    assert "Europe/Berlin" in told.out
    assert "None by the clock" in bothways("schedule", number, "--every", "off").out
    assert bothways("schedule", number, "--json").json["schedule_interval_s"] == 1800
    for wrong, code in ((("--every", "soon"), "BAD_OPTIONS"), (("--every", "1m"), "BAD_INTERVAL"),
                        (("--time-zone", "Mars"), "BAD_ZONE")):  # fmt: skip
        refused = bothways("schedule", number, *wrong)
        assert (refused.code, refused.err.partition(":")[0]) == (1, code)


def test_paused_disabled_and_enabled(world: World, bothways: Bothways) -> None:
    number = world.integration
    assert "is paused" in bothways("pause", number).out
    assert "is disabled" in bothways("disable", number).out
    assert bothways("enable", number, "--json").json["state"] == "enabled"
    again = bothways("enable", number)
    assert (again.code, again.err.partition(":")[0]) == (1, "WRONG_STATE")


def test_what_a_rule_disabled_support_alone_enables(world: World, bothways: Bothways) -> None:
    number = world.integration
    world.sql("UPDATE integration SET state = 'disabled', disabled_code = 'TOO_MANY_RECORDS', disabled_detail = 'Why.'")
    listed = bothways("integrations")
    assert "TOO_MANY_RECORDS" in listed.out
    assert f"bothways support enable {number}" in listed.out
    refused = bothways("enable", number)
    assert (refused.code, refused.err.partition(":")[0]) == (1, "SUPPORT_NEEDED")
    assert "Why." in refused.err
    assert bothways("support", "enable", number).code == 1, "a note is needed"
    assert "is enabled" in bothways("support", "enable", number, "--note", "they have mended it").out
    assert "they have mended it" in bothways("audit", "--json").out


def test_support_enables_it_over_rest(world: World, bothways: Bothways) -> None:
    path = f"/api/v1/integrations/{world.integration}"
    with serving(Settings(), token=token_of(world.database, Role.SUPPORT)) as http:
        world.sql("UPDATE integration SET state = 'disabled', disabled_code = 'SYNC_TYPES_DIFFER'")
        assert http.post(f"{path}/support-enable", json={"note": ""}).status_code == 422
        enabled = http.post(f"{path}/support-enable", json={"note": "agreed by telephone"})
        assert (enabled.status_code, enabled.json()["state"]) == (200, "enabled")
        again = http.post(f"{path}/support-enable", json={"note": "agreed by telephone"})
        assert (again.status_code, again.json()["code"]) == (409, "NOT_STOPPED")


def test_invoices_are_switched_on_and_off(world: World, bothways: Bothways) -> None:
    number = world.integration
    assert "No invoices are made" in bothways("invoicing", number).out
    refused = bothways("invoicing", number, "--on")
    assert (refused.code, refused.err.partition(":")[0]) == (1, "NOT_CONNECTED")
    world.sql(
        "INSERT INTO connection (workspace_id, org_id, vendor, data_centre, accounts_server, api_domain, client_id) "
        "SELECT workspace_id, id, vendor, 'us', 'a', 'a', 'c' FROM org"
    )
    told = bothways("invoicing", number, "--on", "--status", "Completed", "--status", "Closed", "--terms", "30")
    assert told.code == 0, told.err
    assert "at Completed, Closed" in told.out
    assert "due in 30 days" in told.out
    assert "by hand alone" in bothways("invoicing", number, "--by-hand").out
    assert bothways("invoicing", number, "--off", "--json").json["on"] is False
    assert (
        "work_orders" in bothways("mapping", number, "work_orders").out
        or bothways("mapping", number, "work_orders").code == 0
    )
