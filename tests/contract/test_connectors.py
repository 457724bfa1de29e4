"""One suite for every vendor in the registry, against the running sandbox (style section 8)."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from shared.connectors.base import (
    CallClass,
    Capabilities,
    Draft,
    Edit,
    ListOrder,
    Rejected,
    Unsure,
    WebhookRequest,
    Written,
)
from shared.connectors.registry import get_vendor, vendor_names
from shared.errors import (
    BothwaysError,
    ConfigError,
    ConnectionBroken,
    NotFound,
    RateLimited,
    RetryableError,
    WebhookRefused,
)
from shared.sync.model import Change, ModuleName, Record, RecordId
from tests.contract.books_openapi import Seen
from tests.contract.support import (
    CASES,
    WEBHOOK_SECRET,
    WITH_CAPABILITIES,
    Case,
    Sandbox,
    World,
    delivery_body,
    signed_delivery,
    world_of,
)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_vendor = pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[5]], ids=lambda case: case.vendor)
PRIVATE = "Veryprivate plain"
GONE = RecordId("999999999999")


def edit(record: Record, **changes: str | Decimal | None) -> Edit:
    return Edit(record, tuple(Change(name, record.get(name), value) for name, value in changes.items()))


@pytest.mark.rule("OP-3")
def test_every_vendor_of_the_registry_is_in_this_suite() -> None:
    assert {case.vendor for case in CASES} == set(vendor_names())
    for name in vendor_names():
        modules = get_vendor(name).facts(Capabilities()).modules.values()
        listed = {facts.name for facts in modules if facts.inside is None and facts.creates}
        assert {case.module for case in CASES if case.vendor == name} == listed


def test_an_unknown_vendor_is_named_with_those_that_there_are() -> None:
    with pytest.raises(NotFound, match="zoho_books, zoho_fsm, zoho_invoice"):
        get_vendor("zoho_crm_2")
    with pytest.raises(NotFound):
        get_vendor("_zoho")


# Signing in.


@every_vendor
@pytest.mark.rule("SU-1")
def test_a_person_signs_in(sandbox: Sandbox, case: Case) -> None:
    sign_in = get_vendor(case.vendor).sign_in
    centre = sign_in.data_centres(sandbox.base_url)["sandbox"]
    redirect = "http://127.0.0.1:9/callback"
    url = sign_in.authorize_url(centre, client_id=sandbox.client.id, redirect_uri=redirect, state="s t/1")
    answer = sandbox.http.get(url)
    brought = {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert brought["state"] == "s t/1"
    then = sign_in.redirected(centre, brought["accounts-server"], brought["location"], sandbox.base_url)
    assert then == centre
    grant = sign_in.exchange(then, sandbox.client, code=brought["code"], redirect_uri=redirect)
    assert grant.refresh_token is not None
    assert sign_in.api_domain(centre, grant.api_domain) == centre.api_domains[0]
    again = sign_in.refresh(centre, sandbox.client, grant.refresh_token)
    assert again.access_token != grant.access_token
    with pytest.raises(ConnectionBroken):
        sign_in.exchange(then, sandbox.client, code=brought["code"], redirect_uri=redirect)
    sign_in.revoke(centre, grant.refresh_token)
    with pytest.raises(ConnectionBroken):
        sign_in.refresh(centre, sandbox.client, grant.refresh_token)


@every_vendor
@pytest.mark.rule("SU-1")
def test_a_wrong_client_is_a_matter_for_an_admin(sandbox: Sandbox, case: Case) -> None:
    sign_in = get_vendor(case.vendor).sign_in
    centre = sign_in.data_centres(sandbox.base_url)["sandbox"]
    wrong = replace(sandbox.client, secret=SecretStr("not-the-secret"))
    with pytest.raises(ConfigError) as raised:
        sign_in.refresh(centre, wrong, sandbox.refresh_token(case.vendor))
    assert not isinstance(raised.value, ConnectionBroken)


@every_vendor
@pytest.mark.rule("SU-1")
@pytest.mark.parametrize(
    "host", ["https://accounts.zoho.com.evil.test", "http://accounts.zoho.com", "https://zoho.com"]
)
def test_a_forged_accounts_server_never_gets_the_secret(sandbox: Sandbox, case: Case, host: str) -> None:
    sign_in = get_vendor(case.vendor).sign_in
    centre = sign_in.data_centres(sandbox.base_url)["sandbox"]
    with pytest.raises(ConfigError):
        sign_in.redirected(centre, host, None, sandbox.base_url)
    with pytest.raises(ConfigError):
        sign_in.api_domain(centre, host)
    assert "sandbox" not in sign_in.data_centres(None)


@every_vendor
@pytest.mark.rule("SU-1", "P8")
def test_the_11th_token_in_ten_minutes_is_refused_inside_a_200(sandbox: Sandbox, case: Case) -> None:
    sign_in = get_vendor(case.vendor).sign_in
    centre = sign_in.data_centres(sandbox.base_url)["sandbox"]
    for _ in range(10):
        sign_in.refresh(centre, sandbox.client, sandbox.refresh_token(case.vendor))
    with pytest.raises(RateLimited) as raised:
        sign_in.refresh(centre, sandbox.client, sandbox.refresh_token(case.vendor))
    assert raised.value.retry_after_s is not None
    assert 0 < raised.value.retry_after_s <= 600


@every_vendor
@pytest.mark.rule("SU-1", "P11")
def test_a_refused_token_is_replaced_once_and_the_call_repeated(world: World) -> None:
    world.create("Before")
    world.sandbox.fault(world.case.vendor, "expired_token")
    assert world.create("After")
    assert world.grants.held.version == 3
    assert len(world.stored()) == 2


@every_vendor
@pytest.mark.rule("SU-1")
def test_a_grant_that_was_revoked_breaks_the_connection(world: World) -> None:
    world.create("Before")
    world.vendor.sign_in.revoke(world.centre, world.grants.held.refresh_token)
    world.sandbox.fault(world.case.vendor, "expired_token")
    with pytest.raises(ConnectionBroken):
        world.listed()
    assert world.grants.broken is not None


# Reading.


@every_case
@pytest.mark.rule("TR-5")
def test_a_list_is_read_to_its_end(world: World) -> None:
    made = {world.create(f"Record {n:03}") for n in range(203)}
    rows = world.listed()
    assert len(rows) == len(made)
    assert {row.id for row in rows} == made


@every_case
def test_an_empty_list_is_an_empty_page(world: World) -> None:
    page = world.connector.list_page(world.case.module, cursor=None, since=None)
    assert (page.rows, page.next_cursor) == ((), None)


@every_case
def test_a_fetched_record_is_complete(world: World) -> None:
    record_id = world.create("Whole", **{world.case.plain: "plain ü"})
    record = world.fetch(record_id)
    facts = world.connector.facts.modules[world.case.module]
    assert record.complete
    assert not record.inactive
    assert set(facts.fields) <= set(record.fields) | {f for f in facts.fields if f.endswith(".id")}
    for name, value in {**world.case.fields("Whole"), world.case.plain: "plain ü"}.items():
        assert record.get(name) == value, name
    assert record.modified_at is not None
    assert record.modified_at.utcoffset() == timedelta(0)


@every_case
def test_list_rows_hold_what_the_facts_say(world: World) -> None:
    record_id = world.create("Row", **{world.case.plain: "plain"})
    facts = world.connector.facts.modules[world.case.module]
    row, record = world.listed()[0], world.fetch(record_id)
    assert row.complete is (facts.list_fields is None)
    shown = facts.list_fields if facts.list_fields is not None else frozenset(facts.fields)
    assert {name: row.get(name) for name in shown} == {name: record.get(name) for name in shown}
    assert facts.list_modified <= (row.modified_at is not None)
    if facts.list_fields is not None:
        assert set(row.fields) < set(record.fields)


@pytest.mark.parametrize("case", [*CASES, *WITH_CAPABILITIES], ids=str)
@pytest.mark.rule("TR-5", "P12")
def test_changes_are_found_in_the_order_of_the_facts(world: World) -> None:
    first, second = world.seed("First", "2026-01-01"), world.seed("Second", "2026-01-02")
    record = world.fetch(first)
    done = world.connector.update(world.case.module, [edit(record, **{world.case.plain: "changed"})])[0]
    assert isinstance(done, Written)
    changed_at = world.fetch(first).modified_at
    assert changed_at is not None
    rows = [row.id for row in world.listed(since=changed_at)]
    match world.connector.facts.modules[world.case.module].order:
        case ListOrder.SINCE:
            assert rows == [first], "a closed range: what changed at that very second is in it"
        case ListOrder.MODIFIED_DESC:
            assert rows == [first, second]
        case ListOrder.WHOLE:
            assert set(rows) == {first, second}


@pytest.mark.parametrize("case", WITH_CAPABILITIES, ids=str)
@pytest.mark.rule("OP-3")
def test_a_probe_finds_what_the_vendor_offers_and_no_more(world: World) -> None:
    """By reading only."""
    for other in (case for case in CASES if case.vendor == world.case.vendor):
        replace(world, case=other).seed("First", "2026-01-01")
        replace(world, case=other).seed("Second", "2026-01-02")
    before = len([call for call in world.sandbox.calls(world.case.vendor) if call["write"]])
    name = next(iter(world.case.capabilities))
    assert world.connector.probe().on(name)
    world.sandbox.switch(world.case.vendor, **{name: False})
    assert not world.connector.probe().on(name)
    assert len([call for call in world.sandbox.calls(world.case.vendor) if call["write"]]) == before


@every_case
@pytest.mark.rule("TR-9")
def test_a_gone_record_is_none_and_its_neighbours_are_read(world: World) -> None:
    kept, gone = world.create("Kept"), world.create("Gone")
    record = world.fetch(gone)
    world.sandbox.delete(world.case.vendor, world.case.module, gone)
    found = world.connector.fetch(world.case.module, [kept, gone, GONE])
    assert {i: r is not None for i, r in found.items()} == {kept: True, gone: False, GONE: False}
    result = world.connector.update(world.case.module, [edit(record, **{world.case.plain: "x"})])[0]
    assert isinstance(result, Rejected)
    assert result.code == "TARGET_GONE"


@every_case
@pytest.mark.rule("DU-2", "TR-9")
def test_a_created_record_is_found_by_its_key_inactive_ones_too(world: World) -> None:
    key = world.case.key
    made, idle = world.create("Zylker, Inc & Söhne"), world.create("Idle")
    world.create("Zylker")
    world.sandbox.edit(world.case.vendor, world.case.module, idle, **world.case.inactive)
    found = world.connector.find(world.case.module, key, "Zylker, Inc & Söhne")
    assert [row.id for row in found if row.get(key) == "Zylker, Inc & Söhne"] == [made]
    assert [(row.id, row.inactive) for row in world.connector.find(world.case.module, key, "Idle")] == [(idle, True)]
    assert world.fetch(idle).inactive
    assert idle in {row.id for row in world.listed()}
    assert world.connector.find(world.case.module, key, "Nobody") == ()


@every_case
def test_a_field_that_cannot_be_searched_is_refused(world: World) -> None:
    with pytest.raises(BothwaysError):
        world.connector.find(world.case.module, "no_such_field", "x")
    with pytest.raises(NotFound):
        world.connector.list_page(ModuleName("no_such_module"), cursor=None, since=None)


# Writing.


@every_case
@pytest.mark.rule("DU-6")
def test_an_update_keeps_every_other_field(world: World) -> None:
    group = dict.fromkeys(world.case.group or (), "before")
    record_id = world.create("Kept", **{world.case.plain: "before", **group})
    before = world.fetch(record_id)
    changes = {world.case.plain: "after"} | ({world.case.group[1]: "after"} if world.case.group else {})
    done = world.connector.update(world.case.module, [edit(before, **changes)])[0]
    assert isinstance(done, Written)
    after = world.fetch(record_id)
    assert {name for name in after.fields if after.get(name) != before.get(name)} == set(changes)
    assert done.id == record_id
    if done.record is not None:
        assert done.record == after


@every_case
def test_a_field_is_cleared(world: World) -> None:
    record_id = world.create("Cleared", **{world.case.plain: "before"})
    changes = {world.case.plain: None}
    done = world.connector.update(world.case.module, [edit(world.fetch(record_id), **changes)])[0]
    assert isinstance(done, Written)
    assert world.fetch(record_id).get(world.case.plain) is None


@every_case
def test_an_update_without_changes_makes_no_call(world: World) -> None:
    record = world.fetch(world.create("Same"))
    before = len(world.sandbox.calls(world.case.vendor))
    done = world.connector.update(world.case.module, [Edit(record, ())])[0]
    assert isinstance(done, Written)
    assert len(world.sandbox.calls(world.case.vendor)) == before


@pytest.mark.parametrize("case", [case for case in CASES if case.number], ids=str)
@pytest.mark.parametrize("amount", ["18.10", "0.1", "123456789.99", "0"])
def test_money_keeps_its_digits_both_ways(world: World, amount: str) -> None:
    assert world.case.number is not None
    record_id = world.create("Money", **{world.case.number: Decimal(amount)})
    assert world.fetch(record_id).get(world.case.number) == Decimal(amount)


@every_case
@pytest.mark.rule("LG-4")
def test_a_missing_mandatory_field_is_a_refusal_of_that_record(world: World, books_calls: list[Seen]) -> None:
    fields = {k: v for k, v in world.case.fields("x").items() if k != world.case.required}
    result = world.connector.create(world.case.module, [Draft(fields)])[0]
    assert isinstance(result, Rejected)
    assert result.code in ("MANDATORY_FIELD_EMPTY", "VENDOR_REJECTED")
    assert world.stored() == []
    books_calls.clear()  # not a call that the vendor's files allow, as it must be here


@every_case
@pytest.mark.rule("LG-4", "DU-11", "P14")
def test_a_second_record_of_the_same_key_is_refused_just_where_the_connector_says_so(world: World) -> None:
    """The engine takes the vendor's refusal for its net under a create, so the declaration must be true both ways."""
    world.create("Zylker Private")
    result = world.connector.create(world.case.module, [Draft(world.case.fields("Zylker Private"))])[0]
    if world.connector.facts.modules[world.case.module].unique_key is None:
        assert isinstance(result, Written)
        return
    assert isinstance(result, Rejected)
    assert result.code == "DUPLICATE_NAME"
    assert "zylker" not in repr(result).lower()


# Trouble.


def read(world: World) -> object:
    return world.connector.list_page(world.case.module, cursor=None, since=None)


def write(world: World) -> object:
    return world.connector.create(world.case.module, [Draft(world.case.fields("Unclear"))])[0]


@every_case
@pytest.mark.rule("OP-4")
@pytest.mark.parametrize("call", [read, write])
def test_over_the_limit_nothing_is_sent_again_and_the_budget_is_told(
    world: World, call: Callable[[World], object]
) -> None:
    world.sandbox.fault(world.case.vendor, "429")
    with pytest.raises(RateLimited) as raised:
        call(world)
    assert raised.value.retry_after_s is not None
    assert world.limiter.blocked_s == [raised.value.retry_after_s]
    assert world.limiter.released == [("1", True)]
    assert len(world.sandbox.calls(world.case.vendor)) == 1
    assert world.stored() == []


@every_vendor
@pytest.mark.rule("OP-4")
def test_the_budget_learns_from_the_headers_and_carries_the_class(world: World) -> None:
    world.sandbox.control(world.case.vendor, "POST", "limits", {"per_minute": 7})
    world.listed()
    assert world.limiter.corrected == [(7, 6)]
    assert world.limiter.acquired == [CallClass.RUN]


@every_case
@pytest.mark.rule("P3")
@pytest.mark.parametrize(("applied", "kept"), [("before", 0), ("after", 1)])
def test_a_server_error_of_a_write_is_unsure_whatever_was_done(world: World, applied: str, kept: int) -> None:
    world.sandbox.fault(world.case.vendor, "5xx", status=502, applied=applied)
    assert isinstance(write(world), Unsure)
    assert len(world.stored()) == kept
    world.sandbox.fault(world.case.vendor, "5xx", status=503)
    with pytest.raises(RetryableError):
        read(world)


@every_case
@pytest.mark.rule("P3")
def test_a_lost_reply_is_unsure_and_nothing_is_repeated(world: World) -> None:
    world.listed()  # the token is there, so that the fault strikes the write
    world.sandbox.fault(world.case.vendor, "reply_lost")
    assert isinstance(write(world), Unsure)
    assert len(world.stored()) == 1
    record = world.fetch(RecordId(str(world.stored()[0][world.case.own_id])))
    world.sandbox.fault(world.case.vendor, "reply_lost")
    done = world.connector.update(world.case.module, [edit(record, **{world.case.plain: "x"})])
    assert isinstance(done[0], Unsure)
    world.sandbox.fault(world.case.vendor, "reply_lost")
    with pytest.raises(RetryableError):
        read(world)


@every_vendor
@pytest.mark.rule("P3")
def test_a_call_ends_at_its_deadline(sandbox: Sandbox, case: Case) -> None:
    world = world_of(sandbox, case, call_s=0.4)
    world.link.tokens.token()
    sandbox.fault(case.vendor, "latency", ms=1_500, count=2)
    for call, outcome in ((write, Unsure), (read, RetryableError)):
        began = time.monotonic()
        try:
            result = call(world)
        except RetryableError as error:
            result = error
        assert isinstance(result, outcome)
        assert time.monotonic() - began < 1.2
    world.connector.close()


@every_vendor
@pytest.mark.rule("P3")
def test_what_cannot_be_reached_was_not_sent(sandbox: Sandbox, case: Case) -> None:
    token = world_of(sandbox, case).link.tokens
    world = world_of(sandbox, case, api_domain="http://127.0.0.1:1", tokens=token)
    with pytest.raises(RetryableError):
        write(world)
    world.connector.close()


@every_case
@pytest.mark.rule("P3")
def test_a_malformed_answer(world: World) -> None:
    world.create("Any")
    world.sandbox.fault(world.case.vendor, "malformed")
    with pytest.raises(RetryableError):
        world.connector.fetch(world.case.module, [GONE])
    world.sandbox.fault(world.case.vendor, "malformed")
    with pytest.raises(RetryableError):
        world.connector.find(world.case.module, world.case.key, "Any")
    world.sandbox.fault(world.case.vendor, "malformed")
    assert isinstance(write(world), Unsure)


# Webhooks.


@every_case
@pytest.mark.rule("TR-1", "P14")
def test_a_webhook_is_a_hint_of_ids(case: Case) -> None:
    webhooks = get_vendor(case.vendor).webhooks
    delivery = signed_delivery(case.vendor, delivery_body(case, "460000000026049"))
    webhooks.verify(delivery, ["another-secret", WEBHOOK_SECRET])
    (hint,) = webhooks.parse(delivery)
    assert (hint.module, hint.id, hint.deleted) == (case.module, "460000000026049", False)


@every_vendor
@pytest.mark.rule("P14")
def test_a_webhook_with_a_wrong_signature_or_no_secret_is_closed(case: Case) -> None:
    webhooks = get_vendor(case.vendor).webhooks
    body = delivery_body(case, "1")
    delivery = signed_delivery(case.vendor, body)
    unsigned = WebhookRequest({"content-type": "application/json"}, (), body)
    forged = signed_delivery(case.vendor, body, secret="x" * 32)
    for request, secrets in (
        (forged, [WEBHOOK_SECRET]),
        (unsigned, [WEBHOOK_SECRET]),
        (delivery, []),
        (unsigned, [""]),
    ):
        with pytest.raises(WebhookRefused) as raised:
            webhooks.verify(request, secrets)
        assert raised.value.status == 401


@every_vendor
@pytest.mark.rule("P14")
@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"nonsense", b'"text"', b"[" * 100_000, b'{"a":' * 50 + b"1" + b"}" * 50, b"[1]"],
    ids=["empty", "no-utf8", "no-json", "text", "deep-list", "deep", "numbers"],
)
def test_a_webhook_that_cannot_be_read_is_400(case: Case, body: bytes) -> None:
    with pytest.raises(WebhookRefused) as raised:
        get_vendor(case.vendor).webhooks.parse(signed_delivery(case.vendor, body))
    assert raised.value.status == 400


@every_vendor
def test_a_webhook_of_a_module_that_is_not_synced_gives_no_hint(case: Case) -> None:
    webhooks = get_vendor(case.vendor).webhooks
    body = b'{"module":"Assets","id":"1"}' if case.vendor == "zoho_fsm" else b'{"bill":{"bill_id":"1"}}'
    assert webhooks.parse(signed_delivery(case.vendor, body)) == ()


# Secrets.


def search_privately(world: World) -> object:
    return world.connector.find(world.case.module, world.case.key, PRIVATE)


def raised_by(call: Callable[[World], object], world: World) -> BothwaysError | None:
    try:
        call(world)
    except BothwaysError as error:
        return error
    return None


@every_case
@pytest.mark.rule("P14", "SU-1")
def test_no_secret_and_no_value_is_logged_raised_or_shown(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(world.link), repr(world.grants.held), repr(world.connector), repr(world.vendor.sign_in)]
    below: list[BaseException | None] = []
    world.create("Veryprivate", **{world.case.plain: PRIVATE})
    for kind in ("429", "5xx", "reply_lost", "malformed", "expired_token", "body_code"):
        for call in (search_privately, write):
            world.sandbox.fault(world.case.vendor, kind, **({"code": 2} if kind == "body_code" else {}))
            error = raised_by(call, world)
            if error is not None:
                shown += traceback.format_exception(error)
                below.append(error.__context__)
    assert len(below) >= 4
    assert set(below) == {None}, "an exception below ours would carry the request, and with it the token"
    shown += caplog.messages
    assert any(f"GET /{world.case.module}" in message for message in caplog.messages)
    secrets = [
        world.grants.held.refresh_token.get_secret_value(),
        world.sandbox.client.secret.get_secret_value(),
        world.link.tokens.token().value.get_secret_value(),
        PRIVATE,
    ]
    text = "\n".join(shown)
    assert [secret for secret in secrets if secret in text] == []
    logged = "\n".join(caplog.messages)
    assert "Veryprivate" not in logged
