"""Webhooks that come in another order, late, or all at once; and the list of deliveries."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.sandbox.support import BOOKS, FSM, Box, Receiver, wait_until

pytestmark = pytest.mark.rule("OP-3")
SECRET = "abcdefgh12345678"
LONG_MS = 600_000


def subscribe(box: Box, vendor: str, receiver: Receiver, **more: Any) -> None:
    box.control(vendor, "POST", "webhooks", {"url": receiver.url, **more})


def listed(box: Box, vendor: str) -> dict[str, Any]:
    answer: dict[str, Any] = box.control(vendor, "GET", "deliveries")
    return answer


def idle(box: Box, vendor: str) -> bool:
    return bool(listed(box, vendor)["idle"])


def company(box: Box, name: str) -> str:
    return box.make("Companies", Company_Name=name)


def told(receiver: Receiver) -> list[tuple[str, str]]:
    return [(body["id"], body["event"]) for body in (json.loads(one.body) for one in receiver.received)]


def test_a_reordered_delivery_comes_after_later_ones(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_reordered", "by": 2, "ms": LONG_MS})
    first = company(box, "A")
    state = listed(box, FSM)
    assert (state["idle"], state["held"], state["deliveries"]) == (False, 1, [])
    second = company(box, "B")
    receiver.wait_for(1)
    third = company(box, "C")
    receiver.wait_for(3)
    assert told(receiver) == [(second, "create"), (third, "create"), (first, "create")]
    wait_until(lambda: idle(box, FSM))


def test_only_later_deliveries_count(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    receiver.gate.clear()
    first = company(box, "A")
    receiver.wait_for(1)
    box.control(FSM, "POST", "faults", {"kind": "webhook_reordered", "by": 1, "ms": LONG_MS})
    second = company(box, "B")
    receiver.gate.set()
    wait_until(lambda: listed(box, FSM)["last"])
    assert listed(box, FSM)["held"] == 1
    third = company(box, "C")
    receiver.wait_for(3)
    assert [one for one, _ in told(receiver)] == [first, third, second]


def test_a_record_s_own_later_delivery_may_overtake_it(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_reordered", "by": 1, "ms": LONG_MS})
    made = company(box, "A")
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Phone": "1"}]})
    receiver.wait_for(2)
    assert told(receiver) == [(made, "update"), (made, "create")]


def test_a_reordered_delivery_is_not_held_for_ever(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_reordered", "ms": 20})
    made = company(box, "A")
    receiver.wait_for(1)
    assert told(receiver) == [(made, "create")]


def test_a_reordered_delivery_waits_for_three_at_most_by_default(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_reordered", "ms": LONG_MS})
    made = [company(box, name) for name in "ABCD"]
    receiver.wait_for(4)
    assert {one for one, _ in told(receiver)} == set(made)
    assert told(receiver)[0][0] != made[0]


def test_a_late_delivery_is_held_for_minutes_and_holds_nothing_up(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_late", "ms": LONG_MS})
    made = company(box, "A")
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Phone": "1"}]})
    receiver.wait_for(1)
    assert told(receiver) == [(made, "update")]
    wait_until(lambda: len(listed(box, FSM)["deliveries"]) == 1)
    assert (listed(box, FSM)["idle"], listed(box, FSM)["held"]) == (False, 1)
    assert box.control(FSM, "POST", "deliveries/flush") == {"flushed": 1}
    receiver.wait_for(2)
    assert told(receiver)[1] == (made, "create")
    wait_until(lambda: idle(box, FSM))


def test_a_late_delivery_comes_by_itself(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_late", "ms": 20})
    made = company(box, "A")
    receiver.wait_for(1)
    assert told(receiver) == [(made, "create")]


def test_a_reset_forgets_what_is_held(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", {"kind": "webhook_late", "ms": LONG_MS})
    company(box, "A")
    box.control(FSM, "POST", "reset")
    assert listed(box, FSM) | {"last": 0} == {"deliveries": [], "idle": True, "held": 0, "last": 0}


# Floods


def test_a_flood_tells_of_existing_records_many_times(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver, header_name="X-Shared", header_value="s3cret")
    box.control(FSM, "POST", "seed", {"Companies": [{"id": str(one), "Company_Name": "A"} for one in range(1, 41)]})
    sent = box.control(FSM, "POST", "deliveries/flood", {"module": "Companies", "count": 30, "copies": 5})
    assert sent == {"sent": 150, "records": 30}
    got = receiver.wait_for(150)
    assert {one.headers["x-shared"] for one in got} == {"s3cret"}
    assert sorted(told(receiver)) == sorted((str(one), "update") for one in range(1, 31) for _ in range(5))
    wait_until(lambda: idle(box, FSM))
    assert {(one["flood"], one["status"], one["accepted"]) for one in listed(box, FSM)["deliveries"]} == {
        (True, 200, True)
    }


def test_a_flood_of_books_is_signed_and_shows_the_record(box: Box, receiver: Receiver) -> None:
    subscribe(box, BOOKS, receiver, secret=SECRET)
    (made,) = box.control(BOOKS, "POST", "seed", {"items": [{"name": "A", "rate": 1}]})["seeded"]["items"]
    box.control(BOOKS, "POST", "deliveries/flood", {"module": "items", "records": [made], "copies": 2})
    for got in receiver.wait_for(2):
        assert json.loads(got.body)["item"] == box.books("GET", f"/items/{made}").json()["item"]
        expected = hmac.new(SECRET.encode(), got.body, hashlib.sha256).hexdigest()
        assert got.headers["x-zoho-webhook-signature"] == expected


@pytest.mark.parametrize(
    ("vendor", "module", "name"), [(FSM, "Companies", "Company_Name"), (BOOKS, "contacts", "contact_name")]
)
def test_a_flood_tells_of_records_that_are_gone_or_never_were(
    box: Box, receiver: Receiver, vendor: str, module: str, name: str
) -> None:
    seeded = box.control(vendor, "POST", "seed", {module: [{name: "A"}, {name: "B"}]})["seeded"][module]
    box.control(vendor, "DELETE", f"edits/{module}/{seeded[0]}")
    subscribe(box, vendor, receiver)
    for which in ("deleted", "unknown"):
        box.control(vendor, "POST", "deliveries/flood", {"module": module, "which": which, "count": 3})
        wait_until(lambda: idle(box, vendor))
    records = [one["record"] for one in listed(box, vendor)["deliveries"]]
    assert records[0] == seeded[0]
    assert len(set(records)) == 4
    assert not set(records[1:]) & set(seeded)
    assert [row[name] for row in box.control(vendor, "GET", f"state?module={module}")["modules"][module]] == ["B"]


@pytest.mark.parametrize(("vendor", "module"), [(FSM, "Companies"), (BOOKS, "contacts")])
def test_a_flood_can_speak_of_another_organisation(box: Box, receiver: Receiver, vendor: str, module: str) -> None:
    subscribe(box, vendor, receiver)
    name = "Company_Name" if vendor == FSM else "contact_name"
    (made,) = box.control(vendor, "POST", "seed", {module: [{name: "A"}]})["seeded"][module]
    given = {"module": module, "records": ["77", made], "organization_id": "999", "event": "delete", "at_once": 1}
    box.control(vendor, "POST", "deliveries/flood", given)
    assert [json.loads(one.body)["organization_id"] for one in receiver.wait_for(2)] == ["999", "999"]
    wait_until(lambda: idle(box, vendor))
    assert [(one["organization_id"], one["record"], one["event"]) for one in listed(box, vendor)["deliveries"]] == [
        ("999", "77", "delete"),
        ("999", made, "delete"),
    ]


def test_a_flood_of_an_unknown_module_is_refused(box: Box) -> None:
    for vendor in (FSM, BOOKS):
        url = f"/_sandbox/{vendor}/deliveries/flood"
        assert box.http.post(url, json={"module": "Nothing", "records": ["1"]}).status_code == 404
    url = f"/_sandbox/{FSM}/deliveries/flood"
    assert box.http.post(url, json={"module": "Companies", "which": "odd", "count": 1}).status_code == 400


# The list


def test_a_delivery_says_when_it_was_sent_and_answered(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    company(box, "A")
    wait_until(lambda: idle(box, FSM))
    (one,) = listed(box, FSM)["deliveries"]
    assert one["at"] <= one["answered_at"]
    assert (one["event"], one["module"], one["lost"], one["attempt"]) == ("create", "Companies", False, 1)


def test_the_list_goes_on_after_what_was_seen_and_misses_no_slow_one(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    receiver.gate.clear()
    slow = company(box, "A")
    wait_until(lambda: listed(box, FSM)["deliveries"])
    (under_way,) = listed(box, FSM)["deliveries"]
    assert (under_way["seq"], under_way["status"], listed(box, FSM)["idle"]) == (None, None, False)
    box.control(FSM, "POST", "faults", {"kind": "webhook_lost"})
    quick = company(box, "B")
    seen = listed(box, FSM)
    assert [one["record"] for one in seen["deliveries"]] == [quick, slow]
    receiver.gate.set()
    wait_until(lambda: idle(box, FSM))
    for since in (seen["last"], max(one["id"] for one in seen["deliveries"])):
        later = box.control(FSM, "GET", f"deliveries?since={since}")["deliveries"]
        assert slow in [one["record"] for one in later]
    assert box.control(FSM, "GET", f"deliveries?since={listed(box, FSM)['last']}")["deliveries"] == []
