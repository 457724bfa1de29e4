"""Zoho Books' webhooks: HMAC-SHA256 of parameters and body (zoho-books.md, section 7).

Signed is every query and form parameter sorted by key, key and value joined with nothing between, then the raw JSON
body. The digest is lower case hexadecimal in `X-Zoho-Webhook-Signature`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from shared.connectors import wire
from shared.connectors.base import Hint, WebhookRequest
from shared.connectors.webhook import MOST_ITEMS, accepted_id, bounded_json, refuse_signature
from shared.connectors.zoho_books.modules import MODULES, Module
from shared.errors import WebhookRefused

SIGNATURE_HEADER = "x-zoho-webhook-signature"
_FORM = "application/x-www-form-urlencoded"
_DELETE_EVENTS = frozenset({"delete", "deleted"})


class BooksWebhooks:
    def verify(self, request: WebhookRequest, secrets: Sequence[str]) -> None:
        given = request.headers.get(SIGNATURE_HEADER, "").strip().encode()
        try:
            to_sign = signing_bytes(request)
        except WebhookRefused:  # a stranger learns nothing of what could be read
            refuse_signature()
        # Every secret is compared, so that the time tells nothing of which fits.
        fits = [hmac.compare_digest(given, signature(secret, to_sign).encode()) for secret in secrets if secret]
        if not any(fits):
            refuse_signature()

    def parse(self, request: WebhookRequest) -> tuple[Hint, ...]:
        """Default payload: the whole record under its module's key; a list under the plural is taken too."""
        body = _form_body(request) if _is_form(request) else bounded_json(request.body)
        if not isinstance(body, Mapping):
            raise WebhookRefused("The webhook's body is no event.", status=400)
        deleted = str(body.get("event_type") or body.get("event") or "").rpartition("_")[2].lower() in _DELETE_EVENTS
        return tuple(
            _hint(module, row, deleted)
            for module in MODULES.values()
            if module.inside is None  # a person's change is a change of its contact
            for row in _rows(module, body)
        )


def _hint(module: Module, row: Mapping[str, object], deleted: bool) -> Hint:
    return Hint(module.name, accepted_id(row.get(module.id_key)), deleted, wire.utc(row.get("last_modified_time")))


def _rows(module: Module, body: Mapping[str, object]) -> list[Mapping[str, object]]:
    one, many = body.get(module.one), body.get(module.many)
    if isinstance(one, Mapping):
        return [one]
    if isinstance(many, list) and all(isinstance(row, Mapping) for row in many):
        return many
    # A payload that a person designed: the id at the top.
    return [body] if module.id_key in body else []


def signing_bytes(request: WebhookRequest) -> bytes:
    """What the vendor signs. A form-encoded body counts as parameters, decoded, and not as a body."""
    form = _form(request) if _is_form(request) else []
    pairs = sorted([*request.query, *form], key=lambda pair: pair[0])
    head = "".join(f"{key}{value}" for key, value in pairs).encode()
    return head if _is_form(request) else head + request.body


def signature(secret: str, to_sign: bytes) -> str:
    return hmac.new(secret.encode(), to_sign, hashlib.sha256).hexdigest()


def _is_form(request: WebhookRequest) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


def _form(request: WebhookRequest) -> list[tuple[str, str]]:
    try:
        return parse_qsl(request.body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_ITEMS)
    except ValueError:
        raise WebhookRefused("The webhook's form cannot be read.", status=400) from None


def _form_body(request: WebhookRequest) -> object:
    """Form fields as an object; a field that holds JSON (`JSONString`, `contact`) is opened."""
    body: dict[str, object] = dict(_form(request))
    for name, value in list(body.items()):
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            opened = bounded_json(value.encode())
            if name == "JSONString" and isinstance(opened, dict):
                body |= opened
            else:
                body[name] = opened
    return body
