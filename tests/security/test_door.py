"""The webhook door against whoever finds its address, by real HTTP."""

from __future__ import annotations

import asyncio
import base64
import hmac
import itertools
import json
import math
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared import bus as bus_module
from shared.connectors import wire
from shared.connectors.base import WebhookRequest
from shared.errors import WebhookRefused
from shared.services import events
from shared.services.connections import ConnectionService, WebhookTarget
from tests.integration.test_doors import BODIES, Door, serving
from tests.integration.world import BOOKS, FSM, World

pytestmark = pytest.mark.rule("P14", "TR-1")

every_vendor = pytest.mark.parametrize("vendor", [FSM, BOOKS])


def ids_body(vendor: str, count: int) -> bytes:
    if vendor == FSM:
        return json.dumps([{"module": "Companies", "event": "edit", "id": str(n + 1)} for n in range(count)]).encode()
    return json.dumps({"contacts": [{"contact_id": str(n + 1)} for n in range(count)]}).encode()


def nested_body(vendor: str, depth: int) -> bytes:
    """A good body whose last field is a list in a list …; `depth` levels in all."""
    inner: Any = []
    for _ in range(depth - 2):
        inner = [inner]
    return json.dumps({**json.loads(BODIES[vendor]), "more": inner}).encode()


@every_vendor
def test_nothing_is_parsed_before_the_signature_is_known(
    door: Door, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    loads = wire.loads

    def recorded(body: bytes) -> object:
        parsed.append(body)
        return loads(body)

    monkeypatch.setattr(wire, "loads", recorded)
    assert door.deliver(vendor, BODIES[vendor], secret="wrong").status_code == 401
    assert parsed == []
    assert door.deliver(vendor, BODIES[vendor]).status_code == 200
    assert parsed == [BODIES[vendor]]


@every_vendor
def test_every_key_is_compared_in_constant_time_and_nothing_else_decides(
    door: Door, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both keys, also where the first fits: the time must not tell which one did."""
    door.world.office.connections.rotate_webhook_secret(door.world.actor, door.world.orgs[vendor].connection_id)
    compare, seen = hmac.compare_digest, []

    def recorded(one: Any, other: Any) -> bool:
        seen.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    assert door.deliver(vendor, BODIES[vendor]).status_code == 200
    assert len(seen) == 3, "the first with the key in force is compared once more, by that key alone"
    assert door.deliver(vendor, BODIES[vendor]).status_code == 200
    assert len(seen) == 5, "with both, and no more after that"
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
    assert door.deliver(vendor, BODIES[vendor]).status_code == 401


@every_vendor
def test_the_current_and_the_previous_key_are_good_and_older_ones_are_not(
    door: Door, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "CACHE_S", 0.0)
    rotate = door.world.office.connections.rotate_webhook_secret
    keys = [door.secret(vendor)]
    for _ in range(2):
        keys.append(rotate(door.world.actor, door.world.orgs[vendor].connection_id).secret.get_secret_value())
    answers = [door.deliver(vendor, BODIES[vendor], secret=key).status_code for key in keys]
    assert answers == [401, 200, 200]


@every_vendor
def test_a_stranger_gets_an_empty_401_whatever_is_sent(door: Door, vendor: str) -> None:
    """The same one for a path that is known and for one that is not; no answer sets a cookie or names the server."""
    known, unknown = door.path(vendor), f"/webhooks/{vendor}/{'x' * 43}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, body in (
        ({}, b""),
        ({}, b"\xff"),
        (form, b"\xff=1"),
        (form, b"a=1&" * 2000),
        (form, b"JSONString=%7B"),
        ({"X-Zoho-Webhook-Signature": "é"}, b"{}"),
        ({"X-Bothways-Secret": "é"}, b"{}"),
        ({"X-Zoho-Webhook-Signature": "0" * 64, "X-Bothways-Secret": "0" * 48}, BODIES[vendor]),
    ):
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        told = [door.http.post(path, content=body, headers=raw) for path in (known, unknown)]
        assert {(one.status_code, one.content) for one in told} == {(401, b"")}, (headers, body[:20])
        assert {frozenset(one.headers) for one in told} == {frozenset({"date", "content-length"})}
    good = door.deliver(vendor, BODIES[vendor])
    assert (good.status_code, good.content, set(good.headers)) == (200, b"", {"date", "content-length"})
    assert len(door.entries()) == 1


def test_a_body_without_an_end_is_refused_at_a_million_bytes(door: Door) -> None:
    """Chunked, no length given, and never finished: the answer must come while the body still streams."""
    base = door.http.base_url
    with socket.create_connection((base.host, base.port or 0), timeout=20) as line:
        head = f"POST {door.path(FSM)} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        line.sendall(head.encode())
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        for _ in range(16):  # 1,048,576 bytes
            line.sendall(chunk)
        assert line.recv(65_536).startswith(b"HTTP/1.1 413 ")
    assert door.entries() == []


@every_vendor
def test_depth_and_lists_of_ids_are_bounded(door: Door, vendor: str) -> None:
    assert door.deliver(vendor, nested_body(vendor, 12)).status_code == 200
    assert door.deliver(vendor, nested_body(vendor, 14)).status_code == 400
    before = len(door.entries())
    assert door.deliver(vendor, ids_body(vendor, 1001)).status_code == 400
    assert len(door.entries()) == before
    assert door.deliver(vendor, ids_body(vendor, 1000)).status_code == 200
    assert len(door.entries()) == before + 1000


@pytest.mark.rule("P6")
@every_vendor
def test_a_replayed_delivery_costs_reads_and_no_write(door: Door, vendor: str) -> None:
    """Neither vendor signs a time: a delivery can be sent again by whoever saw it. Repeats fold to one event."""
    world = door.world
    world.office.crew.deaf = False
    company = world.company("Zylker")
    world.fetch()
    world.sync()
    world.quiet()
    twin = world.twin(company)
    assert twin is not None
    body = (
        json.dumps({"module": "Companies", "event": "edit", "id": company})
        if vendor == FSM
        else json.dumps({"contact": {"contact_id": twin}})
    ).encode()
    world.office.crew.deaf = True
    world.forget_calls()
    for _ in range(20):
        assert door.deliver(vendor, body).status_code == 200
    world.office.crew.deaf = False
    world.quiet()
    assert world.writes() == []
    assert 1 <= len(world.calls(write=False)) <= 5, "those that wait together are read for once, some eight at a time"
    world.check_agree()


@pytest.mark.rule("P13")
def test_webhooks_that_tell_of_nothing_are_put_off_longer_and_longer(world: World) -> None:
    """Of one record: a few within a minute are free, so that our own echoes are; then at most 30 s."""
    bus, waits = world.office.bus, []
    for _ in range(bus_module.FREE_READS + 8):
        bus.note_for_nothing(["replayed"])
        waits.append(bus.quiet_for(["replayed", "other"]))
    mine = [one[0] for one in waits]
    assert mine[: bus_module.FREE_READS] == [0] * bus_module.FREE_READS
    late = mine[bus_module.FREE_READS :]
    assert all(0 < before < after for before, after in itertools.pairwise(late[:5]))
    assert max(late) <= 30
    assert {one[1] for one in waits} == {0}


@every_vendor
def test_path_token_and_shared_token_are_random_and_long(world: World, vendor: str) -> None:
    """FSM signs nothing: its header is all there is beside the path. 32 bytes are 256 bits."""
    connection = world.orgs[vendor].connection_id
    secrets = {
        world.office.connections.rotate_webhook_secret(world.actor, connection).secret.get_secret_value()
        for _ in range(50)
    }
    assert len(secrets) == 50
    assert all(len(one) * math.log2(62) >= 256 and one.isalnum() for one in secrets)
    token = world.office.connections.webhook_setup(world.actor, connection).path.rpartition("/")[2]
    assert len(base64.urlsafe_b64decode(token + "=")) == 32


@pytest.mark.rule("P13")
def test_made_up_paths_cost_neither_memory_nor_postgres(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known path is looked up once in a while; of strangers together no more is asked than which paths there are."""
    looked: list[str] = []
    look_up, list_all = ConnectionService.webhook_target, ConnectionService.webhook_paths

    def counted(self: ConnectionService, path_token: str) -> WebhookTarget | None:
        looked.append(path_token)
        return look_up(self, path_token)

    def listed(self: ConnectionService) -> frozenset[str]:
        looked.append("all")
        return list_all(self)

    monkeypatch.setattr(ConnectionService, "webhook_target", counted)
    monkeypatch.setattr(ConnectionService, "webhook_paths", listed)
    monkeypatch.setattr(events, "CACHE_S", 600.0)
    monkeypatch.setattr(events, "LOOK_EVERY_S", 600.0)
    for number in range(50):
        assert door.deliver(FSM, BODIES[FSM], secret="wrong").status_code == 401
        for vendor in (FSM, "nobody"):
            assert door.http.post(f"/webhooks/{vendor}/made-up-{number}", content=b"").status_code == 401
    assert sorted(looked) == sorted(["all", door.path(FSM).rpartition("/")[2]])


@pytest.mark.rule("P13")
@pytest.mark.parametrize("before", ["nothing was known", "what was known is old"])
def test_of_many_that_come_at_once_one_looks(world: World, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Else a flood asks Postgres for the same thing as often as it has deliveries under way."""
    service, token = world.events, _token(world)
    if before == "what was known is old":
        monkeypatch.setattr(events, "CACHE_S", 0.0)
        service._known(FSM, token)
    monkeypatch.setattr(events, "CACHE_S", 600.0)
    monkeypatch.setattr(events, "MOST_LOOK_S", 60.0)  # how long a sender waits at most is not what this is about
    look_up, looked, all_are_here = ConnectionService.webhook_target, [], threading.Barrier(20)

    def slowly(self: ConnectionService, path_token: str) -> WebhookTarget | None:
        looked.append(path_token)
        return look_up(self, path_token)

    monkeypatch.setattr(ConnectionService, "webhook_target", slowly)

    def come() -> str:
        all_are_here.wait()
        return str(service._known(FSM, token).target.vendor)

    with ThreadPoolExecutor(20) as pool:
        found = [future.result() for future in [pool.submit(come) for _ in range(20)]]
    assert found == [FSM] * 20
    assert looked == [token]


def _token(world: World) -> str:
    return world.office.connections.webhook_setup(world.actor, world.orgs[FSM].connection_id).path.rpartition("/")[2]


def test_what_nobody_knows_is_not_remembered(world: World) -> None:
    service = world.events

    async def come() -> None:
        for number in range(2000):
            with pytest.raises(WebhookRefused):
                await service.accept_webhook(FSM, f"made-up-{number}", WebhookRequest({}, (), b""))

    asyncio.run(come())
    assert service._cache == {}
    assert service._looks == {}


@pytest.mark.rule("P8", "P13")
def test_a_webhook_has_a_rate_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over it 503 and Retry-After, before anything is verified; the other connection's deliveries pass."""
    monkeypatch.setattr(events, "RATE_PER_S", 1e-6)
    monkeypatch.setattr(events, "BURST", 5.0)
    world.office.crew.deaf = True
    with serving(world.office.settings) as client:
        door = Door(world, client)
        answers = [door.deliver(FSM, BODIES[FSM]) for _ in range(8)]
        assert [one.status_code for one in answers] == [200] * 5 + [503] * 3
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert door.deliver(BOOKS, BODIES[BOOKS]).status_code == 200
        assert len(door.entries()) == 6
