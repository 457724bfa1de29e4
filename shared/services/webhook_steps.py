"""How a person sets up a vendor's webhooks (SU-8): steps, values to paste, bodies. Kept with each vendor as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr

from shared.connectors.registry import get_vendor

HIDDEN = "(hidden)"


class _Sheet(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[str, ...] = ()
    values: Mapping[str, str]
    bodies: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


_PLAIN = _Sheet(values={"URL": "{url}", "Secret": "{secret}"})


@dataclass(frozen=True, slots=True)
class WebhookSteps:
    """`values` holds the secret in plain text where it was asked for: never to a log."""

    steps: tuple[str, ...]
    values: Mapping[str, str] = field(repr=False)
    bodies: Mapping[str, str]
    notes: tuple[str, ...]


def webhook_steps(vendor: str, url: str, secret: SecretStr | None) -> WebhookSteps:
    """`secret` None: shown as hidden. A vendor without a sheet of its own gets address and secret. Raises NotFound."""
    sheet = _sheet(get_vendor(vendor).name)
    shown = HIDDEN if secret is None else secret.get_secret_value()
    values = {name: text.replace("{url}", url).replace("{secret}", shown) for name, text in sheet.values.items()}
    return WebhookSteps(sheet.steps, values, sheet.bodies, sheet.notes)


@cache
def _sheet(vendor: str) -> _Sheet:
    path = files(f"shared.connectors.{vendor}").joinpath("webhook_setup.yaml")
    return _Sheet.model_validate(yaml.safe_load(path.read_text("utf-8"))) if path.is_file() else _PLAIN
