"""Vendors are found by folder; a folder that begins with an underscore is what a family shares, no vendor."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import cast

import shared.connectors as here
from shared.connectors.vendor import Vendor
from shared.errors import NotFound
from shared.sync.model import VendorName


@cache
def vendor_names() -> tuple[VendorName, ...]:
    """Names of all vendors, in order; nothing of theirs is imported."""
    found = (m.name for m in pkgutil.iter_modules(here.__path__) if m.ispkg and not m.name.startswith("_"))
    return tuple(VendorName(name) for name in sorted(found))


def get_vendor(name: str) -> Vendor:
    """Raises NotFound, listing the vendors that there are."""
    if name not in vendor_names():
        raise NotFound(f"There is no vendor {name!r}; known are {', '.join(vendor_names())}.", code="UNKNOWN_VENDOR")
    module = importlib.import_module(f"shared.connectors.{name}")
    return cast(Vendor, module.CONNECTOR)
