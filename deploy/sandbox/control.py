"""The sandbox's own calls under /_sandbox/{vendor}/: seeds, faults, limits, switches, and what was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.sandbox import jsonio
from deploy.sandbox.capabilities import UnknownCapability
from deploy.sandbox.faults import BadFault
from deploy.sandbox.jsonio import BadJson
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.vendor import Vendor
from deploy.sandbox.webhooks import FLOOD_AT_ONCE, FLOOD_AT_ONCE_MAX

Action = Callable[[Vendor, Request, Any], object]


def _reset(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.reset()
    return {"reset": vendor.name}


def _seed(vendor: Vendor, request: Request, given: Any) -> object:
    return {"seeded": vendor.seed(given)}


def _state(vendor: Vendor, request: Request, given: Any) -> object:
    return {"modules": vendor.state(request.query.get("module"))}


def _calls(vendor: Vendor, request: Request, given: Any) -> object:
    since, log = int(request.query.get("since", "0")), vendor.calls
    return {"calls": log.since(since), "last": log.last, "dropped": log.dropped(since)}


def _clear_calls(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.calls.clear()
    return {"calls": []}


def _faults(vendor: Vendor, request: Request, given: Any) -> object:
    return {"faults": vendor.faults.left()}


def _add_faults(vendor: Vendor, request: Request, given: Any) -> object:
    return {"faults": vendor.faults.add(given)}


def _clear_faults(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.faults.clear()
    return {"faults": []}


def _release(vendor: Vendor, request: Request, given: Any) -> object:
    return {"released": vendor.waits.release()}


def _limits(vendor: Vendor, request: Request, given: Any) -> object:
    return {"limits": vendor.limits.configure(given)}


def _show_limits(vendor: Vendor, request: Request, given: Any) -> object:
    limits = vendor.limits
    refused = {kind: limits.refused[kind] for kind in ("minute", "day", "concurrent")}
    return {"limits": limits.settings, "usage": limits.usage(), "allowed": dict(limits.allowed), "refused": refused}


def _capabilities(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.capabilities.update(given)
    return {"capabilities": vendor.capabilities.values}


def _show_capabilities(vendor: Vendor, request: Request, given: Any) -> object:
    return {"capabilities": vendor.capabilities.values}


def _clock(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.clock.set(float(given["offset_s"]))
    return vendor.clock.describe()


def _show_clock(vendor: Vendor, request: Request, given: Any) -> object:
    return vendor.clock.describe()


def _visibility(vendor: Vendor, request: Request, given: Any) -> object:
    for module in given.get("modules") or {}:
        if module not in vendor.describe("").get("modules", ()):
            raise KeyError(module)
    return vendor.visibility.configure(given)


def _show_visibility(vendor: Vendor, request: Request, given: Any) -> object:
    return vendor.visibility.describe()


def _webhooks(vendor: Vendor, request: Request, given: Any) -> object:
    return {"webhooks": vendor.webhooks.configure(given)}


def _show_webhooks(vendor: Vendor, request: Request, given: Any) -> object:
    return {"webhooks": [hook.describe() for source in vendor.webhooks.sources for hook in source()]}


def _clear_webhooks(vendor: Vendor, request: Request, given: Any) -> object:
    return {"webhooks": vendor.webhooks.configure([])}


def _deliveries(vendor: Vendor, request: Request, given: Any) -> object:
    webhooks = vendor.webhooks
    listed = webhooks.log.since(int(request.query.get("since", "0")))
    return {"deliveries": listed, "idle": webhooks.idle(), "held": webhooks.held, "last": webhooks.log.last}


def _clear_deliveries(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.webhooks.log.clear()
    return {"deliveries": []}


def _flush(vendor: Vendor, request: Request, given: Any) -> object:
    return {"flushed": vendor.webhooks.flush()}


def _flood(vendor: Vendor, request: Request, given: Any) -> object:
    """{module, records | count + which, event, copies, organization_id, at_once}."""
    at_once = min(int(given.get("at_once") or FLOOD_AT_ONCE), FLOOD_AT_ONCE_MAX)
    organization = given.get("organization_id")
    ids = _flood_ids(vendor, given)
    event = str(given.get("event") or "update")
    changes = [vendor.foreign_change(given["module"], one, event, organization) for one in ids]
    return {"sent": vendor.webhooks.flood(changes, int(given.get("copies") or 1), at_once), "records": len(ids)}


def _flood_ids(vendor: Vendor, given: Any) -> list[str]:
    if given.get("records") is not None:
        return [str(one) for one in given["records"]]
    ids = vendor.ids_of(given["module"], str(given.get("which") or "existing"), int(given["count"]))
    return ids[: int(given["count"])]


ACTIONS: dict[tuple[str, str], Action] = {
    ("POST", "reset"): _reset,
    ("POST", "seed"): _seed,
    ("GET", "state"): _state,
    ("GET", "calls"): _calls,
    ("DELETE", "calls"): _clear_calls,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "faults/release"): _release,
    ("GET", "limits"): _show_limits,
    ("POST", "limits"): _limits,
    ("GET", "capabilities"): _show_capabilities,
    ("POST", "capabilities"): _capabilities,
    ("GET", "clock"): _show_clock,
    ("POST", "clock"): _clock,
    ("GET", "visibility"): _show_visibility,
    ("POST", "visibility"): _visibility,
    ("GET", "webhooks"): _show_webhooks,
    ("POST", "webhooks"): _webhooks,
    ("DELETE", "webhooks"): _clear_webhooks,
    ("GET", "deliveries"): _deliveries,
    ("DELETE", "deliveries"): _clear_deliveries,
    ("POST", "deliveries/flush"): _flush,
    ("POST", "deliveries/flood"): _flood,
}


def _edit(vendor: Vendor, request: Request, parts: list[str], given: Any) -> object:
    """POST edits/{module}, PUT and DELETE edits/{module}/{id}."""
    return vendor.edit(request.method, parts[1], parts[2] if len(parts) > 2 else None, given)


def control(vendor: Vendor, path: str, request: Request) -> Answer:
    """`path` is what follows /_sandbox/{vendor}/."""
    parts = path.strip("/").split("/")
    action = ACTIONS.get((request.method, "/".join(parts)))
    request.path = path
    own = vendor.controls.find(request)
    try:
        given = jsonio.loads_any(request.body)
        if own is not None:
            return own.handler(request)
        if parts[0] == "edits" and len(parts) in (2, 3):
            return Answer.of(_edit(vendor, request, parts, given))
        if action is None:
            return Answer.of({"error": f"no control {request.method} {path}"}, 404)
        return Answer.of(action(vendor, request, given))
    except Refusal as refusal:
        return refusal.answer
    except NotImplementedError as error:
        return Answer.of({"error": str(error)}, 404)
    except KeyError as error:
        return Answer.of({"error": f"unknown or missing: {error}"}, 404)
    except (BadJson, BadFault, UnknownCapability, ValueError, TypeError, AttributeError) as error:
        return Answer.of({"error": f"{type(error).__name__}: {error}"}, 400)
