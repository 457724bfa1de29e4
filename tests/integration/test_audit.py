"""The audit log: every act is in it, by whom; in the transaction of the act; and it only ever grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from shared.db.repositories import audit
from shared.db.session import Database, make_engine
from shared.engine import housekeeping
from shared.errors import BothwaysError, NotAllowed
from shared.integrations.defaults import Line
from shared.lease import Leases
from shared.services.api_tokens import ApiTokenService
from shared.services.audit import AuditEntry, AuditService
from shared.services.bindings import BindingService
from shared.services.integrations import IntegrationService
from shared.services.invoicing import InvoicingService
from shared.services.mappings import MappingService
from shared.services.notifications import NotificationService
from shared.services.org_settings import OrgSettingsService
from shared.services.setup import SetupService
from shared.services.workspaces import host_actor
from shared.sync.access import Actor, ActorKind, Role, host, permissions_of
from shared.sync.audit import Action
from shared.sync.imports import ImportKind
from shared.sync.model import Policy, Side
from shared.vault import Vault
from tests.callers import made
from tests.conftest import MakeSettings
from tests.contract.support import Sandbox
from tests.integration.conftest import TIME_SCALE
from tests.integration.world import BOOKS, FSM, REDIRECT, World, connect, opened

pytestmark = pytest.mark.rule("PE-1", "P14")

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def log(world: World, since: int = 0) -> list[AuditEntry]:
    """Oldest first."""
    found = AuditService(world.office.db).recent(host(world.workspace), limit=1000)
    return [one for one in reversed(found) if one.id > since]


def newest(world: World) -> int:
    return max((one.id for one in log(world)), default=0)


# What is in it.


def ann(world: World, role: Role = Role.ADMIN) -> Actor:
    """Somebody with a token, through the door's own check."""
    one = made(world.office.db, role, name="Ann")
    return ApiTokenService(world.office.db).authenticate(f"Bearer {one.token.get_secret_value()}", "192.0.2.1")


def sign_in(world: World, actor: Actor) -> None:
    office = world.office
    _, url = office.connections.reconnect(actor, world.orgs[BOOKS].connection_id, REDIRECT)
    location = world.sandbox.http.get(url).headers["location"]
    brought = dict(re.findall(r"[?&](state|code)=([^&]+)", location))
    office.connections.finish(actor, brought["state"], brought["code"])


def setting_up(world: World) -> dict[Action, Callable[[Actor], object]]:
    """Of drafts between orgs of their own."""
    office = world.office
    integrations, mappings = IntegrationService(office.db, office.settings), MappingService(office.db)
    setup = SetupService(office.db, integrations, mappings)

    def draft(name: str) -> int:
        """Past the service, whose making of it is an act of its own."""
        org = office.value(
            "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre) "
            "VALUES (:w, 'zoho_fsm', :n, :n, 'sandbox') RETURNING id", w=world.workspace, n=name,
        )  # fmt: skip
        return int(
            office.value(
                "INSERT INTO integration (workspace_id, kind, name, left_org_id, right_org_id) "
                "VALUES (:w, 'fsm_books', :n, :l, :r) RETURNING id",
                w=world.workspace, n=name, l=org, r=world.orgs[BOOKS].org_id,
            )
        )  # fmt: skip

    first, whole, unwanted = draft("first"), draft("whole"), draft("unwanted")
    office.sql(
        'UPDATE integration SET setup_done = \'["policy", "mapping:companies", "mapping:items"]\' WHERE id = :i',
        i=whole,
    )
    return {
        Action.INTEGRATION_RENAMED: lambda actor: integrations.rename(actor, first, "First"),
        Action.SETUP_STEP_DONE: lambda actor: setup.choose(actor, first, Policy.OVERWRITE, "I"),
        Action.INTEGRATION_ENABLED: lambda actor: setup.enable(actor, whole),
        Action.DRAFT_DISCARDED: lambda actor: setup.discard(actor, unwanted),
    }


def acts(world: World) -> dict[Action, Callable[[Actor], object]]:
    """Every act of the closed list that is not made by setting up: a new one fails the test below until it is here."""
    office, books = world.office, world.orgs[BOOKS].connection_id
    tokens, of_org = ApiTokenService(office.db), OrgSettingsService(office.db, office.connections)
    mappings, integrations = MappingService(office.db), IntegrationService(office.db, office.settings)
    notifications = NotificationService(office.db)
    bindings, companies = BindingService(office.db, Leases(office.settings)), (world.integration, "companies")
    lines = [Line(left="Company_Name", right="contact_name")]
    victim = made(office.db, Role.VIEWER, name="victim").view.id
    office.sql("UPDATE integration SET fetched_at = now()")
    company = world.company("Kanary & Sons")
    importing: list[int] = []
    rotated = Vault("k9", {"k9": bytes(32), **_ring(world)})

    def again(actor: Actor) -> None:
        office.sql("UPDATE binding SET state = 'right_deleted' WHERE left_id = '81'")
        bindings.create_again(actor, *companies, Side.LEFT, "81")

    def let_go_on(actor: Actor) -> None:
        office.sql("UPDATE integration SET disabled_code = 'TOO_MANY_RECORDS' WHERE id = :i", i=world.integration)
        integrations.enable_again(replace(actor, permissions=permissions_of(Role.SUPPORT, read_logs=False)),
                                  world.integration, "why")  # fmt: skip

    def rotate(actor: Actor) -> None:
        office.connections._safe.vault = rotated
        office.connections.rotate_keys(host(actor.workspace))

    return {
        Action.CONNECTION_RENEWED: lambda actor: sign_in(world, actor),
        Action.CONNECTION_PROBED: lambda actor: office.connections.probe(actor, books),
        Action.LIMITS_SET: lambda actor: office.connections.set_limits(actor, books, {"per_day": {"calls": 5}}),
        Action.CAPABILITIES_SET: lambda actor: of_org.set_capabilities(actor, books, {"itemdetails_batch": 9}),
        Action.CUSTOM_FIELDS_SET: lambda actor: of_org.set_custom_fields(actor, books, "items", []),
        Action.PRIVATE_FIELDS_SET: lambda actor: of_org.set_private_fields(actor, books, "items", ["sku"]),
        Action.HELPER_MADE: lambda actor: of_org.make_helpers(actor, books),
        Action.WEBHOOK_SHOWN: lambda actor: office.connections.webhook_setup(actor, books),
        Action.WEBHOOK_RENEWED: lambda actor: office.connections.rotate_webhook_secret(actor, books),
        Action.WEBHOOK_MADE: lambda actor: office.connections.make_webhooks(actor, books, "https://bothways.test"),
        Action.RECORD_SYNC_ASKED: lambda actor: world.events.sync_record(
            actor, world.integration, "companies", Side.LEFT, company
        ),
        Action.SYNC_ASKED: lambda actor: world.ended(world.runs.sync_now(actor, world.integration)),
        Action.FETCH_ASKED: lambda actor: world.ended(world.runs.fetch(actor, world.integration)),
        Action.NOTIFICATIONS_SET: lambda actor: notifications.save(
            actor, world.integration, ["ann@example.com"], manual=True, automatic=False
        ),
        Action.MAPPING_SAVED: lambda actor: mappings.save(actor, world.integration, "companies", lines),
        **setting_up(world),
        Action.RECORD_BOUND: lambda actor: bindings.bind(actor, *companies, "71", "72"),
        Action.RECORD_UNBOUND: lambda actor: bindings.unbind(actor, *companies, Side.LEFT, "71"),
        Action.RECORD_RELEASED: lambda actor: bindings.release(actor, *companies, Side.RIGHT, "72"),
        Action.BINDINGS_IMPORTED: lambda actor: bindings.import_csv(
            actor, world.integration, "modules,left_record,right_record\ncompanies,81,82\n"
        ),
        Action.TWIN_WANTED_AGAIN: lambda actor: again(actor),
        Action.SCHEDULE_SET: lambda actor: integrations.set_schedule(actor, world.integration, interval_s=3600),
        Action.INVOICING_SET: lambda actor: InvoicingService(office.db).set(actor, world.integration, terms_days=14),
        Action.INTEGRATION_PAUSED: lambda actor: integrations.pause(actor, world.integration),
        Action.INTEGRATION_DISABLED: lambda actor: integrations.disable(actor, world.integration),
        Action.ENABLED_BY_SUPPORT: let_go_on,
        Action.IMPORT_ASKED: lambda actor: importing.append(_asked(world, actor)),
        Action.IMPORT_CANCELLED: lambda actor: world.imports.cancel(actor, importing[0]),
        Action.TOKEN_MADE: lambda actor: tokens.add(actor, "new", Role.VIEWER),
        Action.TOKEN_REVOKED: lambda actor: tokens.revoke(actor, victim),
        Action.KEYS_ROTATED: rotate,
    }


def _asked(world: World, actor: Actor) -> int:
    """An import that nobody has taken up yet: syncs come before it in the list of acts."""
    world.office.crew.deaf = True
    upload = world.imports.begin(actor, world.orgs[BOOKS].connection_id, ImportKind.ITEMS)
    upload.write(b"name,rate\nKanary & Sons,1\n")
    return upload.finish().id


def _ring(world: World) -> dict[str, bytes]:
    import base64
    import json

    assert world.office.settings.key_file is not None
    ring = json.loads(world.office.settings.key_file.read_text())["keys"]
    return {name: base64.b64decode(key) for name, key in ring.items()}


def test_each_act_is_there_with_who_what_and_before_and_after(world: World) -> None:
    made_by_setting_up = {one.action for one in log(world)}
    assert made_by_setting_up == {Action.CONNECTION_MADE, Action.INTEGRATION_CREATED}
    assert {one.principal for one in log(world)} == {"cli"}
    actor, told = ann(world), {}
    for action, act in acts(world).items():
        before = newest(world)
        act(actor)
        told[action] = log(world, before)
        assert [one.action for one in told[action]] == [action], action
        if action is not Action.KEYS_ROTATED:
            (entry,) = told[action]
            assert (entry.principal, entry.actor_kind, entry.token_id) == ("Ann", "token", actor.token_id)
    assert set(told) | {Action(one) for one in made_by_setting_up} == set(Action)
    assert told[Action.LIMITS_SET][0].before == {"limits": {"per_minute": False}}
    assert told[Action.LIMITS_SET][0].after == {"limits": {"per_day": {"calls": 5}}}
    renewed = told[Action.WEBHOOK_RENEWED][0]
    assert (renewed.before, renewed.after) == ({"webhook_secret": "changed"}, {"webhook_secret": "changed"})
    assert told[Action.CONNECTION_RENEWED][0].after["tokens"] == "changed"
    assert told[Action.SYNC_ASKED][0].after == {"integration_id": world.integration}
    assert told[Action.KEYS_ROTATED][0].after == {"connections": 2}
    record = told[Action.RECORD_SYNC_ASKED][0]
    assert re.fullmatch(rf"{world.integration}/companies/left/\d+", record.subject_id)


def test_no_secret_and_no_name_of_a_record_is_in_it(world: World) -> None:
    actor = ann(world)
    office, books = world.office, world.orgs[BOOKS].connection_id
    for act in acts(world).values():
        act(actor)
    setup = office.connections.webhook_setup(actor, books)
    everything = str(office.sql("SELECT a::text AS line FROM audit_log a"))
    secrets = [setup.secret, world.sandbox.client.secret, *_secrets(world, books)]
    assert len(secrets) > 4
    for one in secrets:
        assert one.get_secret_value() not in everything
    assert "ann@example.com" not in everything
    for word in ("Kanary", setup.path.rpartition("/")[2], "v1:k"):
        assert word not in everything, word


def _secrets(world: World, connection_id: int) -> list[SecretStr]:
    from shared.db.repositories import connections as repository

    office = world.office
    with office.db.transaction() as session:
        row = repository.load(session, connection_id)
        found = [office.connections._safe.maybe(row, name) for name in repository.SEALED_COLUMNS]
    return [one for one in found if one is not None]


def test_what_did_not_happen_is_not_in_it(world: World) -> None:
    before = newest(world)
    office = world.office
    orgs = (world.orgs[FSM].org_id, world.orgs[BOOKS].org_id)
    viewer = Actor(world.workspace, "Vic", ActorKind.TOKEN, permissions_of(Role.VIEWER, read_logs=True), 1)
    for act in (
        lambda: world.runs.sync_now(host(world.workspace), world.integration),  # Fetch first
        lambda: world.runs.fetch(viewer, world.integration),
        lambda: office.connections.set_limits(viewer, 1, False),
        lambda: IntegrationService(office.db, office.settings).create(world.actor, "fsm_books", *orgs),  # again
    ):
        with pytest.raises(BothwaysError):
            act()
    assert log(world, before) == []


def test_it_is_taken_back_with_its_transaction(database: Database) -> None:
    actor = host_actor(database)

    def broken() -> None:
        with database.transaction() as session:
            audit.record(session, actor, Action.KEYS_ROTATED, "k")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert AuditService(database).recent(actor) == []


def test_a_change_is_taken_back_where_the_log_refuses_it(world: World) -> None:
    office = world.office
    office.sql("ALTER TABLE audit_log ADD CONSTRAINT none CHECK (action <> 'connection.limits_set')")
    before = office.connections.limits(world.actor, world.orgs[FSM].connection_id)
    with pytest.raises(BothwaysError):
        office.connections.set_limits(world.actor, world.orgs[FSM].connection_id, {"per_day": {"calls": 5}})
    assert office.connections.limits(world.actor, world.orgs[FSM].connection_id) == before


# Reading it.


@pytest.fixture
def database(make_settings: MakeSettings, database_url: str) -> Iterator[Database]:
    database = Database(make_engine(make_settings(database_url=database_url), threads=4))
    yield database
    database.close()


def test_it_is_read_newest_first_a_page_at_a_time_and_by_workspace(database: Database) -> None:
    service, actor = AuditService(database), host_actor(database)
    other = host(actor.workspace + 1)
    with database.transaction() as session:
        for number in range(5):
            audit.record(session, actor, Action.KEYS_ROTATED, number)
            audit.record(session, other, Action.KEYS_ROTATED, "theirs")
    pages = [service.recent(actor, limit=2)]
    while pages[-1]:
        pages.append(service.recent(actor, limit=2, before_id=pages[-1][-1].id))
    assert [one.subject_id for page in pages for one in page] == ["4", "3", "2", "1", "0"]
    assert {one.subject_id for one in service.recent(other)} == {"theirs"}
    now = datetime.now(UTC)
    assert len(service.recent(actor, since=now - timedelta(hours=1))) == 5
    assert service.recent(actor, since=now + timedelta(hours=1)) == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.SUPPORT])
def test_it_is_read_by_admins_alone(database: Database, role: Role) -> None:
    reader = Actor(1, "x", ActorKind.TOKEN, permissions_of(role, read_logs=True))
    with pytest.raises(NotAllowed, match="'read_audit'"):
        AuditService(database).recent(reader)


# It only ever grows.

CHANGES = (
    "UPDATE audit_log SET principal = 'nobody'",
    "UPDATE audit_log SET principal = 'nobody' WHERE false",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "TRUNCATE audit_log, workspace CASCADE",
    "INSERT INTO audit_log (id, workspace_id, principal, actor_kind, action, subject_kind, subject_id) "
    "OVERRIDING SYSTEM VALUE SELECT id, 1, 'nobody', 'host', 'x', 'x', 'x' FROM audit_log "
    "ON CONFLICT (id) DO UPDATE SET principal = 'nobody'",
)


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_no_row_is_changed_or_removed_even_by_its_owner(database: Database, statement: str, role: str) -> None:
    with database.transaction() as session:
        audit.record(session, host_actor(database), Action.KEYS_ROTATED, "k")
    with database.engine.connect() as connection:
        connection.execute(text(f"SET LOCAL session_replication_role = {role}"))
        with pytest.raises(ProgrammingError, match="append-only"):
            connection.execute(text(statement))
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT principal FROM audit_log")).scalars().all() == ["cli"]


def grants() -> str:
    """The block of SQL in the page for operators."""
    (found,) = re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    return str(found)


def test_the_grants_of_the_operators_page_let_it_work_and_keep_the_log_whole(
    database_url: str, make_settings: MakeSettings, redis: Redis, redis_url: str, sandbox: Sandbox
) -> None:
    plain = database_url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as owner:
        owner.execute(grants().replace("DATABASE bothways", f"DATABASE {database_url.rsplit('/', 1)[1]}").encode())
        owner.execute("ALTER ROLE bothways_app PASSWORD 'of-this-test'")
    url = re.sub(r"//[^@]*@", "//bothways_app:of-this-test@", database_url)
    settings = make_settings(database_url=url, redis_url=redis_url, time_scale=TIME_SCALE, sandbox_url=sandbox.base_url)
    try:
        with opened(settings) as office:
            _works(connect(office, sandbox))
            with psycopg.connect(plain, autocommit=True) as owner:  # the grants alone must hold
                owner.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
            for statement in ("UPDATE audit_log SET principal = ''", "DELETE FROM audit_log", "TRUNCATE audit_log",
                              "ALTER TABLE audit_log DISABLE TRIGGER ALL", "DROP TABLE audit_log"):  # fmt: skip
                with pytest.raises(BothwaysError, match="42501"), office.db.transaction() as session:
                    session.execute(text(statement))
    finally:
        _drop_role(plain)


def _works(world: World) -> None:
    """A sync, what housekeeping does to the partitions, what a restored backup asks for."""
    company = world.company("Zylker")
    world.fetch()
    assert world.sync().state == "completed"
    assert world.twin(company)
    housekeeping.hourly(world.office.ports)
    with world.office.db.transaction() as session:
        session.execute(text("SELECT setval('fence_seq', nextval('fence_seq') + 1)"))
        session.execute(text("SELECT setval(pg_get_serial_sequence('run', 'id'), 500)"))
    assert world.sync().id > 500
    assert len(log(world)) == 6


def _drop_role(plain: str) -> None:
    with psycopg.connect(plain, autocommit=True) as owner:
        owner.execute("DROP OWNED BY bothways_app")
        owner.execute("DROP ROLE bothways_app")


def test_the_trigger_is_all_that_holds_the_owner(database_url: str) -> None:
    """What the page says of grants is not for show: the owner can switch the trigger off."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only"))
        connection.execute(text("DELETE FROM audit_log"))
    engine.dispose()
