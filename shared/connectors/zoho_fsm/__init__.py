"""Zoho FSM v1."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from shared.connectors._zoho.oauth import ZohoSignIn
from shared.connectors._zoho.pages import record_page
from shared.connectors.base import Capabilities, Connector, VendorFacts, WebhookParser
from shared.connectors.vendor import Link, OrgChoice, RecordPage
from shared.connectors.zoho_fsm.auth import SIGN_IN
from shared.connectors.zoho_fsm.client import FsmConnector
from shared.connectors.zoho_fsm.imports import IMPORTS
from shared.connectors.zoho_fsm.modules import MODULES, module_facts
from shared.connectors.zoho_fsm.settings import DEFAULT_RECORD_URL, LIMITS, SETTABLE
from shared.connectors.zoho_fsm.webhooks import FsmWebhooks
from shared.sync.model import VendorName


class ZohoFsm:
    name = VendorName("zoho_fsm")
    label = "Zoho FSM"
    sign_in: ZohoSignIn = SIGN_IN
    webhooks: WebhookParser = FsmWebhooks()
    settable = SETTABLE
    # The organisation follows from the token, and no call is known that names it.
    lists_orgs = False

    def facts(self, capabilities: Capabilities) -> VendorFacts:
        modules = {name: module_facts(module, capabilities) for name, module in MODULES.items()}
        return VendorFacts(self.name, self.label, MappingProxyType(modules), LIMITS, IMPORTS)

    def record_url(self, page: RecordPage) -> str | None:
        return record_page(
            template=page.template,
            default=DEFAULT_RECORD_URL,
            accounts_server=page.accounts_server,
            org=page.org_external_id,
            page=page.module,
            record_id=page.record_id,
        )

    def connect(self, link: Link) -> Connector:
        return FsmConnector(link, self.facts(link.capabilities))

    def orgs(self, link: Link) -> Sequence[OrgChoice]:
        return ()


CONNECTOR = ZohoFsm()
