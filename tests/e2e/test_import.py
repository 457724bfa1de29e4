"""A data import on a whole stack: over REST, its worker killed in the middle, webhooks kept until the org is free."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.world import FSM, World, await_that, running_world

SIZE = 300


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("import")) as found:
        yield found


@pytest.mark.rule("LK-5", "LK-3", "P1", "P3", "P7")
def test_an_import_whose_worker_is_killed_goes_on_and_what_it_made_is_synced_by_its_webhooks(world: World) -> None:
    (edited,) = world.seed(FSM, "Companies", [{"Company_Name": "Before", "Website": "https://a.example.com"}])
    world.fetch()
    world.sync()
    connections = world.http.get(f"{world.stack.api_url}/api/v1/connections").json()
    (connection,) = (one["id"] for one in connections if one["vendor"] == FSM)
    file = "Company name,Website\n" + "".join(f"Company {n},https://{n}.example.com\n" for n in range(SIZE)) + ",x\n"
    asked = world.http.post(
        f"{world.stack.api_url}/api/v1/connections/{connection}/imports/companies",
        content=file.encode(),
        headers={"Content-Type": "text/csv"},
    )
    assert asked.status_code == 202, asked.text
    at = f"{world.stack.api_url}/api/v1/imports/{asked.json()['id']}"
    await_that(lambda: world.http.get(at).json()["created"] >= 50, "some are made")
    world.people[FSM].put("Companies", edited, {"Website": "https://b.example.com"})
    held = world.http.post(f"{world.stack.api_url}/api/v1/integrations/{world.integration}/sync")
    still_on = world.http.get(at).json()["ended_at"] is None
    world.stack.processes["worker-control"].kill()
    world.stack.processes["worker-control"].restart()
    assert still_on, "the import was over before its worker could be killed"
    assert (held.status_code, held.json()["code"]) == (409, "ORG_HELD")
    assert "Import" in held.json()["message"]
    await_that(lambda: world.http.get(at).json()["ended_at"] is not None, "the import ends", 120)
    view = world.http.get(at).json()
    assert (view["state"], view["created"], view["failed"]) == ("completed_with_failures", SIZE, 1), view
    assert len(world.records(FSM, "Companies")) == SIZE + 1
    world.quiet()
    world.check_agreement()
    world.check_counters()
