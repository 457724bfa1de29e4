"""The contacts of an FSM company and the contact persons of its Books customer, who live inside it (DU-10)."""

from __future__ import annotations

from shared.integrations.base import PairDeclaration
from shared.integrations.defaults import load
from shared.sync.model import ModuleName, Parent, Presence, Side

CONTACT_PERSONS = PairDeclaration(
    name="contact_persons",
    label="Contacts of companies and contact persons",
    left_module=ModuleName("Contacts"),
    right_module=ModuleName("contact_persons"),
    key_left="Email",
    key_right="email",
    defaults=load("shared.integrations.fsm_books")["contact_persons"],
    scope={Side.LEFT: {"Company.id": Presence.FILLED}},
    parent=Parent("companies", "Company.id", "contact_id"),
    names={Side.LEFT: ("First_Name", "Last_Name"), Side.RIGHT: ("first_name", "last_name")},
)
