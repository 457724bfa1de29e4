"""Records that no orderly vendor holds, and edits by a person: quick, whole, and told in the state."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.sandbox.support import BOOKS, FSM, Box, Receiver, wait_until

pytestmark = pytest.mark.rule("OP-3")
BIG = "x" * 5_000_000
PLACES = [
    (FSM, "Companies", "Company_Name", "Website"),
    (FSM, "Service_And_Parts", "Name", "Description"),
    (BOOKS, "contacts", "contact_name", "notes"),
    (BOOKS, "items", "name", "description"),
]
PRICES = [(FSM, "Service_And_Parts", "Name", "Unit_Price"), (BOOKS, "items", "name", "rate")]


def raw(box: Box, vendor: str, path: str) -> bytes:
    return (box.books("GET", path) if vendor == BOOKS else box.fsm("GET", path)).content


def seed(box: Box, vendor: str, module: str, body: bytes) -> str:
    answer = box.http.post(f"/_sandbox/{vendor}/seed", content=body)
    assert answer.status_code == 200, answer.text
    made: str = answer.json()["seeded"][module][0]
    return made


def rows(box: Box, vendor: str, module: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = box.control(vendor, "GET", f"state?module={module}")["modules"][module]
    return listed


@pytest.mark.parametrize(("vendor", "module", "name", "text"), PLACES)
def test_a_field_of_five_megabytes(box: Box, vendor: str, module: str, name: str, text: str) -> None:
    made = seed(box, vendor, module, json.dumps({module: [{name: "A", text: BIG}]}).encode())
    assert BIG.encode() in raw(box, vendor, f"/{module}/{made}")
    box.control(vendor, "PUT", f"edits/{module}/{made}", {name: BIG})
    assert rows(box, vendor, module)[0][name] == BIG
    assert f'"{BIG}"'.encode() in raw(box, vendor, f"/{module}")


@pytest.mark.parametrize(
    ("vendor", "module", "body"),
    [
        (FSM, "Companies", {"Company_Name": "A", "Service_Address": {"Street_1": BIG}}),
        (BOOKS, "contacts", {"contact_name": "A", "billing_address": {"address": BIG}}),
    ],
    ids=[FSM, BOOKS],
)
def test_an_address_of_five_megabytes(box: Box, vendor: str, module: str, body: dict[str, Any]) -> None:
    made = seed(box, vendor, module, json.dumps({module: [body]}).encode())
    assert BIG.encode() in raw(box, vendor, f"/{module}/{made}")


@pytest.mark.parametrize(("vendor", "module", "name", "text"), PLACES)
@pytest.mark.parametrize("given", [b"\xff\xfe", b"\\udcff\\udcfe"])
def test_a_text_that_is_no_utf8(box: Box, vendor: str, module: str, name: str, text: str, given: bytes) -> None:
    body = f'{{"{module}": [{{"{name}": "A", "{text}": "b@@c"}}]}}'.encode().replace(b"@@", given)
    made = seed(box, vendor, module, body)
    assert b'"b\xff\xfec"' in raw(box, vendor, f"/{module}/{made}")
    assert rows(box, vendor, module)[0][text] == "b\udcff\udcfec"
    edit = f'{{"{name}": "d@@"}}'.encode().replace(b"@@", given)
    answer = box.http.put(f"/_sandbox/{vendor}/edits/{module}/{made}", content=edit)
    assert (answer.status_code, answer.json()[name]) == (200, "d\udcff\udcfe")
    content = raw(box, vendor, f"/{module}")
    assert b'"d\xff\xfe"' in content
    with pytest.raises(UnicodeDecodeError):
        content.decode()


def test_a_lone_surrogate_becomes_the_bytes_of_a_naive_writer(box: Box) -> None:
    seed(box, FSM, "Companies", b'{"Companies": [{"Company_Name": "\xff-\\ud83d"}]}')
    assert b'"\xff-\xed\xa0\xbd"' in raw(box, FSM, "/Companies")
    assert rows(box, FSM, "Companies")[0]["Company_Name"] == "\udcff-\ud83d"


def test_books_tells_of_such_a_record_with_its_raw_bytes(box: Box, receiver: Receiver) -> None:
    box.control(BOOKS, "POST", "webhooks", {"url": receiver.url, "secret": "abcdefgh12345678"})
    box.http.post(f"/_sandbox/{BOOKS}/edits/contacts", content=b'{"contact_name": "a\xff"}')
    assert b'"a\xff"' in receiver.wait_for(1)[0].body


@pytest.mark.parametrize(("vendor", "module", "name", "price"), PRICES)
@pytest.mark.parametrize(
    ("given", "shown"), [("1e400", "1E+400"), ("1" * 40, "1" * 40), ("-" + "9" * 40 + ".5", "-" + "9" * 40 + ".5")]
)
def test_a_number_out_of_range(
    box: Box, vendor: str, module: str, name: str, price: str, given: str, shown: str
) -> None:
    made = seed(
        box, vendor, module, f'{{"{module}": [{{"{name}": "A", "Type": "Part", "{price}": {given}}}]}}'.encode()
    )
    for path in (f"/{module}", f"/{module}/{made}"):
        assert f'"{price}":{shown},'.encode() in raw(box, vendor, path)
    edit = f'{{"{price}": {given}}}'.encode()
    assert box.http.put(f"/_sandbox/{vendor}/edits/{module}/{made}", content=edit).status_code == 200
    assert f'"{price}":{shown},'.encode() in raw(box, vendor, f"/{module}")
    assert len(rows(box, vendor, module)) == 1


def test_ordinary_numbers_are_shown_as_before(box: Box) -> None:
    seed(box, BOOKS, "items", b'{"items": [{"name": "A", "rate": 1e2}, {"name": "B", "rate": 0.10}]}')
    content = raw(box, BOOKS, "/items")
    assert b'"rate":100,' in content
    assert b'"rate":0.10,' in content


# Edits


@pytest.mark.parametrize(("vendor", "module", "name", "text"), PLACES)
def test_edits_at_once_are_each_whole(
    box: Box, receiver: Receiver, vendor: str, module: str, name: str, text: str
) -> None:
    made = [box.control(vendor, "POST", f"edits/{module}", {name: f"A{one}"}) for one in range(4)]
    key = next(key for key in ("id", "contact_id", "item_id") if key in made[0])
    ids = [one[key] for one in made]
    box.control(vendor, "POST", "webhooks", {"url": receiver.url})

    def edit(number: int) -> dict[str, Any]:
        fields = {name: f"N{number}", text: f"T{number}"}
        answer: dict[str, Any] = box.control(vendor, "PUT", f"edits/{module}/{ids[number % 4]}", fields)
        return answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(edit, range(100)))
    for number, answer in enumerate(answers):
        assert (answer[name], answer[text]) == (f"N{number}", f"T{number}")
    for row in rows(box, vendor, module):
        assert row[name][1:] == row[text][1:]
        (last,) = [one for one in answers if one[key] == row[key] and one[name] == row[name]]
        newest = max(one["_sandbox"]["modified_ms"] for one in answers if one[key] == row[key])
        assert row["_sandbox"]["modified_ms"] == last["_sandbox"]["modified_ms"] == newest
    wait_until(lambda: box.control(vendor, "GET", "deliveries")["idle"])
    assert len(receiver.received) == 100


@pytest.mark.parametrize(("vendor", "module", "name", "text"), PLACES)
def test_an_edit_that_is_refused_changes_nothing(
    box: Box, receiver: Receiver, vendor: str, module: str, name: str, text: str
) -> None:
    box.control(vendor, "POST", f"edits/{module}", {name: "A"})
    before = rows(box, vendor, module)
    box.control(vendor, "POST", "webhooks", {"url": receiver.url})
    for body in (b'{"', b"[1]"):
        (row,) = before
        made = next(row[key] for key in ("id", "contact_id", "item_id") if key in row)
        assert box.http.put(f"/_sandbox/{vendor}/edits/{module}/{made}", content=body).status_code == 400
    assert box.http.put(f"/_sandbox/{vendor}/edits/{module}/0", json={name: "B"}).status_code == 404
    assert rows(box, vendor, module) == before
    assert box.control(vendor, "GET", "deliveries")["deliveries"] == []
