"""Who has an org, for whoever is refused because of it (LK-1): the holder and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.errors import OrgHeld


@dataclass(frozen=True, slots=True)
class InTheWay:
    """`holder` is the lease's: "run:12". `since` is aware UTC."""

    holder: str
    since: datetime
    sentence: str

    def error(self, advice: str) -> OrgHeld:
        return OrgHeld(f"{self.sentence} {advice}", holder=self.holder, since=self.since)


def holder_in_the_way(session: Session, orgs: Sequence[int], *, but: int) -> InTheWay | None:
    """The sync that holds one of the orgs now; none of the integration `but`, which is not in its own way."""
    row = session.execute(
        text(
            """
            SELECT l.holder, l.taken_at, o.name AS org, i.name AS integration
            FROM org_lease l JOIN org o ON o.id = l.org_id JOIN integration i ON i.id = l.integration_id
            WHERE l.org_id = ANY(:orgs) AND l.kind = 'run' AND l.expires_at > clock_timestamp() AND i.id <> :but
            ORDER BY l.org_id LIMIT 1
            """
        ),
        {"orgs": list(orgs), "but": but},
    ).first()
    if row is None:
        return None
    number = row.holder.partition(":")[2]
    what = f"sync {number} of \u201c{row.integration}\u201d"
    sentence = f"\u201c{row.org}\u201d is held by {what} since {row.taken_at:%Y-%m-%d %H:%M:%S} UTC."
    return InTheWay(row.holder, row.taken_at, sentence)
