"""API tokens on a real Postgres: made once, kept as a hash, refused when they end; and what strangers cost."""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from shared.db.session import Database, make_engine
from shared.errors import BothwaysError, ConfigError, NotAllowed, NotFound, Throttled, Unauthenticated, Unavailable
from shared.services import api_tokens, known_keys
from shared.services.api_tokens import ApiTokenService
from shared.services.workspaces import host_actor
from shared.sync.access import Actor, ActorKind, Permission, Role, host, permissions_of
from tests.callers import made
from tests.conftest import MakeSettings

pytestmark = pytest.mark.rule("PE-1", "P14")

HERE = "192.0.2.7"


@pytest.fixture
def database(make_settings: MakeSettings, database_url: str) -> Iterator[Database]:
    database = Database(make_engine(make_settings(database_url=database_url), threads=12))
    yield database
    database.close()


@pytest.fixture
def service(database: Database) -> ApiTokenService:
    return ApiTokenService(database)


@pytest.fixture
def admin(database: Database) -> Actor:
    return host_actor(database)


def sql(database: Database, statement: str, **values: object) -> list[tuple[object, ...]]:
    with database.transaction() as session:
        result = session.execute(text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []  # type: ignore[attr-defined]


def refused(service: ApiTokenService, token: str, address: str = HERE) -> str:
    with pytest.raises((Unauthenticated, Throttled)) as told:
        service.authenticate(f"Bearer {token}", address)
    return told.value.code


def made_up(number: int) -> str:
    return f"bw_{number}_{number:043}"


# What it is.


def test_a_token_opens_with_what_it_was_made_for(service: ApiTokenService, admin: Actor) -> None:
    one = service.add(admin, "Ann's script", Role.OPERATOR, read_logs=True)
    actor = service.authenticate(f"Bearer {one.token.get_secret_value()}", HERE)
    assert (actor.workspace, actor.principal, actor.kind) == (admin.workspace, "Ann's script", ActorKind.TOKEN)
    assert actor.token_id == one.view.id
    assert actor.permissions == permissions_of(Role.OPERATOR, read_logs=True)
    plain = service.add(admin, "Bob", Role.OPERATOR)
    actor = service.authenticate(f"bearer {plain.token.get_secret_value()} ", HERE)
    assert actor.permissions == permissions_of(Role.OPERATOR, read_logs=False)


def test_the_secret_is_long_random_and_kept_as_a_hash(
    service: ApiTokenService, admin: Actor, database: Database
) -> None:
    tokens = [service.add(admin, "x", Role.VIEWER) for _ in range(20)]
    secrets = [one.token.get_secret_value().split("_", 2)[2] for one in tokens]
    assert len(set(secrets)) == 20
    assert all(one.isalnum() and len(one) * math.log2(62) >= 256 for one in secrets)
    assert [one.token.get_secret_value().split("_")[:2] for one in tokens] == [["bw", str(t.view.id)] for t in tokens]
    everything = str(sql(database, "SELECT t::text FROM api_token t")) + str(
        sql(database, "SELECT a::text FROM audit_log a")
    )
    shown = repr(tokens) + str(tokens) + repr(service.list(admin))
    for secret in secrets:
        assert secret not in everything
        assert secret not in shown
    assert "secret_hash" not in shown


def test_it_lasts_ninety_days_unless_told(service: ApiTokenService, admin: Actor) -> None:
    def days(**more: Any) -> timedelta | None:
        view = service.add(admin, "x", Role.VIEWER, **more).view
        return None if view.expires_at is None else view.expires_at - view.created_at

    assert days() == timedelta(days=90)
    assert days(expires_days=7) == timedelta(days=7)
    assert days(expires_days=None) is None
    for bad in (0, -1, 3651):
        with pytest.raises(ConfigError, match="1 to 3650 days"):
            days(expires_days=bad)


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x1b[2J", "a\0b", "\ud800", "cli"])
def test_a_name_that_would_mislead_is_refused(service: ApiTokenService, admin: Actor, name: str) -> None:
    with pytest.raises(ConfigError) as told:
        service.add(admin, name, Role.VIEWER)
    assert told.value.code == "BAD_NAME"


# Its end.


def test_what_is_no_token_is_refused(service: ApiTokenService, admin: Actor) -> None:
    token = service.add(admin, "x", Role.VIEWER).token.get_secret_value()
    other = service.add(admin, "y", Role.VIEWER).token.get_secret_value()
    for header in (None, "", "Bearer", "Bearer ", f"Basic {token}", token):
        with pytest.raises(Unauthenticated) as told:
            service.authenticate(header, HERE)
        assert told.value.code == "NO_TOKEN"
    head, secret = other.rsplit("_", 1)
    swapped = f"{token.rsplit('_', 1)[0]}_{secret}"
    upper = f"{head}_{secret.swapcase()}"
    for bad in (
        "x",
        token[:-1],
        token + "a",
        token.replace("bw_", "bw-"),
        swapped,
        upper,
        f"bw_0_{secret}",
        made_up(9),
    ):
        assert refused(service, bad) == "BAD_TOKEN", bad


def test_an_ended_token_is_refused_in_words_of_its_own(
    service: ApiTokenService, admin: Actor, database: Database
) -> None:
    late, gone = service.add(admin, "late", Role.VIEWER), service.add(admin, "gone", Role.VIEWER)
    for one in (late, gone):
        service.authenticate(f"Bearer {one.token.get_secret_value()}", HERE)
    sql(database, "UPDATE api_token SET expires_at = clock_timestamp() WHERE id = :id", id=late.view.id)
    ended = service.revoke(admin, gone.view.id)
    assert ended.revoked_at is not None
    assert service.revoke(admin, gone.view.id) == ended, "twice is as once"
    for _ in range(2):
        assert refused(service, late.token.get_secret_value()) == "TOKEN_EXPIRED"
        assert refused(service, gone.token.get_secret_value()) == "TOKEN_REVOKED"


def test_a_revoked_token_is_refused_at_once_by_every_process(
    service: ApiTokenService, admin: Actor, database: Database
) -> None:
    other = ApiTokenService(database)
    one = service.add(admin, "x", Role.VIEWER)
    for door in (service, other):
        door.authenticate(f"Bearer {one.token.get_secret_value()}", HERE)
    service.revoke(admin, one.view.id)
    assert refused(other, one.token.get_secret_value()) == "TOKEN_REVOKED"


def test_a_hash_in_the_row_is_compared_in_constant_time(
    service: ApiTokenService, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = service.add(admin, "x", Role.VIEWER).token.get_secret_value()
    compare, seen = hmac.compare_digest, []

    def recorded(one: str, other: str) -> bool:
        seen.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    service.authenticate(f"Bearer {token}", HERE)
    assert len(seen) == 1
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
    assert refused(service, token) == "BAD_TOKEN"


def test_its_last_use_is_noted_once_a_minute(service: ApiTokenService, admin: Actor, database: Database) -> None:
    token = service.add(admin, "x", Role.VIEWER).token.get_secret_value()

    def used() -> object:
        service.authenticate(f"Bearer {token}", HERE)
        return sql(database, "SELECT last_used_at FROM api_token")[0][0]

    first = used()
    assert first is not None
    assert used() == first
    sql(database, "UPDATE api_token SET last_used_at = last_used_at - interval '61 s'")
    again = used()
    assert again is not None
    assert again > first  # type: ignore[operator]


def test_noting_it_waits_for_nobody(service: ApiTokenService, admin: Actor, database: Database) -> None:
    token = service.add(admin, "x", Role.VIEWER).token.get_secret_value()
    with database.transaction() as session:
        session.execute(text("SELECT 1 FROM api_token FOR UPDATE"))
        service.authenticate(f"Bearer {token}", HERE)
    assert sql(database, "SELECT last_used_at FROM api_token") == [(None,)]


# Who may make and end them.


def test_nobody_gives_away_what_they_do_not_have(service: ApiTokenService, database: Database) -> None:
    def holder(role: Role, logs: bool) -> Actor:
        return service.authenticate(f"Bearer {made(database, role, logs=logs).token.get_secret_value()}", HERE)

    admin = holder(Role.ADMIN, logs=False)
    for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
        service.add(admin, "x", role)
    for role, logs, missing in ((Role.SUPPORT, False, "support_enable"), (Role.VIEWER, True, "read_logs")):
        with pytest.raises(NotAllowed) as told:
            service.add(admin, "x", role, read_logs=logs)
        assert told.value.permission == missing
    service.add(holder(Role.ADMIN, logs=True), "x", Role.VIEWER, read_logs=True)


def test_tokens_of_another_workspace_are_not_there(service: ApiTokenService, admin: Actor, database: Database) -> None:
    ((number,),) = sql(database, "INSERT INTO workspace (name) VALUES ('other') RETURNING id")
    other = host(int(str(number)))
    one, theirs = service.add(admin, "x", Role.ADMIN), service.add(other, "y", Role.ADMIN)
    assert [view.id for view in service.list(admin)] == [one.view.id]
    assert [view.id for view in service.list(other)] == [theirs.view.id]
    for token_id in (theirs.view.id, 2**62):
        with pytest.raises(NotFound, match=f"There is no token {token_id}"):
            service.revoke(admin, token_id)
    actor = service.authenticate(f"Bearer {theirs.token.get_secret_value()}", HERE)
    assert actor.workspace == other.workspace


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.SUPPORT])
def test_only_admins_see_make_and_end_them(service: ApiTokenService, admin: Actor, role: Role) -> None:
    one = service.add(admin, "x", Role.VIEWER)
    actor = Actor(admin.workspace, "x", ActorKind.TOKEN, permissions_of(role, read_logs=True))
    for act in (
        lambda: service.list(actor),
        lambda: service.add(actor, "y", Role.VIEWER),
        lambda: service.revoke(actor, one.view.id),
    ):
        with pytest.raises(NotAllowed) as told:
            act()
        assert told.value.permission == Permission.MANAGE_TOKENS


# Strangers.


def looks(database: Database) -> list[str]:
    """Statements that Postgres is given from now on."""
    seen: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    return seen


@pytest.mark.rule("P13")
def test_strangers_at_one_address_are_throttled_and_lock_nobody_out(
    service: ApiTokenService, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "EVERY_S", 0.0)
    known = service.add(admin, "known", Role.VIEWER).token.get_secret_value()
    service.authenticate(f"Bearer {known}", HERE)
    codes = [refused(service, made_up(n)) for n in range(1, 40)]
    assert codes[:19] == ["BAD_TOKEN"] * 19
    assert codes[-1] == "TOO_MANY_TRIES"
    service.authenticate(f"Bearer {known}", HERE)
    fresh = service.add(admin, "fresh", Role.VIEWER).token.get_secret_value()
    ends, entered = time.monotonic() + 10, False
    while not entered and time.monotonic() < ends:
        refused(service, made_up(50))  # they never stop
        try:
            service.authenticate(f"Bearer {fresh}", HERE)
            entered = True
        except Throttled:
            time.sleep(0.05)
    assert entered, "a good token that was made meanwhile"
    assert refused(service, made_up(51), "198.51.100.1") == "BAD_TOKEN", "another address"


@pytest.mark.rule("P13")
def test_strangers_cost_so_many_looks_a_second_however_many_they_are(
    service: ApiTokenService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "EVERY_S", 0.3)
    refused(service, made_up(1))
    seen = looks(database)
    began = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda n: refused(service, made_up(n), f"198.51.100.{n}"), range(1, 61)))
    took = time.monotonic() - began
    assert set(codes) == {"BAD_TOKEN"}
    asked = [one for one in seen if "FROM api_token" in one]
    assert 1 <= len(asked) <= took / 0.3 + 1, (len(asked), took)


@pytest.mark.rule("P13")
def test_what_has_no_form_or_has_ended_costs_postgres_nothing(
    service: ApiTokenService, admin: Actor, database: Database
) -> None:
    one = service.add(admin, "x", Role.VIEWER)
    service.revoke(admin, one.view.id)
    refused(service, one.token.get_secret_value())
    seen = looks(database)
    for bad in ("x", "bw_1_short", "bw_" + "9" * 5000, one.token.get_secret_value()):
        refused(service, bad)
    assert seen == []


@pytest.mark.rule("P13")
def test_while_postgres_hangs_strangers_take_few_threads(
    service: ApiTokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "PATIENCE_S", 0.2)
    hanging, go_on = threading.Event(), threading.Event()

    def hang() -> dict[str, int]:
        hanging.set()
        go_on.wait(10)
        raise Unavailable("away")

    service._known._read = hang
    told: list[str] = []

    def come(number: int) -> None:
        with pytest.raises(BothwaysError) as refusal:
            service.authenticate(f"Bearer {made_up(number)}", f"198.51.100.{number}")
        told.append(refusal.value.code)

    threads = [threading.Thread(target=come, args=(n,)) for n in range(1, 31)]
    threads[0].start()
    assert hanging.wait(5)
    for thread in threads[1:]:
        thread.start()
    for thread in threads[1:]:
        thread.join(5)
        assert not thread.is_alive(), "who comes later does not wait for the one that hangs"
    go_on.set()
    threads[0].join(5)
    assert set(told) == {"UNAVAILABLE", "TOO_MANY_TRIES"}


def test_two_doors_and_a_token_made_a_moment_ago(service: ApiTokenService, admin: Actor, database: Database) -> None:
    """It is found at its first use, though the other door has just looked."""
    other = ApiTokenService(database)
    for number in range(5):
        refused(other, made_up(number + 1))
        token = service.add(admin, "x", Role.VIEWER).token.get_secret_value()
        assert other.authenticate(f"Bearer {token}", HERE).principal == "x"


def test_the_burst_and_rate_are_what_the_page_says() -> None:
    assert (api_tokens.BAD_PER_S, api_tokens.BAD_BURST, known_keys.EVERY_S) == (1.0, 20.0, 0.2)
