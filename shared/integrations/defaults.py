"""Reads the field pairs of an integration's `defaults.yaml`; the form of an exported mapping (SU-6) is the same."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from shared.sync.model import FieldFlow, FieldPair


class Line(BaseModel):
    """One field pair as it is written down. Numbers are quoted: a bare one would have been a float."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    left: str
    right: str
    flow: FieldFlow = FieldFlow.BOTH
    transforms: tuple[str, ...] = ()
    table: tuple[tuple[str, str], ...] = ()
    default_left: str | bool | None = None
    default_right: str | bool | None = None
    on_create: bool = False

    def field_pair(self) -> FieldPair:
        return FieldPair(**dict(self))


def load(package: str) -> Mapping[str, tuple[FieldPair, ...]]:
    """Field pairs per pair of modules, from the `defaults.yaml` of a package. Raises ValidationError on a bad line."""
    raw: dict[str, list[dict[str, Any]]] = yaml.safe_load(files(package).joinpath("defaults.yaml").read_text("utf-8"))
    return {name: tuple(Line.model_validate(line).field_pair() for line in lines) for name, lines in raw.items()}
