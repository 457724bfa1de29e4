"""When a sync must stop, and who lets it go on (ST-1 to ST-4): on real servers, with CRM–Books as a stub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.engine import mailing
from shared.errors import NotAllowed, Refused
from shared.services.audit import AuditService
from shared.services.integrations import IntegrationService, IntegrationView
from shared.services.mappings import MappingService
from shared.services.notifications import NotificationService
from shared.services.org_settings import OrgSettingsService
from shared.services.runs import RunView
from shared.services.setup import SetupService
from shared.sync.access import Actor, host, support
from shared.sync.model import Policy
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE, WORKER_GONE_S
from tests.integration.hooks import delivery
from tests.integration.smtp_sink import HOST, Sink, listening
from tests.integration.world import BOOKS, FSM, World, connect, opened
from tests.stub_crm.world import add_crm_books, registered

MOST = 3
ANN = "ann@example.com"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with listening() as sink:
        yield sink


@pytest.fixture
def world(
    make_settings: MakeSettings, database_url: str, redis: Redis, redis_url: str, sandbox: Sandbox, sink: Sink
) -> Iterator[World]:
    """Three records are the most that an accounting org may hold; Ann is told how syncs fail."""
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url,
        worker_gone_s=WORKER_GONE_S, most_records=MOST, smtp_host=HOST, smtp_port=sink.port, smtp_security="none",
        smtp_from="bothways@sync.example.com",
    )  # fmt: skip
    with registered(), opened(settings) as office:
        world = connect(office, sandbox)
        NotificationService(office.db).save(world.actor, world.integration, [ANN], manual=False, automatic=False)
        yield world


def integrations(world: World) -> IntegrationService:
    return IntegrationService(world.office.db, world.office.settings)


def view(world: World) -> IntegrationView:
    return integrations(world).get(world.actor, world.integration)


def supporter(world: World) -> Actor:
    return support(world.workspace)


def failed(world: World, run_id: int | None = None) -> RunView:
    run = world.runs.sync_now(world.actor, world.integration) if run_id is None else run_id
    world.office.crew.until(lambda: world.runs.get(world.actor, run).ended, f"run {run} ends")
    found = world.runs.get(world.actor, run)
    assert found.state == "failed", found.state
    return found


def mailed(world: World, sink: Sink) -> list[str]:
    """The texts that came, after all that waits was sent."""
    mailing.send_notices(world.office.ports)
    assert set(sink.told) <= {ANN}
    return [message.get_content() for _, message in sink.kept]


def taxes(world: World, *, fsm: bool | None = None, books: bool = False) -> None:
    service = OrgSettingsService(world.office.db, world.office.connections)
    service.set_capabilities(world.actor, world.orgs[FSM].connection_id, {"taxes_enabled": fsm})
    world.sandbox.switch(BOOKS, taxes_enabled=books)


# Sync types.


@pytest.mark.rule("ST-1", "ST-4")
def test_the_whole_story_of_a_stop(world: World, sink: Sink) -> None:
    company = world.company("Zylker")
    world.fetch()
    world.sync()
    crm = add_crm_books(world, "I")
    world.office.sql("UPDATE integration SET sync_type = 'IV' WHERE id = :id", id=crm)
    world.company("Acme")
    world.forget_calls()
    run = failed(world)
    assert run.error_code == "SYNC_TYPES_DIFFER"
    assert "“The CRM” has IV" in (run.error_detail or "")
    assert world.calls() == [], "it stops before it asks a vendor for anything"

    (mail,) = mailed(world, sink)
    assert "disabled" in mail
    assert "The CRM" in mail, "it says why"
    stopped = view(world)
    assert (stopped.state, stopped.disabled_code) == ("disabled", "SYNC_TYPES_DIFFER")
    assert stopped.next_run_at is None
    assert stopped.disabled_at is not None
    world.sandbox.edit(FSM, "Companies", company, Website="www.zylker.test")
    setup = world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id)
    body = {"module": "Companies", "event": "edit", "id": company}
    request = delivery(FSM, body, setup.secret)
    assert world.accept_webhook(FSM, setup.path.rsplit("/", 1)[1], request) == 0, "no events are taken"
    with pytest.raises(Refused) as caught:
        world.runs.sync_now(world.actor, world.integration)
    assert caught.value.code == "NOT_ENABLED"

    for refused in (integrations(world).enable, integrations(world).pause, integrations(world).disable):
        with pytest.raises(Refused) as caught:
            refused(world.actor, world.integration)
    with pytest.raises(Refused) as caught:
        integrations(world).enable(world.actor, world.integration)
    assert caught.value.code == "SUPPORT_NEEDED"
    assert "bothways support enable" in str(caught.value)
    with pytest.raises(NotAllowed):
        integrations(world).enable_again(world.actor, world.integration, "please")
    with pytest.raises(Refused) as caught:
        integrations(world).enable_again(supporter(world), world.integration, "  ")
    assert caught.value.code == "NOTE_NEEDED"

    # Support lets it go on; where the rule still holds, the next sync stops it again.
    integrations(world).enable_again(supporter(world), world.integration, "they promised to mend it")
    world.office.crew.until(lambda: view(world).state == "disabled", "the rule holds still")
    assert len(mailed(world, sink)) == 2, "each stop sends one"
    world.office.sql("UPDATE integration SET sync_type = 'I' WHERE id = :id", id=crm)
    integrations(world).enable_again(supporter(world), world.integration, "the types are the same now")
    latest = "SELECT count(*) FROM run WHERE kind = 'sync' AND state = 'completed'"
    world.office.crew.until(lambda: world.office.value(latest) == 2, "a sync comes by itself, at once")
    world.check_agree()
    assert len(mailed(world, sink)) == 2
    told = [
        (one.action, one.actor_kind, one.principal, one.after)
        for one in reversed(AuditService(world.office.db).recent(host(world.workspace)))
        if one.action in ("integration.disabled", "integration.enabled_by_support")
    ]
    stop = ("integration.disabled", "rule", "bothways", {"code": "SYNC_TYPES_DIFFER"})
    assert told == [
        stop,
        ("integration.enabled_by_support", "host", "cli", {"note": "they promised to mend it"}),
        stop,
        ("integration.enabled_by_support", "host", "cli", {"note": "the types are the same now"}),
    ]


@pytest.mark.rule("ST-4")
def test_support_enables_only_what_a_rule_disabled(world: World) -> None:
    world.fetch()
    integrations(world).disable(world.actor, world.integration)
    with pytest.raises(Refused) as caught:
        integrations(world).enable_again(supporter(world), world.integration, "no reason")
    assert caught.value.code == "NOT_STOPPED"
    assert integrations(world).enable(world.actor, world.integration).state == "enabled"


@pytest.mark.rule("SU-5")
def test_a_new_integration_takes_the_type_of_its_neighbour_and_no_other(world: World) -> None:
    with pytest.raises(Refused) as caught:
        add_crm_books(world, "IV")
    assert caught.value.code == "SYNC_TYPES_DIFFER"
    assert "Type" not in str(caught.value)
    world.office.sql("DELETE FROM integration")
    add_crm_books(world, "III")
    orgs = (world.orgs[FSM].org_id, world.orgs[BOOKS].org_id)
    setup = SetupService(world.office.db, integrations(world), MappingService(world.office.db))
    draft = setup.begin(world.actor, "fsm_books", *orgs)
    assert setup.get(world.actor, draft).sync_type == "III"
    with pytest.raises(Refused) as caught:
        setup.choose(world.actor, draft, Policy.OVERWRITE, "IV")
    assert caught.value.code == "SYNC_TYPES_DIFFER"
    assert setup.choose(world.actor, draft, Policy.OVERWRITE, "III").sync_type == "III"


# Sizes.


@pytest.mark.rule("ST-2")
def test_an_org_that_is_too_large_is_not_written_to(world: World, sink: Sink) -> None:
    for n in range(MOST + 1):
        world.customer(f"Customer {n}")
    world.company("Zylker")
    world.fetch()
    world.forget_calls()
    run = failed(world)
    assert run.error_code == "TOO_MANY_RECORDS"
    assert "more than 3 customers" in (run.error_detail or "")
    assert (view(world).state, world.writes()) == ("disabled", [])
    (mail,) = mailed(world, sink)
    assert "more than 3 customers" in mail


@pytest.mark.rule("ST-2")
def test_the_limit_itself_is_not_too_much_and_vendors_do_not_count(world: World) -> None:
    for n in range(MOST):
        world.customer(f"Customer {n}")
        world.item(f"Item {n}")
    world.seed(BOOKS, "contacts", *({"contact_name": f"Vendor {n}", "contact_type": "vendor"} for n in range(9)))
    world.fetch()
    assert world.sync().state == "completed"
    assert view(world).state == "enabled"


@pytest.mark.rule("ST-2")
def test_too_many_items_stop_it_as_well(world: World) -> None:
    for n in range(MOST + 1):
        world.item(f"Item {n}")
    world.fetch()
    assert "more than 3 items" in (failed(world).error_detail or "")


@pytest.mark.rule("ST-2")
def test_what_grew_between_two_syncs_is_counted_and_a_vendor_is_asked_only_where_it_is_open(world: World) -> None:
    world.customer("Customer 0")
    world.fetch()
    world.sync()
    world.forget_calls()
    world.sync()
    lists = [call["path"] for call in world.calls() if call["path"].endswith("/contacts") and call["vendor"] == BOOKS]
    assert len(lists) == 1, "the list of the sync; nobody is asked for the number"
    for n in range(1, MOST + 1):
        world.customer(f"Customer {n}")
    assert failed(world).error_code == "TOO_MANY_RECORDS"


# Taxes.


@pytest.mark.rule("ST-3")
@pytest.mark.parametrize(("fsm", "books"), [(True, False), (False, True)])
def test_taxes_on_one_side_alone_fail_the_sync_and_disable_nothing(
    world: World, sink: Sink, fsm: bool, books: bool
) -> None:
    world.company("Zylker")
    world.fetch()
    taxes(world, fsm=fsm, books=books)
    world.forget_calls()
    run = failed(world)
    on, off = ("Zoho FSM", "Zoho Books") if fsm else ("Zoho Books", "Zoho FSM")
    assert run.error_code == "TAXES_DIFFER"
    assert f"on in {on}, off in {off}" in (run.error_detail or "")
    assert world.writes() == []
    assert view(world).state == "enabled"
    assert view(world).next_run_at is not None, "the next one may go on"
    (mail,) = mailed(world, sink)
    assert "Taxes are enabled" in mail


@pytest.mark.rule("ST-3")
@pytest.mark.parametrize("on", [True, False])
def test_taxes_on_both_sides_or_on_none_go_on(world: World, on: bool) -> None:
    world.fetch()
    taxes(world, fsm=on, books=on)
    assert world.sync().report == {}


@pytest.mark.rule("ST-3")
def test_where_a_vendor_cannot_tell_the_sync_goes_on_and_names_the_click(world: World) -> None:
    world.fetch()
    taxes(world, books=True)
    world.forget_calls()
    run = world.sync()
    assert [one["code"] for one in run.report["unchecked"]] == ["MANUAL_STEP_NEEDED"]
    assert "taxes_enabled" in run.report["unchecked"][0]["sentence"]
    assert not [call for call in world.calls() if "taxes" in call["path"]], "the other need not be asked"
