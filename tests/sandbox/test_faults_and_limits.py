"""Trouble on request, and call limits."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.sandbox.support import ACCOUNTS, BOOKS, FSM, Box, wait_until

pytestmark = pytest.mark.rule("OP-3", "OP-4")
LONG_MS = 600_000


def fault(box: Box, vendor: str, **given: Any) -> None:
    box.control(vendor, "POST", "faults", given)


def companies(box: Box) -> int:
    return len(box.control(FSM, "GET", "state")["modules"]["Companies"])


def create(box: Box) -> httpx.Response:
    return box.fsm("POST", "/Companies", {"data": [{"Company_Name": "A"}]})


def test_a_lost_reply_has_applied_the_write(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="reply_lost", match={"method": "POST", "path": "/Companies$"})
    with pytest.raises(httpx.RemoteProtocolError):
        create(box)
    assert companies(box) == 1
    call = box.control(FSM, "GET", "calls")["calls"][-1]
    assert (call["status"], call["applied"], call["fault"]) == (0, True, "reply_lost")


@pytest.mark.parametrize(("applied", "kept"), [("before", 0), ("after", 1)])
def test_a_server_error_before_or_after_the_write(box: Box, applied: str, kept: int) -> None:
    fault(box, FSM, kind="5xx", status=502, applied=applied)
    response = create(box)
    assert (response.status_code, response.json()["code"]) == (502, "INTERNAL_ERROR")
    assert companies(box) == kept


def test_429_in_each_vendor_s_words(box: Box) -> None:
    fault(box, FSM, kind="429")
    fault(box, BOOKS, kind="429")
    assert (box.fsm("GET", "/Companies").status_code, box.fsm("GET", "/Companies").status_code) == (429, 204)
    answer = box.books("GET", "/contacts")
    assert (answer.status_code, answer.json()["code"]) == (429, 44)
    assert "retry-after" not in answer.headers


def test_an_error_inside_a_200(box: Box) -> None:
    fault(box, BOOKS, kind="body_code", code=1000)
    answer = box.books("POST", "/contacts", {"contact_name": "A"})
    assert (answer.status_code, answer.json()["code"]) == (200, 1000)
    assert box.control(BOOKS, "GET", "state")["modules"]["contacts"] == []


def test_an_expired_token_stays_expired(box: Box) -> None:
    fault(box, FSM, kind="expired_token")
    assert [box.fsm("GET", "/Companies").status_code for _ in range(2)] == [401, 401]


def test_a_malformed_answer(box: Box) -> None:
    fault(box, BOOKS, kind="malformed")
    response = box.books("GET", "/contacts")
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_latency(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=120)
    started = time.monotonic()
    assert box.fsm("GET", "/Companies").status_code == 204
    assert time.monotonic() - started >= 0.12


def test_a_fault_strikes_as_often_as_it_says_and_where_it_says(box: Box) -> None:
    fault(box, FSM, kind="503", count=2, match={"method": "GET", "path": "^/fsm/v1/Companies$"})
    assert create(box).status_code == 201
    assert box.fsm("GET", "/Contacts").status_code == 204
    assert [box.fsm("GET", "/Companies").status_code for _ in range(3)] == [503, 503, 200]
    assert box.control(FSM, "GET", "faults") == {"faults": []}


def test_a_share_is_repeatable_by_its_seed(box: Box) -> None:
    def run() -> list[int]:
        box.control(FSM, "DELETE", "faults")
        fault(box, FSM, kind="5xx", share=0.5, seed=7)
        return [box.fsm("GET", "/Companies").status_code for _ in range(20)]

    first = run()
    assert first == run()
    assert {204, 503} == set(first)


def test_the_accounts_server_can_fail_too(box: Box) -> None:
    fault(box, ACCOUNTS, kind="body_code", code="general_error")
    assert box.refresh("any")["error"] == "general_error"


def test_a_fault_can_strike_one_user_s_calls_only(box: Box) -> None:
    integration = box.token(FSM, "integration")
    fault(box, FSM, kind="503", count=9, match={"user": "integration@sandbox.test"})
    assert box.fsm("GET", "/Companies", token=integration).status_code == 503
    assert box.fsm("GET", "/Companies").status_code == 204


def test_an_unknown_fault_is_refused(box: Box) -> None:
    response = box.http.post(f"/_sandbox/{FSM}/faults", json={"kind": "gremlins"})
    assert response.status_code == 400
    assert "gremlins" in response.json()["error"]


# Limits


def limits(box: Box, vendor: str, **given: Any) -> dict[str, Any]:
    answer: dict[str, Any] = box.control(vendor, "POST", "limits", given)["limits"]
    return answer


def test_limits_are_off_at_first(box: Box) -> None:
    answers = [box.books("GET", "/contacts") for _ in range(120)]
    assert {one.status_code for one in answers} == {200}
    assert "x-rate-limit-limit" not in answers[0].headers


def test_the_minute_of_books_is_shared_by_its_users(box: Box) -> None:
    limits(box, BOOKS, per_minute=3)
    integration = box.token(BOOKS, "integration")
    answers = [box.books("GET", "/contacts"), box.books("GET", "/items", token=integration)]
    answers += [box.books("GET", "/contacts") for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert [one.headers["x-rate-limit-remaining"] for one in answers] == ["2", "1", "0", "0"]
    assert answers[3].json()["code"] == 44
    assert 0 < int(answers[3].headers["x-rate-limit-reset"]) <= 60


def test_the_minute_of_fsm_is_each_user_s_own(box: Box) -> None:
    limits(box, FSM, per_minute=1)
    integration = box.token(FSM, "integration")
    answers = [
        box.fsm("GET", "/Companies"),
        box.fsm("GET", "/Companies"),
        box.fsm("GET", "/Companies", token=integration),
    ]
    assert [one.status_code for one in answers] == [204, 429, 204]
    assert answers[1].headers["x-ratelimit-limit"] == "1"
    assert "retry-after" not in answers[1].headers


def test_a_refused_call_is_not_applied(box: Box) -> None:
    limits(box, FSM, per_minute=1)
    assert [create(box).status_code for _ in range(2)] == [201, 429]
    assert companies(box) == 1


def test_the_window_passes(box: Box) -> None:
    limits(box, BOOKS, per_minute=1, window_s=0.5)
    assert [box.books("GET", "/contacts").status_code for _ in range(2)] == [200, 429]
    wait_until(lambda: box.books("GET", "/contacts").status_code == 200)


def test_the_day_of_books(box: Box) -> None:
    limits(box, BOOKS, per_day=1)
    assert box.books("GET", "/contacts").status_code == 200
    answer = box.books("GET", "/contacts")
    assert (answer.status_code, answer.json()["code"]) == (429, 45)
    assert answer.json()["message"] == "You have exceeded the maximum number of requests per day."
    assert "retry-after" not in answer.headers


def test_the_day_of_fsm(box: Box) -> None:
    limits(box, FSM, per_day=1)
    assert create(box).status_code == 201
    answer = create(box)
    assert (answer.status_code, answer.json()["code"]) == (429, "TOO_MANY_REQUESTS")
    assert companies(box) == 1


def test_a_day_can_be_short_and_passes(box: Box) -> None:
    limits(box, BOOKS, per_day=1, day_s=0.5)
    assert [box.books("GET", "/contacts").status_code for _ in range(2)] == [200, 429]
    wait_until(lambda: box.books("GET", "/contacts").status_code == 200)


def test_a_refusal_for_the_day_tells_what_is_left_of_the_minute(box: Box) -> None:
    limits(box, BOOKS, per_minute=9, per_day=1)
    limits(box, FSM, per_minute=9, per_day=1)
    books = [box.books("GET", "/contacts") for _ in range(2)][1]
    fsm = [box.fsm("GET", "/Companies") for _ in range(2)][1]
    names = [
        (books, "x-rate-limit-limit", "x-rate-limit-remaining"),
        (fsm, "x-ratelimit-limit", "x-ratelimit-remaining"),
    ]
    assert [(one.status_code, one.headers[limit], one.headers[left]) for one, limit, left in names] == [
        (429, "9", "8"),
        (429, "9", "8"),
    ]


def at_once(box: Box, vendor: str, path: str) -> list[httpx.Response]:
    """The answer of a slow call and of one in the midst of it."""
    limits(box, vendor, concurrent=1)
    box.token(vendor)
    call = box.books if vendor == BOOKS else box.fsm
    fault(box, vendor, kind="latency", ms=LONG_MS)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(call, "GET", path)
        wait_until(lambda: not box.control(vendor, "GET", "faults")["faults"])
        refused = call("GET", path)
        box.control(vendor, "POST", "faults/release")
        return [slow.result(), refused, call("GET", path)]


def test_too_many_at_once_for_books(box: Box) -> None:
    slow, refused, alone = at_once(box, BOOKS, "/contacts")
    assert [one.status_code for one in (slow, refused, alone)] == [200, 429, 200]
    assert refused.json()["code"] == 1070
    assert refused.json()["message"] == "The maximum number of in process requests has been exceeded."


def test_too_many_at_once_for_fsm(box: Box) -> None:
    slow, refused, alone = at_once(box, FSM, "/Companies")
    assert [one.status_code for one in (slow, refused, alone)] == [204, 429, 204]
    assert refused.json()["code"] == "TOO_MANY_REQUESTS"


def test_calls_that_come_together_meet(box: Box) -> None:
    limits(box, BOOKS, concurrent=1)
    box.token(BOOKS)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: box.books("GET", "/contacts"), range(8)))
    assert {one.json()["code"] for one in answers} == {0, 1070}


def test_the_control_shows_what_is_used_left_and_refused(box: Box) -> None:
    limits(box, BOOKS, per_minute=2, per_day=100, concurrent=5)
    for _ in range(5):
        box.books("GET", "/contacts")
    shown = box.control(BOOKS, "GET", "limits")
    (usage,) = shown["usage"].values()
    assert [(usage[name]["used"], usage[name]["remaining"]) for name in ("per_minute", "per_day", "concurrent")] == [
        (2, 0),
        (2, 98),
        (0, 5),
    ]
    assert usage["concurrent"]["most"] == 1
    assert 0 < usage["per_minute"]["reset_s"] <= 60 < usage["per_day"]["reset_s"] <= 86_400
    assert shown["refused"] == {"minute": 3, "day": 0, "concurrent": 0}
    assert list(shown["allowed"].values()) == [2]
    limits(box, BOOKS, per_day=1)
    for _ in range(3):
        box.books("GET", "/contacts")
    assert box.control(BOOKS, "GET", "limits")["refused"] == {"minute": 3, "day": 2, "concurrent": 0}
    box.control(BOOKS, "POST", "reset")
    assert box.control(BOOKS, "GET", "limits") == {
        "limits": {},
        "usage": {},
        "allowed": {},
        "refused": {"minute": 0, "day": 0, "concurrent": 0},
    }


@pytest.mark.parametrize("name", ["window_s", "day_s"])
def test_a_window_takes_time(box: Box, name: str) -> None:
    assert box.http.post(f"/_sandbox/{BOOKS}/limits", json={"per_day": 1, name: 0}).status_code == 400


@pytest.mark.parametrize("kind", ["429", "503"])
def test_retry_after_only_by_a_fault_that_says_so(box: Box, kind: str) -> None:
    fault(box, BOOKS, kind=kind, retry_after_s=7)
    fault(box, BOOKS, kind=kind)
    answers = [box.books("GET", "/contacts") for _ in range(2)]
    assert [one.headers.get("retry-after") for one in answers] == ["7", None]


def test_slow_calls_count_among_those_at_once(box: Box) -> None:
    limits(box, FSM, concurrent=1)
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS, match={"path": "Companies"})
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(box.fsm, "GET", "/Companies")
        wait_until(lambda: not box.control(FSM, "GET", "faults")["faults"])
        assert box.fsm("GET", "/Contacts").status_code == 429
        box.control(FSM, "POST", "faults/release")
        assert slow.result().status_code == 204
    assert box.fsm("GET", "/Contacts").status_code == 204


def test_the_published_limits(box: Box) -> None:
    assert limits(box, BOOKS, published=True)["per_minute"] == 100
    assert limits(box, FSM, published=True)["per_minute"] == 5000
    assert limits(box, BOOKS) == {}
    assert box.http.post(f"/_sandbox/{BOOKS}/limits", json={"per_second": 1}).status_code == 400
