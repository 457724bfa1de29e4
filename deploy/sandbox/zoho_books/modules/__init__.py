"""One file per module of Zoho Books, found by folder; each offers `register(office)`.

Not built yet: purchase orders, bills, customer payments."""

from __future__ import annotations

import importlib
import pkgutil

from deploy.sandbox.zoho_books.office import Office


def register_all(office: Office) -> None:
    for name in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{name}").register(office)
