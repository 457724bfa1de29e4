"""Switches for behaviour that the fact sheets do not settle, or that differs between organisations."""

from __future__ import annotations

from typing import Any


class UnknownCapability(ValueError):
    """A switch that the vendor does not have."""


class Capabilities:
    """Named values with defaults. A value keeps the type of its default; `choices` are all that a name may be."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self._defaults = defaults
        self.values: dict[str, Any] = dict(defaults)
        self.choices: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def update(self, given: dict[str, Any]) -> None:
        for name, value in given.items():
            if name not in self._defaults:
                raise UnknownCapability(f"unknown capability {name!r}; there are {sorted(self._defaults)}")
            if type(value) is not type(self._defaults[name]):
                raise UnknownCapability(f"{name!r} takes a {type(self._defaults[name]).__name__}")
            if value not in self.choices.get(name, (value,)):
                raise UnknownCapability(f"{name!r} is one of {self.choices[name]}")
        self.values.update(given)

    def reset(self) -> None:
        self.values = dict(self._defaults)
