"""Anything at the doors: never a 5xx, never a traceback, nothing kept that nobody signed. Seeded: a run repeats.

Each example is a real call over HTTP; the numbers keep the whole file below 20 s.
"""

from __future__ import annotations

import json
import socket
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.engine import data_import
from tests.callers import token_of
from tests.integration.conftest import TIME_SCALE
from tests.integration.test_doors import BODIES, Door, serving
from tests.integration.world import BOOKS, FSM, World, connect, opened

pytestmark = pytest.mark.rule("P14", "PE-3")

few = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def door(
    module_database_url: str,
    redis_url: str,
    sandbox_url: str,
    key_file: Any,
) -> Iterator[Door]:
    """One for the module: what is asked here must change nothing that the next question depends on."""
    from pydantic import SecretStr
    from redis import Redis

    from shared.settings import Settings
    from tests.contract.support import Sandbox

    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    given = Settings(
        database_url=SecretStr(module_database_url),
        redis_url=SecretStr(redis_url),
        key_file=key_file,
        time_scale=TIME_SCALE,
        sandbox_url=sandbox_url,
    )
    with httpx.Client(base_url=sandbox_url, timeout=10, trust_env=False) as control, opened(given) as office:
        sandbox = Sandbox(sandbox_url, control)
        sandbox.reset()
        world: World = connect(office, sandbox)
        office.crew.deaf = True
        with serving(given) as client:
            yield Door(world, client)


@pytest.fixture(scope="module")
def stranger(door: Door) -> Iterator[httpx.Client]:
    """The same API, without a token."""
    with httpx.Client(base_url=door.http.base_url, timeout=30, trust_env=False) as client:
        yield client


def check(answer: httpx.Response, *, at_most: int = 499) -> None:
    assert answer.status_code <= at_most, (answer.status_code, answer.text[:300])
    assert "Traceback" not in answer.text


# Webhooks.

HEADER = st.text(alphabet=[chr(n) for n in range(0x20, 0x100) if n != 0x7F], max_size=80)
EDGE_TIMES = st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "24:00", "2026-01-01T00:00:00"]
)
IDS: st.SearchStrategy[Any] = st.one_of(
    st.text(max_size=70),
    st.integers(),
    st.sampled_from(["1", "-", "../1", "1e9", "1\x00", "\ud800", "٣", 10**70, 1.5, True, None, [], {}, "9" * 64]),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), EDGE_TIMES, IDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)
FSM_BODY = st.fixed_dictionaries(
    {
        "module": st.one_of(st.sampled_from(["Companies", "Service_And_Parts", "services and parts", ""]), JSON),
        "id": IDS,
    },
    optional={"event": JSON, "modified_time": st.one_of(EDGE_TIMES, JSON)},
)
RECORD = st.fixed_dictionaries(
    {}, optional={"contact_id": IDS, "item_id": IDS, "last_modified_time": st.one_of(EDGE_TIMES, JSON)}
)
BOOKS_BODY = st.fixed_dictionaries(
    {},
    optional={
        "contact": st.one_of(RECORD, JSON),
        "item": st.one_of(RECORD, JSON),
        "contacts": st.one_of(st.lists(RECORD, max_size=3), JSON),
        "contact_id": IDS,
        "event_type": JSON,
        "JSONString": st.one_of(JSON, RECORD.map(json.dumps)),
    },
)


def wire(value: object) -> bytes:
    """As a careless sender writes it: NaN and lone surrogates included."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


BODIES_OF = {
    FSM: st.one_of(FSM_BODY, st.lists(FSM_BODY, max_size=3), JSON).map(wire),
    BOOKS: st.one_of(BOOKS_BODY, JSON).map(wire),
}


@few
@given(
    vendor=st.sampled_from([FSM, BOOKS, "nobody", "..", "_zoho"]),
    signature=HEADER,
    secret=HEADER,
    kind=st.one_of(st.sampled_from(["application/json", "application/x-www-form-urlencoded"]), HEADER),
    query=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4),
    body=st.one_of(st.binary(max_size=200), st.sampled_from(sorted(BODIES.values()))),
)
def test_no_header_and_no_body_opens_the_door(
    door: Door, vendor: str, signature: str, secret: str, kind: str, query: list[tuple[str, str]], body: bytes
) -> None:
    path = door.path(vendor) if vendor in (FSM, BOOKS) else f"/webhooks/{quote(vendor)}/x"
    headers = {"X-Zoho-Webhook-Signature": signature, "X-Bothways-Secret": secret, "Content-Type": kind}
    answer = door.http.post(
        f"{path}?{urlencode(query, errors='replace')}",
        content=body,
        headers=[(name.encode(), value.strip().encode("latin-1")) for name, value in headers.items()],
    )
    check(answer)
    assert answer.status_code in ((401, 404, 405) if vendor not in (FSM, BOOKS) else (401,))
    assert door.entries() == []


@few
@given(data=st.data(), vendor=st.sampled_from([FSM, BOOKS]))
def test_a_signed_body_is_taken_or_refused_and_never_a_mistake_of_ours(
    door: Door, data: st.DataObject, vendor: str
) -> None:
    body = data.draw(st.one_of(BODIES_OF[vendor], st.binary(max_size=60)))
    answer = door.deliver(vendor, body)
    check(answer)
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("vendor", [FSM, BOOKS])
@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", 7])
def test_a_time_that_is_none_makes_no_mistake(door: Door, vendor: str, at: object) -> None:
    record = {"contact_id": "1", "last_modified_time": at}
    body = {"module": "Companies", "id": "1", "modified_time": at} if vendor == FSM else {"contact": record}
    assert door.deliver(vendor, wire(body)).status_code == 200


# The REST API.

ODD = st.one_of(
    st.text(alphabet=string.printable, max_size=30),
    st.text(max_size=30),
    st.integers().map(str),
    st.sampled_from(
        [
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2026-11-27T00:00:00",
            "2026-11-27",
            "",
            "0",
            "-1",
            "1",
            str(2**63),
            str(2**63 - 1),
            "9" * 5000,
            "NaN",
            "1e3",
            "%00",
            "'; --",
            "𝟙",
            "1_0",
        ]
    ),
)
SEGMENT = ODD.map(lambda one: quote(one, safe="", errors="replace"))
READS = (
    ("/api/v1/imports", ("connection_id", "limit")),
    ("/api/v1/imports/{0}/rows", ("outcome", "after_line", "limit")),
    ("/api/v1/imports/{0}/report.csv", ("outcome",)),
    ("/api/v1/runs", ("integration_id", "limit", "more")),
    ("/api/v1/runs", ("before", "since")),
    ("/api/v1/integrations/1/logs.csv", ("from", "to")),
    ("/api/v1/runs/{0}", ()),
    ("/api/v1/runs/{0}/outcomes", ("outcome", "after_id", "limit")),
    ("/api/v1/runs/{0}/failures.csv", ("limit",)),
    ("/api/v1/integrations/{0}", ()),
    ("/api/v1/integrations/{0}/records/{1}/{2}/{3}/sync/{4}", ()),
    ("/api/v1/audit", ("before_id", "since", "limit")),
)


@few
@given(
    which=st.sampled_from(READS),
    words=st.tuples(*[st.one_of(SEGMENT, st.just("1"), st.just("left"), st.just("companies"))] * 5),
    values=st.lists(ODD, min_size=3, max_size=3),
)
def test_no_cursor_filter_or_path_makes_a_mistake_of_ours(
    door: Door, which: tuple[str, tuple[str, ...]], words: tuple[str, ...], values: list[str]
) -> None:
    template, names = which
    query = urlencode(list(zip(names, values, strict=False)), errors="replace")
    check(door.http.get(f"{template.format(*words)}?{query}"))


@few
@given(words=st.tuples(SEGMENT, SEGMENT, st.one_of(SEGMENT, st.just("left")), SEGMENT), known=st.booleans())
def test_no_path_of_a_record_makes_a_mistake_of_ours(door: Door, words: tuple[str, ...], known: bool) -> None:
    number = str(door.world.integration) if known else words[0]
    pair = "companies" if known else words[1]
    check(door.http.post(f"/api/v1/integrations/{number}/records/{pair}/{words[2]}/{words[3]}/sync"))


@few
@given(
    header=st.one_of(
        HEADER,
        HEADER.map("Bearer {}".format),
        st.from_regex(r"bw_[0-9]{1,30}_[A-Za-z0-9]{43}", fullmatch=True).map("Bearer {}".format),
    ),
    which=st.sampled_from(READS),
    body=st.binary(max_size=50),
)
def test_no_header_is_a_token(
    door: Door, stranger: httpx.Client, header: str, which: tuple[str, tuple[str, ...]], body: bytes
) -> None:
    path = which[0].format("1", "companies", "left", "1", "1")
    for method in ("GET", "POST"):
        headers = [(b"Authorization", header.strip().encode("latin-1"))]
        answer = stranger.request(method, path, content=body, headers=headers)
        assert answer.status_code in (401, 429), answer.text[:300]
        assert set(answer.json()) == {"code", "message"}


@few
@example(token_id=str(2**63), body=b"")
@given(token_id=SEGMENT, body=st.one_of(JSON.map(wire), st.binary()))
def test_no_wish_for_a_token_makes_a_mistake_of_ours(door: Door, token_id: str, body: bytes) -> None:
    check(door.http.post("/api/v1/tokens", content=body, headers={"Content-Type": "application/json"}))
    if token_id.strip() not in ("1", ""):  # our own
        check(door.http.delete(f"/api/v1/tokens/{token_id}"))


@few
@given(
    which=st.sampled_from(READS),
    words=st.tuples(*[st.one_of(SEGMENT, st.just("1"), st.just("left"), st.just("companies"))] * 5),
)
def test_nobody_gets_past_whatever_the_path(
    door: Door, stranger: httpx.Client, which: tuple[str, tuple[str, ...]], words: tuple[str, ...]
) -> None:
    answer = stranger.get(which[0].format(*words))
    assert answer.status_code == 401, answer.text[:300]


NEW = st.fixed_dictionaries(
    {"kind": st.one_of(st.just("fsm_books"), JSON), "left_org_id": st.one_of(st.just(1), JSON), "right_org_id": JSON},
    optional={"name": JSON, "more": JSON},
)


# What stands at a place of a good file, in the places where something may stand.
VALUE = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["*a", "&a x", "!!python/object:os.system x", "!!timestamp x", "!!bool x", "!!binary x", "!!int x", "{", "[",
         "? ", "---", "...", "%TAG", "<<: 1", "1e400", "0o7", "12:30", "2026-02-30", "\"\\0\"", "\"\\ud800\"",
         "[" * 3000, "9" * 5000, "|", ">", "\t", "\x85", "\ufeff", "null", "~", "''"]
    ),
)  # fmt: skip


@few
@example(at=0, value="&a [*a]", raw=b"")
@given(at=st.integers(0, 60), value=VALUE, raw=st.one_of(st.just(b""), st.binary(max_size=80)))
def test_no_configuration_file_makes_a_mistake_of_ours(door: Door, at: int, value: str, raw: bytes) -> None:
    """Bytes, and good files with something else at one place."""
    path = f"/api/v1/integrations/{door.world.integration}/config"
    lines = door.http.get(path).text.splitlines()
    number = at % len(lines)
    lines[number] = f"{lines[number].partition(':')[0]}: {value}"
    body = raw or "\n".join(lines).encode("utf-8", "surrogatepass")
    answer = door.http.put(path, content=body, headers={"Content-Type": "application/yaml"}, params={"check": "true"})
    check(answer)
    assert answer.status_code in (200, 404, 409, 422), answer.text[:300]
    assert answer.json()["saved"] is False if answer.status_code == 200 else answer.json()["message"]


@few
@example(body=b'{"kind": "fsm_books", "left_org_id": NaN, "right_org_id": 2}')
@example(body=b'{"kind": "fsm_books", "left_org_id": 1e400, "right_org_id": 2}')
@example(body=b'{"\\ud800": 1}')
@example(body=b'"\\ud800"')
@example(body=b"[" * 50_000)
@example(body=b"\xff")
@example(body=b"")
@given(body=st.one_of(NEW.map(wire), NEW.map(lambda one: json.dumps(one).encode()), JSON.map(wire), st.binary()))
def test_no_body_makes_a_mistake_of_ours(door: Door, body: bytes) -> None:
    check(door.http.post("/api/v1/integrations", content=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("field", ["kind", "name"])
@pytest.mark.parametrize("text", ["a\x00b", "\ud83d", "x" * 201, ""], ids=["nul", "surrogate", "long", "empty"])
def test_a_text_that_cannot_be_kept_is_refused(door: Door, field: str, text: str) -> None:
    door.world.office.sql("DELETE FROM integration")
    orgs = door.world.orgs
    good = {"kind": "fsm_books", "left_org_id": orgs[FSM].org_id, "right_org_id": orgs[BOOKS].org_id, "name": "Good"}
    sent = json.dumps({**good, field: text})
    answer = door.http.post("/api/v1/integrations", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text[:300]
    assert answer.json()["message"]


def test_a_refusal_does_not_say_what_was_sent(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    for sent in (
        b'{"kind": "kanary", "left_org_id": "kanary", "kanary": "kanary-2"}',
        b'{"left_org_id": [NaN, "kanary"]}',
    ):
        answer = door.http.post("/api/v1/integrations", content=sent, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "kanary-2" not in answer.text
        assert '"kanary"' not in answer.text.replace('"body","kanary"', "")
    assert "kanary" not in caplog.text


@pytest.mark.rule("P13")
def test_a_body_of_the_rest_api_is_bounded(door: Door) -> None:
    """By what was sent, not by what was announced, and while it streams: the body below has no end."""
    told = door.http.post(
        "/api/v1/integrations", content=b" " * 1_100_000, headers={"Content-Type": "application/json"}
    )
    assert told.status_code == 413
    base = door.http.base_url
    with socket.create_connection((base.host, base.port or 0), timeout=20) as line:
        token = token_of(door.world.office.db)
        head = "POST /api/v1/integrations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {token}\r\n"
        line.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(16):
            line.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert line.recv(65_536).startswith(b"HTTP/1.1 413 ")


CSV_TEXT = st.text(alphabet=st.sampled_from("ab\",;\t\n\r\0ü😀\ufeff\x1b='1."), max_size=60)
CSV_HEADER = st.sampled_from(["Company_Name,Website\n", "Website;Company_Name\r\n", "\ufeffCompany name\n", ""])


@pytest.mark.rule("LK-5")
@few
@example(head="Company_Name\n", body=b'"' + b"a\n" * 50)
@example(head="", body=b"\xff\xfeC\x00o\x00")
@example(head="Company_Name\n", body="😀".encode() * 4_000 + b"\n" + "ü".encode() * 499)
@example(head="Company_Name\n", body=b"\x00\n\xef\xbf\xbe\n")
@given(head=CSV_HEADER, body=st.one_of(CSV_TEXT.map(str.encode), CSV_TEXT.map(str.encode), st.binary(max_size=60)))
def test_no_file_makes_a_mistake_of_ours(door: Door, head: str, body: bytes) -> None:
    """Refused in a sentence, or taken up by a worker: then each row has its outcome."""
    office = door.world.office
    at = f"/api/v1/connections/{door.world.orgs[FSM].connection_id}/imports/companies"
    answer = door.http.post(at, content=head.encode() + body, headers={"Content-Type": "text/csv"})
    check(answer)
    if answer.status_code != 202:
        assert answer.json()["message"]
        return
    number = answer.json()["id"]
    data_import.advance(office.ports, office.keeper, number)
    told = door.http.get(f"/api/v1/imports/{number}").json()
    assert told["state"] in ("completed", "completed_with_failures"), told
    assert told["created"] + told["skipped"] + told["failed"] == told["rows"]
    assert told["rows"] or told["state"] == "completed"
    check(door.http.get(f"/api/v1/imports/{number}/rows"), at_most=200)
    check(door.http.get(f"/api/v1/imports/{number}/report.csv"), at_most=200)
