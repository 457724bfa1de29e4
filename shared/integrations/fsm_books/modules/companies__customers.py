"""FSM companies and Books customers of the sub-type Business. Vendors and individuals are another type (SU-5)."""

from __future__ import annotations

from shared.integrations.base import PairDeclaration
from shared.integrations.defaults import load
from shared.sync.model import ModuleName, Side

_PRIMARY_PERSON = (
    "In Books a business customer's e-mail and telephone are those of its primary contact person: "
    "a change on either side overwrites that person's."
)

COMPANIES = PairDeclaration(
    name="companies",
    label="Companies and customers",
    left_module=ModuleName("Companies"),
    right_module=ModuleName("contacts"),
    key_left="Company_Name",
    key_right="contact_name",
    defaults=load("shared.integrations.fsm_books")["companies"],
    scope={
        Side.RIGHT: {"contact_type": frozenset({"customer"}), "customer_sub_type": frozenset({"business"})},
    },
    constants={Side.RIGHT: {"contact_type": "customer", "customer_sub_type": "business"}},
    follows=Side.LEFT,
    warn_if_mapped={(Side.RIGHT, name): _PRIMARY_PERSON for name in ("email", "phone", "mobile")},
)
