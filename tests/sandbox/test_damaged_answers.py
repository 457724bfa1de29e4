"""Answers that are cut, short of rows, no UTF-8, late, or for nobody; and what the log of calls says of them."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest

from deploy.sandbox.calls import Call, CallLog
from tests.sandbox.support import BOOKS, FSM, Box, wait_until

pytestmark = pytest.mark.rule("OP-3")
LONG_MS = 600_000
PLACES = [(FSM, "Companies", "Company_Name"), (BOOKS, "contacts", "contact_name")]


def fault(box: Box, vendor: str, **given: Any) -> None:
    box.control(vendor, "POST", "faults", given)


def seed(box: Box, vendor: str, module: str, rows: list[dict[str, Any]]) -> list[str]:
    ids: list[str] = box.control(vendor, "POST", "seed", {module: rows})["seeded"][module]
    return ids


def get(box: Box, vendor: str, path: str, **query: Any) -> httpx.Response:
    return box.books("GET", path, params=query) if vendor == BOOKS else box.fsm("GET", path, params=query)


def calls(box: Box, vendor: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = box.control(vendor, "GET", "calls")["calls"]
    return listed


def companies(box: Box) -> list[str]:
    return [row["Company_Name"] for row in box.control(FSM, "GET", "state")["modules"]["Companies"]]


def create(box: Box, name: str = "A", **more: Any) -> httpx.Response:
    return box.fsm("POST", "/Companies", {"data": [{"Company_Name": name}]}, **more)


# Cut


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_a_truncated_body_ends_in_the_middle_of_what_was_announced(box: Box, size: int) -> None:
    seed(box, BOOKS, "contacts", [{"contact_name": "A", "company_name": "n" * size}])
    box.token(BOOKS)
    whole = box.books("GET", "/contacts").content
    fault(box, BOOKS, kind="truncated_body")
    url = box.info["vendors"][BOOKS]["url"] + "/contacts"
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(BOOKS)}"}
    got: list[bytes] = []
    with box.http.stream("GET", url, params={"organization_id": box.info["orgs"][BOOKS]}, headers=headers) as answer:
        assert (answer.status_code, int(answer.headers["content-length"])) == (200, len(whole))
        with pytest.raises(httpx.RemoteProtocolError):
            got.extend(answer.iter_raw())
    assert b"".join(got) == whole[: len(whole) // 2]


def test_a_truncated_answer_of_a_write_leaves_the_write_done(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="truncated_body", match={"method": "POST"})
    with pytest.raises(httpx.RemoteProtocolError):
        create(box)
    assert companies(box) == ["A"]
    (call,) = calls(box, FSM)
    assert (call["status"], call["applied"], call["fault"], call["replied"]) == (201, True, "truncated_body", False)


def test_what_has_no_body_is_cut_off_whole(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="truncated_body")
    with pytest.raises(httpx.RemoteProtocolError):
        box.fsm("GET", "/Companies")


# Short of rows


def page(box: Box, vendor: str, module: str, number: int) -> tuple[list[str], bool]:
    """Names on a page of four, and whether there is more."""
    body = get(box, vendor, f"/{module}", page=number, per_page=4, sort_column="contact_name").json()
    if vendor == FSM:
        return [row["Company_Name"] for row in body["data"]], body["info"]["more_records"]
    return [row["contact_name"] for row in body["contacts"]], body["page_context"]["has_more_page"]


@pytest.mark.parametrize(("vendor", "module", "name"), PLACES)
def test_a_short_page_loses_rows_and_says_there_is_more(box: Box, vendor: str, module: str, name: str) -> None:
    rows = [{name: one} for one in ("FEDCBA" if vendor == FSM else "ABCDEF")]
    (first, *_) = seed(box, vendor, module, rows)
    fault(box, vendor, kind="short_page", count=2)
    assert get(box, vendor, f"/{module}/{first}").status_code == 200  # no list: it is not used up
    assert page(box, vendor, module, 1) == (["A", "B"], True)
    assert page(box, vendor, module, 2) == (["E"], True)
    assert page(box, vendor, module, 2) == (["E", "F"], False)
    assert [call["fault"] for call in calls(box, vendor)] == [None, "short_page", "short_page", None]


def test_a_short_page_can_say_how_many_are_lost_but_never_the_first(box: Box) -> None:
    seed(box, FSM, "Companies", [{"Company_Name": one} for one in "FEDCBA"])
    fault(box, FSM, kind="short_page", by=1)
    fault(box, FSM, kind="short_page", by=9)
    assert [page(box, FSM, "Companies", 1)[0] for _ in range(2)] == [["A", "B", "C"], ["A"]]
    seed(box, BOOKS, "contacts", [{"contact_name": "Alone"}])
    fault(box, BOOKS, kind="short_page")
    assert page(box, BOOKS, "contacts", 1) == (["Alone"], False)


# No UTF-8


@pytest.mark.parametrize(("vendor", "module", "name"), PLACES)
def test_a_body_that_is_no_utf8(box: Box, vendor: str, module: str, name: str) -> None:
    (made,) = seed(box, vendor, module, [{name: "Abc", "Phone": "1"}])
    for path in (f"/{module}", f"/{module}/{made}"):
        fault(box, vendor, kind="bad_utf8")
        content = get(box, vendor, path).content
        with pytest.raises(UnicodeDecodeError):
            content.decode()
        assert b'"\xff\xfe\xc3Abc"' in content
        assert b'"Abc"' in get(box, vendor, path).content


def test_the_field_that_is_no_utf8_can_be_chosen(box: Box) -> None:
    seed(box, FSM, "Companies", [{"Company_Name": "A", "Phone": "1"}])
    fault(box, FSM, kind="bad_utf8", code="Phone")
    assert b'"Phone":"\xff\xfe\xc31"' in box.fsm("GET", "/Companies").content
    fault(box, FSM, kind="bad_utf8", code="Nothing")
    assert b"\xff" in box.fsm("GET", "/Companies").content


# Slow


def test_a_slow_call_keeps_nobody_waiting_and_a_reset_ends_it(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS, match={"method": "POST"})
    give_up(box)
    assert box.fsm("GET", "/Companies").status_code == 204
    assert [call["method"] for call in calls(box, FSM)] == ["GET"]  # the slow one is still under way
    box.control(FSM, "POST", "reset")
    assert companies(box) == []
    assert calls(box, FSM) == []


def test_a_reset_cuts_off_who_still_waits(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS)
    failed: list[Exception] = []

    def slow() -> None:
        try:
            create(box, timeout=20)
        except httpx.RemoteProtocolError as error:
            failed.append(error)

    thread = threading.Thread(target=slow)
    thread.start()
    wait_until(lambda: not box.control(FSM, "GET", "faults")["faults"])
    box.control(FSM, "POST", "reset")
    thread.join(5)
    assert len(failed) == 1
    assert companies(box) == []


def give_up(box: Box) -> None:
    """The caller of a slow create leaves; the sandbox has seen it go before it answers the next question."""
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(FSM)}"}
    box.leave(FSM, "POST", f"/{FSM}/fsm/v1/Companies", json.dumps({"data": [{"Company_Name": "A"}]}), headers)
    assert calls(box, FSM) == []


def release(box: Box) -> dict[str, Any]:
    """The one slow call goes on; what the log says of it."""
    assert box.control(FSM, "POST", "faults/release") == {"released": 1}
    wait_until(lambda: calls(box, FSM))
    (call,) = calls(box, FSM)
    return call


def test_a_write_is_done_late_though_its_caller_went_away(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS, match={"method": "POST"})
    give_up(box)
    assert companies(box) == []
    call = release(box)
    assert (call["status"], call["applied"], call["replied"], call["fault"]) == (201, True, False, "latency")
    assert companies(box) == ["A"]


def test_a_write_is_done_at_once_though_its_caller_waits_in_vain(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS, applied="after", match={"method": "POST"})
    give_up(box)
    assert companies(box) == ["A"]
    call = release(box)
    assert (call["status"], call["applied"], call["replied"]) == (201, True, False)


@pytest.mark.parametrize(("applied", "kept"), [("before", []), ("after", ["A"])])
def test_a_slow_error_is_before_or_after_the_write(box: Box, applied: str, kept: list[str]) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS, applied=applied)
    fault(box, FSM, kind="504", applied=applied)
    give_up(box)
    call = release(box)
    assert (call["status"], call["replied"], call["applied"]) == (504, False, bool(kept))
    assert companies(box) == kept


# The log of calls


def test_the_log_goes_by_the_end_of_calls_and_misses_no_slow_one(box: Box) -> None:
    box.token(FSM)
    fault(box, FSM, kind="latency", ms=LONG_MS, match={"method": "POST"})
    thread = threading.Thread(target=create, args=(box,))
    thread.start()
    wait_until(lambda: not box.control(FSM, "GET", "faults")["faults"])
    box.fsm("GET", "/Companies")
    seen = box.control(FSM, "GET", "calls")
    assert [one["method"] for one in seen["calls"]] == ["GET"]
    box.control(FSM, "POST", "faults/release")
    thread.join(5)
    later = box.control(FSM, "GET", f"calls?since={seen['last']}")
    (slow,) = later["calls"]
    (quick,) = seen["calls"]
    assert (slow["method"], slow["replied"]) == ("POST", True)
    assert slow["at"] < quick["at"]
    assert slow["ms"] > quick["ms"]
    assert (slow["seq"], later["last"]) == (seen["last"] + 1, slow["seq"])


def test_the_log_says_whether_the_reply_was_sent(box: Box) -> None:
    box.token(FSM)
    create(box)
    fault(box, FSM, kind="reply_lost")
    with pytest.raises(httpx.RemoteProtocolError):
        create(box)
    assert [(one["applied"], one["replied"], one["status"]) for one in calls(box, FSM)] == [
        (True, True, 201),
        (True, False, 0),
    ]


def test_the_log_says_what_it_could_not_keep() -> None:
    log = CallLog(kept=3)
    for number in range(5):
        log.add(Call(str(number), 0, "GET", "/", {}, False))
    assert [call.seq for call in log.since(0)] == [3, 4, 5]
    assert [call.seq for call in log.since(4)] == [5]
    assert [log.dropped(seq) for seq in (0, 1, 2, 5)] == [2, 1, 0, 0]
    log.clear()
    assert (log.since(0), log.dropped(0), log.last) == ([], 0, 5)
