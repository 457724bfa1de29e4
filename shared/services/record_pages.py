"""Addresses of records' pages at their vendors, for the sync details and the record pages (LG-2, LG-5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from shared.connectors.registry import get_vendor
from shared.connectors.vendor import RecordPage
from shared.db.queries.record_pages import get_orgs
from shared.integrations.registry import integration as declared
from shared.sync.model import RecordId, Side


@dataclass(frozen=True, slots=True)
class RecordPages:
    """Those of one integration."""

    kind: str
    orgs: Mapping[Side, Mapping[str, Any]]

    def url(self, pair: str, side: Side, record_id: str | None) -> str | None:
        """None: there is no record, or its address is not known."""
        org = self.orgs.get(side)
        if record_id is None or org is None:
            return None
        module = declared(self.kind).declaration(pair).module(side)
        page = RecordPage(
            org["external_id"], org["accounts_server"], module, RecordId(record_id), template=org["record_url"]
        )
        return get_vendor(org["vendor"]).record_url(page)

    def shown(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """With `record_url` and `twin_url`. A dead letter may have no pair, an old outcome no side."""
        if not (outcome["pair"] and outcome["side"]):
            return {**outcome, "record_url": None, "twin_url": None}
        pair, side = outcome["pair"], Side(outcome["side"])
        return {
            **outcome,
            "record_url": self.url(pair, side, outcome["record_id"]),
            "twin_url": self.url(pair, side.other, outcome["twin_id"]),
        }


def record_pages(session: Session, workspace_id: int, integration_id: int) -> RecordPages:
    rows = get_orgs(session, workspace_id, integration_id)
    return RecordPages(rows[0]["kind"] if rows else "", {Side(row["side"]): dict(row) for row in rows})
