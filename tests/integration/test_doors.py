"""The API's doors by real HTTP: webhooks that are kept or refused, routes that answer in sentences."""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from api.app import create_app
from deploy.local.valkey import ValkeyServer
from deploy.sandbox.__main__ import listening_socket
from shared.engine.classes import person_lane
from shared.settings import Settings
from shared.sync.events import Hint, Origin, decode
from tests.callers import Carrying, token_at
from tests.integration.crew import await_that
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("TR-1", "P1")

MILLION = 1_000_000


@contextmanager
def serving(settings: Settings, token: str | None = None) -> Iterator[httpx.Client]:
    """A client of the API on a port of its own, with an admin's token unless one is given ("": none)."""
    assert settings.database_url is not None
    carried = token_at(settings.database_url.get_secret_value()) if token is None else token
    listener = listening_socket("127.0.0.1", 0)
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    await_that(lambda: server.started, "the API answers")
    try:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        auth = Carrying(base, carried) if carried else None
        with httpx.Client(base_url=base, auth=auth, timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


@dataclass
class Door:
    """The API over the world's Postgres and Redis, and what the vendors need to know to deliver."""

    world: World
    http: httpx.Client

    def path(self, vendor: str) -> str:
        return self.world.office.connections.webhook_setup(self.world.actor, self.world.orgs[vendor].connection_id).path

    def secret(self, vendor: str) -> str:
        setup = self.world.office.connections.webhook_setup(self.world.actor, self.world.orgs[vendor].connection_id)
        return setup.secret.get_secret_value()

    def signed(self, vendor: str, body: bytes, secret: str | None = None) -> dict[str, str]:
        key = self.secret(vendor) if secret is None else secret
        if vendor == FSM:
            return {"X-Bothways-Secret": key}
        return {"X-Zoho-Webhook-Signature": hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}

    def deliver(self, vendor: str, body: bytes, **more: Any) -> httpx.Response:
        headers = self.signed(vendor, body, more.pop("secret", None))
        return self.http.post(more.pop("path", None) or self.path(vendor), content=body, headers=headers, **more)

    def entries(self) -> list[Any]:
        redis = self.world.office.bus.redis
        return [
            decode(json.loads(body["e"])) for key in sorted(redis.smembers("bw:lanes")) for _, body in redis.xrange(key)
        ]


BODIES = {
    FSM: json.dumps({"module": "Companies", "event": "edit", "id": "1011000000195001"}).encode(),
    BOOKS: json.dumps({"contact": {"contact_id": "460000000026001"}}).encode(),
}


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """Nobody works: what is accepted stays on its lane."""
    world.office.crew.deaf = True
    with serving(world.office.settings) as client:
        yield Door(world, client)


# Webhooks.


def test_a_good_delivery_is_on_its_lane_when_it_is_answered(door: Door) -> None:
    for vendor, side in ((FSM, "left"), (BOOKS, "right")):
        before = len(door.entries())
        answer = door.deliver(vendor, BODIES[vendor])
        assert (answer.status_code, answer.content) == (200, b"")
        assert len(door.entries()) == before + 1
        event = next(one for one in door.entries() if one.side == side)
        assert (event.pair, event.hint, event.origin) == ("companies", Hint.UPSERT, Origin.WEBHOOK)
        assert event.record_id in BODIES[vendor].decode()
        assert event.integration_id == door.world.integration


@pytest.mark.rule("P14")
def test_a_forged_delivery_is_refused_and_learns_nothing(door: Door) -> None:
    for vendor, other in ((FSM, BOOKS), (BOOKS, FSM)):
        body, path = BODIES[vendor], door.path(vendor)
        token = path.rsplit("/", 1)[1]
        tries = [
            door.deliver(vendor, body, secret="wrong"),
            door.deliver(vendor, body, secret=""),
            door.http.post(path, content=body),
            door.deliver(vendor, body, path=f"/webhooks/{vendor}/made-up"),
            door.deliver(vendor, body, path=f"/webhooks/nobody/{token}"),
            door.deliver(vendor, body, path=f"/webhooks/{other}/{token}"),
            door.deliver(vendor, b"not json", secret="wrong"),
        ]
        if vendor == BOOKS:  # FSM signs nothing
            tries.append(door.http.post(path, content=body + b" ", headers=door.signed(vendor, body)))
        assert {(one.status_code, one.content) for one in tries} == {(401, b"")}
    assert door.entries() == []


def test_what_cannot_be_read_is_a_bad_request(door: Door) -> None:
    for body in (b"not json", b"", b"\xff\xfe", b'"text"', b"[" * 50_000, b"null", b"7"):
        for vendor in (FSM, BOOKS):
            answer = door.deliver(vendor, body)
            assert answer.status_code == 400, (vendor, body[:10], answer.text)
            assert answer.json()["message"]
            assert "Traceback" not in answer.text
    assert door.entries() == []


def test_more_than_a_million_bytes_are_refused_with_and_without_a_length(door: Door) -> None:
    big = b'{"x": "' + b"a" * MILLION + b'"}'
    told = door.deliver(FSM, big)
    assert told.status_code == 413

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(big), 50_000):
            yield big[start : start + 50_000]

    try:
        chunked = door.http.post(door.path(FSM), content=chunks(), headers=door.signed(FSM, big))
        assert chunked.status_code == 413
    except (httpx.WriteError, httpx.RemoteProtocolError):  # refused while it was still being sent
        pass
    assert door.entries() == []
    just = BODIES[FSM][:-1] + b', "x": "' + b"a" * 100_000 + b'"}'
    assert door.deliver(FSM, just).status_code == 200


def test_a_delivery_that_comes_twice_is_two_events_of_one_record(door: Door) -> None:
    world = door.world
    mine = world.company("Zylker")
    body = json.dumps({"module": "Companies", "event": "edit", "id": mine}).encode()
    for _ in range(3):
        assert door.deliver(FSM, body).status_code == 200
    assert [event.record_id for event in door.entries()] == [mine] * 3
    world.office.crew.deaf = False
    world.fetch()
    world.quiet()
    assert len(world.writes()) == 1
    world.check_agree()


def test_modules_that_nobody_syncs_are_accepted_and_dropped(door: Door) -> None:
    body = json.dumps({"module": "Work_Orders", "event": "edit", "id": "1"}).encode()
    assert door.deliver(FSM, body).status_code == 200
    assert door.entries() == []


def test_only_a_post_is_a_delivery(door: Door) -> None:
    assert door.http.get(door.path(FSM)).status_code == 405


@pytest.mark.rule("P13")
def test_a_full_lane_is_told_to_come_later(world: World) -> None:
    world.office.crew.deaf = True
    with serving(world.office.settings.model_copy(update={"webhook_bound": 2})) as client:
        door = Door(world, client)
        answers = [door.deliver(FSM, BODIES[FSM]) for _ in range(5)]
    assert [one.status_code for one in answers].count(503) >= 1
    late = answers[-1]
    assert (late.status_code, late.headers["retry-after"]) == (503, "60")
    assert len(door.entries()) == [one.status_code for one in answers].count(200)


@pytest.fixture
def own_redis() -> Iterator[ValkeyServer]:
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as name:
        server = ValkeyServer.start(Path(name), durable=False)
        yield server
        server.destroy()


def _freeze(server: ValkeyServer) -> None:
    server.freeze()


@pytest.mark.rule("P1", "P7")
@pytest.mark.parametrize("trouble", [ValkeyServer.kill, _freeze], ids=["away", "frozen"])
def test_without_redis_nothing_is_promised(
    world: World, own_redis: ValkeyServer, trouble: Callable[[ValkeyServer], None]
) -> None:
    """503 with Retry-After, within the five seconds that senders wait: the client's timeout holds it to that."""
    settings = world.office.settings.model_copy(update={"redis_url": SecretStr(own_redis.url)})
    with serving(settings) as client:
        door = Door(world, client)
        assert door.deliver(FSM, BODIES[FSM]).status_code == 200
        trouble(own_redis)
        answer = door.deliver(FSM, BODIES[FSM], timeout=5)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["code"] == "UNAVAILABLE"
        if trouble is not _freeze:
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["redis"], ready.json()["postgres"]) == (503, "down", "ok")
        own_redis.thaw() if trouble is _freeze else own_redis.restart()
        assert door.deliver(FSM, BODIES[FSM]).status_code == 200
        assert client.get("/readyz").status_code == 200


@pytest.mark.rule("P1")
def test_without_postgres_a_known_sender_is_served_and_an_unknown_told_to_come_later(world: World) -> None:
    office = world.office
    path = office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id).path
    headers = Door(world, office.connections).signed(FSM, BODIES[FSM])  # type: ignore[arg-type]
    assert office.settings.database_url is not None
    url = office.settings.database_url.get_secret_value()
    name = url.rsplit("/", 1)[1]
    with serving(office.settings) as client:
        assert client.post(path, content=BODIES[FSM], headers=headers).status_code == 200
        with _locked_out(office, name):
            assert client.post(path, content=BODIES[FSM], headers=headers).status_code == 200, "it is remembered"

            def stranger() -> httpx.Response:
                return client.post("/webhooks/zoho_fsm/other", content=BODIES[FSM], headers=headers)

            # All paths were looked up a moment ago; once that is due again, nobody can say whose this one is.
            await_that(lambda: stranger().status_code == 503, "an unknown one is told to come later")
            assert int(stranger().headers["retry-after"]) > 0
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["postgres"]) == (503, "down")
            for method, route in (("GET", "/api/v1/integrations"), ("POST", "/api/v1/integrations/1/sync")):
                answer = client.request(method, route)
                assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
            assert client.get("/healthz").status_code == 200
        await_that(lambda: client.get("/readyz").status_code == 200, "it is back")
        assert client.post("/webhooks/zoho_fsm/other", content=BODIES[FSM], headers=headers).status_code == 401


@contextmanager
def _locked_out(office: Any, name: str) -> Iterator[None]:
    """The database lets nobody in, and whoever is in is thrown out."""
    import psycopg

    admin = office.settings.database_url.get_secret_value().replace("+psycopg", "").rsplit("/", 1)[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


# Routes.


@pytest.mark.rule("PE-3")
def test_what_is_not_there_is_not_found_in_a_sentence(door: Door) -> None:
    for method, path, code in (
        ("GET", "/api/v1/integrations/99", "UNKNOWN_INTEGRATION"),
        ("POST", "/api/v1/integrations/99/sync", "UNKNOWN_INTEGRATION"),
        ("POST", "/api/v1/integrations/99/fetch", "UNKNOWN_INTEGRATION"),
        ("GET", "/api/v1/runs/99", "UNKNOWN_RUN"),
        ("GET", "/api/v1/runs/99/outcomes", "UNKNOWN_RUN"),
        ("GET", "/api/v1/runs/99/failures.csv", "UNKNOWN_RUN"),
    ):
        answer = door.http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, code), path
        assert answer.json()["message"].startswith("There is no ")


@pytest.mark.rule("PE-3", "LK-1", "SU-4")
def test_sync_now_is_refused_before_fetch_and_while_one_is_on(door: Door) -> None:
    path = f"/api/v1/integrations/{door.world.integration}"
    before = door.http.post(f"{path}/sync")
    assert (before.status_code, before.json()["code"]) == (409, "FETCH_FIRST")
    first = door.http.post(f"{path}/fetch")
    assert first.status_code == 202
    again = door.http.post(f"{path}/fetch")
    assert (again.status_code, again.json()["code"]) == (409, "ORG_HELD")
    assert f"Sync {first.json()['sync_id']} " in again.json()["message"]


@pytest.mark.rule("PE-3", "LG-1", "LG-2", "LG-3")
def test_a_sync_can_be_followed_and_its_failures_downloaded(door: Door) -> None:
    world = door.world
    world.office.crew.deaf = False
    world.company("=Acme()")
    world.company("=ACME()")
    path = f"/api/v1/integrations/{world.integration}"
    sync_ids = []
    for step in ("fetch", "sync"):
        sync_ids.append(int(door.http.post(f"{path}/{step}").json()["sync_id"]))
        world.ended(sync_ids[-1])
    view = door.http.get(f"/api/v1/runs/{sync_ids[1]}").json()
    assert (view["state"], view["kind"]) == ("completed_with_failures", "sync")
    listed = door.http.get("/api/v1/runs", params={"integration_id": world.integration}).json()
    assert [one["id"] for one in listed] == sync_ids[::-1]
    rows = door.http.get(f"/api/v1/runs/{sync_ids[1]}/outcomes", params={"outcome": "failed"}).json()
    assert {row["reason"] for row in rows} == {"AMBIGUOUS_MATCH"}
    page = door.http.get(f"/api/v1/runs/{sync_ids[1]}/outcomes", params={"after_id": rows[0]["id"], "limit": 1}).json()
    assert [row["id"] for row in page] == [rows[1]["id"]]
    download = door.http.get(f"/api/v1/runs/{sync_ids[1]}/failures.csv")
    assert download.headers["content-type"].startswith("text/csv")
    assert "FailureLogs" in download.headers["content-disposition"]
    assert len(download.text.splitlines()) == 3


def one_record(door: Door, record_id: str, side: str = "left", pair: str = "companies") -> str:
    return f"/api/v1/integrations/{door.world.integration}/records/{pair}/{side}/{record_id}/sync"


@pytest.mark.rule("TR-6", "OP-5")
def test_a_person_s_record_goes_on_the_lane_of_people_and_its_outcome_is_told(door: Door) -> None:
    world = door.world
    record = world.company("Acme")
    before = door.http.post(one_record(door, record))
    assert (before.status_code, before.json()["code"]) == (409, "FETCH_FIRST")
    world.office.crew.deaf = False
    world.fetch()
    world.office.crew.deaf = True
    kept = door.http.post(one_record(door, record))
    assert kept.status_code == 202
    (event,) = door.entries()
    assert (event.event_id, event.record_id) == (kept.json()["event_id"], record)
    assert (event.origin, event.hint) == (Origin.MANUAL, Hint.UPSERT)
    assert world.office.bus.length([person_lane(world.integration, world.office.settings.shards)]) == 1
    told = f"{one_record(door, record)}/{event.event_id}"
    assert door.http.get(told).json()["outcome"] is None
    world.office.crew.deaf = False
    world.office.crew.until(lambda: door.http.get(told).json()["outcome"], "it ends")
    ended = door.http.get(told).json()
    assert (ended["outcome"], ended["twin_id"]) == ("created", world.twin(record))
    assert door.http.get(f"/api/v1/runs/{ended['sync_id']}").status_code == 200
    other = f"/api/v1/integrations/99/records/companies/left/{record}/sync/{event.event_id}"
    assert door.http.get(other).status_code == 404, "nobody's but its integration's"


@pytest.mark.rule("TR-6")
def test_a_record_that_cannot_be_asked_for_is_refused_in_a_sentence(door: Door) -> None:
    for path, status in (
        ("/api/v1/integrations/99/records/companies/left/1/sync", 404),
        (one_record(door, "1", pair="nothing"), 404),
        (one_record(door, "1", side="middle"), 422),
        (one_record(door, "x" * 201), 422),
        (one_record(door, "a%00b"), 422),
    ):
        answer = door.http.post(path)
        assert answer.status_code == status, path
    assert "it has companies, items" in door.http.post(one_record(door, "1", pair="nothing")).json()["message"]
    assert door.entries() == []


@pytest.mark.rule("PE-3")
def test_bad_questions_are_refused_in_words_and_without_a_traceback(door: Door) -> None:
    for method, path, body in (
        ("GET", "/api/v1/runs/none", None),
        ("GET", "/api/v1/runs?limit=0", None),
        ("GET", f"/api/v1/runs?integration_id={2**70}", None),
        ("GET", f"/api/v1/runs/1/outcomes?after_id={2**70}", None),
        ("GET", "/api/v1/runs/1/outcomes?outcome=nonsense", None),
        ("POST", "/api/v1/integrations", {"kind": "fsm_books"}),
        ("POST", "/api/v1/integrations", {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 2, "more": 1}),
    ):
        answer = door.http.request(method, path, json=body)
        assert answer.status_code == 422, path
        assert "Traceback" not in answer.text
    for body in (
        {"kind": "nothing", "left_org_id": 1, "right_org_id": 2},
        {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 99},
        {"kind": "fsm_books", "left_org_id": 2**70, "right_org_id": 1},
    ):
        answer = door.http.post("/api/v1/integrations", json=body)
        assert answer.status_code in (404, 422), answer.text
        assert answer.json().get("message") or answer.json().get("detail")
    assert door.http.get(f"/api/v1/runs/{2**70}").status_code in (404, 422)
    twice = {"kind": "fsm_books", "left_org_id": 1, "right_org_id": 2}
    answer = door.http.post("/api/v1/integrations", json=twice)
    assert answer.status_code == 409
    assert answer.json()["message"]


@pytest.mark.rule("PE-3")
def test_the_api_describes_itself(door: Door) -> None:
    paths = door.http.get("/openapi.json").json()["paths"]
    assert {
        "/healthz",
        "/readyz",
        "/api/v1/integrations",
        "/api/v1/integrations/{integration_id}/sync",
        "/api/v1/integrations/{integration_id}/fetch",
        "/api/v1/integrations/{integration_id}/records/{pair}/{side}/{record_id}/sync",
        "/api/v1/runs",
        "/api/v1/runs/{sync_id}/outcomes",
        "/api/v1/runs/{sync_id}/failures.csv",
    } <= set(paths)
    assert door.http.get("/docs").status_code == 200


def test_a_mistake_of_ours_is_a_sentence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("with a secret in it")

    monkeypatch.setattr("shared.services.runs.RunService.recent", broken)
    with serving(replace(world).office.settings) as client:
        answer = client.get("/api/v1/runs")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "secret" not in answer.text
