"""A record's page (LG-5): to what it is bound, what it waits for, every sync of it with what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.db.queries import bindings as binding_queries
from shared.db.queries import records as queries
from shared.db.session import Database
from shared.errors import NotFound
from shared.integrations.registry import integration as declared
from shared.services.integrations import IntegrationService
from shared.services.record_pages import record_pages
from shared.services.runs import explained
from shared.sync.access import Actor, Permission
from shared.sync.model import Side


@dataclass(frozen=True, slots=True)
class Waiting:
    """`why`: retry, blocked, in_doubt, or failed (then the next sync tries again, and `due_at` is None)."""

    why: str
    reason: str
    sentence: str
    remedy: str
    attempts: int
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Aside:
    """It is neither matched nor made anew until it is bound or released. `why`: unbound (from `other_id`), or
    kept_by_clone (`other_id` got a record of its own)."""

    why: str
    other_id: str
    by_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordView:
    """`url`, `twin_url`: their pages at the vendors, where known. `twin_id` None: not bound. `binding`: live,
    left_deleted, right_deleted. `untouched`: they were bound and no sync has merged them. `bound_by_sync` None: by
    hand. `history` is newest first, of the record and its twin."""

    integration_id: int
    pair: str
    side: Side
    record_id: str
    module: str
    url: str | None
    twin_id: str | None
    twin_module: str
    twin_url: str | None
    binding: str | None
    bound_at: datetime | None
    bound_by_sync: int | None
    untouched: bool
    aside: Aside | None
    waiting: Waiting | None
    history: Sequence[Mapping[str, Any]]


class RecordService:
    def __init__(self, database: Database, integrations: IntegrationService) -> None:
        self._db = database
        self._integrations = integrations

    def get(
        self,
        actor: Actor,
        integration_id: int,
        pair: str,
        side: Side,
        record_id: str,
        *,
        before_id: int | None = None,
        limit: int = 100,
    ) -> RecordView:
        """What we know of a record; its vendor is not asked. Of one never seen the page is empty, not missing.

        Raises NotFound (integration, pair), NotAllowed.
        """
        actor.must(Permission.READ_LOGS)
        view = self._integrations.get(actor, integration_id)
        if pair not in view.pairs or side not in declared(view.kind).declaration(pair).sides:
            raise NotFound(f"{view.name} has no pair of modules called {pair!r}.", code="UNKNOWN_PAIR")
        declaration = declared(view.kind).declaration(pair)
        key = (actor.workspace, integration_id, pair, side, record_id)
        with self._db.transaction() as session:
            bound = queries.get_binding(session, *key)
            pairs = declared(view.kind).sharing(pair, side)
            wait = queries.get_wait(session, actor.workspace, integration_id, pairs, side, record_id)
            aside = binding_queries.get_aside(session, integration_id, actor.workspace, pair, side, record_id)
            twin_id = None if bound is None else str(bound[f"{side.other.value}_id"])
            if not declaration.makes:
                twin_id = queries.latest_invoice(session, integration_id, record_id)
            ids = [one for one in (record_id, twin_id) if one is not None]
            history = queries.list_history(
                session, actor.workspace, integration_id, pair, ids, before_id=before_id, limit=limit
            )
            pages = record_pages(session, actor.workspace, integration_id)
        return RecordView(
            integration_id=integration_id,
            pair=pair,
            side=side,
            record_id=record_id,
            module=declaration.module(side),
            url=pages.url(pair, side, record_id),
            twin_id=twin_id,
            twin_module=declaration.module(side.other),
            twin_url=pages.url(pair, side.other, twin_id),
            binding=None if bound is None else bound["state"],
            bound_at=None if bound is None else bound["bound_at"],
            bound_by_sync=None if bound is None else bound["bound_by_run"],
            untouched=bound is not None and bound["untouched"],
            aside=None if aside is None else Aside(**aside),
            waiting=None if wait is None else _waiting(explained(wait)),
            history=[pages.shown(explained(row)) for row in history],
        )


def _waiting(row: Mapping[str, Any]) -> Waiting:
    return Waiting(row["why"], row["reason"], row["sentence"], row["remedy"], row["attempts"], row["due_at"])
