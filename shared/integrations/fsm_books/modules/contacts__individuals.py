"""FSM contacts and Books customers of the sub-type Individual, whose name, e-mail and telephones are those of their one
contact person."""

from __future__ import annotations

from shared.integrations.base import PairDeclaration
from shared.integrations.defaults import load
from shared.sync.model import ModuleName, Side
from shared.sync.reasons import Code

CONTACTS = PairDeclaration(
    name="contacts",
    label="Contacts and individual customers",
    left_module=ModuleName("Contacts"),
    right_module=ModuleName("contacts"),
    key_left="Email",
    key_right="email",
    defaults=load("shared.integrations.fsm_books")["contacts"],
    scope={
        Side.RIGHT: {"contact_type": frozenset({"customer"}), "customer_sub_type": frozenset({"individual"})},
    },
    constants={Side.RIGHT: {"contact_type": "customer", "customer_sub_type": "individual"}},
    follows=Side.LEFT,
    breaks_ties={Side.LEFT: "Company.name", Side.RIGHT: "company_name"},
    # An individual whose e-mail is that of a company's contact: one of the two is wrong, and no second one is made.
    stranger={Side.LEFT: Code.EMAIL_IN_COMPANY},
)
