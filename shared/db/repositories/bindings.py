"""What a person changes about bindings: each in one transaction, while no batch of the two orgs saves anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.sync.model import RecordId, Side


@dataclass(frozen=True, slots=True)
class Place:
    """Whose bindings: the two orgs are what they belong to (DU-1); intents and waits are the integration's."""

    workspace_id: int
    integration_id: int
    left_org_id: int
    right_org_id: int

    def values(self, pair: str) -> dict[str, object]:
        return {
            "workspace": self.workspace_id,
            "integration": self.integration_id,
            "left": self.left_org_id,
            "right": self.right_org_id,
            "pair": pair,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Two records that somebody says are the same."""

    left_id: RecordId
    right_id: RecordId

    def id(self, side: Side) -> RecordId:
        return self.left_id if side is Side.LEFT else self.right_id


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in the way of wanted bindings, by side and record: its twin; that a twin of it is being made."""

    twins: Mapping[tuple[Side, RecordId], RecordId]
    in_doubt: frozenset[tuple[Side, RecordId]]


_OF_ORGS = "left_org_id = :left AND right_org_id = :right AND pair = :pair"


def standing(session: Session, place: Place, pair: str, wanted: Sequence[Wanted]) -> Standing:
    twins: dict[tuple[Side, RecordId], RecordId] = {}
    in_doubt: set[tuple[Side, RecordId]] = set()
    for side in Side:
        values = {**place.values(pair), "side": side.value, "ids": [one.id(side) for one in wanted]}
        bound = text(f"SELECT left_id, right_id FROM binding WHERE {_OF_ORGS} AND {side.value}_id = ANY(:ids)")
        for row in session.execute(bound, values):
            mine, other = (row.left_id, row.right_id) if side is Side.LEFT else (row.right_id, row.left_id)
            twins[side, RecordId(mine)] = RecordId(other)
        making = text(
            "SELECT record_id FROM intent "
            "WHERE integration_id = :integration AND pair = :pair AND side = :side AND record_id = ANY(:ids)"
        )
        in_doubt |= {(side, RecordId(row.record_id)) for row in session.execute(making, values)}
    return Standing(twins, frozenset(in_doubt))


def bind(session: Session, place: Place, pair: str, wanted: Sequence[Wanted]) -> None:
    """As Fetch binds: without a base, so the next sync merges the two as a first match. What set them aside ends."""
    values = {
        **place.values(pair),
        "lefts": [one.left_id for one in wanted],
        "rights": [one.right_id for one in wanted],
    }
    session.execute(
        text(
            "INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, fence, updated_at) "
            "SELECT :workspace, :left, :right, :pair, l, r, 0, to_timestamp(0) "
            "FROM unnest(CAST(:lefts AS text[]), CAST(:rights AS text[])) AS f(l, r) ORDER BY l"
        ),
        values,
    )
    for side in Side:
        release(session, place, pair, side, [one.id(side) for one in wanted])


def unbind(session: Session, place: Place, pair: str, side: Side, record_id: str, by_name: str) -> Wanted | None:
    """Removes the binding and sets both records aside; None: there is none."""
    found = remove(session, place, pair, side, record_id)
    if found is not None:
        for mine in Side:
            session.execute(
                text(
                    "INSERT INTO aside (workspace_id, left_org_id, right_org_id, pair, side, record_id, why, other_id, "
                    "by_name) VALUES (:workspace, :left, :right, :pair, :side, :record, 'unbound', :other, :by)"
                ),
                {
                    **place.values(pair),
                    "side": mine.value,
                    "record": found.id(mine),
                    "other": found.id(mine.other),
                    "by": by_name,
                },
            )
    return found


def remove(
    session: Session, place: Place, pair: str, side: Side, record_id: str, *, state: str | None = None
) -> Wanted | None:
    """The binding alone; with `state` only if it is in that."""
    query = text(
        f"DELETE FROM binding WHERE {_OF_ORGS} AND {side.value}_id = :record "
        "AND (CAST(:state AS text) IS NULL OR state = :state) RETURNING left_id, right_id"
    )
    row = session.execute(query, {**place.values(pair), "record": record_id, "state": state}).first()
    return None if row is None else Wanted(RecordId(row.left_id), RecordId(row.right_id))


def release(session: Session, place: Place, pair: str, side: Side, ids: Sequence[str]) -> list[RecordId]:
    """They may be matched and made anew; returns those that were set aside."""
    query = text(f"DELETE FROM aside WHERE {_OF_ORGS} AND side = :side AND record_id = ANY(:ids) RETURNING record_id")
    rows = session.execute(query, {**place.values(pair), "side": side.value, "ids": list(ids)})
    return [RecordId(row.record_id) for row in rows]


def make_due(
    session: Session, place: Place, pair: str, side: Side, events: Mapping[RecordId, Mapping[str, str]]
) -> None:
    """Looked at within seconds, by the envelope given; whatever waited for the record before is answered by it."""
    session.execute(
        text(
            """
            INSERT INTO due AS d (workspace_id, integration_id, pair, side, record_id, why, attempts, due_at, event)
            SELECT :workspace, :integration, :pair, :side, r, 'retry', 0, clock_timestamp(), e
            FROM unnest(CAST(:records AS text[]), CAST(:events AS jsonb[])) AS f(r, e) ORDER BY r
            ON CONFLICT (integration_id, pair, side, record_id) DO UPDATE SET why = 'retry', attempts = 0,
                due_at = excluded.due_at, sent_at = NULL, parked_at = clock_timestamp(),
                event = CASE WHEN d.why = 'failed' THEN excluded.event ELSE d.event END
            """
        ),
        {
            **place.values(pair),
            "side": side.value,
            "records": list(events),
            "events": [json.dumps(one) for one in events.values()],
        },
    )
