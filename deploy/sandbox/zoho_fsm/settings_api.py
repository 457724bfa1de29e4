"""Calls on the organisation's settings. None of them is established for FSM, so each has its capability."""

from __future__ import annotations

from deploy.sandbox import jsonio
from deploy.sandbox.capabilities import Capabilities
from deploy.sandbox.jsonio import BadJson, JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.routing import Router
from deploy.sandbox.zoho_fsm import errors
from deploy.sandbox.zoho_fsm.currencies import Currencies
from deploy.sandbox.zoho_fsm.custom_fields import CustomField, CustomFields
from deploy.sandbox.zoho_fsm.fields import Field, Module
from deploy.sandbox.zoho_fsm.records import Records

DATA_TYPES = {"number": "double", "any": "jsonobject"}


class SettingsApi:
    def __init__(
        self, capabilities: Capabilities, records: dict[str, Records], custom: CustomFields, currencies: Currencies
    ) -> None:
        self._capabilities = capabilities
        self._records = records
        self._custom = custom
        self._currencies = currencies

    def add_routes(self, router: Router) -> None:
        router.add("GET", "/fsm/v1/settings/fields", self._fields)
        path = "/fsm/v1/org/currencies"
        router.add("GET", path, self._list)
        router.add("POST", path, self._add)
        router.add("GET", f"{path}/{{id}}", self._read)
        router.add("PUT", f"{path}/{{id}}", self._change)

    # Fields

    def _fields(self, request: Request) -> Answer:
        """Refused under every scope that is known [T]; with the capability in the shape of the CRM's [I]."""
        if not self._capabilities["fields_api"]:
            raise errors.scope_mismatch()
        records = self._records.get(request.query.get("module", ""))
        if records is None:
            raise errors.invalid_module()
        module = records.module
        own = [_describe(module, name, rule) for name, rule in module.fields.items()]
        return Answer.of({"fields": [*own, *(_describe_custom(field) for field in self._custom.of(module.name))]})

    # Currencies, in the shape of the CRM's [I]

    def _check_on(self) -> None:
        if not self._capabilities["currencies_api"]:
            raise errors.invalid_url()
        if not self._capabilities["multi_currency"]:
            raise errors.refuse(400, "CURRENCIES_NOT_ENABLED", "Multi currency is not enabled")

    def _list(self, request: Request) -> Answer:
        self._check_on()
        return Answer.of({"currencies": list(self._currencies.rows.values())})

    def _read(self, request: Request) -> Answer:
        self._check_on()
        return Answer.of({"currencies": [self._currencies.by_id(request.params["id"])]})

    def _add(self, request: Request) -> Answer:
        self._check_on()
        made = self._currencies.added(_one(request))
        return _done(request, made, "The currency created successfully.", 201)

    def _change(self, request: Request) -> Answer:
        self._check_on()
        changed = self._currencies.changed(request.params["id"], _one(request))
        return _done(request, changed, "The currency updated successfully.", 200)


def _one(request: Request) -> JsonObject:
    try:
        rows = jsonio.loads_object(request.body).get("currencies")
    except BadJson as error:
        raise errors.bad_json() from error
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
        raise errors.bad_json()
    return rows[0]


def _done(request: Request, row: JsonObject, message: str, status: int) -> Answer:
    request.touch("currencies", row["id"], applied=True)
    done = {"code": "SUCCESS", "details": {"id": row["id"]}, "message": message, "status": "success"}
    return Answer.of({"currencies": [done]}, status)


def _describe(module: Module, name: str, rule: Field) -> JsonObject:
    """Which fields of the system hold personal data is set by an administrator: none here."""
    return _shape(
        name, name.replace("_", " "), "picklist" if rule.choices else DATA_TYPES.get(rule.kind, rule.kind), rule.length,
        mandatory=name in module.required, custom=False, values=tuple(dict.fromkeys((rule.choices or {}).values())),
        lookup=rule.module, read_only=rule.read_only,
    )  # fmt: skip


def _describe_custom(field: CustomField) -> JsonObject:
    shown = _shape(
        field.api_name, field.label, field.data_type, field.length, mandatory=field.mandatory, custom=True,
        values=field.values,
    )  # fmt: skip
    private = {"restricted": False, "export": True, "type": "Low"} if field.personal else None
    return {**shown, "id": field.id, "private": private}


def _shape(
    api_name: str, label: str, data_type: str, length: int | None, *, mandatory: bool, custom: bool,
    values: tuple[str, ...], lookup: str | None = None, read_only: bool = False,
) -> JsonObject:  # fmt: skip
    return {
        "api_name": api_name, "field_label": label, "data_type": data_type, "length": length,
        "system_mandatory": mandatory, "custom_field": custom, "read_only": read_only, "private": None,
        "pick_list_values": [{"display_value": value, "actual_value": value} for value in values],
        "lookup": {"module": {"api_name": lookup}} if lookup else {},
    }  # fmt: skip
