"""The integrations there are: every folder beside this file with an INTEGRATION. Adding one touches no list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

import shared.integrations as here
from shared.errors import NotFound
from shared.integrations.base import Integration


@cache
def integrations() -> Mapping[str, Integration]:
    """By key, in the order of the folders' names. Raises TypeError on a folder without an INTEGRATION of its name."""
    found = {name: _load(name) for _, name, is_folder in sorted(iter_modules(here.__path__), key=_name) if is_folder}
    return MappingProxyType(found)


def integration(key: str) -> Integration:
    """Raises NotFound."""
    found = integrations().get(key)
    if found is None:
        raise NotFound(f"there is no integration called {key!r}")
    return found


def same_types(key: str) -> tuple[str, ...]:
    """The kinds whose sync type must be that of `key` on the same org, whichever of the two says so (ST-1)."""
    own = integration(key).same_type_as
    return tuple(other for other, one in integrations().items() if other in own or key in one.same_type_as)


def _name(module: object) -> str:
    return str(getattr(module, "name", ""))


def _load(name: str) -> Integration:
    declared = getattr(import_module(f"{here.__name__}.{name}"), "INTEGRATION", None)
    if not isinstance(declared, Integration) or declared.key != name:
        raise TypeError(f"shared/integrations/{name} has no INTEGRATION with the key {name!r}")
    return declared
