"""The control's own calls of Zoho FSM: custom fields, currencies, taxes and blueprint of the organisation, and which
accounting organisation is behind it."""

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

    def define_blueprint(self, request: Request) -> Answer:
        """{transitions: [{id, name, before, after}]}"""
        self._vendor.blueprint.define(jsonio.loads_object(request.body))
        return self.show_blueprint(request)

    def show_blueprint(self, request: Request) -> Answer:
        return Answer.of({"transitions": self._vendor.blueprint.describe()})

    def set_accounting(self, request: Request) -> Answer:
        """{vendor: name, or null for none}"""
        wanted = jsonio.loads_object(request.body)["vendor"]
        if wanted is not None and wanted not in self._vendor.ledgers:
            raise KeyError(wanted)
        self._vendor.accounting = wanted
        return self.show_accounting(request)

    def show_accounting(self, request: Request) -> Answer:
        return Answer.of({"vendor": self._vendor.accounting, "known": sorted(self._vendor.ledgers)})


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
    add("POST", "blueprint", controls.define_blueprint)
    add("GET", "blueprint", controls.show_blueprint)
    add("POST", "accounting", controls.set_accounting)
    add("GET", "accounting", controls.show_accounting)
