"""Deliveries as the vendors send them, signed by their rules and without the product's parser."""

from __future__ import annotations

import json
from typing import Any

from pydantic import SecretStr

from shared.connectors.base import WebhookRequest
from tests.contract.support import signed_delivery


def delivery(vendor: str, body: dict[str, Any], secret: SecretStr) -> WebhookRequest:
    return signed_delivery(vendor, json.dumps(body).encode(), secret.get_secret_value())
