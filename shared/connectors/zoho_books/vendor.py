"""The vendor that a product of the platform is: Zoho Books here, Zoho Invoice in its own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from shared.connectors._zoho.oauth import ZohoSignIn
from shared.connectors._zoho.pages import record_page
from shared.connectors.base import Capabilities, Connector, VendorFacts, WebhookParser
from shared.connectors.vendor import Link, OrgChoice, RecordPage
from shared.connectors.zoho_books.client import BooksConnector, list_orgs
from shared.connectors.zoho_books.imports import IMPORTS
from shared.connectors.zoho_books.modules import CONTACT_PERSONS, CONTACTS, MODULES, module_facts
from shared.connectors.zoho_books.product import Product
from shared.connectors.zoho_books.settings import SETTABLE
from shared.connectors.zoho_books.webhooks import BooksWebhooks
from shared.sync.inside import parent_of
from shared.sync.model import VendorName


class FinanceVendor:
    webhooks: WebhookParser = BooksWebhooks()
    settable: Mapping[str, type[bool] | type[int] | type[str]] = SETTABLE
    lists_orgs = True

    def __init__(self, product: Product) -> None:
        self._product = product
        self.name: VendorName = product.name
        self.label = product.label
        self.sign_in: ZohoSignIn = product.sign_in

    def facts(self, capabilities: Capabilities) -> VendorFacts:
        modules = {name: module_facts(module, capabilities) for name, module in MODULES.items()}
        return VendorFacts(self.name, self.label, MappingProxyType(modules), self._product.limits, IMPORTS)

    def record_url(self, page: RecordPage) -> str | None:
        """A person is seen on the page of their contact."""
        inner = page.module == CONTACT_PERSONS
        return record_page(
            template=page.template,
            default=self._product.record_url,
            accounts_server=page.accounts_server,
            org=page.org_external_id,
            page=CONTACTS if inner else page.module,
            record_id=parent_of(page.record_id) if inner else page.record_id,
        )

    def connect(self, link: Link) -> Connector:
        return BooksConnector(link, self.facts(link.capabilities), self._product)

    def orgs(self, link: Link) -> Sequence[OrgChoice]:
        return list_orgs(link, self._product)
