"""Zoho Invoice: the platform of Zoho Books under another address, with an organisation of its own."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import httpx
import pytest

from tests.sandbox.orders import open_shop
from tests.sandbox.support import BOOKS, FSM, Box, Receiver, refusal

pytestmark = pytest.mark.rule("OP-3")
INVOICE = "zoho_invoice"


def call(box: Box, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    params = {"organization_id": box.info["orgs"][INVOICE], **more.pop("params", {})}
    return box.call(INVOICE, method, path, body, params=params, **more)


def make(box: Box, plural: str, **fields: Any) -> str:
    response = call(box, "POST", f"/{plural}", fields)
    assert response.status_code == 201, response.text
    singular = plural.removesuffix("s")
    made: str = response.json()[singular][f"{singular}_id"]
    return made


def test_it_is_at_another_address_with_an_organisation_of_its_own(box: Box) -> None:
    told = box.info["vendors"][INVOICE]
    assert told["url"] == f"{box.base_url}/{INVOICE}/invoice/v3"
    assert told["org_id"] != box.info["orgs"][BOOKS]
    (org,) = box.call(INVOICE, "GET", "/organizations").json()["organizations"]
    assert (org["organization_id"], org["version"]) == (told["org_id"], "invoice")
    assert box.http.get(f"/{INVOICE}/books/v3/organizations").status_code != 200


def test_records_live_their_lives_apart_from_those_of_books(box: Box) -> None:
    customer, item = make(box, "contacts", contact_name="Acme"), make(box, "items", name="Repair", rate=10)
    line = {"item_id": item, "quantity": 2}
    invoice = make(box, "invoices", customer_id=customer, line_items=[line])
    shown = call(box, "GET", f"/invoices/{invoice}").json()["invoice"]
    assert (shown["total"], shown["invoice_number"]) == (20, "INV-000001")
    assert call(box, "PUT", f"/contacts/{customer}", {"website": "x.test"}).json()["code"] == 0
    for plural in ("contacts", "items", "invoices"):
        assert len(call(box, "GET", f"/{plural}").json()[plural]) == 1
        assert box.books("GET", f"/{plural}").json()[plural] == []


def test_there_are_no_vendors_purchase_orders_or_bills(box: Box) -> None:
    refused = call(box, "POST", "/contacts", {"contact_name": "S", "contact_type": "vendor"})
    assert refusal(refused) == (400, 2)
    customer = make(box, "contacts", contact_name="Acme")
    assert refusal(call(box, "PUT", f"/contacts/{customer}", {"contact_type": "vendor"})) == (400, 2)
    for plural in ("purchaseorders", "bills"):
        assert refusal(call(box, "GET", f"/{plural}")) == (404, 5)


def test_the_organisation_comes_in_the_query_or_in_its_own_header(box: Box) -> None:
    org = box.info["orgs"][INVOICE]
    assert refusal(box.call(INVOICE, "GET", "/contacts")) == (400, 6)
    own = {"X-com-zoho-invoice-organizationid": org}
    assert box.call(INVOICE, "GET", "/contacts", headers=own).status_code == 200
    other = {"X-com-zoho-books-organizationid": org}
    assert refusal(box.call(INVOICE, "GET", "/contacts", headers=other)) == (400, 6)
    foreign = {"organization_id": box.info["orgs"][BOOKS]}
    assert refusal(box.call(INVOICE, "GET", "/contacts", params=foreign)) == (401, 6041)


def test_json_comes_plain_or_in_a_form_field(box: Box) -> None:
    headers = {"Authorization": f"Zoho-oauthtoken {box.token(INVOICE)}"}
    url = f"/{INVOICE}/invoice/v3/contacts"
    params = {"organization_id": box.info["orgs"][INVOICE]}
    response = box.http.post(url, data={"JSONString": '{"contact_name": "Acme"}'}, headers=headers, params=params)
    assert response.status_code == 201


@pytest.mark.parametrize(
    "scope", ["ZohoInvoice.contacts.READ", "ZohoInvoice.contacts.ALL", "ZohoInvoice.fullaccess.all"]
)
def test_its_scopes_have_a_name_of_their_own(box: Box, scope: str) -> None:
    answer = box.granted(scope)
    assert answer["api_domain"] == f"{box.base_url}/{INVOICE}"
    assert call(box, "GET", "/contacts", token=answer["access_token"]).status_code == 200
    assert refusal(box.books("GET", "/contacts", token=answer["access_token"])) == (401, 57)
    books = box.granted(scope.replace("ZohoInvoice", "ZohoBooks"))["access_token"]
    assert refusal(call(box, "GET", "/contacts", token=books)) == (401, 57)


def test_its_limits_are_a_free_plan_s_and_its_own(box: Box) -> None:
    shown = box.control(INVOICE, "POST", "limits", {"published": True})["limits"]
    assert (shown["per_minute"], shown["per_day"], shown["concurrent"]) == (100, 1000, 5)
    box.control(INVOICE, "POST", "limits", {"per_minute": 1})
    assert call(box, "GET", "/contacts").status_code == 200
    assert refusal(call(box, "GET", "/contacts")) == (429, 44)
    assert box.books("GET", "/contacts").status_code == 200


def test_its_webhooks_are_signed_and_name_its_organisation(box: Box, receiver: Receiver) -> None:
    secret = "0123456789abcdef"
    hook = {"webhook_name": "w", "url": receiver.url, "entity": "contact", "secret": secret}
    hook_id = call(box, "POST", "/settings/webhooks", hook).json()["webhook"]["webhook_id"]
    actions = [{"action_type": "webhook", "action_id": hook_id}]
    workflow = {"workflow_name": "w", "entity": "contact", "events": ["created"], "actions": actions}
    assert call(box, "POST", "/settings/workflows", workflow).status_code == 201
    box.make_in_books("contacts", contact_name="Elsewhere")
    make(box, "contacts", contact_name="Acme")
    (told,) = receiver.wait_for(1)
    assert box.info["orgs"][INVOICE].encode() in told.body
    expected = hmac.new(secret.encode(), told.body, hashlib.sha256).hexdigest()
    assert told.headers["x-zoho-webhook-signature"] == expected


def test_a_fault_of_one_strikes_that_one_alone(box: Box) -> None:
    box.control(INVOICE, "POST", "faults", {"kind": "5xx", "count": 1})
    assert box.books("GET", "/contacts").status_code == 200
    assert call(box, "GET", "/contacts").status_code == 503


def test_it_may_be_the_organisation_behind_fsm(box: Box) -> None:
    shop = open_shop(box)
    box.control(FSM, "POST", "accounting", {"vendor": INVOICE})
    make(box, "contacts", contact_name="Acme", customer_sub_type="business")
    for name in ("Repair", "Bolt"):
        make(box, "items", name=name, rate=1)
    response = shop.invoice(shop.make())
    assert response.status_code == 201, response.text
    (row,) = call(box, "GET", "/invoices").json()["invoices"]
    assert (row["reference_number"], row["total"]) == ("WO1", 22.01)
    assert box.books("GET", "/invoices").json()["invoices"] == []


def test_a_reset_of_one_leaves_the_other(box: Box) -> None:
    make(box, "contacts", contact_name="Acme")
    box.control(BOOKS, "POST", "reset")
    assert len(call(box, "GET", "/contacts").json()["contacts"]) == 1
    box.control(INVOICE, "POST", "reset")
    assert call(box, "GET", "/contacts").json()["contacts"] == []
