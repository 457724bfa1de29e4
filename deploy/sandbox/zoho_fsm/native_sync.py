"""One record linked with, or cut from, a record of FSM's own integration: actions/process_sync [V for the call]."""

from __future__ import annotations

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import BadJson, JsonObject
from deploy.sandbox.messages import Request
from deploy.sandbox.zoho_fsm import errors

LINKS = {"finance": "ZBilling_Id", "zohocrm": "ZCRM_Id"}


def changes_of(request: Request, switched_on: bool) -> JsonObject:
    """What the call changes in the record. `push` is not built, for it would make a record in the other product. A
    call in an organisation without the integration is refused, in the form that some calls use [T; I that this is
    one of them]."""
    field = LINKS.get(request.query.get("sync_service", ""))
    if field is None:
        raise errors.invalid_data("sync_service", expected_values=sorted(LINKS))
    if not switched_on:
        details: JsonObject = {"code": "INTEGRATION_NOT_ENABLED", "message": "the integration is not enabled"}
        raise errors.refuse(400, "ERROR", "error occurred", details)
    try:
        given = jsonio.loads_object(request.body)
    except BadJson as error:
        raise errors.bad_json() from error
    if given.get("sync_process") == "unlink":
        return {field: None}
    if given.get("sync_process") != "link":
        raise errors.invalid_data("sync_process", expected_values=["link", "unlink"])
    if not given.get("integ_id"):
        raise errors.missing("integ_id")
    return {field: str(given["integ_id"])}
