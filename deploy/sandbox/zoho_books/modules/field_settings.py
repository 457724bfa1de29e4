"""`/settings/fields?entity=contact` [T]: the custom fields of an entity, and making one."""

from __future__ import annotations

from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.zoho_books import errors, wire
from deploy.sandbox.zoho_books.custom_fields import ENTITIES
from deploy.sandbox.zoho_books.office import Office


class FieldSettings:
    def __init__(self, office: Office) -> None:
        self._office = office
        self._fields = office.custom_fields
        office.router.add("GET", f"{office.settings}/fields", self._list, "settings.read")
        office.router.add("POST", f"{office.settings}/fields", self._create, "settings.create")

    def _list(self, request: Request) -> Answer:
        """Custom fields only [I]: which fields of the system it lists is not established."""
        shown = [field.describe() for field in self._fields.of(_entity(request))]
        return Answer.of({"code": 0, "message": "success", "fields": shown})

    def _create(self, request: Request) -> Answer:
        """A label that is taken is refused [I]."""
        entity, given = _entity(request), wire.body_of(request)
        if not given.get("label"):
            raise errors.empty("label")
        if any(field.label.casefold() == str(given["label"]).casefold() for field in self._fields.of(entity)):
            raise errors.refuse(400, 1000, f"The field {given['label']} already exists.")
        made = self._fields.define(entity, {key: given[key] for key in given if key != "api_name"})
        self._office.forget_renderings()
        request.touch("fields", made.id, applied=True)
        return Answer.of({"code": 0, "message": "The custom field has been created.", "field": made.describe()}, 201)


def _entity(request: Request) -> str:
    entity = request.query.get("entity", "")
    if entity not in ENTITIES:
        raise errors.bad_value("entity")
    return entity


def register(office: Office) -> None:
    FieldSettings(office)
