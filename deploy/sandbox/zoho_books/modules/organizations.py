"""Organisations: the only call that needs no organization_id."""

from __future__ import annotations

from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.zoho_books import errors
from deploy.sandbox.zoho_books.office import Office


def register(office: Office) -> None:
    def listed(request: Request) -> Answer:
        return Answer.of({"code": 0, "message": "success", "organizations": [office.edition.org]})

    def read(request: Request) -> Answer:
        if request.params["id"] != office.org_id:
            raise errors.not_found("Organization")
        return Answer.of({"code": 0, "message": "success", "organization": office.edition.org})

    office.router.add("GET", f"{office.base}/organizations", listed, "settings.read")
    office.router.add("GET", f"{office.base}/organizations/{{id}}", read, "settings.read")
