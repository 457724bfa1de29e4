"""The control's own calls of Zoho FSM: custom fields, currencies and taxes of the organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request

if TYPE_CHECKING:
    from deploy.sandbox.zoho_fsm.server import ZohoFsm


class Controls:
    def __init__(self, vendor: ZohoFsm) -> None:
        self._vendor = vendor

    def define_fields(self, request: Request) -> Answer:
        """{module: [{label, api_name, data_type, length, mandatory, personal, values}]}"""
        vendor = self._vendor
        for module, fields in jsonio.loads_object(request.body).items():
            records = vendor.records[module]
            for given in fields:
                vendor.custom_fields.define(module, given)
            records.table.forget_renderings()
        return self.show_fields(request)

    def show_fields(self, request: Request) -> Answer:
        return Answer.of(
            {"custom_fields": {name: self._vendor.custom_fields.of(name) for name in self._vendor.records}}
        )

    def seed_currencies(self, request: Request) -> Answer:
        for given in _listed(request):
            self._vendor.currencies.seed(given)
        return self.show_currencies(request)

    def show_currencies(self, request: Request) -> Answer:
        return Answer.of({"currencies": list(self._vendor.currencies.rows.values())})

    def seed_taxes(self, request: Request) -> Answer:
        for given in _listed(request):
            self._vendor.taxes.seed(given)
        return self.show_taxes(request)

    def show_taxes(self, request: Request) -> Answer:
        return Answer.of({"taxes": self._vendor.taxes.rows})


def _listed(request: Request) -> list[JsonObject]:
    given = jsonio.loads_any(request.body)
    return given if isinstance(given, list) else [given]


def add_controls(vendor: ZohoFsm) -> None:
    controls = Controls(vendor)
    add = vendor.controls.add
    add("POST", "custom_fields", controls.define_fields)
    add("GET", "custom_fields", controls.show_fields)
    add("POST", "currencies", controls.seed_currencies)
    add("GET", "currencies", controls.show_currencies)
    add("POST", "taxes", controls.seed_taxes)
    add("GET", "taxes", controls.show_taxes)
