"""Calls on a work order's blueprint. Shapes [T]; refusals [I]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import BadJson, JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.routing import Router
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_fsm import errors
from deploy.sandbox.zoho_fsm.work_orders import WorkOrders

if TYPE_CHECKING:
    from deploy.sandbox.zoho_fsm.server import ZohoFsm


class BlueprintApi:
    def __init__(self, vendor: ZohoFsm) -> None:
        self._vendor = vendor

    def add_routes(self, router: Router) -> None:
        path = "/fsm/v1/{module}/{id}/actions/blueprint"
        router.add("GET", f"{path}/transitions", self._offered)
        router.add("PUT", path, self._move)

    def _found(self, request: Request, verb: str) -> tuple[WorkOrders, Record]:
        records = self._vendor.scoped(request, verb)
        if not isinstance(records, WorkOrders):
            raise errors.invalid_url()
        return records, self._vendor.record(request, records)

    def _offered(self, request: Request) -> Answer:
        _, record = self._found(request, "READ")
        offered = self._vendor.blueprint.offered(str(record.data["Status"]))
        shown = [{"id": one.id, "name": one.name} for one in offered]
        return Answer.of({"code": "SUCCESS", "transitions": shown, "status": "success"})

    def _move(self, request: Request) -> Answer:
        """{blueprint: [{transition_id, data: {Notes}}]}; a note is needed [T]."""
        orders, record = self._found(request, "UPDATE")
        step = _step(request)
        offered = self._vendor.blueprint.offered(str(record.data["Status"]))
        wanted = next((one for one in offered if one.id == str(step.get("transition_id"))), None)
        if wanted is None:
            raise errors.invalid_data("transition_id")
        data = step.get("data")
        if not (isinstance(data, dict) and data.get("Notes")):
            raise errors.missing("Notes", "data")
        orders.move(record, wanted.after)
        request.touch(orders.module.name, record.id, applied=True)
        self._vendor.emit(orders, record, "update")
        return Answer.of({"code": "SUCCESS", "details": {}, "message": "record updated", "status": "success"})


def _step(request: Request) -> JsonObject:
    try:
        steps = jsonio.loads_object(request.body).get("blueprint")
    except BadJson as error:
        raise errors.bad_json() from error
    if not isinstance(steps, list) or len(steps) != 1 or not isinstance(steps[0], dict):
        raise errors.bad_json()
    return steps[0]
