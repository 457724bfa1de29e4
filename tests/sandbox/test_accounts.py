"""The accounts server: authorise, tokens and their limits."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest

from tests.sandbox.support import ACCOUNTS, BOOKS, FSM, Box, wait_until

pytestmark = pytest.mark.rule("OP-3")
REDIRECT = "http://127.0.0.1:9/callback"


def authorise(box: Box, **more: str) -> httpx.Response:
    query = {
        "response_type": "code",
        "client_id": box.info["client_id"],
        "redirect_uri": REDIRECT,
        "scope": "ZohoFSM.modules.all",
        "access_type": "offline",
        "prompt": "consent",
        "state": "abc",
        **more,
    }
    return box.http.get(f"/{ACCOUNTS}/oauth/v2/auth", params=query)


def code_of(response: httpx.Response) -> str:
    return str(httpx.URL(response.headers["location"]).params["code"])


def redeem(box: Box, code: str, redirect_uri: str = REDIRECT) -> dict[str, object]:
    return box.token_answer(grant_type="authorization_code", code=code, redirect_uri=redirect_uri)


def person_of(box: Box, vendor: str = FSM) -> str:
    return str(box.info["vendors"][vendor]["refresh_tokens"]["person"])


def test_authorising_redirects_with_code_location_and_accounts_server(box: Box) -> None:
    params = httpx.URL(authorise(box).headers["location"]).params
    assert params["accounts-server"] == f"{box.base_url}/{ACCOUNTS}"
    assert (params["location"], params["state"]) == ("us", "abc")
    assert params["code"]


def test_only_callbacks_on_this_machine_are_registered(box: Box) -> None:
    assert authorise(box, redirect_uri="http://elsewhere.test/callback").status_code == 400
    assert authorise(box, redirect_uri="http://localhost:8000/x").status_code == 302


def test_an_unknown_client_is_shown_a_page_and_not_sent_back(box: Box) -> None:
    assert authorise(box, client_id="other").status_code == 400


def test_consent_can_be_denied(box: Box) -> None:
    box.control(ACCOUNTS, "POST", "capabilities", {"consent_denied": True})
    assert httpx.URL(authorise(box).headers["location"]).params["error"] == "access_denied"


@pytest.mark.parametrize(("scope", "vendor"), [("ZohoFSM.modules.all", FSM), ("ZohoBooks.contacts.READ", BOOKS)])
def test_the_api_domain_follows_from_the_scopes(box: Box, scope: str, vendor: str) -> None:
    answer = box.granted(scope)
    assert answer["api_domain"] == f"{box.base_url}/{vendor}"
    assert answer["expires_in"] == 3600
    assert answer["refresh_token"]


def test_no_refresh_token_without_offline_access(box: Box) -> None:
    assert "refresh_token" not in box.granted("ZohoFSM.modules.all", access_type="online")


def test_a_code_works_once(box: Box) -> None:
    code = code_of(authorise(box))
    assert "access_token" in redeem(box, code)
    assert redeem(box, code) == {"error": "invalid_code"}


def test_a_code_ends(box: Box) -> None:
    box.control(ACCOUNTS, "POST", "capabilities", {"grant_code_s": -1})
    assert redeem(box, code_of(authorise(box))) == {"error": "invalid_code"}


def test_a_code_is_bound_to_its_redirect(box: Box) -> None:
    code = code_of(authorise(box))
    assert redeem(box, code, "http://127.0.0.1:9/other") == {"error": "invalid_redirect_uri"}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_id": "x"}, "invalid_client"),
        ({"client_secret": "x"}, "invalid_client_secret"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_code"),
    ],
)
def test_errors_of_the_token_call_come_with_200(box: Box, fields: dict[str, str], error: str) -> None:
    assert box.token_answer(**fields)["error"] == error  # token_answer asserts the 200


def test_the_refresh_token_does_not_rotate(box: Box) -> None:
    first, second = box.refresh(person_of(box)), box.refresh(person_of(box))
    assert "refresh_token" not in first
    assert first["access_token"] != second["access_token"]


def test_ten_access_tokens_then_access_denied(box: Box) -> None:
    answers = [box.refresh(person_of(box)) for _ in range(11)]
    assert all("access_token" in answer for answer in answers[:10])
    assert answers[10]["error"] == "Access Denied"
    assert "access_token" in box.refresh(person_of(box, BOOKS))  # each refresh token has its own allowance


def test_the_allowance_comes_back_after_the_window(box: Box) -> None:
    box.control(ACCOUNTS, "POST", "capabilities", {"token_allowance": 1})
    box.refresh(person_of(box))
    assert box.refresh(person_of(box))["error"] == "Access Denied"
    box.control(ACCOUNTS, "POST", "capabilities", {"token_window_s": 0})
    assert "access_token" in box.refresh(person_of(box))


def test_the_sixteenth_live_token_ends_the_oldest(box: Box) -> None:
    box.control(ACCOUNTS, "POST", "capabilities", {"token_allowance": 100})
    tokens = [box.refresh(person_of(box))["access_token"] for _ in range(16)]
    assert box.fsm("GET", "/Companies", token=tokens[0]).json()["code"] == "INVALID_OAUTHTOKEN"
    assert box.fsm("GET", "/Companies", token=tokens[1]).status_code == 204


def test_the_twenty_first_refresh_token_ends_the_oldest(box: Box) -> None:
    granted = [box.granted("ZohoFSM.modules.all")["refresh_token"] for _ in range(21)]
    assert box.refresh(granted[0]) == {"error": "invalid_code"}
    assert "access_token" in box.refresh(granted[1])
    assert "access_token" in box.refresh(person_of(box))  # another user's


def test_revoking_ends_the_grant_and_its_access_tokens(box: Box) -> None:
    answer = box.granted("ZohoFSM.modules.all")
    response = box.http.post(f"/{ACCOUNTS}/oauth/v2/token/revoke", params={"token": answer["refresh_token"]})
    assert response.json() == {"status": "success"}
    assert box.refresh(answer["refresh_token"]) == {"error": "invalid_code"}
    assert box.fsm("GET", "/Companies", token=answer["access_token"]).status_code == 401


def test_the_control_revokes_a_user_and_ends_access_tokens(box: Box) -> None:
    token = box.token(FSM)
    assert box.control(ACCOUNTS, "POST", "expire")["expired"] >= 1
    assert box.fsm("GET", "/Companies", token=token).status_code == 401
    user = box.info["vendors"][ACCOUNTS]["users"]["person"]
    assert box.control(ACCOUNTS, "POST", "revoke", {"user": user}) == {"revoked": 3}
    assert box.refresh(person_of(box)) == {"error": "invalid_code"}


def test_the_control_revokes_all_grants_of_a_vendor(box: Box) -> None:
    granted = box.granted("ZohoFSM.modules.all")
    token = box.token(FSM)
    assert box.control(ACCOUNTS, "POST", "revoke", {"vendor": FSM}) == {"revoked": 3}
    for refresh_token in (granted["refresh_token"], person_of(box)):
        assert box.refresh(refresh_token) == {"error": "invalid_code"}
    for access in (granted["access_token"], token):
        assert box.fsm("GET", "/Companies", token=access).json()["code"] == "INVALID_OAUTHTOKEN"
    assert "access_token" in box.refresh(person_of(box, BOOKS))
    assert "access_token" in box.refresh(box.granted("ZohoFSM.modules.all")["refresh_token"])


def test_the_control_revokes_by_all_that_is_said(box: Box) -> None:
    integration = box.info["vendors"][ACCOUNTS]["users"]["integration"]
    given = {"vendor": BOOKS, "user": integration}
    assert box.control(ACCOUNTS, "POST", "revoke", given) == {"revoked": 1}
    assert "access_token" in box.refresh(person_of(box, BOOKS))
    assert box.control(ACCOUNTS, "POST", "revoke", {"client_id": box.info["client_id"]}) == {"revoked": 5}
    assert box.http.post(f"/_sandbox/{ACCOUNTS}/revoke", json={}).status_code == 400


# Rotation


def rotating(box: Box, **more: int) -> None:
    box.control(ACCOUNTS, "POST", "capabilities", {"rotate_refresh_tokens": True, **more})


def test_a_rotating_token_is_replaced_and_works_on_within_its_grace(box: Box) -> None:
    rotating(box)
    first = person_of(box)
    second = box.refresh(first)["refresh_token"]
    assert second != first
    third = box.refresh(second)["refresh_token"]
    again = box.refresh(first)["refresh_token"]
    assert len({first, second, third, again}) == 4
    assert all("access_token" in box.refresh(one) for one in (first, second, third, again))


def test_a_former_token_ends_after_its_grace_and_the_new_one_does_not(box: Box) -> None:
    rotating(box, grace_s=0)
    first = person_of(box)
    second = box.refresh(first)["refresh_token"]
    assert box.refresh(first) == {"error": "invalid_code"}
    assert "access_token" in box.refresh(second)


def test_two_who_refresh_at_once_hold_one_good_token_between_them(box: Box) -> None:
    rotating(box)
    first = person_of(box)
    one, other = box.refresh(first)["refresh_token"], box.refresh(first)["refresh_token"]
    (grant,) = [row for row in box.control(ACCOUNTS, "GET", "state")["modules"]["grants"] if row["refreshes"]]
    assert grant["refresh_token"] == other
    assert set(grant["former"]) == {first, one}
    assert all(0 < left_s <= 1800 for left_s in grant["former"].values())
    assert (grant["vendor"], grant["refreshes"]) == (FSM, 2)


def test_revoking_ends_former_tokens_too(box: Box) -> None:
    rotating(box)
    first = person_of(box)
    second = box.refresh(first)["refresh_token"]
    assert box.control(ACCOUNTS, "POST", "revoke", {"refresh_token": first}) == {"revoked": 1}
    assert [box.refresh(one) for one in (first, second)] == [{"error": "invalid_code"}] * 2


def test_the_allowance_is_kept_over_a_rotation(box: Box) -> None:
    rotating(box, token_allowance=2, grace_s=0)
    token = person_of(box)
    for _ in range(2):
        token = str(box.refresh(token)["refresh_token"])
    assert box.refresh(token)["error"] == "Access Denied"
    box.control(ACCOUNTS, "POST", "capabilities", {"token_allowance": 3})
    assert "access_token" in box.refresh(token)  # the refusal replaced nothing


# Faults of the token call


def token_form(box: Box, refresh_token: str) -> dict[str, str]:
    form = {"client_id": box.info["client_id"], "client_secret": box.info["client_secret"]}
    return form | {"grant_type": "refresh_token", "refresh_token": refresh_token}


def token_call(box: Box, refresh_token: str) -> httpx.Response:
    return box.http.post(f"/{ACCOUNTS}/oauth/v2/token", data=token_form(box, refresh_token))


@pytest.mark.parametrize(("applied", "refreshes"), [("before", 0), ("after", 1)])
def test_the_token_call_fails_before_or_after_the_grant(box: Box, applied: str, refreshes: int) -> None:
    rotating(box, grace_s=0)
    given = {"kind": "502", "applied": applied, "match": {"path": "token$"}}
    box.control(ACCOUNTS, "POST", "faults", given)
    first = person_of(box)
    assert token_call(box, first).status_code == 502
    assert sum(row["refreshes"] for row in box.control(ACCOUNTS, "GET", "state")["modules"]["grants"]) == refreshes
    assert ("access_token" in box.refresh(first)) is (refreshes == 0)


def test_the_reply_of_a_token_call_is_lost_after_the_grant(box: Box) -> None:
    rotating(box)
    box.control(ACCOUNTS, "POST", "faults", {"kind": "reply_lost", "match": {"path": "token$"}})
    first = person_of(box)
    with pytest.raises(httpx.RemoteProtocolError):
        token_call(box, first)
    (grant,) = [row for row in box.control(ACCOUNTS, "GET", "state")["modules"]["grants"] if row["refreshes"]]
    assert grant["refresh_token"] != first
    assert "access_token" in box.refresh(first)  # within its grace


@pytest.mark.parametrize("applied", ["before", "after"])
def test_a_slow_token_call_grants_before_or_after_the_wait(box: Box, applied: str) -> None:
    box.control(ACCOUNTS, "POST", "faults", {"kind": "latency", "ms": 600_000, "applied": applied})
    form = urlencode(token_form(box, person_of(box)))
    kind = {"content-type": "application/x-www-form-urlencoded"}
    box.leave(ACCOUNTS, "POST", f"/{ACCOUNTS}/oauth/v2/token", form, kind)
    granted = sum(row["refreshes"] for row in box.control(ACCOUNTS, "GET", "state")["modules"]["grants"])
    assert granted == (applied == "after")
    box.control(ACCOUNTS, "POST", "faults/release")
    wait_until(lambda: box.control(ACCOUNTS, "GET", "calls")["calls"])
    (call,) = box.control(ACCOUNTS, "GET", "calls")["calls"]
    assert (call["applied"], call["fault"], call["user"]) == (True, "latency", "person@sandbox.test")
    assert call["replied"] is False


def test_a_fault_can_strike_one_user_s_tokens_only(box: Box) -> None:
    tokens = box.info["vendors"][FSM]["refresh_tokens"]
    given = {"kind": "503", "count": 9, "match": {"user": "integration@sandbox.test"}}
    box.control(ACCOUNTS, "POST", "faults", given)
    assert token_call(box, tokens["integration"]).status_code == 503
    assert token_call(box, tokens["person"]).status_code == 200


def test_token_calls_are_logged_by_grant_and_user_without_a_token(box: Box) -> None:
    box.refresh(person_of(box))
    (call,) = box.control(ACCOUNTS, "GET", "calls")["calls"]
    assert (call["module"], call["user"]) == ("token", "person@sandbox.test")
    assert call["record"].startswith("grant-")
    assert person_of(box) not in str(call)


def test_an_access_token_ends_after_its_time(box: Box) -> None:
    box.control(ACCOUNTS, "POST", "capabilities", {"access_token_s": -1})
    answer = box.refresh(person_of(box))
    assert box.fsm("GET", "/Companies", token=answer["access_token"]).status_code == 401


def test_bearer_is_refused(box: Box) -> None:
    headers = {"Authorization": f"Bearer {box.token(FSM)}"}
    assert box.http.get(f"/{FSM}/fsm/v1/Companies", headers=headers).json()["code"] == "INVALID_OAUTHTOKEN"
    headers = {"Authorization": f"Bearer {box.token(BOOKS)}"}
    answer = box.http.get(f"/{BOOKS}/books/v3/organizations", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, 14)


def test_scopes_are_enforced_in_fsm(box: Box) -> None:
    token = box.granted("ZohoFSM.modules.Companies.READ")["access_token"]
    assert box.fsm("GET", "/Companies", token=token).status_code == 204
    refused = [
        box.fsm("POST", "/Companies", {"data": [{"Company_Name": "A"}]}, token=token),
        box.fsm("GET", "/Contacts", token=token),
    ]
    assert [(one.status_code, one.json()["code"]) for one in refused] == [(401, "OAUTH_SCOPE_MISMATCH")] * 2


def test_scopes_are_enforced_in_books(box: Box) -> None:
    token = box.granted("ZohoBooks.contacts.READ")["access_token"]
    assert box.books("GET", "/contacts", token=token).status_code == 200
    refused = [
        box.books("POST", "/contacts", {"contact_name": "A"}, token=token),
        box.books("GET", "/items", token=token),
    ]
    assert [(one.status_code, one.json()["code"]) for one in refused] == [(401, 57)] * 2


def test_a_token_of_one_product_does_not_open_the_other(box: Box) -> None:
    assert box.fsm("GET", "/Companies", token=box.token(BOOKS)).json()["code"] == "OAUTH_SCOPE_MISMATCH"
    assert box.books("GET", "/contacts", token=box.token(FSM)).json()["code"] == 57
