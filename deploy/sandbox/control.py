"""The sandbox's own calls under /_sandbox/{vendor}/: seeds, faults, limits, switches, and what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from deploy.sandbox import jsonio
from deploy.sandbox.capabilities import UnknownCapability
from deploy.sandbox.faults import BadFault
from deploy.sandbox.jsonio import BadJson
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.vendor import Vendor

Action = Callable[[Vendor, Request, Any], object]


def _reset(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.reset()
    return {"reset": vendor.name}


def _seed(vendor: Vendor, request: Request, given: Any) -> object:
    return {"seeded": vendor.seed(given)}


def _state(vendor: Vendor, request: Request, given: Any) -> object:
    return {"modules": vendor.state(request.query.get("module"))}


def _calls(vendor: Vendor, request: Request, given: Any) -> object:
    return {"calls": vendor.calls.since(int(request.query.get("since", "0")))}


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


def _limits(vendor: Vendor, request: Request, given: Any) -> object:
    return {"limits": vendor.limits.configure(given)}


def _show_limits(vendor: Vendor, request: Request, given: Any) -> object:
    return {"limits": vendor.limits.settings}


def _capabilities(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.capabilities.update(given)
    return {"capabilities": vendor.capabilities.values}


def _show_capabilities(vendor: Vendor, request: Request, given: Any) -> object:
    return {"capabilities": vendor.capabilities.values}


def _webhooks(vendor: Vendor, request: Request, given: Any) -> object:
    return {"webhooks": vendor.webhooks.configure(given)}


def _show_webhooks(vendor: Vendor, request: Request, given: Any) -> object:
    return {"webhooks": [hook.describe() for source in vendor.webhooks.sources for hook in source()]}


def _clear_webhooks(vendor: Vendor, request: Request, given: Any) -> object:
    return {"webhooks": vendor.webhooks.configure([])}


def _deliveries(vendor: Vendor, request: Request, given: Any) -> object:
    since = int(request.query.get("since", "0"))
    listed = [asdict(one) for one in vendor.webhooks.deliveries if one.id > since]
    return {"deliveries": listed, "idle": vendor.webhooks.idle()}


def _clear_deliveries(vendor: Vendor, request: Request, given: Any) -> object:
    vendor.webhooks.deliveries.clear()
    return {"deliveries": []}


ACTIONS: dict[tuple[str, str], Action] = {
    ("POST", "reset"): _reset,
    ("POST", "seed"): _seed,
    ("GET", "state"): _state,
    ("GET", "calls"): _calls,
    ("DELETE", "calls"): _clear_calls,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "limits"): _show_limits,
    ("POST", "limits"): _limits,
    ("GET", "capabilities"): _show_capabilities,
    ("POST", "capabilities"): _capabilities,
    ("GET", "webhooks"): _show_webhooks,
    ("POST", "webhooks"): _webhooks,
    ("DELETE", "webhooks"): _clear_webhooks,
    ("GET", "deliveries"): _deliveries,
    ("DELETE", "deliveries"): _clear_deliveries,
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
    except KeyError as error:
        return Answer.of({"error": f"unknown or missing: {error}"}, 404)
    except (BadJson, BadFault, UnknownCapability, ValueError, TypeError, AttributeError) as error:
        return Answer.of({"error": f"{type(error).__name__}: {error}"}, 400)
