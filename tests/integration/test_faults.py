"""Vendors that fail, one fault at a time: both sides agree afterwards, and nothing is doubled (P3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P3", "P8", "P9")


@pytest.fixture(autouse=True)
def _hurried(world: World) -> None:
    world.hurry()


PATHS = {(FSM, "companies"): "Companies", (FSM, "items"): "(Service_And_Parts|Products)",
         (BOOKS, "companies"): "contacts", (BOOKS, "items"): "items"}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """Where the record is to be made or changed."""

    vendor: str
    pair: str

    def __str__(self) -> str:
        return f"{self.vendor}.{self.pair}"

    @property
    def direction(self) -> str:
        return "zoho_books>zoho_fsm" if self.vendor == FSM else "zoho_fsm>zoho_books"

    def source(self, world: World, name: str) -> str:
        """A new record at the other side."""
        make = {
            (FSM, "companies"): world.customer,
            (FSM, "items"): world.item,
            (BOOKS, "companies"): world.company,
            (BOOKS, "items"): world.service,
        }[self.vendor, self.pair]
        return make(name)

    def edit_source(self, world: World, record: str, value: str) -> None:
        vendor, module, name = {
            (FSM, "companies"): (BOOKS, "contacts", "website"),
            (FSM, "items"): (BOOKS, "items", "description"),
            (BOOKS, "companies"): (FSM, "Companies", "Website"),
            (BOOKS, "items"): (FSM, "Service_And_Parts", "Description"),
        }[self.vendor, self.pair]
        world.sandbox.edit(vendor, module, record, **{name: value})

    def fault(self, world: World, kind: str, method: str, **more: Any) -> None:
        match = {"method": method, "path": PATHS[self.vendor, self.pair]}
        world.sandbox.fault(self.vendor, kind, match=match, **more)

    def struck(self, world: World) -> bool:
        return any(call["fault"] and re.search(PATHS[self.vendor, self.pair], call["path"]) for call in world.calls())


TARGETS = [Target(vendor, pair) for vendor in (FSM, BOOKS) for pair in ("companies", "items")]
COMPANIES = [target for target in TARGETS if target.pair == "companies"]

BEFORE: list[tuple[str, dict[str, Any]]] = [
    ("429", {}),
    ("5xx", {}),
    ("expired_token", {}),
]
AFTER: list[tuple[str, dict[str, Any]]] = [
    ("reply_lost", {}),
    ("5xx", {"applied": "after"}),
    ("malformed", {}),
]


def names(fault: tuple[str, dict[str, Any]]) -> str:
    return fault[0] + ("_after" if fault[1] else "")


# Creating.


@pytest.mark.rule("DU-1")
@pytest.mark.parametrize("fault", AFTER, ids=names)
def test_a_create_whose_answer_was_lost_has_one_twin(world: World, fault: tuple[str, dict[str, Any]]) -> None:
    world.fetch()
    records = [target.source(world, f"{target}") for target in TARGETS]
    for target in TARGETS:
        target.fault(world, fault[0], "POST", **fault[1])
    run = world.sync()
    assert all(target.struck(world) for target in TARGETS)
    world.check_agree()
    assert all(world.twin(record) for record in records)
    assert run.state == "completed"
    ends = {row["record_id"]: row["outcome"] for row in world.outcomes(run.id)}
    assert {ends[record] for record in records} <= {"created", "bound", "updated"}, ends
    world.forget_calls()
    world.sync()
    assert world.writes() == []


@pytest.mark.parametrize("fault", BEFORE, ids=names)
def test_a_create_that_was_refused_for_now_comes_later(world: World, fault: tuple[str, dict[str, Any]]) -> None:
    world.fetch()
    records = [target.source(world, f"{target}") for target in TARGETS]
    for target in TARGETS:
        target.fault(world, fault[0], "POST", **fault[1])
    run = world.sync()
    assert all(target.struck(world) for target in TARGETS)
    world.check_agree()
    ends = {row["record_id"]: row["outcome"] for row in world.outcomes(run.id)}
    assert {ends[record] for record in records} == {"created"}
    assert run.state == "completed"


def test_a_create_answered_429_is_in_no_doubt(world: World) -> None:
    """Nothing was sent, so nothing is looked for over a minute; one look before the second try is enough."""
    world.fetch()
    target = Target(FSM, "companies")
    target.source(world, "Zylker")
    target.fault(world, "429", "POST")
    world.forget_calls()
    world.sync()
    assert target.struck(world)
    looks = [call for call in world.calls() if call["path"].endswith("/search")]
    assert len(looks) <= 1, looks
    world.check_agree()


@pytest.mark.rule("DU-1")
@pytest.mark.parametrize("target", COMPANIES, ids=str)
def test_a_lost_create_that_lists_show_late_is_not_made_again(world: World, target: Target) -> None:
    """New records are seen late in lists and searches: absence is believed after several looks over some time."""
    world.fetch()
    record = target.source(world, "Zylker")
    world.sandbox.switch(target.vendor, list_lag_ms=1500)
    target.fault(world, "reply_lost", "POST")
    world.sync()
    world.check_agree()
    assert world.twin(record) is not None


@pytest.mark.parametrize("target", COMPANIES, ids=str)
def test_many_faults_at_once_lose_and_double_nothing(world: World, target: Target) -> None:
    for n in range(12):
        target.source(world, f"Company {n}")
    world.fetch()
    kinds = [("reply_lost", {}), ("5xx", {}), ("5xx", {"applied": "after"}), ("malformed", {}), ("429", {})]
    for seed, (kind, more) in enumerate(kinds):
        target.fault(world, kind, "POST", share=0.3, count=3, seed=seed, **more)
    world.sync()
    assert target.struck(world)
    world.sandbox.control(target.vendor, "DELETE", "faults")
    world.sync()
    world.check_agree()


# Updating.


@pytest.mark.rule("P5")
@pytest.mark.parametrize("fault", BEFORE + AFTER, ids=names)
def test_an_update_that_met_trouble_arrives(world: World, fault: tuple[str, dict[str, Any]]) -> None:
    records = [target.source(world, f"{target}") for target in TARGETS]
    world.fetch()
    world.sync()
    for target, record in zip(TARGETS, records, strict=True):
        target.edit_source(world, record, "www.changed.test")
        target.fault(world, fault[0], "PUT", **fault[1])
    run = world.sync()
    assert all(target.struck(world) for target in TARGETS)
    world.check_agree()
    assert run.state == "completed"
    for record in records:  # where both ends were listed, one event speaks for both
        ends = [row["outcome"] for row in world.outcomes(run.id) if record in (row["record_id"], row["twin_id"])]
        assert len(ends) == 1
        assert ends[0] in ("updated", "unchanged", "echo")
    world.forget_calls()
    world.sync()
    assert world.writes() == []


@pytest.mark.rule("LG-4", "P5")
def test_an_update_that_failed_is_made_by_the_next_run(world: World) -> None:
    """Also where the window of the next run shows neither end."""
    targets = TARGETS[:3]
    records = [target.source(world, f"{target}") for target in targets]
    world.fetch()
    world.sync()
    for target, record in zip(targets, records, strict=True):
        target.edit_source(world, record, "x" * 3000)  # more than these take
    failed = world.sync()
    assert len(world.runs.failures(world.actor, failed.id)) == 3
    for target, record in zip(targets, records, strict=True):
        target.edit_source(world, record, "www.short.test")
    world.office.sql("UPDATE watermark SET read_from = clock_timestamp() + interval '1 hour'")
    world.sync()
    world.check_agree()
    assert world.office.sql("SELECT * FROM due") == []


@pytest.mark.parametrize("target", COMPANIES, ids=str)
def test_an_error_in_the_body_of_a_200_is_seen(world: World, target: Target) -> None:
    """Whatever the error means, the two sides agree once it has passed, and no run is failed by one record."""
    record = target.source(world, "Zylker")
    world.fetch()
    target.fault(world, "body_code", "POST")
    world.sync()
    assert target.struck(world)
    world.sync()
    world.check_agree()
    assert world.twin(record) is not None


# Reading.


@pytest.mark.rule("P12")
@pytest.mark.parametrize("kind", ["429", "5xx", "expired_token", "malformed", "reply_lost"])
def test_a_list_that_cannot_be_read_holds_the_run_and_does_not_end_it(world: World, kind: str) -> None:
    records = [world.company("Left"), world.customer("Right")]
    world.fetch()
    for target in COMPANIES:
        target.fault(world, kind, "GET")
    world.sync()
    assert all(target.struck(world) for target in COMPANIES)
    assert all(world.twin(record) for record in records)
    world.check_agree()


@pytest.mark.parametrize(("vendor", "kind"), [(FSM, "429"), (BOOKS, "5xx"), (FSM, "malformed"), (BOOKS, "reply_lost")])
def test_a_record_that_cannot_be_read_is_read_later(world: World, vendor: str, kind: str) -> None:
    mine, theirs = world.company("Zylker", Website="www.a.test"), world.customer("Zylker", website="www.b.test")
    world.fetch()
    world.sync()
    if vendor == FSM:
        world.sandbox.edit(FSM, "Companies", mine, Website="www.c.test")
        body: dict[str, Any] = {"module": "Companies", "event": "edit", "id": mine}
    else:
        world.sandbox.edit(BOOKS, "contacts", theirs, website="www.c.test")
        body = {"contact": {"contact_id": theirs}}
    world.sandbox.fault(vendor, kind, match={"method": "GET", "path": f"{PATHS[vendor, 'companies']}/"})
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[vendor].connection_id)
    world.accept_webhook(vendor, setup.path.rsplit("/", 1)[1], delivery(vendor, body, setup.secret))
    world.quiet()
    assert [call for call in world.calls() if call["fault"]]
    world.check_agree()
    assert world.fsm(mine)["Website"] == "www.c.test"


@pytest.mark.rule("P8")
def test_a_vendor_that_stays_away_fails_the_record_and_not_the_run(world: World) -> None:
    bad = world.company("Zylker")
    world.service("Fine")
    world.fetch()
    world.sandbox.fault(BOOKS, "5xx", share=1.0, match={"method": "POST", "path": "contacts"})
    # A write that was answered 5xx is in doubt; one that was never sent is tried, up to eight times.
    run_id = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(
        lambda: world.office.sql("SELECT 1 FROM outcome WHERE outcome = 'created' AND pair = 'items'"),
        "the other record goes on",
    )
    world.sandbox.control(BOOKS, "DELETE", "faults")
    world.ended(run_id)
    world.check_agree()
    assert world.twin(bad) is not None


@pytest.mark.rule("P12")
def test_a_list_that_begins_late_is_noted_with_the_time_of_its_own_first_page(world: World) -> None:
    """The run listed the items only after a refusal: what changed meanwhile is in its list, not after it."""
    world.fetch()
    world.company("Acme")
    world.sandbox.fault(BOOKS, "5xx", match={"method": "GET", "path": "items$"}, count=1)
    run = world.sync()
    refused = next(call for call in world.calls() if call["fault"] == "5xx")
    rows = world.office.sql(
        "SELECT pair || ' ' || side AS name, extract(epoch FROM read_at) * 1000 AS at FROM listing WHERE run_id = :run",
        run=run.id,
    )
    late = {row["name"] for row in rows if row["at"] > refused["at"]}
    assert late == {"items right"}


# Bytes that are no text.


@pytest.mark.rule("P5")
@pytest.mark.parametrize("spoilt", [FSM, BOOKS])
def test_bytes_that_were_spoilt_twice_on_their_way_are_carried_nowhere(world: World, spoilt: str) -> None:
    mine = world.company("Zylker", Website="www.a.test")
    world.fetch()
    world.sync()
    theirs = world.twin(mine) or ""
    world.sandbox.edit(BOOKS, "contacts", theirs, website="www.b.test")  # thin in its list; FSM is read to be written
    at = "Companies" if spoilt == FSM else "contacts"
    world.sandbox.fault(spoilt, "bad_utf8", match={"method": "GET", "path": f"{at}/"}, count=4)
    world.sync()
    assert sum(call["fault"] == "bad_utf8" for call in world.calls()) == 4, "two tries of two readings each"
    assert (world.fsm(mine)["Company_Name"], world.books(theirs)["contact_name"]) == ("Zylker", "Zylker")
    assert world.books(theirs)["website"] == world.fsm(mine)["Website"] == "www.b.test"
    world.check_agree()


@pytest.mark.rule("P8", "LG-4")
def test_a_record_that_holds_no_text_fails_with_the_field_to_mend_and_follows_once_it_is(world: World) -> None:
    bad, good = world.company("Zylk\udcff"), world.company("Acme")
    world.fetch()
    run = world.sync()
    failed = world.outcomes(run.id, "failed")
    assert [(one["record_id"], one["reason"], one["detail"]) for one in failed] == [
        (bad, "TEXT_UNREADABLE", "Company name")
    ]
    assert world.twin(good) is not None
    assert world.twin(bad) is None
    world.sandbox.edit(FSM, "Companies", bad, Company_Name="Zylker")
    world.sync()
    assert world.twin(bad) is not None
    world.check_agree()


@pytest.mark.rule("DU-2")
def test_a_twin_whose_name_cannot_be_read_is_not_taken_for_absent(world: World) -> None:
    """FSM refuses no second record of a name: whoever believed the spoilt list, or search, would make one."""
    world.company("Zylker")
    theirs = world.customer("Zylker")
    world.sandbox.fault(FSM, "bad_utf8", match={"method": "GET", "path": "Companies"}, count=3)
    world.fetch()
    world.sync()
    assert len(world.sandbox.rows(FSM, "Companies")) == 1
    assert world.twin(theirs) is not None
    world.check_agree()


@pytest.mark.rule("FM-10")
def test_an_answer_to_a_write_that_cannot_be_read_is_read_back_later(world: World) -> None:
    mine = world.company("Zylker", Website="www.a.test")
    world.sandbox.fault(BOOKS, "bad_utf8", match={"method": "POST", "path": "contacts"})
    world.fetch()
    world.sync()
    base = world.office.sql("SELECT base FROM binding")[0]["base"]
    assert base["Company_Name|contact_name"] == ["Zylker", "Zylker"]
    world.sandbox.edit(FSM, "Companies", mine, Website="www.b.test")
    world.sync()
    assert world.books(world.twin(mine) or "")["website"] == "www.b.test"
    world.check_agree()
