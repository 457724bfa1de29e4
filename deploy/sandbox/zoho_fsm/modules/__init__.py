"""One file per module of Zoho FSM. Found by folder: a module that is not here answers INVALID_MODULE.

Not built yet: Requests, Estimates, Service_Appointments, Assets, Territories, Scheduled_Maintenances, Time_Off,
Work_Types."""

from __future__ import annotations

import importlib
import pkgutil

from deploy.sandbox.zoho_fsm.fields import Module


def find_modules() -> list[Module]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    found: list[Module] = [importlib.import_module(f"{__name__}.{name}").MODULE for name in names]
    return sorted(found, key=lambda module: module.seed_rank)
