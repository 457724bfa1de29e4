"""Zoho FSM's answers: `{code: "INVALID_DATA", details, message, status}` at the top or as an element of `data`.

The vendor publishes no catalogue; what is not here is a refusal of that record (VENDOR_REJECTED), never a retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.connectors.errors import Answer, Complaint, Kind, Rule

_SUCCESS = frozenset({"", "SUCCESS"})

TABLE = (
    Rule(Kind.CONFIG, "SCOPE_MISSING", code="OAUTH_SCOPE_MISMATCH"),
    Rule(Kind.CONFIG, "SIGN_IN_REFUSED", status=401),
    Rule(Kind.CONFIG, "SCOPE_MISSING", code="NO_PERMISSION"),
    Rule(Kind.CONFIG, "SCOPE_MISSING", code="AUTHORIZATION_FAILED"),
    # [I] The status over the limit is not documented; 429 as elsewhere at Zoho, with no header that names a time.
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", status=429, retry_after_s=60),
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", code="TOO_MANY_REQUESTS", retry_after_s=60),
    Rule(Kind.INTERNAL, "INTERNAL", code="INTERNAL_ERROR"),
    Rule(Kind.REJECTED, "MANDATORY_FIELD_EMPTY", code="MANDATORY_NOT_FOUND"),
    Rule(Kind.REJECTED, "MANDATORY_FIELD_EMPTY", phrase="mandatory"),
    # [I] No duplicate code is established; CRM's, and the word.
    Rule(Kind.REJECTED, "DUPLICATE_NAME", code="DUPLICATE_DATA"),
    Rule(Kind.REJECTED, "DUPLICATE_NAME", phrase="duplicate"),
    Rule(Kind.REJECTED, "FIELD_TOO_LONG", code="TOO_LONG"),
    Rule(Kind.REJECTED, "CURRENCY_MISSING", code="NO_SUCH_CURRENCY"),
    Rule(Kind.REJECTED, "TAX_NOT_MAPPED", code="NO_SUCH_TAX"),
    # INVALID_URL_PATTERN is 404 as well and says that our path is wrong: read as "gone" it would end every binding.
    Rule(Kind.REJECTED, "VENDOR_REJECTED", code="INVALID_URL_PATTERN"),
    # [I] How FSM answers for an id that does not exist is not established: 404, or INVALID_DATA about `id`.
    Rule(Kind.REJECTED, "TARGET_GONE", code="NO_SUCH_ID"),
    Rule(Kind.REJECTED, "VENDOR_REJECTED", status=404, code=""),
    Rule(Kind.REJECTED, "TARGET_GONE", status=404),
)


@dataclass(frozen=True, slots=True)
class FsmRules:
    vendor: str = "Zoho FSM"
    table: tuple[Rule, ...] = TABLE

    def complaint(self, answer: Answer) -> Complaint | None:
        body = answer.body or {}
        found = complaint_in(body)
        if found is None and answer.status >= 400:
            return element_complaint(body) or Complaint("", "")
        return found

    def token_refused(self, answer: Answer) -> bool:
        """INVALID_OAUTHTOKEN by the family's rules; a 401 for a missing scope is another matter [I: code unseen]."""
        if answer.status != 401:
            return False
        code = str((answer.body or {}).get("code", ""))
        return code in ("", "INVALID_OAUTHTOKEN", "INVALID_TOKEN", "AUTHENTICATION_FAILURE")


RULES = FsmRules()


def complaint_in(element: Mapping[str, object]) -> Complaint | None:
    """What an answer, or an element of it, complains of; None where it is a success.

    Shapes: {code, details, message, status: "error"} and {code: "ERROR", details: {code, message}, …}. A too long
    text is INVALID_DATA whose details name `maximum_length`, an unknown id is INVALID_DATA about `id`, a currency or a
    tax that the organisation lacks one about `Currency`, `Tax_Name` [I]: each gets a code of its own here. The field
    that is named goes into the message.
    """
    code = str(element.get("code") or "")
    if element.get("status") != "error" and code in _SUCCESS:
        return None
    details = element.get("details")
    inner = details if isinstance(details, Mapping) else {}
    message = str(element.get("message") or "")
    named = str(inner.get("api_name") or "")
    if code == "ERROR" and inner.get("code"):
        return Complaint(str(inner["code"]), str(inner.get("message") or message))
    if code == "INVALID_DATA" and "maximum_length" in inner:
        code = "TOO_LONG"
    elif code == "INVALID_DATA" and named == "id":
        code = "NO_SUCH_ID"
    elif code == "INVALID_DATA" and named == "Currency":
        code = "NO_SUCH_CURRENCY"
    elif code == "INVALID_DATA" and named in ("Tax_Name", "Tax_Id"):
        code = "NO_SUCH_TAX"
    return Complaint(code, f"{message} ({named})" if named else message)


def element_complaint(body: Mapping[str, object]) -> Complaint | None:
    """The first complaint among the elements of `data`, which a refusal of one record may hold."""
    rows = body.get("data")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and (found := complaint_in(row)) is not None:
            return found
    return None
