"""What a run reads before it matches: one list per module and side, and whole families where records live in others.

Each page, and each family, is saved with its checkpoint in one transaction; rows that cannot matter are counted and
dropped, the others wait in `staged` for their event.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Row

from shared.connectors.base import ListOrder, ModuleFacts, Page
from shared.db.sql import MANY_ROWS, Statements, sql
from shared.engine.agreed import listed_hash
from shared.engine.context import Context, Orders, Ports
from shared.engine.families import changed_inside
from shared.engine.keeper import Keeper
from shared.engine.known import BindingRow, binding_row
from shared.engine.matching import match_staged
from shared.engine.saving import add_count
from shared.errors import RecordRejected
from shared.lease import Lease
from shared.points import at
from shared.sync.match import staged_keys
from shared.sync.merge import is_known
from shared.sync.model import BindingState, ModuleName, OutcomeKind, Pair, Record, RecordId, Side
from shared.sync.plan import in_scope
from shared.sync.reasons import Code
from shared.sync.values import encode_fields
from shared.sync.watermark import window_start

FAMILIES_CHUNK = 50


class Listing:
    """Of one claimed stretch of work on a run, which ends at `ends` (monotonic seconds)."""

    def __init__(self, ports: Ports, keeper: Keeper, context: Context, run_id: int, lease: Lease, ends: float) -> None:
        self._ports = ports
        self._keeper = keeper
        self._context = context
        self._id = run_id
        self._lease = lease
        self._ends = ends

    def open(self, session: Statements, *, whole: bool, orders: bool) -> None:
        """One listing per pair and side, with its window; of work orders at their side alone, where they are wanted."""
        for name, pair in self._context.pairs.items():
            for side in Side:
                served = self._context.listed_with(name, side)
                lead = self._context.pairs[served[0]]
                inside = self._context.facts[pair.name, side].inside is not None
                self._open(session, name, lead.module(side), served, side, whole=whole, done=inside)
        if orders and self._context.orders:
            pair, side = self._context.orders.pair, self._context.orders.declared.side
            self._open(session, pair.name, pair.module(side), (pair.name,), side, whole=whole, done=False)

    def _open(
        self,
        session: Statements,
        pair: str,
        module: ModuleName,
        served: Sequence[str],
        side: Side,
        *,
        whole: bool,
        done: bool,
    ) -> None:
        """One of several pairs of a module is listed, and serves them all; what lives inside others has no list."""
        order = self._context.connectors[side].facts.modules[module].order
        since = None
        if not whole and order is not ListOrder.WHOLE:
            # Where the mapping changed since, each bound record is due (FM-4): then there is no mark.
            marks = session.execute(
                sql(
                    "SELECT w.read_from FROM watermark w JOIN integration i ON i.id = w.integration_id "
                    "WHERE i.id = :i AND w.pair = ANY(:pairs) AND w.side = :side "
                    "AND coalesce(CAST(i.mapping_changed->>w.pair AS timestamptz) < w.read_from, true)"
                ),
                {"i": self._context.id, "pairs": list(served), "side": side.value},
            ).scalars()
            read_from = sorted(marks)
            mark = read_from[0] if len(read_from) == len(served) else None
            since = window_start(mark, self._ports.settings.overlap_s)
        session.execute(
            sql(
                """
                INSERT INTO listing (run_id, pair, side, workspace_id, since, cursor, done, whole, rows, read_at)
                VALUES (:run, :pair, :side, :workspace, :since, NULL, :done, :whole, 0, clock_timestamp())
                ON CONFLICT DO NOTHING
                """
            ),
            {
                "run": self._id,
                "pair": pair,
                "side": side.value,
                "workspace": self._context.workspace_id,
                "since": since,
                "done": done,
                "whole": since is None,
            },
        )

    def read(self) -> bool:
        """False: the time slice is over; the next call goes on from the checkpoint."""
        while (listing := self._next_listing()) is not None:
            if time.monotonic() > self._ends or self._keeper.stopping.is_set():
                return False
            self._list_page(listing)
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            session.execute(sql("UPDATE run SET state = 'matching' WHERE id = :run"), {"run": self._id})
        return True

    def _next_listing(self) -> Row[Any] | None:
        with self._ports.db.writing() as session:
            return session.execute(
                sql("SELECT * FROM listing WHERE run_id = :run AND NOT done ORDER BY pair, side LIMIT 1"),
                {"run": self._id},
            ).first()

    def _list_page(self, listing: Row[Any]) -> None:
        side = Side(listing.side)
        pair = self._context.pair(listing.pair)
        connector = self._context.connectors[side]
        read_at = self._ports.db.now()
        page = connector.list_page(pair.module(side), cursor=listing.cursor, since=listing.since)
        rows, done = _cut(page, connector.facts.modules[pair.module(side)], listing.since)
        served = self._context.sharing(listing.pair, side) if pair.makes else (listing.pair,)
        if pair.makes:
            rows = self._told(served, side, rows)
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            if pair.makes:
                self._stage(session, served, side, rows, read_at)
            else:
                self._stage_orders(session, side, rows, read_at)
            session.execute(
                sql(
                    "UPDATE listing SET cursor = :cursor, done = :done, rows = rows + :n, digest = :digest, "
                    "vendor_at = coalesce(vendor_at, CAST(:vendor_at AS timestamptz)), "
                    "read_at = CASE WHEN cursor IS NULL THEN CAST(:read_at AS timestamptz) ELSE read_at END "
                    "WHERE run_id = :run AND pair = ANY(:pairs) AND side = :side"
                ),
                {
                    "run": self._id,
                    "pairs": list(served),
                    "side": listing.side,
                    "cursor": page.next_cursor,
                    "done": done,
                    "n": len(page.rows),
                    "digest": digest_of(listing.digest, page.rows),
                    "vendor_at": page.at if listing.cursor is None else None,
                    "read_at": read_at,
                },
            )
        at("page.saved")

    def _stage(
        self, session: Statements, served: Sequence[str], side: Side, rows: Sequence[Record], read_at: datetime
    ) -> None:
        """Rows that cannot matter are counted and dropped; the others wait in Postgres for their event, each as one of
        the pair that it belongs to."""
        bound = {name: self._bindings(session, name, side, rows) for name in served}
        parts: dict[str, list[Record]] = {}
        for row in rows:
            parts.setdefault(self._pair_of(served, side, row, bound), []).append(row)
        for name, part in parts.items():
            self._stage_part(session, name, side, part, bound[name], read_at)

    def _stage_orders(self, session: Statements, side: Side, rows: Sequence[Record], read_at: datetime) -> None:
        """Of work orders those that are to be invoiced, by their row; each is read before anything is done."""
        orders = self._context.orders
        if orders is None:
            return
        due = [row for row in rows if _is_due(orders, row)]
        if due:
            values = [self._staged_values(orders.pair.name, side, row, read_at) for row in due]
            _save_staged(session, [{**one, "fields": {}, "key": "", "second": ""} for one in values])
        if rest := len(rows) - len(due):
            key = (self._context.direction(side), orders.pair.name, OutcomeKind.UNCHANGED.value, "")
            add_count(session, self._id, self._context.workspace_id, key, rest, listed=rest)

    def _told(self, served: Sequence[str], side: Side, rows: Sequence[Record]) -> Sequence[Record]:
        """Of several pairs of a module, a row that is not bound must say to which it belongs; else it is read."""
        names = {name for pair in served for name in self._context.pairs[pair].scope.get(side, {})}
        untold = [row for row in rows if not all(is_known(row, name) for name in names)]
        if len(served) == 1 or not untold:
            return rows
        with self._ports.db.writing() as session:
            bound = {i for name in served for i in self._bindings(session, name, side, untold)}
        ids = [row.id for row in untold if row.id not in bound]
        if not ids:
            return rows
        found = self._context.connectors[side].fetch(self._context.pairs[served[0]].module(side), ids)
        return [whole for row in rows if (whole := found.get(row.id, row)) is not None]

    def _pair_of(
        self, served: Sequence[str], side: Side, row: Record, bound: Mapping[str, Mapping[RecordId, BindingRow]]
    ) -> str:
        """The one it is bound in, else the first whose type it is."""
        live = [name for name in served if row.id in bound[name] and bound[name][row.id].state == BindingState.LIVE]
        fits = [name for name in served if in_scope(self._context.pairs[name], side, row)]
        return next(iter([*live, *fits]), served[0])

    def _stage_part(
        self,
        session: Statements,
        name: str,
        side: Side,
        rows: Sequence[Record],
        bound: Mapping[RecordId, BindingRow],
        read_at: datetime,
        family_root: str = "",
    ) -> None:
        facts = self._context.facts[name, side]
        kept: list[Record] = []
        seen: list[RecordId] = []
        dropped: dict[tuple[OutcomeKind, str], int] = {}
        for row in rows:
            drop = self._drop(name, side, facts, row, bound.get(row.id))
            if drop is None:
                kept.append(row)
            else:
                dropped[drop] = dropped.get(drop, 0) + 1
                seen += [row.id] if row.id in bound else []
        if seen:
            session.execute(_SEEN, {"run": self._id, "pair": name, "side": side.value, "ids": seen})
        if kept:
            _save_staged(session, [self._staged_values(name, side, row, read_at, family_root) for row in kept])
        for (outcome, reason), count in sorted(dropped.items()):
            key = (self._context.direction(side), name, outcome.value, reason)
            add_count(session, self._id, self._context.workspace_id, key, count, listed=count)

    def _drop(
        self, name: str, side: Side, facts: ModuleFacts, row: Record, binding: BindingRow | None
    ) -> tuple[OutcomeKind, str] | None:
        pair = self._context.pairs[name]
        if binding is None:
            if not in_scope(pair, side, row):
                return OutcomeKind.SKIPPED, Code.WRONG_TYPE
            return (OutcomeKind.SKIPPED, Code.INACTIVE) if row.inactive else None
        if not binding.bound.base or binding.bound.pending or binding.state != "live":
            return None
        if listed_hash(pair, side, row, facts.list_fields) != binding.hash(side) or self._moves(pair, side, row):
            return None
        thin = facts.list_fields is not None and not {m.field(side) for m in pair.mapping} <= facts.list_fields
        settled = row.modified_at is not None and binding.seen_at(side) is None
        if thin and not (settled and row.modified_at == binding.modified(side)):
            return None
        return OutcomeKind.UNCHANGED, ""

    def _moves(self, pair: Pair, side: Side, row: Record) -> bool:
        """Of another type than the one it is bound as, or with another parent: what is mapped does not show that."""
        if pair.parent is not None and self._context.facts[pair.name, side].inside is None:
            return False  # fails until it is put back, and is tried again for that
        if in_scope(pair, side, row, bound=True):
            return False
        others = [self._context.pairs[name] for name in self._context.sharing(pair.name, side)]
        return any(one.parent is not None and in_scope(one, side, row) for one in others)

    def _bindings(
        self, session: Statements, pair: str, side: Side, rows: Sequence[Record]
    ) -> dict[RecordId, BindingRow]:
        found = session.execute(
            sql(
                "SELECT * FROM binding WHERE left_org_id = :left AND right_org_id = :right AND pair = :pair "
                f"AND {side.value}_id = ANY(:ids)"
            ),
            {
                "left": self._context.orgs[Side.LEFT],
                "right": self._context.orgs[Side.RIGHT],
                "pair": pair,
                "ids": [row.id for row in rows],
            },
        ).mappings()
        return {RecordId(row[f"{side.value}_id"]): binding_row(dict(row)) for row in found}

    def _staged_values(
        self, name: str, side: Side, row: Record, read_at: datetime, family_root: str = ""
    ) -> dict[str, Any]:
        pair = self._context.pair(name)
        if pair.parent is not None and not family_root:
            family_root = str(row.get(pair.parent.field(side)) or "")
        key, second = staged_keys(pair, side, row, family_root)
        return {
            "run": self._id,
            "pair": name,
            "side": side.value,
            "record": row.id,
            "workspace": self._context.workspace_id,
            "fields": encode_fields(row.fields),
            "complete": row.complete,
            "inactive": row.inactive,
            "modified": row.modified_at,
            "key": key,
            "second": second,
            "read_at": read_at,
        }

    # Families: what lives inside the records that were listed

    def read_families(self, *, fetches: bool) -> bool:
        """Reads the listed parents whole, for what lives inside them is not listed; the same reads serve their events.
        False: the time slice is over; the next call goes on with those that are not read yet."""
        for name in self._context.pairs:
            for side in Side:
                inner = self._context.inside(name, side)
                if inner is not None:
                    self.note_size()
                    if not self._read_inside(name, inner, side, fetches=fetches):
                        return False
        return True

    def _read_inside(self, name: str, inner: str, side: Side, *, fetches: bool) -> bool:
        self._match_pairs([name])
        after = ""
        while chunk := self._parents_to_read(name, side, after, fetches=fetches):
            for row in chunk:
                if time.monotonic() > self._ends or self._keeper.stopping.is_set():
                    return False
                read_at = self._ports.db.now()
                self._save_family(name, inner, side, row, self._whole(name, side, RecordId(row.record_id)), read_at)
            after = chunk[-1].record_id
        return True

    def _parents_to_read(self, name: str, side: Side, after: str, *, fetches: bool) -> Sequence[Row[Any]]:
        """Fetch writes nothing, so a parent without a twin cannot have children that are bound."""
        verdicts = ["pair", "both", "twin"] + ([] if fetches else ["create", "look"])
        with self._ports.db.writing() as session:
            return session.execute(
                sql(
                    "SELECT record_id, twin_id FROM staged WHERE run_id = :run AND pair = :pair AND side = :side "
                    "AND NOT complete AND NOT inactive AND read_at > to_timestamp(0) AND verdict = ANY(:verdicts) "
                    "AND record_id > :after ORDER BY record_id LIMIT :n"
                ),
                {
                    "run": self._id,
                    "pair": name,
                    "side": side.value,
                    "verdicts": verdicts,
                    "after": after,
                    "n": FAMILIES_CHUNK,
                },
            ).all()

    def _whole(self, name: str, side: Side, record_id: RecordId) -> Record | None:
        """None: gone, or refused. Its own event will say so."""
        try:
            found = self._context.connectors[side].fetch(self._context.pairs[name].module(side), [record_id])
        except RecordRejected:
            return None
        return found.get(record_id)

    def _save_family(
        self, name: str, inner: str, side: Side, row: Row[Any], record: Record | None, read_at: datetime
    ) -> None:
        module = self._context.pairs[inner].module(side)
        if record is None or module not in record.children:
            return
        children = record.children[module]
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            values = self._staged_values(name, side, record, read_at)
            session.execute(_COMPLETE, {**values, "fields": json.dumps(values["fields"])})
            held = self._bindings_inside(session, inner, side, record.id)
            root = str(row.twin_id or f"{side.value}:{record.id}")
            self._stage_part(session, inner, side, children, held, read_at, root)
            _, gone = changed_inside(self._context.pairs[inner], side, children, held, self._context.facts[inner, side])
            if gone:
                session.execute(
                    _STAGE_GONE,
                    {"run": self._id, "pair": inner, "side": side.value, "ids": gone, "w": self._context.workspace_id},
                )
        at("family.saved")

    def _bindings_inside(
        self, session: Statements, inner: str, side: Side, parent_id: str
    ) -> dict[RecordId, BindingRow]:
        column = f"{side.value}_id"
        found = session.execute(
            sql(
                "SELECT * FROM binding WHERE left_org_id = :left AND right_org_id = :right AND pair = :pair "
                f"AND strpos({column}, '.') > 0 AND split_part({column}, '.', 1) = :parent"
            ),
            {
                "left": self._context.orgs[Side.LEFT],
                "right": self._context.orgs[Side.RIGHT],
                "pair": inner,
                "parent": parent_id,
            },
        ).mappings()
        return {RecordId(one[column]): binding_row(dict(one)) for one in found}

    def _match_pairs(self, names: Sequence[str]) -> None:
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            match_staged(session, self._context, self._id, self._lease.fence, self.whole(session), names)

    def whole(self, session: Statements) -> dict[str, bool]:
        rows = session.execute(
            sql("SELECT pair, bool_and(whole) AS whole FROM listing WHERE run_id = :run GROUP BY pair"),
            {"run": self._id},
        )
        return {row.pair: row.whole for row in rows}

    def note_size(self) -> None:
        """On tables that were filled a moment ago the planner takes a nested loop for the join of two long lists."""
        with self._ports.db.writing() as session:
            query = sql("SELECT sum(rows) FROM listing WHERE run_id = :run")
            if (session.execute(query, {"run": self._id}).scalar() or 0) >= MANY_ROWS:
                session.execute(sql("ANALYZE staged"))
                session.execute(sql("ANALYZE binding"))


def _is_due(orders: Orders, row: Record) -> bool:
    """What a row does not show leaves it open."""
    declared = orders.declared
    billed, status = row.get(declared.billed_field), row.get(declared.status_field)
    early = row.modified_at is not None and row.modified_at < orders.since
    return not early and billed != declared.billed and (status is None or status in orders.statuses)


def _save_staged(session: Statements, rows: Sequence[Mapping[str, Any]]) -> None:
    """One that a page shows twice, for the list moved on meanwhile, is as it was shown last."""
    latest = {(row["pair"], row["side"], row["record"]): row for row in rows}
    session.execute(_STAGE, {"rows": orjson.dumps(list(latest.values())).decode()})


_STAGE = sql(
    """
    INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, modified_at,
        folded_key, second_key, read_at, state)
    SELECT r.run, r.pair, r.side, r.record, r.workspace, r.fields, r.complete, r.inactive, r.modified, r.key, r.second,
        r.read_at, 'listed'
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(run bigint, pair text, side text, record text, workspace bigint,
        fields jsonb, complete boolean, inactive boolean, modified timestamptz, key text, second text,
        read_at timestamptz)
    ON CONFLICT (run_id, pair, side, record_id) DO UPDATE SET fields = excluded.fields,
        modified_at = excluded.modified_at, inactive = excluded.inactive, folded_key = excluded.folded_key,
        second_key = excluded.second_key, read_at = excluded.read_at
    """
)
# A listed row, by a read of the whole record. Its key stays: by that it was matched.
_COMPLETE = sql(
    """
    UPDATE staged SET fields = CAST(:fields AS jsonb), complete = true, modified_at = :modified, read_at = :read_at
    WHERE run_id = :run AND pair = :pair AND side = :side AND record_id = :record
    """
)
_STAGE_GONE = sql(
    """
    INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, folded_key, read_at,
        state, verdict)
    SELECT :run, :pair, :side, f.id, :w, '{}', false, false, '', to_timestamp(0), 'listed', 'look'
    FROM unnest(CAST(:ids AS text[])) AS f(id) ON CONFLICT DO NOTHING
    """
)
# Of a run that compares: bound, as it was, and there.
_SEEN = sql(
    """
    INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, folded_key, read_at,
        state, verdict)
    SELECT r.id, :pair, :side, f.id, r.workspace_id, '{}', false, false, '', clock_timestamp(), 'done', 'seen'
    FROM run r, unnest(CAST(:ids AS text[])) AS f(id) WHERE r.id = :run AND r.compares
    ON CONFLICT DO NOTHING
    """
)


def digest_of(before: str, rows: Sequence[Record]) -> str:
    """Of the ids of a list in the order that it had, page by page; "" for none."""
    for row in rows:
        before = hashlib.sha256(f"{before} {row.id}".encode()).hexdigest()
    return before


def _cut(page: Page, facts: ModuleFacts, since: datetime | None) -> tuple[Sequence[Record], bool]:
    """The rows inside the window, and whether the list is done: newest first, it ends below the window (closed)."""
    if since is None or facts.order is not ListOrder.MODIFIED_DESC:
        return page.rows, page.next_cursor is None
    edge = since - timedelta(seconds=1)  # vendors' times are cut to the second
    inside = [row for row in page.rows if row.modified_at is None or row.modified_at >= edge]
    return inside, page.next_cursor is None or len(inside) < len(page.rows)
