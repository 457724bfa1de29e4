"""Grants: withdrawn, refreshed in trouble, refreshed by many, used up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from api.ports import open_doors
from tests.chaos.cell import Cell, Scene
from tests.chaos.rig import ACCOUNTS, Rig
from tests.chaos.shapes import CREW, PLAIN, TRUE
from tests.chaos.strike import EXIT
from tests.e2e.world import BOOKS, FSM

Body = Callable[[Scene], None]
WINDOW_S = 5
"""The vendor's ten minutes, for cells that need more tokens than ten."""


@contextmanager
def accounts(scene: Scene, **capabilities: Any) -> Iterator[None]:
    """The accounts server behaves so, for a while."""
    before = scene.rig.control("GET", ACCOUNTS, "capabilities")["capabilities"]
    scene.expect["token_window_s"] = float(capabilities.get("token_window_s", 600))
    scene.rig.control("POST", ACCOUNTS, "capabilities", capabilities)
    try:
        yield
    finally:
        scene.rig.control("POST", ACCOUNTS, "capabilities", {name: before[name] for name in capabilities})


def refresh_in_trouble(kind: str, **more: Any) -> Body:
    """Every access token ends, and the accounts server is in trouble as it is asked for new ones."""

    def body(scene: Scene) -> None:
        with accounts(scene, rotate_refresh_tokens=True, token_window_s=WINDOW_S):
            mark = _calls(scene)
            scene.rig.fault(ACCOUNTS, kind, **{"count": 2, **more})
            scene.load()
            scene.await_writes(3)
            scene.rig.control("POST", ACCOUNTS, "expire")
            scene.rig.wait(lambda: _met(scene, kind, mark), f"a refresh meets {kind}", 30)
            scene.rig.wait(
                lambda: not scene.rig.control("GET", ACCOUNTS, "faults")["faults"], "the trouble is over", 60
            )
            scene.over()
            scene.rig.wait(lambda: _refreshed(scene, mark), "a refresh succeeds", 60)

    return body


def _calls(scene: Scene) -> int:
    return max((int(call["seq"]) for call in scene.rig.calls(ACCOUNTS)), default=0)


def _met(scene: Scene, kind: str, mark: int) -> bool:
    return any(call["fault"] == kind for call in scene.rig.calls(ACCOUNTS, mark))


def _refreshed(scene: Scene, mark: int) -> bool:
    return any(call["status"] == 200 and call["fault"] in (None, "latency") for call in scene.rig.calls(ACCOUNTS, mark))


def many_refreshers(scene: Scene) -> None:
    """Four workers find the tokens ended, again and again; the refresh token changes with each refresh."""
    with accounts(scene, rotate_refresh_tokens=True, grace_s=0, token_window_s=WINDOW_S):
        scene.load(16)
        for _ in range(4):
            scene.await_writes(3)
            scene.rig.control("POST", ACCOUNTS, "expire")
            time.sleep(1.0)
        scene.over()
        scene.rig.ended(scene.sync_id or 0)
        scene.people.stop()
        scene.rig.await_quiet("all is quiet", 120)
    broken = scene.rig.sql("SELECT count(*) FROM connection WHERE status <> 'live'")[0][0]
    scene.must(broken == 0, f"P11 {broken} connections are broken")


def killed_at_m(scene: Scene) -> None:
    """The vendor has granted, we had not saved; with each refresh the old refresh token ends after its grace."""
    with accounts(scene, rotate_refresh_tokens=True):
        scene.rig.strikes.arm("token.granted", EXIT, process="worker")
        scene.rig.control("POST", ACCOUNTS, "expire")
        scene.load()
        scene.struck("token.granted")
        scene.rig.await_all_live()
        scene.over()
        scene.rig.ended(scene.sync_id or 0)


def eleventh_token(scene: Scene) -> None:
    """No more tokens for ten minutes: the sync waits and goes on, it does not fail. The minutes are made to pass."""
    with accounts(scene, token_allowance=2, token_window_s=30):
        scene.expect["token_allowance"] = 2
        scene.load()
        scene.await_writes(3)
        for _ in range(4):
            scene.rig.control("POST", ACCOUNTS, "expire")
            time.sleep(0.7)
        scene.rig.wait(lambda: _limited(scene.rig), "a refresh is refused", 30)
        time.sleep(1.0)
        state = scene.rig.run(scene.sync_id or 0)[0]
        scene.must(state != "failed", f"P8 the sync is {state} because of a limit")
    scene.rig.control("POST", ACCOUNTS, "capabilities", {"token_window_s": 1})
    time.sleep(1.2)
    _ten_minutes_pass(scene.rig)
    scene.over()
    scene.rig.ended(scene.sync_id or 0)
    scene.rig.control("POST", ACCOUNTS, "capabilities", {"token_window_s": 600})


def _ten_minutes_pass(rig: Rig) -> None:
    """Whatever the product put off until then is due now."""
    rig.sql("UPDATE connection SET refresh_not_before = clock_timestamp() WHERE refresh_not_before IS NOT NULL")
    rig.sql("UPDATE due SET due_at = clock_timestamp() WHERE why = 'retry'")
    rig.sql("UPDATE run SET claimed_until = NULL WHERE claimed_by IS NULL")
    rig.sql("UPDATE run SET resume_at = clock_timestamp() WHERE resume_at IS NOT NULL")
    for key in rig.redis.keys("bw:lane:*:paused"):
        rig.redis.delete(key)


def _limited(rig: Rig) -> bool:
    return bool(rig.sql("SELECT 1 FROM connection WHERE refresh_not_before > clock_timestamp()"))


# Withdrawn


def revoked(vendor: str) -> Body:
    """A user withdraws the grant in the middle of a sync; later a person connects again, and a sync finds the rest."""

    def body(scene: Scene) -> None:
        scene.expect["revoked"] = frozenset({vendor})
        scene.load()
        scene.await_writes(5)
        revoked = scene.rig.control("POST", ACCOUNTS, "revoke", {"vendor": vendor})
        scene.must_strike(bool(revoked.get("revoked")), f"nothing was revoked: {revoked}")
        scene.rig.control("POST", ACCOUNTS, "expire")
        scene.rig.wait(lambda: scene.rig.run(scene.sync_id or 0)[1], "the sync ends, for it cannot go on", 60)
        state, _ = scene.rig.run(scene.sync_id or 0)
        code = scene.rig.sql("SELECT error_code FROM run WHERE id = %s", scene.sync_id)[0][0]
        scene.must(state != "failed" or bool(code), f"P8 the sync is {state} without a reason")
        held = scene.rig.sql("SELECT holder FROM org_lease WHERE kind = 'run'")
        scene.must(not held, f"P4 {held} keeps the orgs")
        scene.people.stop()
        connect_again(scene.rig, vendor)
        scene.over()
        scene.closing_sync = True

    return body


def connect_again(rig: Rig, vendor: str) -> None:
    """As a person does, by the sign-in page."""
    ((connection_id,),) = rig.sql("SELECT id FROM connection WHERE vendor = %s", vendor)
    doors = open_doors(rig.settings(), threads=2)
    try:
        _state, url = doors.connections.reconnect(doors.host(), int(connection_id), "http://127.0.0.1:1/callback")
        with httpx.Client(timeout=30, trust_env=False) as http:
            query = httpx.URL(http.get(url).headers["location"]).params
        doors.connections.finish(
            doors.host(),
            query["state"],
            query["code"],
            accounts_server=query.get("accounts-server"),
            location=query.get("location"),
        )
    finally:
        doors.close()


CELLS: list[Cell] = [
    Cell("grant_refresh", "m 5xx before", 1, refresh_in_trouble("5xx"), PLAIN),
    Cell("grant_refresh", "m 5xx after", 1, refresh_in_trouble("5xx", applied="after"), PLAIN),
    Cell("grant_refresh", "m reply lost", 1, refresh_in_trouble("reply_lost"), PLAIN),
    Cell("grant_refresh", "m slow", 1, refresh_in_trouble("latency", ms=3000), PLAIN),
    Cell("grant_refresh", "m many", 1, many_refreshers, CREW, fresh=True),
    Cell("grant_refresh", "m 11th token", 1, eleventh_token, PLAIN, fresh=True),
    Cell("grant_refresh", "m killed", 1, killed_at_m, TRUE, fresh=True),
    Cell("grant_revoked", "FSM", 1, revoked(FSM), PLAIN, fresh=True),
    Cell("grant_revoked", "Books", 1, revoked(BOOKS), PLAIN, fresh=True),
]
