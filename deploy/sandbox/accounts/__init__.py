"""Zoho's accounts server (vendor id `zoho_accounts`), shared by every Zoho product of the sandbox."""

from __future__ import annotations

from deploy.sandbox.accounts.server import ZohoAccounts
from deploy.sandbox.vendor import Vendor, World


def build(world: World) -> Vendor:
    return ZohoAccounts(world)
