"""Zoho FSM's refusals, in its own words. Source: fact sheet of Zoho FSM, section 4."""

from __future__ import annotations

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Refusal


def error_answer(status: int, code: str, message: str, details: JsonObject | None = None) -> Answer:
    return Answer.of({"code": code, "details": details or {}, "message": message, "status": "error"}, status)


def refuse(status: int, code: str, message: str, details: JsonObject | None = None) -> Refusal:
    return Refusal(error_answer(status, code, message, details))


def invalid_data(api_name: str, parent: str | None = None, **more: object) -> Refusal:
    """400 INVALID_DATA; with `maximum_length` among the details when a text is too long [T]."""
    return refuse(400, "INVALID_DATA", "invalid data", {**more, "api_name": api_name, "parent_api_name": parent})


def missing(api_name: str, parent: str | None = None) -> Refusal:
    """A required field is empty. That it comes as INVALID_DATA is [I]."""
    return refuse(400, "INVALID_DATA", "required field not found", {"api_name": api_name, "parent_api_name": parent})


def invalid_module() -> Refusal:
    return refuse(400, "INVALID_MODULE", "the module name given seems to be invalid")


def invalid_url() -> Refusal:
    return refuse(404, "INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one")


def unknown_record() -> Refusal:
    """[I]: the sheet does not say what an unknown id answers."""
    return refuse(404, "INVALID_DATA", "the id given seems to be invalid", {"api_name": "id"})


def scope_mismatch() -> Refusal:
    return refuse(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL")


def bad_token() -> Answer:
    return error_answer(401, "INVALID_OAUTHTOKEN", "invalid oauth token")


def bad_json() -> Refusal:
    return refuse(400, "INVALID_DATA", "body is not as expected", {"expected_data_type": "jsonobject"})
