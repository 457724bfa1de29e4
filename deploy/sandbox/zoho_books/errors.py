"""Zoho Books' refusals: a body with `code` and `message`. Source: fact sheet of Zoho Books, section 3."""

from __future__ import annotations

from deploy.sandbox.messages import Answer, Refusal


def error_answer(status: int, code: int, message: str) -> Answer:
    return Answer.of({"code": code, "message": message}, status)


def refuse(status: int, code: int, message: str) -> Refusal:
    return Refusal(error_answer(status, code, message))


def bad_value(name: str) -> Refusal:
    return refuse(400, 2, f"Invalid value passed for {name}")


def empty(name: str) -> Refusal:
    """A required field is missing or empty. Text [I]."""
    return refuse(400, 4, f"Value for {name} cannot be empty")


def too_long(name: str, length: int) -> Refusal:
    """Text [I]."""
    return refuse(400, 15, f"Please ensure that the {name} has less than {length + 1} characters.")


def bad_url() -> Refusal:
    return refuse(404, 5, "Invalid URL Passed")


def not_found(label: str) -> Refusal:
    return refuse(404, 1002, f"{label} does not exist.")


def not_allowed() -> Refusal:
    return refuse(401, 57, "You are not authorized to perform this operation")


def bad_token() -> Answer:
    return error_answer(401, 14, "Invalid value passed for authtoken.")
