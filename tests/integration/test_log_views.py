"""What people see of a sync and of a record: failures by cause with a CSV of each, and the record's page."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from shared.errors import NotAllowed, NotFound
from shared.services.integrations import IntegrationService
from shared.services.org_settings import OrgSettingsService
from shared.services.records import RecordService, RecordView
from shared.services.runs import Failures
from shared.sync.access import Permission
from shared.sync.model import Side
from tests.callers import token_of
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, FSM, World


@pytest.fixture
def records(world: World) -> RecordService:
    return RecordService(world.office.db, IntegrationService(world.office.db, world.office.settings))


def page(world: World, records: RecordService, record: str, side: Side = Side.LEFT, **more: int) -> RecordView:
    return records.get(world.actor, world.integration, "companies", side, record, **more)


def failed_run(world: World) -> int:
    """Two companies of one name, of which none is chosen; two services so, and one whose name is too long."""
    for name in ("Twice", "twice "):
        world.company(name)
        world.service(name)
    world.service("Long " * 30)
    world.fetch()
    run = world.sync()
    assert run.state == "completed_with_failures"
    return run.id


@pytest.mark.rule("LG-1")
def test_the_overview_counts_each_sync_by_direction_module_and_outcome(world: World) -> None:
    run = failed_run(world)
    (shown,) = [row for row in world.runs.recent(world.actor) if row["id"] == run]
    assert shown["counts"] == [
        {"direction": f"{FSM}>{BOOKS}", "pair": "companies", "outcome": "failed", "records": 2, "conflicts": 0},
        {"direction": f"{FSM}>{BOOKS}", "pair": "items", "outcome": "failed", "records": 3, "conflicts": 0},
    ]
    assert (shown["records"], shown["failed"], shown["trigger"]) == (5, 5, "manual")


@pytest.mark.rule("LG-3", "LG-4")
def test_failures_are_grouped_and_each_group_is_a_file_of_its_own(world: World) -> None:
    run = failed_run(world)
    groups = world.runs.failure_groups(world.actor, run)
    told = {(one.pair, one.direction, one.reason): one.records for one in groups}
    assert told == {
        ("companies", f"{FSM}>{BOOKS}", "AMBIGUOUS_MATCH"): 2,
        ("items", f"{FSM}>{BOOKS}", "AMBIGUOUS_MATCH"): 2,
        ("items", f"{FSM}>{BOOKS}", "KEY_CUT"): 1,
    }
    assert sum(told.values()) == len(world.outcomes(run, "failed"))
    assert [one.records for one in groups] == sorted((one.records for one in groups), reverse=True)
    for one in groups:
        wanted = Failures(one.pair, one.direction, one.reason)
        rows = list(csv.DictReader(io.StringIO("".join(world.runs.failures_csv(world.actor, run, wanted)))))
        assert [row["reason"] for row in rows] == [one.reason] * one.records
    ambiguous = Failures("companies", f"{FSM}>{BOOKS}")
    assert world.runs.failures_name(world.actor, run, ambiguous) == "CompaniesFailureLogs.csv"
    assert world.runs.failures_name(world.actor, run, Failures("companies", f"{BOOKS}>{FSM}")) == (
        "contactsFailureLogs.csv"
    )
    assert world.runs.failures_name(world.actor, run, Failures()) == f"FailureLogs-{run}.csv"


@pytest.mark.rule("LG-5", "LG-2")
@pytest.mark.parametrize("asked", [FSM, BOOKS])
def test_records_are_shown_with_their_pages_at_the_vendors(world: World, records: RecordService, asked: str) -> None:
    """Also where the record that was asked for is the one that is written."""
    mine = world.company("Zylker")
    world.fetch()
    run = world.sync()
    theirs = world.twin(mine) or ""
    assert page(world, records, mine).url is None, "the sandbox has no pages"
    settings = OrgSettingsService(world.office.db, world.office.connections)
    for vendor in (FSM, BOOKS):
        form = f"https://{vendor}.test/{{page}}/{{id}}"
        settings.set_capabilities(world.actor, world.orgs[vendor].connection_id, {"record_url": form})
    pages = {mine: f"https://{FSM}.test/Companies/{mine}", theirs: f"https://{BOOKS}.test/contacts/{theirs}"}
    world.sandbox.edit(BOOKS, "contacts", theirs, website="www.b.test")
    side, record = (Side.LEFT, mine) if asked == FSM else (Side.RIGHT, theirs)
    world.events.sync_record(world.actor, world.integration, "companies", side, record)
    world.quiet()
    view = page(world, records, mine)
    assert (view.url, view.twin_url) == (pages[mine], pages[theirs])
    assert [one["direction"] for one in view.history] == [f"{BOOKS}>{FSM}", f"{FSM}>{BOOKS}"]
    for row in [*world.outcomes(run.id), *view.history]:
        assert (row["record_url"], row["twin_url"]) == (pages[row["record_id"]], pages[row["twin_id"]])


@pytest.mark.rule("LG-5", "LG-2")
def test_a_record_s_page_tells_its_twin_and_every_sync_of_either(world: World, records: RecordService) -> None:
    mine = world.company("Zylker", Website="www.a.test")
    assert page(world, records, mine).twin_id is None
    world.fetch()
    world.sync()
    theirs = world.twin(mine) or ""
    world.sandbox.edit(BOOKS, "contacts", theirs, website="www.b.test")
    world.sync()
    view = page(world, records, mine)
    assert (view.module, view.twin_module, view.twin_id, view.binding) == ("Companies", "contacts", theirs, "live")
    assert not view.untouched
    assert view.waiting is None
    assert (view.history[0]["outcome"], view.history[-1]["outcome"]) == ("updated", "created")
    change = view.history[0]["changes"][0]
    assert (change["side"], change["field"], change["old"], change["new"]) == (
        "left", "Website", "www.a.test", "www.b.test",
    )  # fmt: skip
    other = page(world, records, theirs, Side.RIGHT)
    assert [one["id"] for one in other.history] == [one["id"] for one in view.history]
    assert other.twin_id == mine
    first = page(world, records, mine, limit=1)
    rest = page(world, records, mine, before_id=int(first.history[0]["id"]))
    assert [one["id"] for one in [*first.history, *rest.history]] == [one["id"] for one in view.history]


@pytest.mark.rule("LG-5", "LG-4")
def test_a_record_that_failed_says_why_what_to_do_and_when(world: World, records: RecordService) -> None:
    failed_run(world)
    mine = next(str(row["id"]) for row in world.sandbox.rows(FSM, "Companies") if row["Company_Name"] == "Twice")
    waiting = page(world, records, mine).waiting
    assert waiting is not None
    assert (waiting.why, waiting.reason, waiting.due_at) == ("failed", "AMBIGUOUS_MATCH", None)
    assert waiting.sentence.startswith("More than one record")
    assert waiting.remedy


@pytest.mark.rule("SU-4")
def test_what_fetch_alone_bound_is_told_as_untouched(world: World, records: RecordService) -> None:
    mine = world.company("Zylker")
    world.customer("Zylker")
    world.fetch()
    view = page(world, records, mine)
    assert view.untouched
    assert [one["outcome"] for one in view.history] == ["bound"]


@pytest.mark.rule("LG-6", "PE-6")
def test_it_needs_the_logs_and_is_of_one_workspace(world: World, records: RecordService) -> None:
    mine = world.company("Zylker")
    world.fetch()
    blind = replace(world.actor, permissions=world.actor.permissions - {Permission.READ_LOGS})
    with pytest.raises(NotAllowed):
        records.get(blind, world.integration, "companies", Side.LEFT, mine)
    stranger = replace(world.actor, workspace=world.actor.workspace + 1)
    with pytest.raises(NotFound):
        records.get(stranger, world.integration, "companies", Side.LEFT, mine)
    with pytest.raises(NotFound):
        records.get(world.actor, world.integration, "people", Side.LEFT, mine)


@pytest.mark.rule("LG-3", "LG-5", "PE-3")
def test_over_rest(world: World) -> None:
    run = failed_run(world)
    mine = world.seed_of("Twice")
    with serving(world.office.settings, token_of(world.office.db)) as client:
        groups = client.get(f"/api/v1/runs/{run}/failures").json()
        one = next(group for group in groups if group["reason"] == "AMBIGUOUS_MATCH")
        asked = {name: one[name] for name in ("pair", "direction", "reason")}
        answer = client.get(f"/api/v1/runs/{run}/failures.csv", params=asked)
        assert answer.headers["Content-Disposition"] == 'attachment; filename="CompaniesFailureLogs.csv"'
        assert len(answer.text.splitlines()) == 1 + one["records"]
        shown = client.get(f"/api/v1/integrations/{world.integration}/records/companies/left/{mine}").json()
        assert shown["waiting"]["reason"] == "AMBIGUOUS_MATCH"
        nobody = client.get(f"/api/v1/runs/{run}/failures.csv", params={"pair": "nobody", "direction": "x"})
        assert nobody.status_code == 404
