"""Zoho FSM: one test for each thing that is not as one would think."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from shared.connectors.base import Capabilities, Draft, Edit, Rejected, Unsure, WebhookRequest, Written
from shared.connectors.registry import get_vendor
from shared.errors import ConfigError, RecordRejected, RetryableError, WebhookRefused
from shared.sync.model import Change, ModuleName, Record, RecordId
from tests.connectors.support import canned, each, js

COMPANIES, CONTACTS, ITEMS = ModuleName("Companies"), ModuleName("Contacts"), ModuleName("Service_And_Parts")
INFO = {"page": 1, "per_page": 200, "count": 1, "more_records": False}
COMPANY: dict[str, Any] = {"id": "1", "Company_Name": "A", "Service_Address": None, "Billing_Address": None}
MADE = {"data": {"Companies": [{"UID": "Companies_0", "id": "5", "Modified_Time": "2026-03-08T02:20:56-08:00"}]}}
CHANGED = {"data": [{"code": "SUCCESS", "details": {"id": "5"}, "message": "record updated", "status": "success"}]}
NO_SUCH_PATH = js(404, {"code": "INVALID_URL_PATTERN", "details": {}, "message": "no such path", "status": "error"})


def body_of(request: httpx.Request) -> Any:
    return json.loads(request.content)["data"][0]


def read_one(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], module: ModuleName = COMPANIES) -> Record:
    with canned(monkeypatch, "zoho_fsm", each(js(200, {"data": [row]}))) as (connector, _):
        record = connector.fetch(module, [RecordId("1")])[RecordId("1")]
    assert record is not None
    return record


def test_an_empty_list_is_204_without_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(monkeypatch, "zoho_fsm", each(httpx.Response(204))) as (connector, _):
        assert connector.list_page(COMPANIES, cursor="3", since=None).rows == ()
        assert connector.find(COMPANIES, "Company_Name", "A") == ()


def test_an_address_is_read_under_prefixed_keys_and_kept_under_its_writing_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = {"id": "9", "name": "Main", "Service_Street_1": "S", "Service_Zip_Code": "", "Service_Latitude": 1.5}
    record = read_one(monkeypatch, {**COMPANY, "Service_Address": address})
    assert {k: v for k, v in record.fields.items() if k.startswith("Service_Address") and v is not None} == {
        "Service_Address.id": "9",
        "Service_Address.Address_Name": "Main",
        "Service_Address.Street_1": "S",
    }
    assert record.complete


def test_an_address_that_is_only_a_reference_makes_the_row_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_one(monkeypatch, {**COMPANY, "Billing_Address": {"id": "9", "name": "Main"}})
    assert not record.complete, "its lines are unknown, not blank"


@pytest.mark.rule("SU-5")
@pytest.mark.parametrize(
    ("told", "complete", "fields"),
    [
        ({}, False, {}),
        ({"Company": None}, True, {"Company.id": None, "Company.name": None}),
        ({"Company": {"id": 9, "name": "Acme"}}, True, {"Company.id": "9", "Company.name": "Acme"}),
    ],
    ids=["not told", "none", "one"],
)
def test_no_company_and_a_company_that_is_not_told_are_two_things(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], complete: bool, fields: dict[str, Any]
) -> None:
    record = read_one(monkeypatch, {"id": "1", "Last_Name": "Lee", **told}, CONTACTS)
    assert record.complete is complete
    assert {name: value for name, value in record.fields.items() if name.startswith("Company")} == fields


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"First_Name": "Ann", "Last_Name": "Lee"}, "Ann Lee"),
        ({"First_Name": " Ann ", "Last_Name": "Lee "}, "Ann Lee"),
        ({"First_Name": "", "Last_Name": "Lee"}, "Lee"),
        ({"First_Name": None, "Last_Name": None}, None),
    ],
)
def test_a_full_name_is_made_of_the_names_that_there_are(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], name: str | None
) -> None:
    assert read_one(monkeypatch, {"id": "1", "Company": None, **row}, CONTACTS).get("$full_name") == name


@pytest.mark.rule("DU-10")
def test_a_contact_is_put_into_its_company_by_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"data": {"Contacts": [{"UID": "Contacts_0", "id": "5"}]}}
    with canned(monkeypatch, "zoho_fsm", each(js(201, made))) as (connector, sent):
        connector.create(CONTACTS, [Draft({"Last_Name": "Lee", "Email": "l@x.test", "Company.id": "9"})])
    assert body_of(sent[0]) == {"Last_Name": "Lee", "Email": "l@x.test", "Company": {"id": "9"}}


@pytest.mark.rule("TR-11")
def test_the_company_of_a_contact_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": "1", "Last_Name": "Lee", "Company": {"id": "9", "name": "Acme"}}
    record = read_one(monkeypatch, row, CONTACTS)
    with canned(monkeypatch, "zoho_fsm", each(js(200, CHANGED))) as (connector, sent):
        connector.update(CONTACTS, [Edit(record, (Change("Phone", None, "1"),))])
    assert body_of(sent[0]) == {"Phone": "1"}


@pytest.mark.rule("OP-3")
@pytest.mark.parametrize("other", [js(400, {"code": "INVALID_DATA", "status": "error"}), js(200, {"data": [{}]})])
def test_what_one_module_searches_and_another_does_not_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, other: httpx.Response
) -> None:
    """Refused, or the comparator is ignored and everything comes back."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/settings/fields"):
            return js(401, {"code": "OAUTH_SCOPE_MISMATCH", "status": "error"})
        if "/Contacts/" in request.url.path:
            return other
        older = request.url.params["comparator"] == "less_equal"
        return js(200, {"data": [COMPANY], "info": INFO}) if older else httpx.Response(204)

    with canned(monkeypatch, "zoho_fsm", answer) as (connector, _):
        assert not connector.probe().on("modified_time_search")


@pytest.mark.rule("FM-5")
def test_an_address_goes_out_whole_with_its_id_and_the_other_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    service = {"id": "9", "name": "Main", "Service_Street_1": "S", "Service_City": "Rome"}
    billing = {"id": "8", "name": "Bill", "Billing_City": "Oslo"}
    record = read_one(monkeypatch, {**COMPANY, "Service_Address": service, "Billing_Address": billing})
    with canned(monkeypatch, "zoho_fsm", each(js(200, CHANGED))) as (connector, sent):
        connector.update(COMPANIES, [Edit(record, (Change("Service_Address.City", "Rome", "Bari"),))])
    sent_body = body_of(sent[0])
    assert set(sent_body) == {"Service_Address"}
    shown = {k: v for k, v in sent_body["Service_Address"].items() if v is not None}
    assert shown == {"id": "9", "Address_Name": "Main", "Street_1": "S", "City": "Bari"}


def test_an_address_that_was_not_there_has_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_one(monkeypatch, COMPANY)
    with canned(monkeypatch, "zoho_fsm", each(js(200, CHANGED))) as (connector, sent):
        connector.update(COMPANIES, [Edit(record, (Change("Service_Address.City", None, "Bari"),))])
    assert "id" not in body_of(sent[0])["Service_Address"]


def test_a_create_s_answer_is_keyed_by_module_and_shows_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(monkeypatch, "zoho_fsm", each(js(201, MADE))) as (connector, sent):
        done = connector.create(COMPANIES, [Draft({"Company_Name": "A", "Phone": None})])
    assert done == (Written(RecordId("5"), None, datetime(2026, 3, 8, 10, 20, 56, tzinfo=UTC)),)
    assert body_of(sent[0]) == {"Company_Name": "A"}


def test_a_batch_s_answer_may_come_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"UID": f"Service_And_Parts_{n}", "id": str(n)} for n in (2, 0, 1)]
    drafts = [Draft({"Name": str(n), "Unit_Price": Decimal(1), "Type": "Goods"}) for n in range(3)]
    answer = js(201, {"data": {"Service_And_Parts": rows}})
    with canned(monkeypatch, "zoho_fsm", each(answer), flags={"create_batch": 100}) as (connector, sent):
        done = connector.create(ITEMS, drafts)
        assert [one.id for one in done if isinstance(one, Written)] == ["0", "1", "2"]
        assert len(sent) == 1
    short = js(201, {"data": {"Service_And_Parts": rows[:2]}})
    with canned(monkeypatch, "zoho_fsm", each(short), flags={"create_batch": 100}) as (connector, _):
        assert {type(one) for one in connector.create(ITEMS, drafts)} == {Unsure}


def test_one_record_a_call_unless_a_setting_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = get_vendor("zoho_fsm").facts
    for wanted, batch in ((None, 1), (100, 100), (1_000, 100), (0, 1), ("many", 1)):
        flags = {} if wanted is None else {"create_batch": wanted}
        assert facts(Capabilities(flags)).modules[ITEMS].create_batch == batch
    with (
        canned(monkeypatch, "zoho_fsm", each(js(201, MADE))) as (connector, _),
        pytest.raises(ValueError, match="more"),
    ):
        connector.create(COMPANIES, [Draft({}), Draft({})])


def test_an_item_is_updated_under_the_path_that_works_and_that_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return js(200, CHANGED) if "/Service_And_Parts/" in request.url.path else NO_SUCH_PATH

    edit = Edit(Record(RecordId("5"), {"Name": "A"}), (Change("Name", "A", "B"),))
    with canned(monkeypatch, "zoho_fsm", answer) as (connector, sent):
        for _ in range(2):
            assert isinstance(connector.update(ITEMS, [edit])[0], Written)
    paths = [urlsplit(str(request.url)).path.split("/")[3] for request in sent]
    assert paths == ["Products", "Service_And_Parts", "Service_And_Parts"]


def test_a_wrong_path_is_not_a_gone_record(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(monkeypatch, "zoho_fsm", each(NO_SUCH_PATH)) as (connector, _):
        with pytest.raises(RecordRejected):
            connector.fetch(COMPANIES, [RecordId("1")])
        edit = Edit(Record(RecordId("5"), {"Name": "A"}), (Change("Name", "A", "B"),))
        (result,) = connector.update(ITEMS, [edit])
    assert isinstance(result, Rejected)
    assert result.code == "VENDOR_REJECTED"


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, {"code": "INVALID_DATA", "details": {"maximum_length": 255, "api_name": "Street_1"}}, "FIELD_TOO_LONG"),
        (400, {"data": [{"code": "MANDATORY_NOT_FOUND", "status": "error"}]}, "MANDATORY_FIELD_EMPTY"),
        (400, {"code": "ERROR", "details": {"code": "DUPLICATE_DATA", "message": "x"}}, "DUPLICATE_NAME"),
        (
            200,
            {"data": [{"code": "INVALID_DATA", "details": {"api_name": "Tax"}, "status": "error"}]},
            "VENDOR_REJECTED",
        ),
        (404, {"code": "INVALID_DATA", "details": {}, "status": "error"}, "TARGET_GONE"),
    ],
)
def test_refusals_at_the_top_or_in_an_element(
    monkeypatch: pytest.MonkeyPatch, status: int, answer: object, code: str
) -> None:
    edit = Edit(Record(RecordId("5"), {}), (Change("Phone", None, "1"),))
    with canned(monkeypatch, "zoho_fsm", each(js(status, answer))) as (connector, _):
        (result,) = connector.update(COMPANIES, [edit])
    assert isinstance(result, Rejected)
    assert result.code == code


def test_a_missing_scope_is_no_refused_token(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = js(401, {"code": "OAUTH_SCOPE_MISMATCH", "details": {}, "message": "x", "status": "error"})
    with canned(monkeypatch, "zoho_fsm", each(answer)) as (connector, sent):
        with pytest.raises(ConfigError) as raised:
            connector.list_page(COMPANIES, cursor=None, since=None)
        assert (raised.value.code, len(sent)) == ("SCOPE_MISSING", 1)


def test_an_internal_error_of_a_write_is_unsure_even_inside_a_200(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = js(200, {"data": [{"code": "INTERNAL_ERROR", "status": "error", "details": {}}]})
    with canned(monkeypatch, "zoho_fsm", each(answer)) as (connector, _):
        assert isinstance(connector.create(COMPANIES, [Draft({"Company_Name": "A"})])[0], Unsure)


def test_a_page_that_was_cut_is_not_taken_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    for info in ({**INFO, "more_records": True}, {}, None):
        answer = js(200, {"data": [COMPANY], "info": info})
        with canned(monkeypatch, "zoho_fsm", each(answer)) as (connector, _), pytest.raises(RetryableError):
            connector.list_page(COMPANIES, cursor=None, since=None)


def test_commas_are_escaped_in_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned(monkeypatch, "zoho_fsm", each(httpx.Response(204))) as (connector, sent):
        connector.find(COMPANIES, "Company_Name", "Acme, Inc & Co+1")
    assert sent[0].url.params["value"] == "Acme\\, Inc & Co+1"
    assert b"value=Acme%5C%2C%20Inc%20%26%20Co%2B1" in sent[0].url.query
    assert sent[0].url.params["comparator"] == "equal"


def test_the_stamp_is_written_only_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = Draft({"Company_Name": "A", "ZBilling_Id": "7"}, stamp=RecordId("77"))
    cases: tuple[tuple[dict[str, bool | int | str], str | None], ...]
    cases = (({}, None), ({"zbilling_id_writable": True}, "77"))
    for flags, stamp in cases:
        with canned(monkeypatch, "zoho_fsm", each(js(201, MADE)), flags=flags) as (connector, sent):
            connector.create(COMPANIES, [draft])
            facts = connector.facts.modules[COMPANIES]
        assert body_of(sent[0]).get("ZBilling_Id") == stamp
        assert facts.stamp_field == ("ZBilling_Id" if stamp else None)
        assert facts.fields["ZBilling_Id"].read_only is (stamp is None)


def test_custom_fields_and_the_inactive_flag_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": "1", "Name": "A", "Unit_Price": 18.1, "$inactive": True, "Colour__C": "red", "Size__C": 2}
    record = read_one(monkeypatch, row, ITEMS)
    assert record.inactive
    assert (record.get("Colour__C"), record.get("Size__C")) == ("red", Decimal(2))


@pytest.mark.parametrize("module", ["Service_And_Parts", "Services And Parts", "Products", "services and parts"])
def test_a_webhook_may_spell_the_items_in_several_ways(module: str) -> None:
    body = json.dumps([{"module": module, "event": "delete", "id": "5", "modified_time": "2026-01-01T00:00:00-08:00"}])
    (hint,) = get_vendor("zoho_fsm").webhooks.parse(WebhookRequest({}, (), body.encode()))
    assert (hint.module, hint.id, hint.deleted) == (ITEMS, "5", True)
    assert hint.modified_at == datetime(2026, 1, 1, 8, tzinfo=UTC)


@pytest.mark.rule("P14")
@pytest.mark.parametrize("bad", ["", None, "../orgs", "1?x=1", "x" * 65, ["1"]])
def test_an_id_that_could_leave_its_place_in_an_address_is_refused(bad: object) -> None:
    body = json.dumps({"module": "Companies", "id": bad}).encode()
    with pytest.raises(WebhookRefused):
        get_vendor("zoho_fsm").webhooks.parse(WebhookRequest({}, (), body))
