"""Webhooks of both vendors: payloads, secrets, order, retries, the list of deliveries."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from typing import Any

import pytest

from deploy.sandbox.zoho_books.server import signature
from tests.sandbox.support import BOOKS, FSM, Box, Receiver, free_port, wait_until

pytestmark = pytest.mark.rule("OP-3")
SECRET = "abcdefgh12345678"


def subscribe(box: Box, vendor: str, receiver: Receiver, **more: Any) -> None:
    box.control(vendor, "POST", "webhooks", {"url": receiver.url, **more})


def deliveries(box: Box, vendor: str) -> list[dict[str, Any]]:
    wait_until(lambda: box.control(vendor, "GET", "deliveries")["idle"])
    listed: list[dict[str, Any]] = box.control(vendor, "GET", "deliveries")["deliveries"]
    return listed


def test_fsm_sends_the_designed_body_and_a_fixed_header(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver, header_name="X-Shared", header_value="s3cret")
    made = box.make("Companies", Company_Name="A")
    got = receiver.wait_for(1)[0]
    shown = box.fsm("GET", f"/Companies/{made}").json()["data"][0]
    expected = {"module": "Companies", "event": "create", "id": made, "modified_time": shown["Modified_Time"]}
    assert json.loads(got.body) == expected
    assert got.headers["x-shared"] == "s3cret"


def test_create_update_and_delete_are_told_in_order(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    made = box.make("Companies", Company_Name="A")
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Phone": "1"}]})
    box.fsm("DELETE", f"/Companies/{made}")
    assert [json.loads(one.body)["event"] for one in receiver.wait_for(3)] == ["create", "update", "delete"]


def test_books_sends_the_whole_record_signed(box: Box, receiver: Receiver) -> None:
    subscribe(box, BOOKS, receiver, secret=SECRET)
    made = box.make_in_books("contacts", contact_name="A")
    got = receiver.wait_for(1)[0]
    body = json.loads(got.body)
    assert body["organization_id"] == box.info["orgs"][BOOKS]
    assert body["contact"] == box.books("GET", f"/contacts/{made}").json()["contact"]
    expected = hmac.new(SECRET.encode(), got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-zoho-webhook-signature"] == expected


def test_the_signature_covers_the_sorted_query_then_the_body(box: Box, receiver: Receiver) -> None:
    subscribe(box, BOOKS, receiver, secret=SECRET, query_parameters={"b": "2 2", "a": "1"})
    box.make_in_books("items", name="A", rate=1)
    got = receiver.wait_for(1)[0]
    expected = hmac.new(SECRET.encode(), b"a1b2 2" + got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-zoho-webhook-signature"] == expected


def test_the_vendor_s_published_string_is_what_is_signed() -> None:
    body = b'{"created_date":"2019-03-06","event_id":"5675"}'
    text = b"namebasicsubscription_id90343" + body
    expected = hmac.new(b"k", text, hashlib.sha256).hexdigest()
    assert signature("k", "https://h.test/p?subscription_id=90343&name=basic", body) == expected


def test_without_a_secret_nothing_is_signed(box: Box, receiver: Receiver) -> None:
    subscribe(box, BOOKS, receiver)
    box.make_in_books("contacts", contact_name="A")
    assert "x-zoho-webhook-signature" not in receiver.wait_for(1)[0].headers


def test_a_person_s_edit_by_the_control_is_told_too(box: Box, receiver: Receiver) -> None:
    subscribe(box, BOOKS, receiver)
    made = box.control(BOOKS, "POST", "edits/contacts", {"contact_name": "A"})["contact_id"]
    box.control(BOOKS, "PUT", f"edits/contacts/{made}", {"notes": "n"})
    assert [json.loads(one.body)["contact"]["notes"] for one in receiver.wait_for(2)] == ["", "n"]


def test_seeds_are_not_told(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "seed", {"Companies": [{"Company_Name": "A"}]})
    assert deliveries(box, FSM) == []


def test_a_hook_can_choose_modules_and_events(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver, modules=["Companies"], events=["update"])
    made = box.make("Companies", Company_Name="A")
    box.make("Service_And_Parts", Name="Fan", Unit_Price=1, Type="Part")
    box.fsm("PUT", f"/Companies/{made}", {"data": [{"Phone": "1"}]})
    assert [(one["module"], one["event"]) for one in deliveries(box, FSM)] == [("Companies", "update")]


def test_the_skip_header_works_only_by_capability(box: Box, receiver: Receiver) -> None:
    subscribe(box, BOOKS, receiver)
    skip = {"X-ZOHO-Skip-Webhook-Trigger": "true"}
    box.books("POST", "/contacts", {"contact_name": "A"}, headers=skip)
    assert len(deliveries(box, BOOKS)) == 1
    box.control(BOOKS, "POST", "capabilities", {"skip_webhook_header": True})
    box.books("POST", "/contacts", {"contact_name": "B"}, headers=skip)
    assert len(deliveries(box, BOOKS)) == 1


def test_a_delivery_tells_what_became_of_it(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    receiver.statuses = [503]
    made = box.make("Companies", Company_Name="A")
    (one,) = deliveries(box, FSM)
    assert (one["record"], one["module"], one["event"]) == (made, "Companies", "create")
    assert (one["status"], one["accepted"], one["url"]) == (503, False, receiver.url)
    assert one["ms"] > 0


def test_nothing_is_repeated_unless_a_policy_says_so(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver, retries=2)
    receiver.statuses = [500, 500]
    box.make("Companies", Company_Name="A")
    assert [one["accepted"] for one in deliveries(box, FSM)] == [False, False, True]
    assert [one["attempt"] for one in deliveries(box, FSM)] == [1, 2, 3]


def test_an_address_that_nobody_listens_at_is_noted(box: Box) -> None:
    box.control(FSM, "POST", "webhooks", {"url": f"http://127.0.0.1:{free_port()}/hook"})
    box.make("Companies", Company_Name="A")
    (one,) = deliveries(box, FSM)
    assert (one["status"], one["accepted"]) == (None, False)
    assert one["error"]


def test_lost_and_doubled_deliveries(box: Box, receiver: Receiver) -> None:
    subscribe(box, FSM, receiver)
    box.control(FSM, "POST", "faults", [{"kind": "webhook_lost"}, {"kind": "webhook_doubled"}])
    first, second = box.make("Companies", Company_Name="A"), box.make("Companies", Company_Name="B")
    listed = deliveries(box, FSM)
    assert [(one["record"], one["lost"]) for one in listed] == [(first, True), (second, False), (second, False)]
    assert [json.loads(one.body)["id"] for one in receiver.received] == [second, second]


# Webhooks made through Books' own API


def test_books_webhooks_made_by_api_fire_through_a_workflow(box: Box, receiver: Receiver) -> None:
    given = {"webhook_name": "Sync", "url": receiver.url, "entity": "contact", "method": "POST", "secret": SECRET}
    made = box.books("POST", "/settings/webhooks", given).json()["webhook"]
    assert "secret" not in made
    box.make_in_books("contacts", contact_name="before the workflow")
    action = {"action_type": "webhook", "action_id": made["webhook_id"]}
    workflow = {"workflow_name": "W", "entity": "contact", "events": ["create", "edit"], "actions": [action]}
    made_flow = box.books("POST", "/settings/workflows", workflow).json()["workflow"]
    contact = box.make_in_books("contacts", contact_name="after it")
    box.make_in_books("items", name="other entity", rate=1)
    box.books("DELETE", f"/contacts/{contact}")
    box.books("POST", f"/settings/workflows/{made_flow['workflow_id']}/inactive")
    box.make_in_books("contacts", contact_name="after the end")
    assert [(one["record"], one["event"]) for one in deliveries(box, BOOKS)] == [(contact, "create")]
    assert "x-zoho-webhook-signature" in receiver.received[0].headers


@pytest.mark.parametrize("secret", ["short", "x" * 51, "with-dashes-inside"])
def test_a_secret_is_12_to_50_letters_and_digits(box: Box, secret: str) -> None:
    given = {"webhook_name": "Sync", "url": "http://127.0.0.1/h", "entity": "contact", "secret": secret}
    response = box.books("POST", "/settings/webhooks", given)
    assert (response.status_code, response.json()["code"]) == (400, 2)


def test_a_deleted_webhook_is_gone(box: Box) -> None:
    given = {"webhook_name": "Sync", "url": "http://127.0.0.1/h", "entity": "item"}
    made = box.books("POST", "/settings/webhooks", given).json()["webhook"]["webhook_id"]
    assert len(box.books("GET", "/settings/webhooks").json()["webhooks"]) == 1
    assert box.books("DELETE", f"/settings/webhooks/{made}").json()["code"] == 0
    assert box.books("GET", f"/settings/webhooks/{made}").status_code == 404


def test_an_answer_that_is_no_http_is_noted(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        box.control(FSM, "POST", "webhooks", {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/hook?x=1"})
        box.make("Companies", Company_Name="A")
        connection, _ = listener.accept()
        with connection:
            head = connection.recv(65536)
            assert head.startswith(b"POST /hook?x=1 HTTP/1.1\r\nHost: 127.0.0.1")
            connection.sendall(b"nonsense\r\n\r\n")
        (one,) = deliveries(box, FSM)
    assert (one["accepted"], one["status"]) == (False, None)
    assert one["error"]
