"""Zoho Books (vendor id `zoho_books`)."""

from __future__ import annotations

from deploy.sandbox.vendor import Vendor, World
from deploy.sandbox.zoho_books.server import ZohoBooks


def build(world: World) -> Vendor:
    return ZohoBooks(world)
