"""What Postgres knows of a batch's records, read by lists of keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from shared.db.session import Database
from shared.db.sql import sql
from shared.engine.context import Context
from shared.engine.outcome import BindingSave
from shared.lease import Lease, Leases
from shared.sync.events import Folded
from shared.sync.inside import parent_of
from shared.sync.model import Base, BindingState, Bound, Pair, Record, RecordId, Sent, Side
from shared.sync.values import decode_base, decode_fields, decode_pending, encode_base, encode_pending

LIST_TRUST_S = 60.0
"""So long after a whole list was begun, "there is no twin" is believed without another look (scaled)."""


class BindingRow(msgspec.Struct, frozen=True):
    bound: Bound
    version: int
    updated_at: datetime
    raw: Mapping[str, Any]

    @property
    def left_id(self) -> RecordId:
        return self.bound.left_id

    @property
    def state(self) -> str:
        return self.bound.state

    def id(self, side: Side) -> RecordId:
        return self.bound.id(side)

    def hash(self, side: Side) -> str | None:
        value: str | None = self.raw[f"{side}_hash"]
        return value

    def modified(self, side: Side) -> datetime | None:
        value: datetime | None = self.raw[f"{side}_modified"]
        return value

    def seen_at(self, side: Side) -> datetime | None:
        """Since when the version at `modified` is known, where an edit may still hide behind its time."""
        value: datetime | None = self.raw[f"{side}_seen_at"]
        return value

    def save(self) -> BindingSave:
        """As it is, to be saved with one thing changed."""
        names = ("left_written", "right_written", "left_modified", "right_modified", "left_seen_at", "right_seen_at")
        times: dict[str, Any] = {name: self.raw[name] for name in names}
        return BindingSave(
            left_id=self.bound.left_id,
            right_id=self.bound.right_id,
            base=self.raw["base"],
            expected=self.version,
            state=self.raw["state"],
            unread=self.raw["unread"],
            deactivated=self.raw["deactivated"],
            left_hash=self.raw["left_hash"],
            right_hash=self.raw["right_hash"],
            **times,
        )


class IntentRow(msgspec.Struct, frozen=True):
    """`name`: the match key that the twin was to be made with; the record may be called otherwise by now. `draft`: what
    both sides would have agreed on by it."""

    name: str
    folded_key: str
    draft: Base
    state: str
    looks: int
    looked_for_s: float


class Planned(msgspec.Struct, frozen=True):
    """A twin that is about to be made: of which record, and under which match key. `again`: its intent is there.
    `original`: by the policy Clone, the record of this key that is there and is to be left alone."""

    side: Side
    record_id: RecordId
    name: str
    folded_key: str
    draft: Base
    again: bool
    original: RecordId | None = None


class Push(msgspec.Struct, frozen=True):
    """An update that is about to be sent. `version` 0: the two are matched and not bound yet.

    `base`, `unread`: what is agreed before it, earlier writes of unknown fate included where they were applied.
    """

    left_id: RecordId
    right_id: RecordId
    version: int
    base: Base
    unread: frozenset[Side]
    pending: Mapping[Side, Sent]


class StagedRow(msgspec.Struct, frozen=True):
    record: Record
    read_at: datetime
    verdict: str | None
    twin_id: RecordId | None
    fresh: bool
    """The list is young enough to be trusted about what is not in it."""
    twin: StagedRow | None = None
    """The other end of the binding, where that was listed too."""

    def usable(self, pair: Pair, side: Side) -> bool:
        """A thin row will do where it shows every mapped field, of which type it is, and whose."""
        if self.record.complete:
            return True
        names = [line.field(side) for line in pair.mapping] + ([pair.parent.field(side)] if pair.parent else [])
        names += pair.scope.get(side, ())
        return all(name in self.record.fields for name in names)


class Known:
    def __init__(self, db: Database, context: Context) -> None:
        self._db = db
        self._context = context

    def bindings(self, pair: str, side: Side, ids: Sequence[str]) -> dict[RecordId, BindingRow]:
        """Keyed by the record's id at `side`."""
        if not ids:
            return {}
        column = "left_id" if side is Side.LEFT else "right_id"
        query = sql(
            "SELECT * FROM binding WHERE left_org_id = :left AND right_org_id = :right AND pair = :pair "
            f"AND {column} {_IN_IDS}"
        )
        values = {
            "left": self._context.orgs[Side.LEFT],
            "right": self._context.orgs[Side.RIGHT],
            "pair": pair,
            "ids": _ids(ids),
        }
        with self._db.reading() as session:
            rows = session.execute(query, values).mappings().all()
        return {RecordId(row[column]): binding_row(dict(row)) for row in rows}

    def bindings_inside(
        self, pair: str, side: Side, parents: Sequence[str]
    ) -> dict[RecordId, dict[RecordId, BindingRow]]:
        """Of records that live inside these at `side`: by the parent's id, then by their own."""
        column = "left_id" if side is Side.LEFT else "right_id"
        query = sql(
            "SELECT * FROM binding WHERE left_org_id = :left AND right_org_id = :right AND pair = :pair "
            f"AND strpos({column}, '.') > 0 AND split_part({column}, '.', 1) = ANY(:parents)"
        )
        values = {
            "left": self._context.orgs[Side.LEFT],
            "right": self._context.orgs[Side.RIGHT],
            "pair": pair,
            "parents": list(parents),
        }
        found: dict[RecordId, dict[RecordId, BindingRow]] = {}
        with self._db.reading() as session:
            for row in session.execute(query, values).mappings():
                own = RecordId(row[column])
                found.setdefault(parent_of(own), {})[own] = binding_row(dict(row))
        return found

    def parents_under_way(self, pair: str, side: Side, ids: Sequence[str]) -> tuple[set[RecordId], set[RecordId]]:
        """Of records that are not bound: those that somebody is at work on, or that wait; and those that failed."""
        query = sql(
            """
            SELECT p.id, d.why = 'failed' AS failed,
                coalesce(d.why <> 'failed', false) OR EXISTS (
                    SELECT 1 FROM intent i WHERE i.integration_id = :integration AND i.pair = :pair
                      AND i.side = :side AND i.record_id = p.id)
                OR EXISTS (
                    SELECT 1 FROM staged s JOIN run r ON r.id = s.run_id
                    WHERE r.integration_id = :integration AND r.ended_at IS NULL AND s.pair = :pair
                      AND s.side = :side AND s.record_id = p.id AND s.state <> 'done') AS busy
            FROM unnest(CAST(:ids AS text[])) AS p(id)
            LEFT JOIN due d ON d.integration_id = :integration AND d.pair = :pair AND d.side = :side
                AND d.record_id = p.id
            """
        )
        values = {"integration": self._context.id, "pair": pair, "side": side.value, "ids": sorted(set(ids))}
        with self._db.reading() as session:
            rows = session.execute(query, values).all()
        busy = {RecordId(row.id) for row in rows if row.busy}
        return busy, {RecordId(row.id) for row in rows if row.failed} - busy

    def aside(self, pair: str, side: Side, ids: Sequence[str]) -> dict[RecordId, str]:
        """Those that are set aside, and why: `unbound` (DU-1) or `kept_by_clone` (DU-3)."""
        if not ids:
            return {}
        query = sql(
            "SELECT record_id, why FROM aside WHERE left_org_id = :left AND right_org_id = :right AND pair = :pair "
            f"AND side = :side AND record_id {_IN_IDS}"
        )
        values = {
            "left": self._context.orgs[Side.LEFT],
            "right": self._context.orgs[Side.RIGHT],
            "pair": pair,
            "side": side.value,
            "ids": _ids(ids),
        }
        with self._db.reading() as session:
            return {RecordId(row.record_id): row.why for row in session.execute(query, values)}

    def intents(self, pair: str, side: Side, ids: Sequence[str]) -> dict[RecordId, IntentRow]:
        if not ids:
            return {}
        query = sql(
            "SELECT record_id, name, folded_key, draft, state, looks, "
            "coalesce(extract(epoch FROM clock_timestamp() - first_look_at), 0)::float8 AS looked "
            "FROM intent WHERE integration_id = :integration AND pair = :pair AND side = :side "
            f"AND record_id {_IN_IDS}"
        )
        values = {"integration": self._context.id, "pair": pair, "side": side.value, "ids": _ids(ids)}
        with self._db.reading() as session:
            rows = session.execute(query, values).all()
        return {
            RecordId(row.record_id): IntentRow(
                row.name, row.folded_key, decode_base(row.draft), row.state, row.looks, row.looked
            )
            for row in rows
        }

    def intents_named(self, pair: str, keys: Sequence[str]) -> dict[str, list[tuple[Side, RecordId]]]:
        """Records of which a twin is being made, or may have been, under each of these folded keys."""
        query = sql(
            "SELECT folded_key, side, record_id FROM intent "
            f"WHERE integration_id = :integration AND pair = :pair AND folded_key {_IN_IDS}"
        )
        values = {"integration": self._context.id, "pair": pair, "ids": _ids(key for key in keys if key)}
        found: dict[str, list[tuple[Side, RecordId]]] = {}
        with self._db.reading() as session:
            for row in session.execute(query, values):
                found.setdefault(row.folded_key, []).append((Side(row.side), RecordId(row.record_id)))
        return found

    def note_pushes(
        self, leases: Leases, lease: Lease, run_id: int, pair: str, pushes: Sequence[Push]
    ) -> dict[RecordId, BindingRow]:
        """Commits what is about to be sent, under the fence; a match that is not bound yet is bound by it, without a
        base. Returns the bindings as they are now, by left id; one that moved meanwhile is not among them."""
        if not pushes:
            return {}
        known = [push for push in pushes if push.version]
        fresh = [push for push in pushes if not push.version]
        orgs = {"left": self._context.orgs[Side.LEFT], "right": self._context.orgs[Side.RIGHT]}
        values = {**orgs, "pair": pair, "fence": lease.fence, "run": run_id, "workspace": self._context.workspace_id}
        with self._db.writing() as session:
            leases.check(session, lease)
            rows = [
                *(session.execute(_NOTE_PUSH, {**values, "pushes": _pushes(known)}).mappings() if known else ()),
                *(session.execute(_BIND_PUSH, {**values, "pushes": _pushes(fresh)}).mappings() if fresh else ()),
            ]
        return {RecordId(row["left_id"]): binding_row(dict(row)) for row in rows}

    def making_since_ms(self, pair: str, side: Side) -> float | None:
        """Since when (epoch ms) a batch that is still open makes twins of records at `side`; None: none does."""
        query = sql(
            "SELECT extract(epoch FROM min(i.created_at))::float8 * 1000 FROM intent i "
            "JOIN open_batch b ON b.id = i.batch_id AND b.until > clock_timestamp() "
            "WHERE i.integration_id = :integration AND i.pair = :pair AND i.side = :side"
        )
        values = {"integration": self._context.id, "pair": pair, "side": side.value}
        with self._db.reading() as session:
            since: float | None = session.execute(query, values).scalar()
        return since

    def open_intents(
        self, leases: Leases, lease: Lease, batch_id: str, pair: str, drafts: Sequence[Planned]
    ) -> set[tuple[Side, str]]:
        """Commits one intent per draft, under the fence; returns those that are ours.

        One `again` was looked up and believed absent: it is told of the name that is tried now.
        """
        if not drafts:
            return set()
        query = sql(
            """
            WITH bound AS MATERIALIZED (
                SELECT 'left' AS side, left_id AS record FROM binding WHERE left_org_id = :left
                  AND right_org_id = :right AND pair = CAST(:pair AS varchar) AND left_id = ANY(ARRAY(
                    SELECT jsonb_array_elements_text(CAST(:lefts AS jsonb))))
                UNION ALL
                SELECT 'right', right_id FROM binding WHERE left_org_id = :left
                  AND right_org_id = :right AND pair = CAST(:pair AS varchar) AND right_id = ANY(ARRAY(
                    SELECT jsonb_array_elements_text(CAST(:rights AS jsonb)))))
            INSERT INTO intent AS i (workspace_id, integration_id, pair, side, record_id, name, folded_key, draft,
                state, batch_id, fence)
            SELECT :workspace, :integration, CAST(:pair AS varchar), d.side, d.record, d.name, d.key, d.draft, 'open',
                :batch, :fence
            FROM jsonb_to_recordset(CAST(:drafts AS jsonb))
                AS d(side text, record text, name text, key text, draft jsonb)
            WHERE NOT EXISTS (SELECT 1 FROM bound b WHERE b.side = d.side AND b.record = d.record)
            ORDER BY d.record
            ON CONFLICT (integration_id, pair, side, record_id) DO UPDATE SET name = excluded.name,
                folded_key = excluded.folded_key, draft = excluded.draft, batch_id = excluded.batch_id,
                fence = excluded.fence
            WHERE i.record_id = ANY(:again) RETURNING side, record_id
            """
        )
        values = {
            "workspace": self._context.workspace_id,
            "integration": self._context.id,
            "pair": pair,
            "batch": batch_id,
            "left": self._context.orgs[Side.LEFT],
            "right": self._context.orgs[Side.RIGHT],
            "fence": lease.fence,
            "lefts": _ids(draft.record_id for draft in drafts if draft.side is Side.LEFT),
            "rights": _ids(draft.record_id for draft in drafts if draft.side is Side.RIGHT),
            "drafts": _json(
                {
                    "side": draft.side.value,
                    "record": draft.record_id,
                    "name": draft.name,
                    "key": draft.folded_key,
                    "draft": encode_base(draft.draft),
                }
                for draft in drafts
            ),
            "again": [draft.record_id for draft in drafts if draft.again],
        }
        with self._db.writing() as session:
            leases.check(session, lease)
            rows = session.execute(query, values).all()
            mine = {(Side(row.side), row.record_id) for row in rows}
            kept = [draft for draft in drafts if draft.original and (draft.side, draft.record_id) in mine]
            if kept:  # with the intent: after a crash the original must not be taken for what was made
                originals = {
                    "sides": [draft.side.other.value for draft in kept],
                    "records": [draft.original for draft in kept],
                    "others": [draft.record_id for draft in kept],
                }
                session.execute(_KEEP_ORIGINALS, {**values, **originals})
        return mine

    def staged(self, pair: str, side: Side, folded: Sequence[Folded]) -> dict[RecordId, StagedRow]:
        runs = {one.run_id for one in folded if one.run_id}
        if not runs:
            return {}
        trust_s = 1.0 * LIST_TRUST_S
        query = sql(
            "SELECT record_id, fields, modified_at, inactive, complete, read_at, verdict, twin_id, "
            "coalesce(absent_at, read_at) + make_interval(secs => :trust) > clock_timestamp() AS fresh "
            f"FROM staged WHERE run_id = ANY(:runs) AND pair = :pair AND side = :side AND record_id {_IN_IDS}"
        )
        values = {
            "runs": list(runs),
            "pair": pair,
            "side": side.value,
            "ids": _ids(one.record_id for one in folded),
            "trust": trust_s,
        }
        with self._db.reading() as session:
            rows = session.execute(query, values).all()
            ride = [row.twin_id for row in rows if row.verdict == "both"]
            of_twins = {**values, "side": side.other.value, "ids": _ids(ride)}
            twins = session.execute(query, of_twins).all() if ride else []
        riding = {row.record_id: staged_row(row) for row in twins}
        found = {RecordId(row.record_id): staged_row(row) for row in rows}
        return {
            record_id: replace(row, twin=riding.get(row.twin_id)) if row.verdict == "both" and row.twin_id else row
            for record_id, row in found.items()
        }


_IN_IDS = "= ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(:ids AS jsonb))))"


def _ids(ids: Iterable[str | None]) -> str:
    """Many ids as one parameter: psycopg writes an array element by element."""
    return orjson.dumps(list(ids)).decode()


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Many rows as one parameter: in an array each quote of each JSON text would be escaped by Python."""
    return orjson.dumps(list(rows)).decode()


def _pushes(pushes: Sequence[Push]) -> str:
    return _json(
        {
            "left_id": push.left_id,
            "right_id": push.right_id,
            "version": push.version,
            "base": encode_base(push.base),
            "unread": sorted(push.unread),
            "pending": encode_pending(push.pending),
        }
        for push in sorted(pushes, key=lambda push: push.left_id)
    )


_KEEP_ORIGINALS = sql(
    """
    INSERT INTO aside (workspace_id, left_org_id, right_org_id, pair, side, record_id, why, other_id)
    SELECT :workspace, :left, :right, CAST(:pair AS varchar), k.side, k.record, 'kept_by_clone', k.other
    FROM unnest(CAST(:sides AS text[]), CAST(:records AS text[]), CAST(:others AS text[])) AS k(side, record, other)
    ORDER BY k.record ON CONFLICT DO NOTHING
    """
)
_PUSHES = (
    "jsonb_to_recordset(CAST(:pushes AS jsonb)) AS p(left_id text, right_id text, version integer, base jsonb, "
    "unread jsonb, pending jsonb)"
)
_NOTE_PUSH = sql(
    f"""
    UPDATE binding b SET pending = p.pending, base = p.base, version = b.version + 1, fence = :fence FROM {_PUSHES}
    WHERE b.left_org_id = :left AND b.right_org_id = :right AND b.pair = :pair AND b.left_id = p.left_id
        AND b.right_id = p.right_id AND b.version = p.version AND b.fence <= :fence
    RETURNING b.*
    """
)
_BIND_PUSH = sql(
    f"""
    INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, base, state, unread, version,
        fence, bound_by_run, updated_at, pending)
    SELECT :workspace, :left, :right, :pair, p.left_id, p.right_id, p.base, 'live', p.unread, 1, :fence, :run,
        to_timestamp(0), p.pending
    FROM {_PUSHES} WHERE p.version = 0 ORDER BY p.left_id ON CONFLICT DO NOTHING RETURNING *
    """
)


def staged_row(row: Any) -> StagedRow:
    record = Record(
        id=RecordId(row.record_id),
        fields=decode_fields(row.fields),
        modified_at=row.modified_at,
        inactive=row.inactive,
        complete=row.complete,
    )
    return StagedRow(record, row.read_at, row.verdict, row.twin_id, bool(row.fresh))


def binding_row(row: dict[str, Any]) -> BindingRow:
    bound = Bound(
        left_id=RecordId(row["left_id"]),
        right_id=RecordId(row["right_id"]),
        base=decode_base(row["base"]),
        state=BindingState(row["state"]),
        written={Side.LEFT: row["left_written"], Side.RIGHT: row["right_written"]},
        unread=frozenset(Side(side) for side in row["unread"]),
        pending=decode_pending(row["pending"] or {}),
        deactivated=row["deactivated"],
    )
    return BindingRow(bound, row["version"], row["updated_at"], row)
