"""What every vendor's webhook parser needs: bounds for a body that anybody can send."""

from __future__ import annotations

from typing import NoReturn

from shared.connectors import wire
from shared.errors import WebhookRefused
from shared.sync.model import RecordId

MOST_DEPTH = 12
MOST_ITEMS = 1_000
MOST_ID_CHARS = 64


def refuse_signature() -> NoReturn:
    raise WebhookRefused("The webhook's signature is not ours.", status=401)


def bounded_json(content: bytes) -> object:
    """Parsed body. Raises WebhookRefused(400) where it is no JSON, nested deeper or longer than the bounds."""
    try:
        content.decode("utf-8")
        body = wire.loads(content)
    except ValueError:
        raise WebhookRefused("The webhook's body is no JSON.", status=400) from None
    if not _fits(body, MOST_DEPTH):
        raise WebhookRefused("The webhook's body is nested too deep or holds too many entries.", status=400)
    return body


def _fits(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    if depth == 0 or len(value) > MOST_ITEMS:
        return False
    return all(_fits(inner, depth - 1) for inner in (value.values() if isinstance(value, dict) else value))


def accepted_id(value: object) -> RecordId:
    """An id as text. Raises WebhookRefused(400): ids go into addresses, so only short plain ones are taken."""
    found = wire.text(value)
    if found is None or len(found) > MOST_ID_CHARS or not found.replace("-", "").isalnum() or not found.isascii():
        raise WebhookRefused("The webhook names no record.", status=400)
    return RecordId(found)
