"""What must hold before a sync may write (ST-1 to ST-3).

Sync types are asked of Postgres, taxes of the vendors before anything is listed, sizes once the lists are read: these
tell most of it. Webhook work goes by what the last sync found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.connectors.base import ManualStep, SizeReader, TaxReader
from shared.engine.context import Context, Ports
from shared.engine.neighbours import neighbours
from shared.errors import RunStopped
from shared.integrations.base import SizeLimit
from shared.sync.guards import Refusal, few_enough, taxes_agree, types_agree
from shared.sync.model import Side
from shared.sync.reasons import Code


def check_types(session: Session, context: Context) -> None:
    """ST-1. Raises RunStopped."""
    others = neighbours(session, context.kind, context.orgs[Side.LEFT], context.orgs[Side.RIGHT], but=context.id)
    _stop(types_agree(context.sync_type, others))


def check_taxes(context: Context) -> list[dict[str, Any]]:
    """ST-3: a call to each vendor whose API tells it. Raises RunStopped, and what reads raise.

    Returns what could not be checked, for the report: [{"check", "code", "sentence"}]. Where one side cannot tell, the
    other is not asked.
    """
    readers = {side: one for side in Side if isinstance(one := context.connectors[side], TaxReader)}
    if len(readers) < len(Side):
        return []
    told: dict[Side, bool] = {}
    for side in _free_first(readers):
        answer = readers[side].taxes_enabled()
        if isinstance(answer, ManualStep):
            return [{"check": "taxes", "code": Code.MANUAL_STEP_NEEDED.value, "sentence": answer.sentence}]
        told[side] = answer
    labels = (context.connectors[Side.LEFT].facts.label, context.connectors[Side.RIGHT].facts.label)
    _stop(taxes_agree(told[Side.LEFT], told[Side.RIGHT], labels))
    return []


def _free_first(readers: Mapping[Side, TaxReader]) -> Iterable[Side]:
    """Who answers without a call is asked first: it may be that it cannot tell."""
    return sorted(readers, key=lambda side: readers[side].taxes_cost_a_call)


def check_sizes(ports: Ports, context: Context, run_id: int) -> None:
    """ST-2. A vendor is asked only where the lists read since it was last counted leave it open. Raises RunStopped."""
    for limit in context.limited:
        connector = context.connectors[limit.side]
        if not isinstance(connector, SizeReader):
            continue
        most = ports.settings.most_records
        with ports.db.transaction() as session:
            bound = _at_most(session, context, run_id, limit)
        more = (bound is None or bound > most) and connector.more_than(limit.module, most)
        _stop(few_enough(limit.label, connector.facts.label, more=more, most=most))


def _at_most(session: Session, context: Context, run_id: int, limit: SizeLimit) -> int | None:
    """No more records than that are there: those of the last whole list, and each that a list showed since, once for
    each time. None: never listed whole."""
    pairs = [name for name, pair in context.pairs.items() if pair.module(limit.side) == limit.module]
    rows = session.execute(
        text(
            """
            SELECT CASE WHEN l.whole THEN l.rows ELSE l.rows + w.rows_most END AS most
            FROM listing l LEFT JOIN watermark w
              ON w.integration_id = :i AND w.pair = l.pair AND w.side = l.side
            WHERE l.run_id = :run AND l.pair = ANY(:pairs) AND l.side = :side
            """
        ),
        {"i": context.id, "run": run_id, "pairs": pairs, "side": limit.side.value},
    ).scalars()
    # One list serves all pairs of a module.
    known = [most for most in rows if most is not None]
    return min(known) if known else None


def _stop(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise RunStopped(refusal.sentence, code=refusal.code, disables=refusal.disables)
