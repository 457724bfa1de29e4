"""Matching of what a run has listed: a join in Postgres, not a search call per record (DU-2, DU-8).

The rule is `sync.match.match_sides`; this is the same rule in SQL over the folded keys that the core made, and a test
holds the two together. Nothing is written to a vendor here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.db.sql import Statements, sql
from shared.engine.context import Context
from shared.sync.model import Pair, Policy, Side
from shared.sync.values import UNREADABLE

_BOUND = """
UPDATE staged s SET verdict = 'pair', twin_id = b.{other}_id
FROM binding b
WHERE s.run_id = :run AND s.pair = :pair AND s.side = :side AND coalesce(s.verdict, 'tied') = 'tied'
  AND b.left_org_id = :left AND b.right_org_id = :right AND b.pair = :pair AND b.{mine}_id = s.record_id
"""
# Unbound by a person: neither matched nor made anew, nor does its key make another one ambiguous.
_ASIDE = """
UPDATE staged s SET verdict = 'aside'
FROM aside a
WHERE s.run_id = :run AND s.pair = :pair AND s.verdict IS NULL
  AND a.left_org_id = :left AND a.right_org_id = :right AND a.pair = s.pair AND a.side = s.side
  AND a.record_id = s.record_id
"""
# Two of one key are two, whatever was listed beside them; where the parent breaks ties, the second key may tell (DU-2).
_SEVERAL = """
UPDATE staged s SET verdict = :verdict
FROM (SELECT folded_key FROM staged
      WHERE run_id = :run AND pair = :pair AND verdict IS NULL AND folded_key <> ''
      GROUP BY folded_key HAVING count(*) FILTER (WHERE side = 'left') > 1 OR count(*) FILTER (WHERE side = 'right') > 1
     ) k
WHERE s.run_id = :run AND s.pair = :pair AND s.verdict IS NULL AND s.folded_key = k.folded_key
"""
# Certain matches are bound before anything is merged or created. The base is empty: no sync has agreed on it yet.
_BIND = """
INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, base, state, unread, version,
    fence, bound_by_run, updated_at)
SELECT l.workspace_id, :left, :right, l.pair, l.record_id, r.record_id, '{{}}', 'live', '[]', 1, :fence, l.run_id,
    to_timestamp(0)
FROM staged l JOIN staged r ON r.run_id = l.run_id AND r.pair = l.pair AND r.folded_key = l.folded_key
WHERE l.run_id = :run AND l.pair = :pair AND l.side = 'left' AND r.side = 'right'
  AND l.verdict IS NULL AND r.verdict IS NULL AND l.folded_key <> '' AND NOT {making}
ON CONFLICT DO NOTHING
"""
_BIND_TIED = """
INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, base, state, unread, version,
    fence, bound_by_run, updated_at)
SELECT :workspace, :left, :right, min(s.pair), min(s.record_id) FILTER (WHERE s.side = 'left'),
    min(s.record_id) FILTER (WHERE s.side = 'right'), '{{}}', 'live', '[]', 1, :fence, :run, to_timestamp(0)
FROM staged s WHERE s.run_id = :run AND s.pair = :pair AND s.verdict = 'tied' AND s.second_key <> '' AND NOT {making}
GROUP BY s.second_key
HAVING count(*) FILTER (WHERE s.side = 'left') = 1 AND count(*) FILTER (WHERE s.side = 'right') = 1
ON CONFLICT DO NOTHING
"""
# What is left of them is of nobody in particular, unless each of a side has a parent of its own and the other side has
# none that it could be.
_UNTIED = """
UPDATE staged s SET verdict = CASE WHEN EXISTS (
    SELECT 1 FROM staged o WHERE o.run_id = s.run_id AND o.pair = s.pair AND o.verdict = 'tied'
      AND o.folded_key = s.folded_key AND (o.side, o.record_id) <> (s.side, s.record_id)
      AND ({both} OR (o.side = s.side AND (s.second_key = '' OR o.second_key IN (s.second_key, '')))))
    THEN 'ambiguous' END
WHERE s.run_id = :run AND s.pair = :pair AND s.verdict = 'tied'
"""
_BOTH = "o.side <> s.side"
# Of two records of which one has no key, the names tell (DU-2); where several have them, none is chosen.
_NAMESAKES = """
    SELECT second_key, count(*) FILTER (WHERE side = 'left') AS lefts, count(*) FILTER (WHERE side = 'right') AS rights,
        min(record_id) FILTER (WHERE side = 'left') AS left_id, min(record_id) FILTER (WHERE side = 'right') AS right_id
    FROM staged WHERE run_id = :run AND pair = :pair AND verdict IS NULL AND second_key <> ''
    GROUP BY second_key HAVING bool_or(folded_key = '') AND count(*) FILTER (WHERE side = 'left') > 0
        AND count(*) FILTER (WHERE side = 'right') > 0
"""
_AMBIGUOUS_NAMES = f"""
UPDATE staged s SET verdict = 'ambiguous' FROM ({_NAMESAKES}) k
WHERE s.run_id = :run AND s.pair = :pair AND s.verdict IS NULL AND s.second_key = k.second_key
  AND (k.lefts > 1 OR k.rights > 1)
"""
_BIND_NAMES = f"""
INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, base, state, unread, version,
    fence, bound_by_run, updated_at)
SELECT :workspace, :left, :right, CAST(:pair AS varchar), left_id, right_id, '{{{{}}}}', 'live', '[]', 1, :fence, :run,
    to_timestamp(0)
FROM ({_NAMESAKES}) k WHERE lefts = 1 AND rights = 1 AND NOT EXISTS (
    SELECT 1 FROM staged s WHERE s.run_id = :run AND s.pair = :pair AND s.verdict IS NULL
      AND s.second_key = k.second_key AND {{making}})
ON CONFLICT DO NOTHING
"""
# A twin that we are just making, or may have made, is bound by its own result, with what was agreed on.
_MAKING = """EXISTS (
    SELECT 1 FROM intent i
    WHERE i.integration_id = :integration AND i.pair = :pair AND i.folded_key = {row}.folded_key)"""
# Of a pair whose keys begin with their family: an intent has the bare key.
_MAKING_INSIDE = """EXISTS (
    SELECT 1 FROM intent i
    WHERE i.integration_id = :integration AND i.pair = :pair AND chr(10) || i.folded_key IN (
        right(chr(10) || {row}.folded_key, length(i.folded_key) + 1),
        right(chr(10) || {row}.second_key, length(i.folded_key) + 1)))"""
# A key whose record at the other side is bound to another one, or set aside, is looked at by itself: it has no twin to
# be made (DU-2).
_REST = """
UPDATE staged s SET verdict = CASE WHEN EXISTS (
    SELECT 1 FROM staged o WHERE o.run_id = s.run_id AND o.pair = s.pair AND o.side = :other
      AND o.folded_key = s.folded_key AND o.verdict IN ('pair', 'aside') AND s.folded_key <> '')
    OR {making} OR {stranger}
    THEN 'look' WHEN {cloned} THEN 'clone' WHEN {sure} THEN 'create' ELSE :verdict END
WHERE s.run_id = :run AND s.pair = :pair AND s.side = :side AND s.verdict IS NULL
"""
# One of its key that belongs to another pair of the module, whose keys may begin with their family.
_STRANGER = """EXISTS (
    SELECT 1 FROM staged o WHERE o.run_id = s.run_id AND o.pair = ANY(:sharing) AND o.side = :other
      AND s.folded_key <> '' AND right(chr(10) || o.folded_key, length(s.folded_key) + 1) = chr(10) || s.folded_key)"""
# What is inside the parent's twin was read whole by this run, and nobody in it may be this one.
_FAMILY_READ = """EXISTS (
    SELECT 1 FROM staged p WHERE p.run_id = s.run_id AND p.pair = :parent AND p.side = :other AND p.complete
      AND p.twin_id = s.fields->>CAST(:parent_field AS text))
    AND NOT EXISTS (
    SELECT 1 FROM staged o WHERE o.run_id = s.run_id AND o.pair = s.pair AND o.side = :other AND o.verdict IS NULL
      AND ((o.folded_key = s.folded_key AND s.folded_key <> '')
        OR (o.second_key = s.second_key AND s.second_key <> '')))"""
# By the policy Clone a match is not bound: one gets a new twin, the other is left alone (DU-3).
_CLONED = """EXISTS (
    SELECT 1 FROM staged o WHERE o.run_id = s.run_id AND o.pair = s.pair AND o.side = :other
      AND o.folded_key = s.folded_key AND s.folded_key <> '')"""
# Both ends of a binding were listed: the one that changed later brings the other along, one event for both.
_RIDE = """
WITH rode AS (
    UPDATE staged r SET verdict = 'twin', state = 'done'
    FROM staged l
    WHERE l.run_id = :run AND l.pair = :pair AND l.side = :keep AND l.verdict = 'pair' AND l.state = 'listed'
      AND r.run_id = l.run_id AND r.pair = l.pair AND r.side = :ride AND r.verdict = 'pair' AND r.state = 'listed'
      AND r.record_id = l.twin_id {when}
    RETURNING l.record_id)
UPDATE staged k SET verdict = 'both' FROM rode
WHERE k.run_id = :run AND k.pair = :pair AND k.side = :keep AND k.record_id = rode.record_id
"""


def match_staged(
    session: Statements,
    context: Context,
    run_id: int,
    fence: int,
    whole: Mapping[str, bool],
    names: Sequence[str] | None = None,
) -> None:
    """Gives every staged record of the run its verdict; binds the certain matches. Repeating it changes nothing.

    `whole`: pairs of which both sides were listed whole. Elsewhere an unbound record is looked for at the vendor.
    `names`: these pairs alone.
    """
    for name in names or context.pairs:
        pair = context.pairs[name]
        clones = context.policy is Policy.CLONE and pair.parent is None
        binds = whole[name] and not clones
        values = _values(context, run_id, fence, name)
        _mark_bound(session, values)
        session.execute(sql(_ASIDE), values)
        making = _MAKING_INSIDE if pair.parent is not None else _MAKING
        session.execute(sql(_SEVERAL), {**values, "verdict": "tied" if pair.breaks_ties else "ambiguous"})
        if pair.breaks_ties:
            if binds:
                session.execute(sql(_BIND_TIED.format(making=making.format(row="s"))), values)
                _mark_bound(session, values)
            session.execute(sql(_UNTIED.format(both=_BOTH if binds else "false")), values)
        if binds:
            session.execute(sql(_BIND.format(making=making.format(row="l"))), values)
            _mark_bound(session, values)
        if pair.names:
            session.execute(sql(_AMBIGUOUS_NAMES.format()), values)
            if binds:
                session.execute(sql(_BIND_NAMES.format(making=making.format(row="s"))), values)
                _mark_bound(session, values)
        for side in Side:
            _give_the_rest(session, context, values, pair, side, whole=whole[name], clones=clones)
        left_newer = _RIDE.format(when="AND l.modified_at > r.modified_at")
        session.execute(sql(left_newer), {**values, "keep": "left", "ride": "right"})
        session.execute(sql(_RIDE.format(when="")), {**values, "keep": "right", "ride": "left"})


def _give_the_rest(
    session: Statements, context: Context, values: dict[str, Any], pair: Pair, side: Side, *, whole: bool, clones: bool
) -> None:
    other = side.other
    inside = pair.parent if context.facts[pair.name, other].inside is not None else None
    sure = inside is None and whole and _absence_is_sure(session, context, values["run"], pair.name, side)
    query = _REST.format(
        making=(_MAKING_INSIDE if pair.parent is not None else _MAKING).format(row="s"),
        cloned=_CLONED if clones else "false",
        sure=_FAMILY_READ if inside else "false",
        stranger=_STRANGER if sure and other in pair.stranger else "false",
    )
    more: dict[str, Any] = {"parent": inside.pair, "parent_field": inside.field(side)} if inside else {}
    if sure and other in pair.stranger:
        more["sharing"] = [name for name in context.sharing(pair.name, other) if name != pair.name]
    told = {"verdict": "create" if sure else "look", "side": side.value, "other": other.value}
    session.execute(sql(query), {**values, **told, **more})


def _absence_is_sure(session: Statements, context: Context, run_id: int, pair: str, side: Side) -> bool:
    """Whether "not in the other side's list" may be believed when a record of `side` is to be created there.

    Where the vendor refuses a second record with this key, it is sure. Else only a list of a single page is: between
    two pages a deletion moves a row to a page that was read already. In a list with bytes that were no text the name
    may be there; and so it may be among the bound rows that were dropped, because they had not changed.
    """
    other = side.other
    facts = context.facts[pair, other]
    if facts.unique_key == context.pairs[pair].key(other):
        return True
    rows = session.execute(
        sql("SELECT rows FROM listing WHERE run_id = :run AND pair = :pair AND side = :side"),
        {"run": run_id, "pair": pair, "side": other.value},
    ).scalar_one()
    if int(rows) >= facts.page_size or _has_unreadable(session, run_id, pair, other):
        return False
    dropped = session.execute(
        sql(
            "SELECT 1 FROM run_count WHERE run_id = :run AND pair = ANY(:pairs) AND direction = :direction "
            "AND outcome = 'unchanged' AND listed > 0"
        ),
        {"run": run_id, "pairs": list(context.sharing(pair, other)), "direction": context.direction(other)},
    ).first()
    return dropped is None


def _has_unreadable(session: Statements, run_id: int, pair: str, side: Side) -> bool:
    query = sql(
        "SELECT EXISTS (SELECT 1 FROM staged WHERE run_id = :run AND pair = :pair AND side = :side "
        "AND strpos(CAST(fields AS text), :mark) > 0)"
    )
    values = {"run": run_id, "pair": pair, "side": side.value, "mark": UNREADABLE}
    return bool(session.execute(query, values).scalar_one())


def _mark_bound(session: Statements, values: dict[str, Any]) -> None:
    for mine, other in (("left", "right"), ("right", "left")):
        session.execute(sql(_BOUND.format(mine=mine, other=other)), {**values, "side": mine})


def _values(context: Context, run_id: int, fence: int, pair: str) -> dict[str, Any]:
    return {
        "run": run_id,
        "integration": context.id,
        "pair": pair,
        "workspace": context.workspace_id,
        "left": context.orgs[Side.LEFT],
        "right": context.orgs[Side.RIGHT],
        "fence": fence,
    }


def log_fetch_bindings(session: Statements, context: Context, run_id: int, fence: int) -> None:
    """An outcome row for each record that Fetch bound, and their count, so that the record's page can tell (LG-5)."""
    values = {
        "run": run_id,
        "workspace": context.workspace_id,
        "integration": context.id,
        "left": context.orgs[Side.LEFT],
        "right": context.orgs[Side.RIGHT],
        "fence": fence,
        "direction": context.direction(Side.LEFT),
        "prefix": f"{run_id}:",
    }
    session.execute(
        sql(
            """
            WITH made AS (
                SELECT pair, left_id, right_id FROM binding
                WHERE left_org_id = :left AND right_org_id = :right AND bound_by_run = CAST(:run AS bigint)
            ), claimed AS (
                INSERT INTO event_done (event_id, workspace_id)
                SELECT CAST(:prefix AS text) || pair || ':fetch:' || left_id, CAST(:workspace AS bigint) FROM made
                ON CONFLICT DO NOTHING
            )
            -- Those that were not there before this statement. (Asking what the part above returned, of which Postgres
            -- expects a row, it compared each with each.)
            INSERT INTO outcome (workspace_id, integration_id, run_id, event_id, events, origin, pair, direction,
                side, record_id, twin_id, outcome, reason, detail, changes, conflicts, warnings, attempt, fence)
            SELECT CAST(:workspace AS bigint), CAST(:integration AS bigint), CAST(:run AS bigint),
                CAST(:prefix AS text) || pair || ':fetch:' || left_id, 1, 'fetch', pair,
                CAST(:direction AS text), 'left', left_id, right_id, 'bound', '', '', '[]', '[]', '[]', 1,
                CAST(:fence AS bigint)
            FROM made WHERE NOT EXISTS (SELECT 1 FROM event_done d
                WHERE d.event_id = CAST(:prefix AS text) || pair || ':fetch:' || left_id)
            """
        ),
        values,
    )
    session.execute(
        sql(
            """
            INSERT INTO run_count (run_id, direction, pair, outcome, reason, workspace_id, records, conflicts, listed)
            SELECT run_id, direction, pair, outcome, '', workspace_id, count(*), 0, 0
            FROM outcome WHERE run_id = :run AND outcome = 'bound' GROUP BY 1, 2, 3, 4, 6
            ON CONFLICT DO NOTHING
            """
        ),
        values,
    )


def fetch_report(session: Statements, context: Context, run_id: int) -> dict[str, Any]:
    """What Fetch found, per pair (SU-4): bound, what a sync would create on each side, keys that are not unique; by the
    policy Clone, how many matches would get a record of their own on the accounting side."""
    rows = session.execute(
        sql(
            "SELECT pair, side, verdict, count(*) AS records FROM staged WHERE run_id = :run "
            "GROUP BY pair, side, verdict"
        ),
        {"run": run_id},
    ).all()
    report: dict[str, Any] = {
        name: {"bound": 0, "create_left": 0, "create_right": 0, "ambiguous_left": 0, "ambiguous_right": 0}
        for name in context.pairs
    }
    for row in rows:
        if row.verdict in ("create", "look"):
            report[row.pair][f"create_{Side(row.side).other}"] += row.records
        elif row.verdict == "ambiguous":
            report[row.pair][f"ambiguous_{row.side}"] += row.records
        elif row.verdict == "clone" and row.side != context.pairs[row.pair].tie_side:
            report[row.pair]["clone"] = row.records
    bound = session.execute(
        sql(
            "SELECT pair, count(*) AS records FROM binding WHERE left_org_id = :left AND right_org_id = :right "
            "AND bound_by_run = :run GROUP BY pair"
        ),
        {"left": context.orgs[Side.LEFT], "right": context.orgs[Side.RIGHT], "run": run_id},
    ).all()
    for row in bound:
        report[row.pair]["bound"] = row.records
    return report
