"""Pausing, disabling, enabling and the schedule of an integration (TR-2, TR-4, LK-1), on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from redis import Redis

from shared.errors import NotAllowed, OrgHeld, Refused
from shared.lease import Holder, Lease, run_holder
from shared.services.integrations import IntegrationService, IntegrationView
from shared.services.org_settings import OrgSettingsService
from shared.sync.access import Actor, ActorKind, Role, permissions_of
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE, WORKER_GONE_S
from tests.integration.hooks import delivery
from tests.integration.world import BOOKS, FSM, World, connect, opened
from tests.stub_crm.world import add_crm_books, registered


@pytest.fixture
def world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox
) -> Iterator[World]:
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S, manual_syncs_per_day=2,
    )  # fmt: skip
    with registered(), opened(settings) as office:
        yield connect(office, sandbox)


def service(world: World) -> IntegrationService:
    return IntegrationService(world.office.db, world.office.settings)


def view(world: World) -> IntegrationView:
    return service(world).get(world.actor, world.integration)


def tell(world: World, company: str, event: str = "edit") -> int:
    """How many events the webhook door took."""
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
    body = {"module": "Companies", "event": event, "id": company}
    return world.accept_webhook(FSM, setup.path.rsplit("/", 1)[1], delivery(FSM, body, setup.secret))


def free(world: World) -> bool:
    """Whether nobody holds an org."""
    return not world.office.value("SELECT count(*) FROM org_lease WHERE expires_at > clock_timestamp()")


def ended_at(world: World, run: int) -> datetime:
    found: datetime = world.office.value("SELECT ended_at FROM run WHERE id = :run", run=run)
    return found


# Paused.


def test_what_is_told_of_while_paused_is_kept_and_comes_as_soon_as_it_may(world: World) -> None:
    company = world.company("Zylker")
    world.fetch()
    world.sync()
    assert service(world).pause(world.actor, world.integration).state == "paused"
    world.sandbox.edit(FSM, "Companies", company, Website="www.zylker.test")
    assert tell(world, company) == 1
    world.forget_calls()
    for _ in range(3):
        world.office.crew.beat()  # type: ignore[misc]
        world.office.crew.rest()
    assert world.calls() == []
    with pytest.raises(Refused) as caught:
        world.runs.sync_now(world.actor, world.integration)
    assert caught.value.code == "NOT_ENABLED"
    assert service(world).enable(world.actor, world.integration).state == "enabled"
    world.quiet()
    world.check_agree()


def test_a_sync_that_is_on_rests_and_gives_its_orgs_back(world: World) -> None:
    for n in range(5):
        world.company(f"Company {n}")
    world.fetch()
    world.sandbox.fault(BOOKS, "latency", match={"method": "POST"}, ms=300, count=2)
    run = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.writes(), "it has begun to write")
    service(world).pause(world.actor, world.integration)
    world.office.crew.until(lambda: free(world), "its orgs are free")
    found = world.runs.get(world.actor, run)
    assert (found.ended, found.waiting_for) == (False, "the integration, which is paused")
    service(world).enable(world.actor, world.integration)
    world.ended(run)
    world.check_agree()


# Disabled.


def test_what_happened_while_it_was_disabled_is_found_by_the_sync_that_comes_then(world: World) -> None:
    kept, gone = world.company("Zylker"), world.company("Acme")
    world.fetch()
    world.sync()
    twin = world.twin(gone)
    service(world).disable(world.actor, world.integration)
    world.sandbox.edit(FSM, "Companies", kept, Website="www.zylker.test")
    world.sandbox.delete(FSM, "Companies", gone)
    assert tell(world, kept) == 0
    assert tell(world, gone, "delete") == 0
    assert view(world).next_run_at is None
    service(world).enable(world.actor, world.integration)
    latest = "SELECT count(*) FROM run WHERE kind = 'sync' AND ended_at IS NOT NULL"
    world.office.crew.until(lambda: world.office.value(latest) == 2, "a sync comes by itself")
    assert str(world.books(str(world.twin(kept)))["website"]) == "www.zylker.test"
    states = world.office.sql("SELECT state FROM binding WHERE right_id = :id", id=twin)
    assert states == [{"state": "left_deleted"}], "deletions are looked for as well"


def test_disabling_ends_a_sync_that_is_on(world: World) -> None:
    for n in range(5):
        world.company(f"Company {n}")
    world.fetch()
    world.sandbox.fault(BOOKS, "latency", match={"method": "POST"}, ms=300, count=2)
    run = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.writes(), "it has begun to write")
    service(world).disable(world.actor, world.integration)
    world.office.crew.until(lambda: world.runs.get(world.actor, run).ended, "it ends")
    assert world.runs.get(world.actor, run).error_code == "NOT_ENABLED"


def test_what_does_not_fit_is_refused(world: World) -> None:
    world.fetch()
    with pytest.raises(Refused) as caught:
        service(world).enable(world.actor, world.integration)
    assert caught.value.code == "WRONG_STATE"
    operator = Actor(world.workspace, "olga", ActorKind.TOKEN, permissions_of(Role.OPERATOR, read_logs=True))
    for refused in (service(world).pause, service(world).disable, service(world).enable):
        with pytest.raises(NotAllowed):
            refused(operator, world.integration)
    world.office.sql("UPDATE integration SET state = 'draft'")
    with pytest.raises(Refused) as caught:
        service(world).disable(world.actor, world.integration)
    assert caught.value.code == "DRAFT"


# When.


@pytest.mark.rule("TR-2")
def test_the_next_sync_is_counted_from_the_end_of_the_last(world: World) -> None:
    world.fetch()
    assert view(world).next_run_at is None, "Fetch is no sync"
    run = world.sync()
    end = ended_at(world, run.id)
    after_s = ((view(world).next_run_at or end) - end).total_seconds()
    assert 10_799 < after_s < 10_801, "three hours, unless somebody says otherwise"
    changed = service(world).set_schedule(world.actor, world.integration, interval_s=1800)
    assert changed.next_run_at == end + timedelta(minutes=30)
    assert service(world).set_schedule(world.actor, world.integration, on=False).next_run_at is None
    again = service(world).set_schedule(world.actor, world.integration, on=True)
    assert (again.next_run_at, again.schedule_interval_s) == (end + timedelta(minutes=30), 1800)


@pytest.mark.rule("TR-2")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"interval_s": 299}, "BAD_INTERVAL"),
        ({"interval_s": 32 * 86_400}, "BAD_INTERVAL"),
        ({"time_zone": "Mars"}, "BAD_ZONE"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_is_refused(world: World, wrong: dict[str, object], code: str) -> None:
    with pytest.raises(Refused) as caught:
        service(world).set_schedule(world.actor, world.integration, **wrong)  # type: ignore[arg-type]
    assert caught.value.code == code


@pytest.mark.rule("TR-4")
def test_whose_days_they_are(world: World) -> None:
    """The sandbox's Books says PST, which is no name that IANA knows."""
    assert view(world).time_zone == "UTC"
    org_settings = OrgSettingsService(world.office.db, world.office.connections)
    org_settings.set_capabilities(world.actor, world.orgs[BOOKS].connection_id, {"time_zone": "America/Los_Angeles"})
    assert view(world).time_zone == "America/Los_Angeles"
    chosen = service(world).set_schedule(world.actor, world.integration, time_zone="Europe/Berlin")
    assert chosen.time_zone == "Europe/Berlin"
    assert service(world).set_schedule(world.actor, world.integration, time_zone="").time_zone == "America/Los_Angeles"


# Who has the orgs.


@pytest.mark.rule("LK-1")
@pytest.mark.parametrize("kind", ["run", "import"])
def test_sync_now_names_who_has_one_of_its_orgs_and_since_when(world: World, kind: str) -> None:
    world.fetch()
    crm = add_crm_books(world, "I")
    taken = run_holder(7, crm, world.workspace) if kind == "run" else Holder("import:7", kind, crm, world.workspace)
    with world.office.db.transaction() as session:
        lease = world.office.ports.leases.take(session, [world.orgs[BOOKS].org_id], taken)
    assert isinstance(lease, Lease)
    for refused in (world.runs.sync_now, world.runs.fetch):
        with pytest.raises(OrgHeld) as caught:
            refused(world.actor, world.integration)
        assert caught.value.holder == f"{kind}:7"
        told = "is held by sync 7 of “The CRM” since 20" if kind == "run" else "Import 7 into one of the organisations"
        assert told in str(caught.value)
        assert " since 20" in str(caught.value)
    with world.office.db.transaction() as session:
        world.office.ports.leases.release(session, lease)
    assert world.sync().state == "completed"


@pytest.mark.rule("LK-1", "SU-2")
def test_nothing_is_enabled_during_an_import(world: World) -> None:
    world.fetch()
    service(world).pause(world.actor, world.integration)
    with world.office.db.transaction() as session:
        holder = Holder("import:7", "import", world.integration, world.workspace)
        world.office.ports.leases.take(session, [world.orgs[BOOKS].org_id], holder)
    with pytest.raises(Refused) as caught:
        service(world).enable(world.actor, world.integration)
    assert caught.value.code == "IMPORT_IN_PROGRESS"
    assert "Import 7" in str(caught.value)
