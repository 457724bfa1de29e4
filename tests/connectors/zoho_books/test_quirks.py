"""Zoho Books: one test for each thing that is not as one would think."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.connectors.base import Capabilities, Draft, Edit, Unsure, WebhookRequest, Written
from shared.connectors.registry import get_vendor
from shared.connectors.zoho_books.webhooks import signature, signing_bytes
from shared.errors import RecordRejected, RetryableError
from shared.sync.model import Change, ModuleName, Record, RecordId
from tests.connectors.support import canned, each, js

CONTACTS, ITEMS, PERSONS = ModuleName("contacts"), ModuleName("items"), ModuleName("contact_persons")
VECTOR = Path(__file__).parents[4] / "shared/vendors/examples/webhook-vectors/zoho_finance_signing_string.json"
CONTACT = {"contact_id": 460000000026049, "contact_name": "A", "contact_type": "customer", "status": "active"}
PAGE = {"page": 1, "per_page": 200, "has_more_page": False}


def sent_body(request: object) -> dict[str, object]:
    return json.loads(request.content)  # type: ignore[attr-defined,no-any-return]


def complete(**fields: str | None) -> Record:
    return Record(RecordId("1"), {"contact_name": "A", "contact_type": "customer", **fields})


def test_ids_come_as_numbers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"code": 0, "contacts": [CONTACT], "page_context": PAGE}
    with canned(monkeypatch, "zoho_books", each(js(200, body))) as (connector, _):
        assert connector.list_page(CONTACTS, cursor=None, since=None).rows[0].id == "460000000026049"


def test_page_context_may_be_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"code": 0, "contacts": [CONTACT], "page_context": [{**PAGE, "has_more_page": False}]}
    with canned(monkeypatch, "zoho_books", each(js(200, body))) as (connector, _):
        assert connector.list_page(CONTACTS, cursor=None, since=None).next_cursor is None


@pytest.mark.rule("P12")
@pytest.mark.parametrize("context", [None, {}, [], {**PAGE, "has_more_page": True}])
def test_a_page_that_was_cut_is_not_taken_for_the_last(monkeypatch: pytest.MonkeyPatch, context: object) -> None:
    body = {"code": 0, "contacts": [CONTACT], "page_context": context}
    with (
        canned(monkeypatch, "zoho_books", each(js(200, body))) as (connector, _),
        pytest.raises(RetryableError),
    ):
        connector.list_page(CONTACTS, cursor=None, since=None)


def test_a_field_that_a_thin_row_lacks_is_unknown_not_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"code": 0, "contacts": [{**CONTACT, "website": ""}], "page_context": PAGE}
    with canned(monkeypatch, "zoho_books", each(js(200, body))) as (connector, _):
        row = connector.list_page(CONTACTS, cursor=None, since=None).rows[0]
    assert not row.complete
    assert row.fields["website"] is None
    assert "company_name" not in row.fields
    assert "billing_address.city" not in row.fields


def test_a_contact_s_person_is_shown_from_the_list_of_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = {"contact_person_id": 8, "email": "a@a.test", "is_primary_contact": True, "phone": ""}
    persons = [{"contact_person_id": 7, "email": "x@x.test"}, primary]
    body = {"code": 0, "contact": {**CONTACT, "contact_persons": persons}}
    with canned(monkeypatch, "zoho_books", each(js(200, body))) as (connector, _):
        record = connector.fetch(CONTACTS, [RecordId("1")])[RecordId("1")]
    assert record is not None
    assert (record.get("email"), record.get("phone"), record.get("primary_contact_id")) == ("a@a.test", None, "8")
    assert [(one.id, one.get("email")) for one in record.children[PERSONS]] == [
        ("460000000026049.7", "x@x.test"),
        ("460000000026049.8", "a@a.test"),
    ]


@pytest.mark.rule("TR-9")
@pytest.mark.parametrize(
    ("shown", "children"),
    [({}, {}), ({"contact_persons": None}, {}), ({"contact_persons": []}, {PERSONS: ()})],
    ids=["not told", "null", "none"],
)
def test_a_contact_that_does_not_speak_of_persons_is_not_one_without_any(
    monkeypatch: pytest.MonkeyPatch, shown: dict[str, object], children: object
) -> None:
    answer = js(200, {"code": 0, "contact": {**CONTACT, **shown}})
    with canned(monkeypatch, "zoho_books", each(answer)) as (connector, _):
        record = connector.fetch(CONTACTS, [RecordId("1")])[RecordId("1")]
    assert record is not None
    assert record.children == children


@pytest.mark.rule("TR-9")
def test_a_person_of_a_contact_that_does_not_speak_of_persons_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = js(200, {"code": 0, "contact": CONTACT})
    with canned(monkeypatch, "zoho_books", each(answer)) as (connector, _), pytest.raises(RecordRejected):
        connector.fetch(PERSONS, [RecordId("460000000026049.7")])


@pytest.mark.rule("TR-9", "P12")
def test_a_person_without_an_id_is_no_reason_to_take_the_others_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    persons = [{"contact_person_id": "7", "first_name": "A"}, {"first_name": "B"}]
    answer = js(200, {"code": 0, "contact": {**CONTACT, "contact_persons": persons}})
    with canned(monkeypatch, "zoho_books", each(answer)) as (connector, _), pytest.raises(RetryableError):
        connector.fetch(CONTACTS, [RecordId("1")])


@pytest.mark.parametrize("as_list", [True, False])
def test_a_person_s_own_answer_may_be_a_list_or_an_object(monkeypatch: pytest.MonkeyPatch, as_list: bool) -> None:
    person = {"contact_person_id": 7, "first_name": "A", "phone": "2"}
    answer = js(200, {"code": 0, "contact_person": [person] if as_list else person})
    record = Record(RecordId("1.7"), {"contact_id": "1", "first_name": "A", "phone": "1"})
    with canned(monkeypatch, "zoho_books", each(answer)) as (connector, sent):
        (result,) = connector.update(PERSONS, [Edit(record, (Change("phone", "1", "2"),))])
    assert isinstance(result, Written)
    assert (result.id, result.record and result.record.get("phone")) == ("1.7", "2")
    assert sent_body(sent[0]) == {"contact_id": "1", "first_name": "A", "phone": "2"}


@pytest.mark.rule("P3")
@pytest.mark.parametrize("body", [{}, {"contact_person": []}, {"contact_person": [{"first_name": "A"}]}])
def test_a_person_s_own_answer_without_its_id_is_unsure(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, object]
) -> None:
    with canned(monkeypatch, "zoho_books", each(js(201, {"code": 0, **body}))) as (connector, _):
        (result,) = connector.create(PERSONS, [Draft({"contact_id": "1", "first_name": "A"})])
    assert isinstance(result, Unsure)


def test_an_update_sends_what_changed_and_what_the_schema_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    record = complete(website="old", notes="kept")
    with canned(monkeypatch, "zoho_books", each(js(200, {"code": 0, "contact": CONTACT}))) as (connector, sent):
        connector.update(CONTACTS, [Edit(record, (Change("website", "old", None),))])
    assert sent_body(sent[0]) == {"contact_name": "A", "contact_type": "customer", "website": ""}


@pytest.mark.rule("FM-5")
def test_an_address_goes_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    record = complete(**{"billing_address.city": "Rome", "billing_address.zip": "1", "shipping_address.city": "Oslo"})
    with canned(monkeypatch, "zoho_books", each(js(200, {"code": 0, "contact": CONTACT}))) as (connector, sent):
        connector.update(CONTACTS, [Edit(record, (Change("billing_address.zip", "1", "2"),))])
    body = sent_body(sent[0])
    assert body["billing_address"] == {"city": "Rome", "zip": "2"}
    assert "shipping_address" not in body


def test_the_code_of_an_old_state_is_not_sent_beside_a_new_state(monkeypatch: pytest.MonkeyPatch) -> None:
    record = complete(**{"billing_address.state": "Ohio", "billing_address.state_code": "OH"})
    with canned(monkeypatch, "zoho_books", each(js(200, {"code": 0, "contact": CONTACT}))) as (connector, sent):
        connector.update(CONTACTS, [Edit(record, (Change("billing_address.state", "Ohio", "Utah"),))])
    assert sent_body(sent[0])["billing_address"] == {"state": "Utah"}


@pytest.mark.rule("DU-10")
def test_persons_that_are_there_are_never_sent_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would replace them; beside a contact that is being made there is nobody yet."""
    record = complete(website="x", phone="1", first_name="P", primary_contact_id="7")
    answer = {"code": 0, "contact": {**CONTACT, "primary_contact_id": 7}, "contact_person": [{"contact_person_id": 7}]}
    with canned(monkeypatch, "zoho_books", each(js(200, answer))) as (connector, sent):
        connector.create(CONTACTS, [Draft({"contact_name": "A"})])
        for names in (("website",), ("phone",), ("website", "phone")):
            connector.update(CONTACTS, [Edit(record, tuple(Change(name, record.get(name), "2") for name in names))])
    assert [(request.method, request.url.path.partition("/books/v3")[2]) for request in sent] == [
        ("POST", "/contacts"),
        ("PUT", "/contacts/1"),
        ("PUT", "/contacts/contactpersons/7"),
        ("PUT", "/contacts/1"),
        ("PUT", "/contacts/contactpersons/7"),
    ]
    assert all("contact_persons" not in sent_body(request) for request in sent)


@pytest.mark.rule("TR-8")
def test_writes_ask_for_no_webhooks_unless_a_setting_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = js(201, {"code": 0, "contact": CONTACT})
    cases: tuple[tuple[dict[str, bool | int | str], str | None], ...]
    cases = (({}, "true"), ({"skip_webhook_trigger": False}, None))
    for flags, header in cases:
        with canned(monkeypatch, "zoho_books", each(answer), flags=flags) as (connector, sent):
            connector.create(CONTACTS, [Draft({"contact_name": "A"})])
            assert sent[0].headers.get("x-zoho-skip-webhook-trigger") == header


def test_an_item_that_a_batch_leaves_out_is_asked_for_before_it_is_believed_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = {"item_id": "1", "name": "A", "rate": 1}
    answers = each(js(200, {"code": 0, "items": [item]}), js(200, {"code": 0, "item": {**item, "item_id": "2"}}))
    with canned(monkeypatch, "zoho_books", answers) as (connector, sent):
        found = connector.fetch(ITEMS, [RecordId("1"), RecordId("2")])
    assert all(found.values())
    assert [urlsplit(str(request.url)).path for request in sent] == ["/books/v3/itemdetails", "/books/v3/items/2"]


def test_item_details_are_asked_for_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: object) -> object:
        wanted = parse_qs(urlsplit(str(request.url)).query)["item_ids"][0].split(",")  # type: ignore[attr-defined]
        return js(200, {"code": 0, "items": [{"item_id": i, "name": i, "rate": 1} for i in wanted]})

    ids = [RecordId(str(n)) for n in range(120)]
    with canned(monkeypatch, "zoho_books", answer) as (connector, sent):  # type: ignore[arg-type]
        assert list(connector.fetch(ITEMS, ids)) == ids
        assert len(sent) == 3
    assert get_vendor("zoho_books").facts(Capabilities({"itemdetails_batch": 7})).modules[ITEMS].read_batch == 7


def test_a_long_name_is_looked_for_by_its_first_100_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"code": 0, "contacts": [], "page_context": PAGE}
    with canned(monkeypatch, "zoho_books", each(js(200, body))) as (connector, sent):
        connector.find(CONTACTS, "contact_name", "n" * 150)
    assert sent[0].url.params["contact_name_startswith"] == "n" * 100


@pytest.mark.rule("P14")
@pytest.mark.skipif(not VECTOR.is_file(), reason="the vendor's webhook vector is not beside this checkout")
def test_the_vendor_s_own_string_to_sign() -> None:
    vector = json.loads(VECTOR.read_text())
    query = tuple(vector["query"].items())
    request = WebhookRequest({"content-type": "application/json"}, query, vector["raw_body"].encode())
    assert signing_bytes(request).decode() == vector["expected_string_to_sign"]


@pytest.mark.rule("P14")
def test_form_parameters_are_decoded_and_sorted_with_the_query() -> None:
    body = b"b=x%20y&a=%C3%BC"
    request = WebhookRequest({"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, (("c", "1"),), body)
    assert signing_bytes(request).decode() == "aübx yc1"
    digest = hmac.new(b"secret", "aübx yc1".encode(), hashlib.sha256).hexdigest()
    assert signature("secret", signing_bytes(request)) == digest


@pytest.mark.parametrize(
    ("content_type", "body", "ids"),
    [
        ("application/json", b'{"contact":{"contact_id":460000000026049}}', ["460000000026049"]),
        ("application/json", b'{"contacts":[{"contact_id":"1"},{"contact_id":"2"}]}', ["1", "2"]),
        ("application/json", b'{"contact_id":"7","event_type":"contact_deleted"}', ["7"]),
        ("application/x-www-form-urlencoded", b"JSONString=%7B%22item%22%3A%7B%22item_id%22%3A%229%22%7D%7D", ["9"]),
        ("application/json", b'{"invoice":{"invoice_id":"1","contact":"x"}}', ["1"]),
        ("application/json", b'{"bill":{"bill_id":"1","contact":"x"}}', []),
        ("application/json", b'{"contact":{"contact_id":"1","contact_persons":[{"contact_person_id":"2"}]}}', ["1"]),
        ("application/json", b'{"contact_id":"1","contact_persons":[{"contact_person_id":"2"}]}', ["1"]),
        ("application/json", b'{"contact_person":{"contact_person_id":"2"}}', []),
        ("application/json", b'{"contact_person_id":"2"}', []),
    ],
)
def test_payloads(content_type: str, body: bytes, ids: list[str]) -> None:
    hints = get_vendor("zoho_books").webhooks.parse(WebhookRequest({"content-type": content_type}, (), body))
    assert [hint.id for hint in hints] == ids
    assert [hint.deleted for hint in hints] == [b"deleted" in body] * len(ids)
