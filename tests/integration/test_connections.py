"""Connections on a real Postgres: sign-in from end to end, and the shared refresh of reliability section 4."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from shared.connectors._zoho.oauth import ZohoSignIn
from shared.connectors.base import Capabilities
from shared.connectors.tokens import SharedTokens
from shared.connectors.vendor import Client, DataCentre, Grant
from shared.db.base import Base
from shared.db.models.orgs import Connection
from shared.db.repositories import connections as repository
from shared.db.session import Database
from shared.errors import ConfigError, ConnectionBroken, NotAllowed, NotFound, RateLimited, Refused, RetryableError
from shared.services.connections import ChooseOrg, Connected, ConnectionService, PostgresGrants, _Safe
from shared.services.workspaces import host_actor
from shared.settings import Settings
from shared.sync.access import Actor, ActorKind, Role, host, permissions_of
from shared.sync.model import ModuleName
from shared.vault import Vault
from tests.contract.support import Sandbox, sandbox_process

pytestmark = pytest.mark.rule("SU-1", "P11")

REDIRECT = "http://127.0.0.1:9/callback"
TABLES = ("audit_log", "pending_sign_in", "connection", "org", "workspace")


@pytest.fixture(scope="module")
def engine_url(postgres_url: str) -> Iterator[str]:
    """A schema of our own, so that other tests of the session keep their tables."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS connections_test CASCADE"))
        connection.execute(text("CREATE SCHEMA connections_test"))
    url = postgres_url + ("&" if "?" in postgres_url else "?") + "options=-csearch_path%3Dconnections_test"
    engine = create_engine(url)
    Base.metadata.create_all(engine, tables=[Base.metadata.tables[name] for name in reversed(TABLES)])
    engine.dispose()
    yield url
    with admin.connect() as connection:
        connection.execute(text("DROP SCHEMA connections_test CASCADE"))
    admin.dispose()


@pytest.fixture
def database(engine_url: str) -> Iterator[Database]:
    database = Database(create_engine(engine_url, pool_size=20))
    with database.transaction() as session:
        session.execute(text(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE"))
    yield database
    database.close()


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    with sandbox_process() as url:
        yield url


@pytest.fixture
def sandbox(sandbox_url: str) -> Iterator[Sandbox]:
    with httpx.Client(base_url=sandbox_url, timeout=10) as http:
        sandbox = Sandbox(sandbox_url, http)
        sandbox.reset()
        yield sandbox


@pytest.fixture
def vault() -> Vault:
    return Vault("k1", {"k1": bytes(32), "k2": bytes(range(32))})


@pytest.fixture
def service(database: Database, vault: Vault, sandbox: Sandbox) -> ConnectionService:
    return ConnectionService(database, vault, Settings(sandbox_url=sandbox.base_url))


@pytest.fixture
def actor(database: Database) -> Actor:
    return host_actor(database)


def consent(sandbox: Sandbox, url: str) -> dict[str, str]:
    """What the redirect brings: code, state, accounts_server, location."""
    location = sandbox.http.get(url).headers["location"]
    brought = {k: v[0] for k, v in parse_qs(urlsplit(location).query).items()}
    brought["accounts_server"] = brought.pop("accounts-server")
    return brought


def begun(service: ConnectionService, sandbox: Sandbox, actor: Actor, vendor: str, **more: Any) -> dict[str, str]:
    client = sandbox.client
    name = {"org_name": "Field"} if vendor == "zoho_fsm" else {}
    state, url = service.begin(actor, vendor, "sandbox", client.id, client.secret, REDIRECT, **{**name, **more})
    brought = consent(sandbox, url)
    assert brought["state"] == state
    return brought


def connect(service: ConnectionService, sandbox: Sandbox, actor: Actor, vendor: str) -> Connected:
    done = service.finish(actor, **begun(service, sandbox, actor, vendor))
    assert isinstance(done, Connected)
    return done


# Signing in.


@pytest.mark.parametrize("vendor", ["zoho_books", "zoho_fsm", "zoho_invoice"])
def test_a_sign_in_ends_in_a_connection_that_works(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, vendor: str
) -> None:
    done = connect(service, sandbox, actor, vendor)
    view = service.describe(actor, done.connection_id)
    assert (view.status, view.data_centre, view.vendor) == ("live", "sandbox", vendor)
    assert [one.id for one in service.list(actor)] == [done.connection_id]
    connector = service.open_connector(done.connection_id)
    for module in (name for name, one in connector.facts.modules.items() if one.inside is None):
        assert connector.list_page(module, cursor=None, since=None).rows == ()
    connector.close()
    assert service.describe(actor, done.connection_id).org_name in ("Zylker Books", "Field", "Zylker Invoice")


@pytest.mark.rule("P4")
def test_a_call_ends_with_the_push_deadline_that_leases_count_on(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, database: Database, vault: Vault
) -> None:
    done = connect(service, sandbox, actor, "zoho_books")
    hasty = ConnectionService(database, vault, Settings(sandbox_url=sandbox.base_url, push_deadline_s=0.001))
    connector = hasty.open_connector(done.connection_id)
    with pytest.raises(RetryableError):
        connector.list_page(ModuleName("items"), cursor=None, since=None)
    connector.close()


def test_a_state_is_good_once_and_for_ten_minutes(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, database: Database
) -> None:
    brought = begun(service, sandbox, actor, "zoho_books")
    with pytest.raises(Refused):
        service.finish(actor, **{**brought, "state": "another"})
    service.finish(actor, **brought)
    with pytest.raises(Refused):
        service.finish(actor, **brought)
    late = begun(service, sandbox, actor, "zoho_books")
    with database.transaction() as session:
        session.execute(text("UPDATE pending_sign_in SET expires_at = clock_timestamp()"))
    with pytest.raises(Refused):
        service.finish(actor, **late)


@pytest.mark.rule("P14")
def test_a_forged_redirect_uses_the_state_up_and_sends_no_secret(
    service: ConnectionService, sandbox: Sandbox, actor: Actor
) -> None:
    brought = begun(service, sandbox, actor, "zoho_books")
    sandbox.control("zoho_accounts", "DELETE", "calls")
    with pytest.raises(ConfigError):
        service.finish(actor, **{**brought, "accounts_server": "https://accounts.zoho.com.evil.test"})
    assert sandbox.calls("zoho_accounts") == []
    with pytest.raises(Refused):
        service.finish(actor, **brought)


def test_the_sandbox_is_no_data_centre_unless_it_is_set(database: Database, vault: Vault, actor: Actor) -> None:
    service = ConnectionService(database, vault, Settings())
    with pytest.raises(ConfigError, match="'sandbox'"):
        service.begin(actor, "zoho_books", "sandbox", "id", SecretStr("s"), REDIRECT)
    with pytest.raises(NotFound):
        service.begin(actor, "nobody", "us", "id", SecretStr("s"), REDIRECT)
    with pytest.raises(ConfigError):
        service.begin(actor, "zoho_fsm", "us", "id", SecretStr("s"), REDIRECT)
    _, url = service.begin(actor, "zoho_books", "ca", "id", SecretStr("s"), REDIRECT)
    assert url.startswith("https://accounts.zohocloud.ca/oauth/v2/auth?")


def test_several_orgs_are_offered_and_one_is_chosen(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.connectors.registry import get_vendor
    from shared.connectors.vendor import OrgChoice

    books = get_vendor("zoho_books")
    own = sandbox.info["orgs"]["zoho_books"]
    monkeypatch.setattr(type(books), "orgs", lambda *_: [OrgChoice("1", "Other"), OrgChoice(own, "Mine")])
    brought = begun(service, sandbox, actor, "zoho_books")
    offered = service.finish(actor, **brought)
    assert isinstance(offered, ChooseOrg)
    assert [one.name for one in offered.choices] == ["Other", "Mine"]
    with pytest.raises(NotFound):
        service.choose(actor, offered.state, "3")
    done = service.choose(actor, offered.state, own)
    assert service.describe(actor, done.connection_id).org_external_id == own
    with pytest.raises(Refused):
        service.choose(actor, offered.state, own)
    named = service.finish(actor, **begun(service, sandbox, actor, "zoho_books", org_external_id=own))
    assert isinstance(named, Connected)
    assert named.connection_id == done.connection_id


@pytest.mark.rule("DU-1")
def test_connecting_again_keeps_org_connection_and_webhook(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, database: Database
) -> None:
    done = connect(service, sandbox, actor, "zoho_fsm")
    setup = service.webhook_setup(actor, done.connection_id)
    with database.transaction() as session:
        repository.mark_broken(session, done.connection_id, version=1, reason="revoked")
    with pytest.raises(ConnectionBroken):
        service.open_connector(done.connection_id)
    _, url = service.reconnect(actor, done.connection_id, REDIRECT)
    assert service.finish(actor, **consent(sandbox, url)) == done
    assert service.describe(actor, done.connection_id).status == "live"
    assert service.webhook_setup(actor, done.connection_id) == setup


@pytest.mark.rule("P14", "TR-1")
def test_a_webhook_is_found_by_its_path_and_its_secret_rotates(
    service: ConnectionService, sandbox: Sandbox, actor: Actor
) -> None:
    done = connect(service, sandbox, actor, "zoho_books")
    first = service.webhook_setup(actor, done.connection_id)
    token = first.path.rpartition("/")[2]
    assert len(token) >= 43
    assert 12 <= len(first.secret.get_secret_value()) <= 50
    assert first.secret.get_secret_value().isalnum()
    target = service.webhook_target(token)
    assert target is not None
    assert (target.connection_id, target.secrets) == (done.connection_id, (first.secret,))
    second = service.rotate_webhook_secret(actor, done.connection_id)
    rotated = service.webhook_target(token)
    assert rotated is not None
    assert rotated.secrets == (second.secret, first.secret)
    assert service.webhook_target("x" * 43) is None


@pytest.mark.rule("P14")
def test_no_secret_lies_open_in_the_database_or_in_a_view(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, database: Database
) -> None:
    done = connect(service, sandbox, actor, "zoho_books")
    begun(service, sandbox, actor, "zoho_books")
    with database.transaction() as session:
        dump = "\n".join(str(session.execute(text(f"SELECT t::text FROM {name} t")).all()) for name in TABLES)
    setup = service.webhook_setup(actor, done.connection_id)
    plain = [sandbox.client.secret, setup.secret, SecretStr(setup.path.rpartition("/")[2])]
    assert [one for one in plain if one.get_secret_value() in dump] == []
    assert "1000." not in dump.replace(sandbox.client.id, ""), "Zoho's tokens begin so"
    shown = repr(service.describe(actor, done.connection_id)) + repr(setup)
    assert [one for one in plain[:2] if one.get_secret_value() in shown] == []


@pytest.mark.rule("OP-3")
def test_capabilities_are_probed_and_a_setting_has_the_last_word(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, database: Database
) -> None:
    done = connect(service, sandbox, actor, "zoho_fsm")
    assert service.capabilities(done.connection_id) == Capabilities({"modified_time_search": False})
    with database.transaction() as session:
        repository.load_org(session, done.org_id).settings = {
            "capabilities": {"zbilling_id_writable": True, "create_batch": 100}
        }
    connector = service.open_connector(done.connection_id)
    facts = connector.facts.modules
    connector.close()
    assert {(m.stamp_field, m.create_batch) for m in facts.values() if m.creates} == {("ZBilling_Id", 100)}


@pytest.mark.rule("PE-6", "P14")
def test_another_workspace_s_connections_and_sign_ins_are_not_there(
    service: ConnectionService, sandbox: Sandbox, actor: Actor
) -> None:
    done, other = connect(service, sandbox, actor, "zoho_books"), host(actor.workspace + 1)
    acts: list[Callable[[], object]] = [
        lambda: service.describe(other, done.connection_id),
        lambda: service.limits(other, done.connection_id),
        lambda: service.set_limits(other, done.connection_id, False),
        lambda: service.webhook_setup(other, done.connection_id),
        lambda: service.rotate_webhook_secret(other, done.connection_id),
        lambda: service.probe(other, done.connection_id),
        lambda: service.reconnect(other, done.connection_id, REDIRECT),
    ]
    for act in acts:
        with pytest.raises(NotFound, match="There is no connection"):
            act()
    assert service.list(other) == ()
    brought = begun(service, sandbox, actor, "zoho_books")
    with pytest.raises(Refused):
        service.finish(other, **brought)
    service.finish(actor, **brought)


@pytest.mark.rule("PE-1")
def test_who_may_not_connect_sees_no_secret_and_changes_nothing(
    service: ConnectionService, sandbox: Sandbox, actor: Actor
) -> None:
    done = connect(service, sandbox, actor, "zoho_books")
    viewer = Actor(actor.workspace, "Vic", ActorKind.TOKEN, permissions_of(Role.OPERATOR, read_logs=True), 1)
    assert service.describe(viewer, done.connection_id) == service.describe(actor, done.connection_id)
    acts: list[Callable[[], object]] = [
        lambda: service.begin(viewer, "zoho_books", "us", "id", SecretStr("s"), REDIRECT),
        lambda: service.reconnect(viewer, done.connection_id, REDIRECT),
        lambda: service.finish(viewer, "state", "code"),
        lambda: service.choose(viewer, "state", "1"),
        lambda: service.set_limits(viewer, done.connection_id, False),
        lambda: service.webhook_setup(viewer, done.connection_id),
        lambda: service.rotate_webhook_secret(viewer, done.connection_id),
        lambda: service.probe(viewer, done.connection_id),
        lambda: service.rotate_keys(viewer),
    ]
    for act in acts:
        with pytest.raises(NotAllowed, match=r"'(connect|rotate_keys)'"):
            act()


def test_keys_are_rotated_in_batches(
    service: ConnectionService, sandbox: Sandbox, actor: Actor, database: Database
) -> None:
    done = connect(service, sandbox, actor, "zoho_books")
    connect(service, sandbox, actor, "zoho_fsm")
    setup = service.webhook_setup(actor, done.connection_id)
    newer = ConnectionService(
        database, Vault("k2", {"k1": bytes(32), "k2": bytes(range(32))}), Settings(sandbox_url=sandbox.base_url)
    )
    assert newer.rotate_keys(actor, batch=1) == 2
    assert newer.rotate_keys(actor) == 0
    alone = ConnectionService(database, Vault("k2", {"k2": bytes(range(32))}), Settings(sandbox_url=sandbox.base_url))
    assert alone.webhook_setup(actor, done.connection_id) == setup
    alone.open_connector(done.connection_id).close()


# The shared refresh.


@dataclass
class Accounts:
    """A sign-in that counts and obeys; `rotating` hands out a new refresh token each time, as other vendors do."""

    rotating: bool = False
    dead: set[str] = field(default_factory=set)
    fail: list[Exception] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self, centre: DataCentre, client: Client, refresh_token: SecretStr) -> Grant:
        with self._lock:
            self.calls.append(refresh_token.get_secret_value())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            number = len(self.calls)
        try:
            self.during()
            if refresh_token.get_secret_value() in self.dead:
                raise ConnectionBroken("invalid_grant")
            if self.fail:
                raise self.fail.pop(0)
        finally:
            with self._lock:
                self._now -= 1
        fresh = SecretStr(f"refresh-{number}") if self.rotating else None
        return Grant(SecretStr(f"access-{number}"), fresh, 3600, None)


@dataclass
class Clock:
    """A time that a test moves; sleeping moves it too and lets others run."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    slept_s: float = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


@dataclass
class Shop:
    """One connection in Postgres, and any number of processes' token sources over it."""

    database: Database
    safe: _Safe
    connection_id: int
    accounts: Accounts
    clock: Clock

    def store(self) -> PostgresGrants:
        centre = ZohoSignIn("zoho_books", ()).data_centres(None)["us"]
        return PostgresGrants(self.database, self.safe, centre, self.connection_id)

    def source(self, **more: Any) -> SharedTokens:
        given = {"now": self.clock.now, "clock": self.clock.monotonic, "sleep": self.clock.sleep, **more}
        return SharedTokens(self.store(), self.accounts, **given)  # type: ignore[arg-type]

    def row(self) -> Connection:
        with self.database.transaction() as session:
            return repository.load(session, self.connection_id)

    def expire(self, left_s: float = 0.0) -> None:
        with self.database.transaction() as session:
            row = repository.load(session, self.connection_id)
            row.access_expires_at = self.clock.at + timedelta(seconds=left_s)

    def age_claim(self, seconds: float) -> None:
        with self.database.transaction() as session:
            session.execute(
                text("UPDATE connection SET refresh_started_at = clock_timestamp() - make_interval(secs => :s)"),
                {"s": seconds},
            )


@pytest.fixture
def shop(database: Database, vault: Vault, actor: Actor) -> Shop:
    safe = _Safe(vault)
    with database.transaction() as session:
        org_id = repository.save_org(
            session, workspace_id=actor.workspace, vendor="zoho_books", external_id="1", name="A", data_centre="us"
        )
        row = repository.connection_of_org(session, org_id=org_id, workspace_id=actor.workspace, vendor="zoho_books")
        safe.put(row, "client_secret", SecretStr("client-secret"))
        safe.put(row, "refresh_token", SecretStr("refresh-0"))
        connection_id = row.id
    return Shop(database, safe, connection_id, Accounts(), Clock())


def test_a_token_is_fetched_once_and_shared(shop: Shop) -> None:
    first, second = shop.source(), shop.source()
    assert first.token().value.get_secret_value() == "access-1"
    assert second.token() == first.token()
    assert len(shop.accounts.calls) == 1
    assert shop.row().version == 2


def test_it_is_replaced_ahead_of_its_end_by_all_processes(shop: Shop) -> None:
    first, second = shop.source(), shop.source()
    first.token()
    second.token()
    shop.clock.at += timedelta(seconds=3600 - 299)
    assert second.token().value.get_secret_value() == "access-2"
    assert first.token().value.get_secret_value() == "access-2"


@pytest.mark.rule("P11")
def test_many_refreshers_at_once_make_one_call(shop: Shop) -> None:
    import time

    shop.accounts.during = lambda: time.sleep(0.15)  # long enough for all to meet the claim
    barrier = threading.Barrier(8)

    def one(_: int) -> str:
        source = shop.source(sleep=time.sleep, clock=time.monotonic)
        barrier.wait()
        return source.token().value.get_secret_value()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {"access-1"}
    assert (len(shop.accounts.calls), shop.accounts.most_at_once) == (1, 1)


def test_a_token_that_the_vendor_refused_is_replaced_once_for_all(shop: Shop) -> None:
    first, second = shop.source(), shop.source()
    refused = first.token()
    second.token()
    first.invalidate(refused.version)
    second.invalidate(refused.version)
    assert first.token().value.get_secret_value() == "access-2"
    assert second.token().value.get_secret_value() == "access-2"
    first.invalidate(refused.version)
    assert first.token().value.get_secret_value() == "access-2"
    assert len(shop.accounts.calls) == 2


@pytest.mark.rule("P11")
def test_the_claim_is_committed_before_the_vendor_is_called(shop: Shop) -> None:
    seen: list[bool] = []
    shop.accounts.during = lambda: seen.append(shop.row().refresh_started_at is not None)
    shop.source().token()
    assert seen == [True]
    assert shop.row().refresh_started_at is None


@pytest.mark.rule("P11")
def test_a_crash_before_the_call_leaves_a_claim_that_another_takes_over(shop: Shop) -> None:
    """The claim keeps others out for as long as a call may last, no longer."""
    shop.store().claim(1)
    other = shop.source()
    with pytest.raises(RetryableError):
        other.token()
    assert 10 <= shop.clock.slept_s < 11
    assert shop.accounts.calls == []
    shop.age_claim(46)
    assert other.token().value.get_secret_value() == "access-1"


@pytest.mark.rule("P11")
@pytest.mark.parametrize("rotating", [False, True])
def test_a_crash_after_the_vendor_s_answer_leaves_a_usable_token(shop: Shop, rotating: bool) -> None:
    """The reply was read and lost with the process. Within its grace the vendor still takes the current token."""
    shop.accounts.rotating = rotating
    claimed = shop.store().claim(1)
    assert claimed is not None
    shop.accounts.refresh(claimed.centre, claimed.client, claimed.refresh_token)
    shop.age_claim(46)
    assert shop.source().token().value.get_secret_value() == "access-2"
    assert shop.accounts.calls == ["refresh-0", "refresh-0"]


@pytest.mark.rule("P11")
def test_a_rotated_token_is_saved_with_the_old_one_before_it_is_used(shop: Shop) -> None:
    shop.accounts.rotating = True
    shop.source().token()
    row = shop.row()
    assert shop.safe.opened(row, "refresh_token").get_secret_value() == "refresh-1"
    assert shop.safe.opened(row, "previous_refresh_token").get_secret_value() == "refresh-0"


@pytest.mark.rule("P11")
def test_the_previous_token_is_tried_when_the_current_is_refused(shop: Shop) -> None:
    shop.accounts.rotating = True
    shop.source().token()
    shop.expire()
    shop.accounts.dead = {"refresh-1"}
    assert shop.source().token().value.get_secret_value() == "access-3"
    assert shop.accounts.calls == ["refresh-0", "refresh-1", "refresh-0"]
    row = shop.row()
    assert (row.status, shop.safe.opened(row, "refresh_token").get_secret_value()) == ("live", "refresh-3")


@pytest.mark.rule("P11")
def test_only_a_refusal_of_both_marks_the_connection_broken(shop: Shop) -> None:
    shop.accounts.rotating = True
    shop.source().token()
    shop.expire()
    shop.accounts.dead = {"refresh-0", "refresh-1"}
    with pytest.raises(ConnectionBroken):
        shop.source().token()
    assert shop.row().status == "broken"
    calls = len(shop.accounts.calls)
    with pytest.raises(ConnectionBroken):
        shop.source().token()
    assert len(shop.accounts.calls) == calls


@pytest.mark.parametrize("error", [RetryableError("5xx"), ConfigError("client", code="CLIENT_REFUSED")])
def test_other_trouble_ends_the_claim_and_breaks_nothing(shop: Shop, error: Exception) -> None:
    shop.accounts.fail = [error]
    with pytest.raises(type(error)):
        shop.source().token()
    assert (shop.row().status, shop.row().refresh_started_at) == ("live", None)
    assert shop.source().token().value.get_secret_value() == "access-2"


def test_a_token_that_still_lives_is_used_while_no_other_can_be_had(shop: Shop) -> None:
    source = shop.source()
    source.token()
    shop.clock.at += timedelta(seconds=3600 - 120)
    shop.accounts.fail = [RetryableError("5xx")]
    assert source.token().value.get_secret_value() == "access-1"
    shop.clock.at += timedelta(seconds=80)
    shop.accounts.fail = [RetryableError("5xx")]
    with pytest.raises(RetryableError):
        source.token()


@pytest.mark.rule("P8")
def test_the_vendor_s_allowance_is_known_to_all_processes(shop: Shop) -> None:
    shop.accounts.fail = [RateLimited("too many", retry_after_s=600)]
    with pytest.raises(RateLimited):
        shop.source().token()
    with pytest.raises(RateLimited) as raised:
        shop.source().token()
    assert raised.value.retry_after_s is not None
    assert 590 < raised.value.retry_after_s <= 600
    assert len(shop.accounts.calls) == 1


@pytest.mark.rule("P11")
def test_a_frozen_refresher_does_not_overwrite_the_newer_grant(shop: Shop) -> None:
    frozen = shop.store().claim(1)
    assert frozen is not None
    shop.age_claim(46)
    newer = shop.source().token()
    late = Grant(SecretStr("late"), None, 3600, None)
    with pytest.raises(RetryableError):
        shop.store().save(frozen, late, used=frozen.refresh_token, expires_at=shop.clock.at)
    shop.store().break_(frozen, "late")
    shop.store().release(replace(frozen), not_before_s=600)
    assert shop.source().token() == newer
    assert shop.row().status == "live"


@pytest.mark.rule("P11")
def test_one_claim_at_a_time_and_the_one_that_took_over_has_the_say(shop: Shop) -> None:
    first = shop.store().claim(1)
    assert first is not None
    assert shop.store().claim(1) is None
    shop.age_claim(46)
    second = shop.store().claim(1)
    assert second is not None
    grant = Grant(SecretStr("access"), None, 3600, None)
    with pytest.raises(RetryableError):
        shop.store().save(first, grant, used=first.refresh_token, expires_at=shop.clock.at)
    shop.store().release(first, not_before_s=None)
    assert shop.store().claim(1) is None, "the first one's end does not end the second one's claim"
    assert shop.store().save(second, grant, used=second.refresh_token, expires_at=shop.clock.at).version == 2


@pytest.mark.rule("P11")
def test_a_row_that_another_holds_is_left_alone(shop: Shop) -> None:
    """SKIP LOCKED: nobody waits in the database."""
    with shop.database.transaction() as session:
        session.execute(text("SELECT 1 FROM connection FOR UPDATE"))
        assert shop.store().claim(1) is None
    assert shop.store().claim(1) is not None
