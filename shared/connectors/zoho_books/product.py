"""Zoho Books and Zoho Invoice are one API under two names (zoho-books.md, section 1): what they
differ in."""

from __future__ import annotations

from dataclasses import dataclass

from shared.connectors._zoho.oauth import ZohoSignIn
from shared.connectors.base import Limit
from shared.sync.model import VendorName


@dataclass(frozen=True, slots=True)
class Product:
    """`path` follows the API's domain. `record_url` is the address of a record's page, as in settings.py. `limits` are
    those that hold where an org's settings say nothing."""

    name: VendorName
    label: str
    path: str
    sign_in: ZohoSignIn
    record_url: str
    limits: tuple[Limit, ...]
