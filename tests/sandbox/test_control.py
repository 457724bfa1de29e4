"""The control: seeds, state, the log of calls, edits, reset, and the process itself."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time

import httpx
import pytest

from deploy.sandbox.app import create_app
from tests.sandbox.support import BOOKS, FSM, Box

pytestmark = pytest.mark.rule("OP-3")


def test_state_shows_every_field_and_finer_times(box: Box) -> None:
    before = time.time() * 1000
    made = box.make("Companies", Company_Name="A")
    (row,) = box.control(FSM, "GET", "state")["modules"]["Companies"]
    assert (row["id"], row["Company_Name"]) == (made, "A")
    assert "Modified_Time" in row
    assert before - 1 <= row["_sandbox"]["created_ms"] <= time.time() * 1000 + 1


def test_a_seed_keeps_ids_and_times_and_makes_those_that_are_absent(box: Box) -> None:
    rows = [
        {"contact_id": "77", "contact_name": "A", "created_time": "2020-01-01T00:00:00-0800"},
        {"contact_name": "B"},
    ]
    ids = box.control(BOOKS, "POST", "seed", {"contacts": rows})["seeded"]["contacts"]
    assert ids[0] == "77"
    assert ids[1].startswith("46")
    assert box.books("GET", "/contacts/77").json()["contact"]["created_time"] == "2020-01-01T00:00:00-0800"


def test_a_seed_takes_addresses_in_either_spelling(box: Box) -> None:
    rows = [
        {"Company_Name": "A", "Service_Address": {"City": "Austin"}},
        {"Company_Name": "B", "Service_Address": {"Service_City": "Waco", "id": "9", "name": "HQ"}},
    ]
    box.control(FSM, "POST", "seed", {"Companies": rows})
    shown = box.fsm("GET", "/Companies").json()["data"]
    assert [row["Service_Address"]["Service_City"] for row in shown] == ["Waco", "Austin"]
    assert (shown[0]["Service_Address"]["id"], shown[0]["Service_Address"]["name"]) == ("9", "HQ")


def test_an_unknown_module_is_refused(box: Box) -> None:
    assert box.http.post(f"/_sandbox/{FSM}/seed", json={"Nothing": []}).status_code == 404
    assert box.http.post(f"/_sandbox/{BOOKS}/seed", json={"nothing": []}).status_code == 404


def test_calls_are_logged_and_the_control_is_not(box: Box) -> None:
    made = box.make("Companies", Company_Name="A")
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Company_Name": None}]}, headers={"x-request-id": "r-1"})
    box.fsm("GET", "/Companies", params={"page": 1})
    calls = box.control(FSM, "GET", "calls")["calls"]
    assert [(one["method"], one["status"], one["write"], one["applied"]) for one in calls] == [
        ("POST", 201, True, True),
        ("PUT", 400, True, False),
        ("GET", 200, False, False),
    ]
    assert [one["record"] for one in calls] == [made, made, None]
    assert (calls[1]["request_id"], calls[1]["module"], calls[2]["query"]) == ("r-1", "Companies", {"page": "1"})
    assert calls[0]["user"] == "person@sandbox.test"
    later = box.control(FSM, "GET", f"calls?since={calls[1]['seq']}")["calls"]
    assert [one["method"] for one in later] == ["GET"]
    box.control(FSM, "DELETE", "calls")
    assert box.control(FSM, "GET", "calls") == {"calls": [], "last": calls[-1]["seq"], "dropped": 0}


def test_an_edit_goes_past_the_rules_of_the_api(box: Box) -> None:
    made = box.make("Service_And_Parts", Name="Fan", Unit_Price=1, Type="Part")
    box.control(FSM, "PUT", f"edits/Service_And_Parts/{made}", {"$inactive": True, "ZBilling_Id": "5"})
    row = box.fsm("GET", f"/Service_And_Parts/{made}").json()["data"][0]
    assert (row["$inactive"], row["ZBilling_Id"], row["Name"]) == (True, "5", "Fan")
    box.control(FSM, "DELETE", f"edits/Service_And_Parts/{made}")
    assert box.fsm("GET", f"/Service_And_Parts/{made}").status_code == 404
    assert box.http.put(f"/_sandbox/{FSM}/edits/Service_And_Parts/1", json={}).status_code == 404


def test_a_reset_puts_everything_back(box: Box) -> None:
    box.make("Companies", Company_Name="A")
    box.control(FSM, "POST", "capabilities", {"inactive_writable": True})
    box.control(FSM, "POST", "faults", {"kind": "429"})
    box.control(FSM, "POST", "limits", {"per_minute": 1})
    box.control(FSM, "POST", "webhooks", {"url": "http://127.0.0.1:1/h"})
    box.control(FSM, "POST", "reset")
    assert box.control(FSM, "GET", "state")["modules"]["Companies"] == []
    assert box.control(FSM, "GET", "capabilities")["capabilities"]["inactive_writable"] is False
    assert [box.control(FSM, "GET", name)[name] for name in ("faults", "limits", "webhooks", "calls")] == [
        [],
        {},
        [],
        [],
    ]


@pytest.mark.parametrize(("name", "value"), [("taxes", "US"), ("items_update_path", "items")])
def test_a_capability_with_choices_takes_no_other(box: Box, name: str, value: str) -> None:
    response = box.http.post(f"/_sandbox/{FSM}/capabilities", json={name: value})
    assert response.status_code == 400
    assert box.control(FSM, "GET", "capabilities")["capabilities"][name] != value


def test_an_unknown_capability_or_a_wrong_type_is_refused(box: Box) -> None:
    url = f"/_sandbox/{FSM}/capabilities"
    assert box.http.post(url, json={"teleport": True}).status_code == 400
    assert box.http.post(url, json={"inactive_writable": "yes"}).status_code == 400


def test_health_and_unknown_vendors(box: Box) -> None:
    assert box.http.get("/_sandbox/health").json()["ok"] is True
    assert box.http.get("/zoho_none/x").status_code == 404
    assert box.http.post("/_sandbox/zoho_none/reset").status_code == 404


def test_it_can_be_mounted_in_process() -> None:
    async def run() -> tuple[int, str]:
        app = create_app()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://in-process") as client:
            info = (await client.get("/_sandbox/info")).json()
            await client.post(f"/_sandbox/{FSM}/faults", json={"kind": "reply_lost"})
            with pytest.raises(ConnectionResetError):
                await client.get(f"/{FSM}/fsm/v1/Companies")
            answer = await client.get(f"/{FSM}/fsm/v1/Companies")
        await app.aclose()
        return answer.status_code, str(info["accounts_url"])

    assert asyncio.run(run()) == (401, "http://in-process/zoho_accounts")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_process_prints_its_address_and_stops_promptly(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "deploy.sandbox", "--data-centre", "eu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        info = json.loads(process.stdout.readline())
        assert httpx.get(f"{info['base_url']}/_sandbox/health", trust_env=False).status_code == 200
        assert info["data_centre"] == "eu"
        assert set(info["orgs"]) == {FSM, BOOKS, "zoho_invoice"}
        process.send_signal(ending)
        started = time.monotonic()
        process.wait(5)
        assert time.monotonic() - started < 2
