"""In which time zone an integration's days are (TR-4)."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.connectors.base import TIME_ZONE
from shared.db.models import Connection, Integration, Org
from shared.integrations.registry import integration as declared
from shared.sync.calendar import known_zone
from shared.sync.model import Side

UTC_ZONE = ZoneInfo("UTC")


def zone_in_force(session: Session, row: Integration) -> ZoneInfo:
    org_id = row.left_org_id if declared(row.kind).tie_side is Side.LEFT else row.right_org_id
    found = session.execute(
        select(Org, Connection).outerjoin(Connection, Connection.org_id == Org.id).where(Org.id == org_id)
    ).one()
    return zone_named(row, found[0], found[1])


def zone_named(row: Integration, accounting: Org, connection: Connection | None) -> ZoneInfo:
    """Named for the integration, else for the accounting org, else told by that org's vendor. A vendor's name that is
    none of IANA's (PST) tells nothing."""
    chosen = accounting.settings.get("capabilities")
    named = chosen.get(TIME_ZONE) if isinstance(chosen, Mapping) else None
    told = connection.capabilities.get(TIME_ZONE) if connection else None
    found = (known_zone(str(name)) for name in (row.time_zone, named, told) if name)
    return next((zone for zone in found if zone is not None), UTC_ZONE)
