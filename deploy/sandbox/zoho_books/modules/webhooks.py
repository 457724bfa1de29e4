"""Webhooks made through the API: a webhook says where and what, a workflow says when. Shapes of both answers [I]."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.webhooks import Hook
from deploy.sandbox.zoho_books import errors, wire
from deploy.sandbox.zoho_books.office import Office

SECRET = re.compile(r"[A-Za-z0-9]{12,50}")
MODULES = {"contact": "contacts", "customer": "contacts", "vendor": "contacts", "item": "items",
           "invoice": "invoices"}  # fmt: skip
EVENTS = {"create": "create", "created": "create", "edit": "update", "update": "update", "edited": "update",
          "delete": "delete", "deleted": "delete"}  # fmt: skip


def _check_webhook(given: JsonObject) -> JsonObject:
    wire.check_texts(given, {"url": 5000, "webhook_name": 50, "raw_data": 100_000})
    for name in ("webhook_name", "url", "entity"):
        if not given.get(name):
            raise errors.empty(name)
    if given["entity"] not in MODULES:
        raise errors.bad_value("entity")
    if not str(given["url"]).startswith(("http://", "https://")):
        raise errors.bad_value("url")
    if given.get("secret") and not SECRET.fullmatch(str(given["secret"])):
        raise errors.bad_value("secret")
    if given.get("method", "POST") != "POST":
        raise errors.bad_value("method")  # PUT and DELETE are the vendor's too; the sandbox sends POST only
    return {"method": "POST", **given}


def _check_workflow(given: JsonObject) -> JsonObject:
    for name in ("workflow_name", "entity"):
        if not given.get(name):
            raise errors.empty(name)
    if given["entity"] not in MODULES or any(event not in EVENTS for event in given.get("events") or ()):
        raise errors.bad_value("entity")
    return {"is_active": True, **given}


@dataclass(slots=True)
class Kind:
    plural: str
    singular: str
    check: Callable[[JsonObject], JsonObject]
    rows: dict[str, JsonObject] = field(default_factory=dict)


class WebhookSettings:
    def __init__(self, office: Office) -> None:
        self.office = office
        self.webhooks = Kind("webhooks", "webhook", _check_webhook)
        self.workflows = Kind("workflows", "workflow", _check_workflow)
        self._next_id = 460000000850001
        office.webhooks.sources.append(self.hooks)
        office.modules["webhooks"] = self
        for kind in (self.webhooks, self.workflows):
            self._add_routes(kind)
        path = f"{office.settings}/workflows/{{id}}"
        office.router.add("POST", f"{path}/active", partial(self._switch, on=True), "settings.create")
        office.router.add("POST", f"{path}/inactive", partial(self._switch, on=False), "settings.create")

    def _add_routes(self, kind: Kind) -> None:
        path, add = f"{self.office.settings}/{kind.plural}", self.office.router.add
        add("GET", path, partial(self._list, kind), "settings.read")
        add("POST", path, partial(self._create, kind), "settings.create")
        add("GET", f"{path}/{{id}}", partial(self._read, kind), "settings.read")
        add("DELETE", f"{path}/{{id}}", partial(self._delete, kind), "settings.delete")

    def hooks(self) -> list[Hook]:
        """A webhook fires once an active workflow of its entity names it among its actions."""
        found: list[Hook] = []
        for workflow in self.workflows.rows.values():
            if not workflow["is_active"]:
                continue
            for action in workflow.get("actions") or ():
                webhook = self.webhooks.rows.get(str(action.get("action_id") or action.get("webhook_id")))
                if webhook is not None and MODULES[webhook["entity"]] == MODULES[workflow["entity"]]:
                    found.append(_as_hook(webhook, workflow))
        return found

    def _list(self, kind: Kind, request: Request) -> Answer:
        shown = [_shown(row) for row in kind.rows.values()]
        return Answer.of({"code": 0, "message": "success", kind.plural: shown})

    def _create(self, kind: Kind, request: Request) -> Answer:
        given = kind.check(wire.body_of(request))
        self._next_id += 1
        row = {f"{kind.singular}_id": str(self._next_id), **given}
        kind.rows[str(self._next_id)] = row
        request.touch(kind.plural, str(self._next_id), applied=True)
        message = f"The {kind.singular} has been created."
        return Answer.of({"code": 0, "message": message, kind.singular: _shown(row)}, 201)

    def _row(self, kind: Kind, request: Request) -> JsonObject:
        row = kind.rows.get(request.params["id"])
        if row is None:
            raise errors.not_found(kind.singular.capitalize())
        return row

    def _read(self, kind: Kind, request: Request) -> Answer:
        return Answer.of({"code": 0, "message": "success", kind.singular: _shown(self._row(kind, request))})

    def _delete(self, kind: Kind, request: Request) -> Answer:
        self._row(kind, request)
        del kind.rows[request.params["id"]]
        request.touch(kind.plural, request.params["id"], applied=True)
        return Answer.of({"code": 0, "message": f"The {kind.singular} has been deleted."})

    def _switch(self, request: Request, on: bool) -> Answer:
        self._row(self.workflows, request)["is_active"] = on
        request.touch("workflows", request.params["id"], applied=True)
        return Answer.of({"code": 0, "message": f"The workflow has been marked as {'active' if on else 'inactive'}."})

    # The control

    def seed(self, given: JsonObject) -> str:
        raise ValueError("set webhooks with POST /_sandbox/{vendor}/webhooks")

    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        raise ValueError("set webhooks with POST /_sandbox/{vendor}/webhooks")

    def internal(self) -> list[JsonObject]:
        return [*self.webhooks.rows.values(), *self.workflows.rows.values()]

    def forget_renderings(self) -> None:
        """Nothing is kept rendered."""

    def clear(self) -> None:
        self.webhooks.rows.clear()
        self.workflows.rows.clear()


def _shown(row: JsonObject) -> JsonObject:
    """A secret is not told again [I]."""
    return {key: value for key, value in row.items() if key != "secret"}


def _pairs(given: object) -> dict[str, str]:
    """Headers and parameters come as an object, or as a list of key and value [I]."""
    if isinstance(given, dict):
        return {str(key): str(value) for key, value in given.items()}
    listed = given if isinstance(given, list) else []
    return {str(one.get("key") or one.get("name")): str(one.get("value", "")) for one in listed}


def _as_hook(webhook: JsonObject, workflow: JsonObject) -> Hook:
    events = workflow.get("events") or webhook.get("events") or ()
    return Hook(
        id=str(webhook["webhook_id"]), url=str(webhook["url"]), secret=str(webhook.get("secret") or ""),
        headers=_pairs(webhook.get("headers")), query=_pairs(webhook.get("query_parameters")),
        modules=frozenset({MODULES[webhook["entity"]]}), events=frozenset(EVENTS[event] for event in events),
    )  # fmt: skip


def register(office: Office) -> None:
    WebhookSettings(office)
