"""Sync logs of six months in one go, shaped as a busy installation's are."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.db.session import Database
from shared.sync.reasons import Code

REASONS = (
    Code.MANDATORY_FIELD_EMPTY, Code.DUPLICATE_NAME, Code.AMBIGUOUS_MATCH, Code.NO_KEY, Code.KEY_CUT, Code.TWIN_TAKEN,
    Code.FIELD_TOO_LONG, Code.VALUE_NOT_MAPPED, Code.TAX_NOT_MAPPED, Code.CURRENCY_MISSING, Code.VENDOR_REJECTED,
    Code.PARENT_NOT_SYNCED,
)  # fmt: skip
INTEGRATIONS = 3


@dataclass(frozen=True)
class Filled:
    """`largest`: the run with the most outcomes, a fifth of all, each of them failed. `old`: one of months ago.
    `record`: one of many syncs."""

    integration: int
    largest: int
    old: int
    record: str
    month: str


# The largest run is number 1 and takes each fifth row, of which all fail: a fifth of all fails, and in one run.
_STATEMENTS = (
    """
    INSERT INTO org (workspace_id, vendor, external_id, name, data_centre)
    SELECT :workspace, CASE n % 2 WHEN 0 THEN 'zoho_fsm' ELSE 'zoho_books' END, n::text, 'Org ' || n, 'eu'
    FROM generate_series(0, :integrations * 2 - 1) n ORDER BY n
    """,
    """
    INSERT INTO connection (workspace_id, org_id, vendor, data_centre, accounts_server, api_domain, client_id)
    SELECT workspace_id, id, vendor, 'eu', 'https://accounts.zoho.eu', 'https://www.zohoapis.eu', 'c' FROM org
    """,
    """
    INSERT INTO integration (workspace_id, kind, name, left_org_id, right_org_id, state, sync_type)
    SELECT l.workspace_id, 'fsm_books', l.name, l.id, r.id, 'enabled', 'IV'
    FROM org l JOIN org r ON r.id = l.id + 1 WHERE l.vendor = 'zoho_fsm' ORDER BY l.id
    """,
    """
    INSERT INTO run (workspace_id, integration_id, kind, trigger, state, created_at, started_at, ended_at)
    SELECT :workspace, 1 + n % :integrations, 'sync', 'scheduled', 'completed_with_failures', at, at,
        at + interval '5 minutes'
    FROM generate_series(0, :runs - 1) n
    CROSS JOIN LATERAL (SELECT now() - interval '1 hour' - n * (interval '180 days' / :runs) AS at) t ORDER BY n
    """,
    """
    SELECT outcome_partitions(12)
    """,
    """
    DO $$ DECLARE month timestamp; BEGIN
        FOR month IN SELECT date_trunc('month', timezone('UTC', now())) - make_interval(months => n)
            FROM generate_series(1, 6) n
        LOOP EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF outcome FOR VALUES FROM (%L) TO (%L)',
            'outcome_' || to_char(month, 'YYYY_MM'), month::text || '+00', (month + interval '1 month')::text || '+00');
        END LOOP;
    END $$
    """,
    """
    INSERT INTO outcome (at, workspace_id, integration_id, run_id, event_id, origin, pair, direction, side, record_id,
        twin_id, outcome, reason, detail, changes, fence)
    SELECT r.created_at + interval '1 minute' + n * interval '1 microsecond', :workspace, r.integration_id, r.id,
        'e' || n, 'poll', (ARRAY['companies', 'contacts', 'items'])[1 + n % 3], 'zoho_fsm>zoho_books', 'left',
        (n % (:outcomes / 20))::text, (n % (:outcomes / 20) + 1000000)::text,
        CASE WHEN n % 5 = 0 THEN 'failed' ELSE (ARRAY['updated', 'created', 'bound', 'unchanged'])[1 + n % 4] END,
        CASE WHEN n % 5 = 0 THEN (CAST(:reasons AS text[]))[1 + (n / 5) % 12] ELSE '' END,
        CASE WHEN n % 5 = 0 THEN 'Company name' ELSE '' END,
        '[{"field": "Website", "old": "https://old.example.com", "new": "https://new.example.com"}]', 1
    FROM generate_series(0, :outcomes - 1) n
    JOIN run r ON r.id = CASE WHEN n % 5 = 0 THEN 1 ELSE 1 + n % :runs END
    """,
    """
    INSERT INTO run_count (run_id, direction, pair, outcome, reason, workspace_id, records)
    SELECT run_id, direction, pair, outcome, reason, workspace_id, count(*) FROM outcome
    GROUP BY run_id, direction, pair, outcome, reason, workspace_id
    """,
)


def fill(database: Database, workspace: int, *, outcomes: int, runs: int) -> Filled:
    """Into an empty database that has no org yet; at least 100 outcomes."""
    values = {
        "workspace": workspace, "integrations": INTEGRATIONS, "outcomes": outcomes, "runs": runs,
        "reasons": [one.value for one in REASONS],
    }  # fmt: skip
    with database.transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = '600s'"))
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '600s'"))
        for statement in _STATEMENTS:
            session.execute(text(statement), {name: one for name, one in values.items() if f":{name}" in statement})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = '600s'"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("RESET statement_timeout"))
        connection.invalidate()  # with its settings
    with database.transaction() as session:
        return _filled(session)


def _filled(session: Session) -> Filled:
    run, integration, month = session.execute(
        text(
            "SELECT id, integration_id, to_char(timezone('UTC', created_at), 'YYYY-MM') FROM run "
            "ORDER BY (SELECT count(*) FROM outcome o WHERE o.run_id = run.id) DESC LIMIT 1"
        )
    ).one()
    record = session.execute(
        text("SELECT record_id FROM outcome WHERE integration_id = :i AND pair = 'companies' LIMIT 1"),
        {"i": integration},
    ).scalar_one()
    old = session.execute(text("SELECT run_id FROM outcome ORDER BY at LIMIT 1 OFFSET 20")).scalar_one()
    return Filled(integration, run, old, record, month)
