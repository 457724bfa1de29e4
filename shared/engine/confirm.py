"""Lists a side once more, instead of searching it before each create, where that is fewer calls; twice, where the run
listed it only as far as the watermark and there was more.

Between two pages a deletion, or an edit where the newest goes first, moves a row onto a page that was read already:
what a list lacks may be there. The next list is then another one: the deleted row is gone from it, the moved one stands
elsewhere. So of two lists in a row that show the same ids in the same order the first was complete, and what it lacks
was not there when it was begun; from then on that is believed for as long as of a list of one page (LIST_TRUST_S).
What people made, renamed or deleted since shows as a difference, or by its key, and leaves the search. A list that
shows a record twice says that its order is none: both may lack the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.connectors.base import ListOrder, ModuleFacts, Page
from shared.db.sql import Statements, sql
from shared.engine.context import Context, Ports
from shared.engine.keeper import Keeper
from shared.engine.known import LIST_TRUST_S
from shared.engine.listing import digest_of
from shared.lease import Lease
from shared.points import at
from shared.sync.match import staged_keys
from shared.sync.merge import is_known
from shared.sync.model import Pair, Policy, Record, RecordId, Side
from shared.sync.values import is_unreadable

TRUST = timedelta(seconds=LIST_TRUST_S)
YOUNG = TRUST / 2
"""A list that is older leaves too little of its time for the creates: then two are made anew."""
SHARE = 4
"""So many searches are worth a page of a side that was not listed whole, whose list may be longer than is known. Two
lists cost half of the searches at most, and one that is given up on a quarter on top of them."""


@dataclass(slots=True)
class _Seen:
    """A list: when it was begun, by Postgres' clock, and its ids in their order. None: not read to its end."""

    began: datetime
    digest: str | None = ""


@dataclass(slots=True)
class _Question:
    """Records of the other side that would be looked for at `side`, by pair and id with their folded keys."""

    served: Sequence[str]
    side: Side
    wanted: Mapping[tuple[str, RecordId], str]
    first: _Seen | None
    most: int | None
    """Pages of a list that pays. None: it is known to."""
    taken: set[tuple[str, str]]
    """Keys by pair that some record there has, or is to be made with as one of another pair of the module."""


class Confirmation:
    """Of one claimed stretch of work on a run. Each list is tried once: a run that was cut off in it searches.

    Errors: as of a list; what waits for quota does not list again after it."""

    def __init__(self, ports: Ports, keeper: Keeper, context: Context, run_id: int, lease: Lease) -> None:
        self._ports = ports
        self._keeper = keeper
        self._context = context
        self._id = run_id
        self._lease = lease

    def confirm(self) -> bool:
        """False: the process stops, another goes on."""
        if self._context.policy is Policy.CLONE:  # a create is decided by what is found there
            return True
        for side in Side:
            for served in dict.fromkeys(self._context.sharing(name, side) for name in self._context.pairs):
                if self._keeper.stopping.is_set():
                    return False
                question = self._ask(served, side)
                if question is not None and (since := self._absent_since(question)) is not None:
                    self._save(question, since)
        return not self._keeper.stopping.is_set()

    def _ask(self, served: Sequence[str], side: Side) -> _Question | None:
        """None: searching is not dearer, or the list would not tell. Of what lives inside others, or is matched by its
        parent or by names, it does not."""
        pairs = [self._context.pairs[name] for name in served]
        plain = [pair.name for pair in pairs if pair.parent is None and not pair.names]
        facts = self._context.facts[served[0], side]
        if not plain or facts.inside is not None or not facts.creates:
            return None
        key = {"run": self._id, "side": side.value, "pairs": list(served)}
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            listing = session.execute(_LISTING, {**key, "pair": served[0]}).first()
            if listing is None:
                return None
            rows = session.execute(
                _WANTED, {**key, "pairs": plain, "side": side.other.value, "integration": self._context.id}
            ).all()
            # Newest change first, what ended before it was cut is whole, though rows below the watermark were dropped.
            whole = listing.whole or (facts.order is ListOrder.MODIFIED_DESC and listing.cursor is None)
            young = whole and listing.now - listing.read_at < YOUNG
            first = _Seen(listing.read_at, listing.digest) if young else None
            most = None if whole else len(rows) // SHARE
            if most is None:
                pays = len(rows) > _pages(listing.rows, facts) * (1 if first else 2)
            else:
                pays = most > 0 and self._expected(session, served, side) <= most
            if not pays:
                return None
            session.execute(_BEGIN, key)
            taken = {
                (pair.name, tail)
                for pair in pairs
                if pair.name in plain and side in pair.stranger
                for tail in session.execute(
                    _OTHERS, {**key, "pairs": [name for name in served if name != pair.name], "side": side.other.value}
                ).scalars()
            }
        wanted = {(row.pair, RecordId(row.record_id)): row.folded_key for row in rows}
        return _Question(served, side, wanted, first, most, taken)

    def _expected(self, session: Statements, served: Sequence[str], side: Side) -> int:
        """Pages of the whole list of a side: as many records as the last one had, or are bound by now."""
        values = {
            "integration": self._context.id,
            "left": self._context.orgs[Side.LEFT],
            "right": self._context.orgs[Side.RIGHT],
            "pair": served[0],
            "pairs": list(served),
            "side": side.value,
        }
        rows: int = session.execute(_EXPECTED, values).scalar_one()
        return _pages(rows, self._context.facts[served[0], side])

    def _absent_since(self, question: _Question) -> datetime | None:
        first = question.first or self._list(question, None)
        if first.digest is None:
            return None
        second = self._list(question, first)
        return first.began if second.digest == first.digest else None

    def _list(self, question: _Question, first: _Seen | None) -> _Seen:
        """Not to its end where it took too long, or is longer than pays."""
        seen = _Seen(self._ports.db.now())
        page: Page | None = None
        ids: list[RecordId] = []
        pages = 0
        while page is None or page.next_cursor is not None:
            late = self._ports.db.now() - (first or seen).began > TRUST
            if late or pages == question.most or self._keeper.stopping.is_set():
                return _Seen(seen.began, None)
            connector = self._context.connectors[question.side]
            module = self._context.pairs[question.served[0]].module(question.side)
            page = connector.list_page(module, cursor=page.next_cursor if page else None, since=None)
            pages += 1
            ids += [row.id for row in page.rows]
            seen.digest = digest_of(seen.digest or "", page.rows)
            at("page.confirmed")
            for name in dict.fromkeys(name for name, _ in question.wanted):
                keys = [_key(self._context.pairs[name], question.side, row) for row in page.rows]
                if None in keys:  # it may be any of those that are looked for
                    return _Seen(seen.began, None)
                question.taken |= {(name, key) for key in keys if key}
        return seen if len(set(ids)) == len(ids) else _Seen(seen.began, None)

    def _save(self, question: _Question, since: datetime) -> None:
        absent = [one for one, key in question.wanted.items() if (one[0], key) not in question.taken]
        with self._ports.db.writing() as session:
            self._ports.leases.check(session, self._lease)
            for name in dict.fromkeys(name for name, _ in absent):
                values = {"run": self._id, "pair": name, "side": question.side.other.value, "since": since}
                session.execute(_ABSENT, {**values, "ids": [record for pair, record in absent if pair == name]})


def _pages(rows: int, facts: ModuleFacts) -> int:
    return max(1, -(-rows // facts.page_size))


def _key(pair: Pair, side: Side, row: Record) -> str | None:
    """As a search would compare it, of whatever type the row is. None: it cannot be told."""
    name = pair.key(side)
    if not is_known(row, name) or is_unreadable(row.get(name)):
        return None
    return staged_keys(pair, side, row)[0]


# Not a whole list without rows: it is believed by itself.
_LISTING = sql(
    "SELECT digest, whole, cursor, rows, read_at, clock_timestamp() AS now FROM listing WHERE run_id = :run "
    "AND pair = :pair AND side = :side AND done AND NOT (whole AND digest = '') AND confirm_at IS NULL"
)
_EXPECTED = sql(
    """
    SELECT greatest((
        SELECT l.rows FROM run r JOIN listing l ON l.run_id = r.id AND l.pair = :pair AND l.side = :side
        WHERE r.integration_id = :integration AND l.whole AND l.done ORDER BY r.created_at DESC, r.id DESC LIMIT 1
    ), (
        SELECT count(*) FROM binding WHERE left_org_id = :left AND right_org_id = :right AND pair = ANY(:pairs)
          AND state = 'live'))
    """
)
# Not what failed before or vanished, whose row is no list's, nor what may be being made under its key.
_WANTED = sql(
    """
    SELECT pair, record_id, folded_key FROM staged s
    WHERE run_id = :run AND pair = ANY(:pairs) AND side = :side AND verdict = 'look' AND state = 'listed'
      AND folded_key <> '' AND read_at > to_timestamp(0) AND NOT inactive AND NOT EXISTS (
        SELECT 1 FROM intent i WHERE i.integration_id = :integration AND i.pair = s.pair
          AND (i.folded_key = s.folded_key OR (i.side = s.side AND i.record_id = s.record_id)))
    """
)
# Keys may begin with their family.
_OTHERS = sql(
    "SELECT split_part(folded_key, chr(10), -1) FROM staged WHERE run_id = :run AND pair = ANY(:pairs) "
    "AND side = :side AND folded_key <> ''"
)
_BEGIN = sql(
    "UPDATE listing SET confirm_at = clock_timestamp() WHERE run_id = :run AND pair = ANY(:pairs) AND side = :side"
)
_ABSENT = sql(
    """
    UPDATE staged SET verdict = 'create', absent_at = :since
    WHERE run_id = :run AND pair = :pair AND side = :side AND record_id = ANY(:ids) AND verdict = 'look'
      AND state = 'listed'
    """
)
