"""Organisations: the only call that needs no organization_id."""

from __future__ import annotations

from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.zoho_books import errors
from deploy.sandbox.zoho_books.office import ORG, Office
from deploy.sandbox.zoho_books.resource import BASE


def _list(request: Request) -> Answer:
    return Answer.of({"code": 0, "message": "success", "organizations": [ORG]})


def _read(request: Request) -> Answer:
    if request.params["id"] != ORG["organization_id"]:
        raise errors.not_found("Organization")
    return Answer.of({"code": 0, "message": "success", "organization": ORG})


def register(office: Office) -> None:
    office.router.add("GET", f"{BASE}/organizations", _list, "settings.read")
    office.router.add("GET", f"{BASE}/organizations/{{id}}", _read, "settings.read")
