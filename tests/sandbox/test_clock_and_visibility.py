"""Vendors whose clock is off, and who show what is new only later."""

from __future__ import annotations

import json
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.sandbox.support import ACCOUNTS, BOOKS, FSM, Box, Receiver, wait_until

pytestmark = pytest.mark.rule("OP-3", "TR-5")
LONG_MS = 600_000
FINE_S = 60


def put_clock(box: Box, vendor: str, offset_s: float) -> None:
    box.control(vendor, "POST", "clock", {"offset_s": offset_s})


def off_s(shown: str) -> float:
    return datetime.fromisoformat(shown).timestamp() - time.time()


def in_state(box: Box, vendor: str, module: str) -> dict[str, Any]:
    (row,) = box.control(vendor, "GET", "state")["modules"][module]
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize("offset_s", [300, -300])
def test_every_time_that_fsm_writes_is_shifted(box: Box, receiver: Receiver, offset_s: int) -> None:
    put_clock(box, FSM, offset_s)
    box.control(FSM, "POST", "webhooks", {"url": receiver.url})
    made = box.make("Companies", Company_Name="A")
    answer = box.fsm("GET", f"/Companies/{made}")
    row = answer.json()["data"][0]
    shown = [row["Created_Time"], row["Modified_Time"], json.loads(receiver.wait_for(1)[0].body)["modified_time"]]
    assert [off_s(one) for one in shown] == pytest.approx([offset_s] * 3, abs=FINE_S)
    date = parsedate_to_datetime(answer.headers["date"])
    assert date.timestamp() - time.time() == pytest.approx(offset_s, abs=FINE_S)
    state = in_state(box, FSM, "Companies")["_sandbox"]
    assert state["modified_ms"] / 1000 - time.time() == pytest.approx(offset_s, abs=FINE_S)
    assert state["written_ms"] / 1000 == pytest.approx(time.time(), abs=FINE_S)


@pytest.mark.parametrize("offset_s", [300, -300])
def test_every_time_that_books_writes_is_shifted(box: Box, receiver: Receiver, offset_s: int) -> None:
    put_clock(box, BOOKS, offset_s)
    box.control(BOOKS, "POST", "webhooks", {"url": receiver.url})
    made = box.make_in_books("contacts", contact_name="A")
    box.control(BOOKS, "PUT", f"edits/contacts/{made}", {"notes": "n"})
    row = box.books("GET", f"/contacts/{made}").json()["contact"]
    listed = box.books("GET", "/contacts").json()["contacts"][0]
    told = [json.loads(one.body)["contact"]["last_modified_time"] for one in receiver.wait_for(2)]
    shown = [row["created_time"], row["last_modified_time"], listed["last_modified_time"], *told]
    assert [off_s(one) for one in shown] == pytest.approx([offset_s] * 5, abs=FINE_S)


def test_each_vendor_has_a_clock_of_its_own_and_shows_it(box: Box) -> None:
    put_clock(box, FSM, -300)
    assert [box.control(vendor, "GET", "clock")["offset_s"] for vendor in (FSM, BOOKS, ACCOUNTS)] == [-300, 0, 0]
    now_s = box.control(FSM, "GET", "clock")["now_ms"] / 1000
    assert now_s - time.time() == pytest.approx(-300, abs=FINE_S)
    box.control(FSM, "POST", "reset")
    assert box.control(FSM, "GET", "clock")["offset_s"] == 0
    assert box.http.post(f"/_sandbox/{FSM}/clock", json={}).status_code == 404


@pytest.mark.parametrize(
    ("vendor", "module", "name"), [(FSM, "Companies", "Company_Name"), (BOOKS, "contacts", "contact_name")]
)
def test_a_clock_put_back_still_tells_a_change_from_none(box: Box, vendor: str, module: str, name: str) -> None:
    put_clock(box, vendor, 300)
    (made,) = box.control(vendor, "POST", "seed", {module: [{name: "A"}]})["seeded"][module]
    before = in_state(box, vendor, module)["_sandbox"]["modified_ms"]
    put_clock(box, vendor, -300)
    box.control(vendor, "PUT", f"edits/{module}/{made}", {name: "B"})
    assert in_state(box, vendor, module)["_sandbox"]["modified_ms"] == before + 1000


# Visibility


def hide(box: Box, vendor: str, **given: Any) -> None:
    box.control(vendor, "POST", "visibility", given)


def search(box: Box, name: str) -> httpx.Response:
    query = {"api_name": "Company_Name", "value": name, "comparator": "equal"}
    return box.fsm("GET", "/Companies/search", params=query)


def test_a_new_fsm_record_is_missing_from_list_and_search_but_not_by_id(box: Box) -> None:
    box.control(FSM, "POST", "seed", {"Companies": [{"Company_Name": "Old"}]})
    hide(box, FSM, new_records_hidden_ms=LONG_MS)
    made = box.make("Companies", Company_Name="New")
    assert [row["Company_Name"] for row in box.fsm("GET", "/Companies").json()["data"]] == ["Old"]
    assert search(box, "New").status_code == 204
    assert box.fsm("GET", f"/Companies/{made}").json()["data"][0]["Company_Name"] == "New"
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Phone": "1"}]})
    assert search(box, "New").status_code == 204
    assert [row["_sandbox"]["hidden"] for row in box.control(FSM, "GET", "state")["modules"]["Companies"]] == [
        False,
        True,
    ]


def test_a_new_books_record_is_missing_from_lists_but_not_by_id(box: Box) -> None:
    hide(box, BOOKS, new_records_hidden_ms=LONG_MS)
    made = box.make_in_books("contacts", contact_name="A")
    for query in ({}, {"contact_name": "A"}, {"sort_column": "last_modified_time"}, {"filter_by": "Status.All"}):
        assert box.books("GET", "/contacts", params=query).json()["contacts"] == []
    assert box.books("GET", f"/contacts/{made}").status_code == 200
    assert box.books("POST", "/contacts", {"contact_name": "A"}).json()["code"] == 3062


def test_it_turns_up_later_with_its_older_modified_time(box: Box) -> None:
    hide(box, BOOKS, new_records_hidden_ms=150)
    made = box.make_in_books("items", name="Late", rate=1)
    assert box.books("GET", "/items").json()["items"] == []
    hide(box, BOOKS)
    box.make_in_books("items", name="Seen", rate=1)
    wait_until(lambda: len(box.books("GET", "/items").json()["items"]) == 2)
    rows = {row["name"]: row["_sandbox"] for row in box.control(BOOKS, "GET", "state")["modules"]["items"]}
    assert rows["Late"]["modified_ms"] <= rows["Seen"]["modified_ms"]
    detail = box.books("GET", f"/items/{made}").json()["item"]
    listed = next(row for row in box.books("GET", "/items").json()["items"] if row["name"] == "Late")
    assert listed["last_modified_time"] == detail["last_modified_time"]


def test_a_module_can_have_a_time_of_its_own(box: Box) -> None:
    hide(box, FSM, modules={"Companies": LONG_MS})
    box.make("Companies", Company_Name="A")
    box.make("Service_And_Parts", Name="Fan", Unit_Price=1, Type="Part")
    assert box.fsm("GET", "/Companies").status_code == 204
    assert box.fsm("GET", "/Service_And_Parts").status_code == 200
    assert box.control(FSM, "GET", "visibility") == {"new_records_hidden_ms": 0, "modules": {"Companies": LONG_MS}}
    assert box.http.post(f"/_sandbox/{FSM}/visibility", json={"modules": {"Nothing": 1}}).status_code == 404
    assert box.http.post(f"/_sandbox/{FSM}/visibility", json={"hide": 1}).status_code == 400


def test_a_hidden_record_is_told_by_webhook_at_once(box: Box, receiver: Receiver) -> None:
    box.control(FSM, "POST", "webhooks", {"url": receiver.url})
    hide(box, FSM, new_records_hidden_ms=LONG_MS)
    made = box.control(FSM, "POST", "edits/Companies", {"Company_Name": "A"})["id"]
    assert json.loads(receiver.wait_for(1)[0].body)["id"] == made
    assert box.fsm("GET", "/Companies").status_code == 204
    box.fsm("DELETE", f"/Companies/{made}")
    assert box.fsm("GET", f"/Companies/{made}").status_code == 404
