"""Zoho FSM (vendor id `zoho_fsm`)."""

from __future__ import annotations

from deploy.sandbox.vendor import Vendor, World
from deploy.sandbox.zoho_fsm.server import ZohoFsm


def build(world: World) -> Vendor:
    return ZohoFsm(world)
