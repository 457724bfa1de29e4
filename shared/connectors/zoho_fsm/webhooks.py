"""Zoho FSM's webhooks: not signed, no event id, a body that the administrator pastes (zoho-fsm.md, section 6).

Ours: {"module", "event", "id", "modified_time"}, with a secret in the header `X-Bothways-Secret` besides the one in
the address. A list of such bodies is accepted too.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from shared.connectors import wire
from shared.connectors.base import Hint, WebhookRequest
from shared.connectors.webhook import accepted_id, bounded_json, refuse_signature
from shared.connectors.zoho_fsm.modules import HINT_NAMES
from shared.errors import WebhookRefused

SECRET_HEADER = "x-bothways-secret"  # noqa: S105  the header's name
_DELETE_EVENTS = frozenset({"delete", "deleted"})


class FsmWebhooks:
    def verify(self, request: WebhookRequest, secrets: Sequence[str]) -> None:
        given = request.headers.get(SECRET_HEADER, "").encode()
        # Every secret is compared, so that the time tells nothing of which fits.
        fits = [hmac.compare_digest(given, secret.encode()) for secret in secrets if secret]
        if not any(fits):
            refuse_signature()

    def parse(self, request: WebhookRequest) -> tuple[Hint, ...]:
        body = bounded_json(request.body)
        events = body if isinstance(body, list) else [body]

        return tuple(hint for event in events if (hint := _hint(event)) is not None)


def _hint(event: object) -> Hint | None:
    if not isinstance(event, Mapping):
        raise WebhookRefused("The webhook's body is no event.", status=400)
    name = str(event.get("module") or "").strip().lower().replace(" ", "_")
    module = HINT_NAMES.get(name)
    if module is None:
        return None
    return Hint(
        module=module,
        id=accepted_id(event.get("id")),
        deleted=str(event.get("event") or "").strip().lower() in _DELETE_EVENTS,
        modified_at=wire.utc(event.get("modified_time")),
    )
