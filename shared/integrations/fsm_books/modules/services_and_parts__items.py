"""FSM services and parts, and Books items. A new Books item is for sale; Books asks for no account then."""

from __future__ import annotations

from shared.integrations.base import PairDeclaration
from shared.integrations.defaults import load
from shared.sync.model import ModuleName, Side

ITEMS = PairDeclaration(
    name="items",
    label="Services and parts, and items",
    left_module=ModuleName("Service_And_Parts"),
    right_module=ModuleName("items"),
    key_left="Name",
    key_right="name",
    defaults=load("shared.integrations.fsm_books")["items"],
    follows=Side.LEFT,
    constants={Side.RIGHT: {"item_type": "sales"}},
)
