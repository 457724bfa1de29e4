"""What is to be told by e-mail (LG-8): a row of the outbox, in the transaction that ends a run. `mailing` sends it."""

from __future__ import annotations

from sqlalchemy import text

from shared.db.sql import Statements

_NOTE = """
    INSERT INTO notification (workspace_id, integration_id, run_id, kind, addresses)
    SELECT r.workspace_id, r.integration_id, r.id, {kind}, i.notify_addresses
    FROM run r JOIN integration i ON i.id = r.integration_id
    WHERE r.id = :run AND i.notify_addresses <> '[]' {wanted}
    ON CONFLICT DO NOTHING
    """
_NOTE_END = text(
    _NOTE.format(
        kind="CASE WHEN r.state = 'failed' THEN 'run_failed' ELSE 'run_ended' END",
        wanted="""
        AND r.kind <> 'webhook' AND (r.state = 'failed' OR r.kind = 'sync' AND r.state LIKE 'completed%'
            AND CASE WHEN r.trigger = 'manual' THEN i.notify_manual ELSE i.notify_automatic END)
        AND NOT EXISTS (SELECT 1 FROM notification n WHERE n.run_id = r.id AND n.kind = 'integration_disabled')
        """,
    )
)
_NOTE_DISABLED = text(_NOTE.format(kind="'integration_disabled'", wanted="AND i.id = :integration"))


def note_end(session: Statements, run_id: int) -> None:
    """In the transaction that ends the run, after its state is set: whoever asked for it is told, once.

    Of a failed run always, Fetch among them; of a sync that ended well as the integration says. Without addresses, and
    of webhook work, nothing waits.
    """
    session.execute(_NOTE_END, {"run": run_id})


def note_disabled(session: Statements, integration_id: int, run_id: int) -> None:
    """The run disabled its integration (ST-1, ST-2): one mail says so, and that the run failed is not told besides.

    In the transaction that ends the run; before or after `note_end`.
    """
    session.execute(_NOTE_DISABLED, {"run": run_id, "integration": integration_id})
    session.execute(
        text("DELETE FROM notification WHERE run_id = :run AND kind = 'run_failed' AND attempts = 0"), {"run": run_id}
    )
