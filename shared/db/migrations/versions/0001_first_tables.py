"""first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Makes the partitions of this month and the next two, and drops those whose month ended more than `keep` months ago.
# The default partition takes what a clock far off may bring, so that no outcome is refused.
PARTITIONS = """
CREATE FUNCTION outcome_partitions(keep integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month date;
    old text;
BEGIN
    CREATE TABLE IF NOT EXISTS outcome_default PARTITION OF outcome DEFAULT;
    FOR i IN 0..2 LOOP
        month := (date_trunc('month', timezone('UTC', clock_timestamp())) + make_interval(months => i))::date;
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF outcome FOR VALUES FROM (%L) TO (%L)',
            'outcome_' || to_char(month, 'YYYY_MM'),
            month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
    END LOOP;
    FOR old IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outcome'::regclass AND c.relname ~ '^outcome_[0-9]{4}_[0-9]{2}$'
          AND to_date(substring(c.relname FROM 9), 'YYYY_MM')
              < date_trunc('month', timezone('UTC', clock_timestamp())) - make_interval(months => keep)
    LOOP
        EXECUTE format('DROP TABLE %I', old);
    END LOOP;
END
$$
"""


def upgrade() -> None:
    op.execute("CREATE SEQUENCE fence_seq")
    op.create_table(
        "event_done",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event_done")),
    )
    op.create_index(op.f("ix_event_done_at"), "event_done", ["at"], unique=False)
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("redis_marker", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "outcome",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("events", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("twin_id", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column(
            "changes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "conflicts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "warnings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", "at", name=op.f("pk_outcome")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_outcome_record", "outcome", ["integration_id", "pair", "record_id"], unique=False)
    op.create_index("ix_outcome_run", "outcome", ["run_id", "outcome"], unique=False)
    op.create_table(
        "workspace",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspace")),
    )
    op.create_table(
        "org",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("vendor", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data_centre", sa.String(), nullable=False),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_org_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_org")),
        sa.UniqueConstraint("id", "workspace_id", "vendor", name=op.f("uq_org_id_workspace_id_vendor")),
        sa.UniqueConstraint(
            "workspace_id", "vendor", "external_id", name=op.f("uq_org_workspace_id_vendor_external_id")
        ),
    )
    op.create_table(
        "binding",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("left_org_id", sa.BigInteger(), nullable=False),
        sa.Column("right_org_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("left_id", sa.String(), nullable=False),
        sa.Column("right_id", sa.String(), nullable=False),
        sa.Column(
            "base", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("state", sa.String(), server_default=sa.text("'live'"), nullable=False),
        sa.Column("left_written", sa.DateTime(timezone=True), nullable=True),
        sa.Column("right_written", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "unread", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("left_hash", sa.String(), nullable=True),
        sa.Column("right_hash", sa.String(), nullable=True),
        sa.Column("left_modified", sa.DateTime(timezone=True), nullable=True),
        sa.Column("right_modified", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("bound_by_run", sa.BigInteger(), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("state IN ('live', 'left_deleted', 'right_deleted')", name=op.f("ck_binding_state")),
        sa.ForeignKeyConstraint(["left_org_id"], ["org.id"], name=op.f("fk_binding_left_org_id")),
        sa.ForeignKeyConstraint(["right_org_id"], ["org.id"], name=op.f("fk_binding_right_org_id")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_binding_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_binding")),
        sa.UniqueConstraint(
            "left_org_id",
            "right_org_id",
            "pair",
            "left_id",
            name=op.f("uq_binding_left_org_id_right_org_id_pair_left_id"),
        ),
        sa.UniqueConstraint(
            "left_org_id",
            "right_org_id",
            "pair",
            "right_id",
            name=op.f("uq_binding_left_org_id_right_org_id_pair_right_id"),
        ),
    )
    op.create_table(
        "connection",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("org_id", sa.Integer(), nullable=False),
        sa.Column("vendor", sa.String(), nullable=False),
        sa.Column("data_centre", sa.String(), nullable=False),
        sa.Column("accounts_server", sa.String(), nullable=False),
        sa.Column("api_domain", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("sealed_client_secret", sa.String(), nullable=True),
        sa.Column("sealed_refresh_token", sa.String(), nullable=True),
        sa.Column("sealed_previous_refresh_token", sa.String(), nullable=True),
        sa.Column("sealed_access_token", sa.String(), nullable=True),
        sa.Column("access_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("refresh_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.String(), server_default=sa.text("'live'"), nullable=False),
        sa.Column("broken_reason", sa.String(), nullable=True),
        sa.Column(
            "scopes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "capabilities",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("sealed_webhook_secret", sa.String(), nullable=True),
        sa.Column("sealed_previous_webhook_secret", sa.String(), nullable=True),
        sa.Column("sealed_webhook_path_token", sa.String(), nullable=True),
        sa.Column("webhook_path_hash", sa.String(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(status = 'broken') = (broken_reason IS NOT NULL)", name=op.f("ck_connection_broken_reason")
        ),
        sa.CheckConstraint("status IN ('live', 'broken')", name=op.f("ck_connection_status")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_connection_version")),
        sa.ForeignKeyConstraint(
            ["org_id", "workspace_id", "vendor"],
            ["org.id", "org.workspace_id", "org.vendor"],
            name=op.f("fk_connection_org_id_workspace_id_vendor"),
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_connection_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection")),
        sa.UniqueConstraint("org_id", name=op.f("uq_connection_org_id")),
        sa.UniqueConstraint("webhook_path_hash", name=op.f("uq_connection_webhook_path_hash")),
    )
    op.create_index(op.f("ix_connection_workspace_id"), "connection", ["workspace_id"], unique=False)
    op.create_table(
        "integration",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("left_org_id", sa.BigInteger(), nullable=False),
        sa.Column("right_org_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'draft'"), nullable=False),
        sa.Column("sync_type", sa.String(), server_default=sa.text("'I'"), nullable=False),
        sa.Column("policy", sa.String(), server_default=sa.text("'overwrite'"), nullable=False),
        sa.Column(
            "mapping", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("schedule_on", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("schedule_interval_s", sa.Integer(), server_default=sa.text("10800"), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("policy IN ('overwrite', 'clone', 'skip')", name=op.f("ck_integration_policy")),
        sa.CheckConstraint("state IN ('draft', 'enabled', 'paused', 'disabled')", name=op.f("ck_integration_state")),
        sa.CheckConstraint("left_org_id <> right_org_id", name=op.f("ck_integration_two_orgs")),
        sa.ForeignKeyConstraint(["left_org_id"], ["org.id"], name=op.f("fk_integration_left_org_id")),
        sa.ForeignKeyConstraint(["right_org_id"], ["org.id"], name=op.f("fk_integration_right_org_id")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_integration_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_integration")),
        sa.UniqueConstraint(
            "workspace_id",
            "kind",
            "left_org_id",
            "right_org_id",
            name=op.f("uq_integration_workspace_id_kind_left_org_id_right_org_id"),
        ),
    )
    op.create_index(op.f("ix_integration_next_run_at"), "integration", ["next_run_at"], unique=False)
    op.create_index(op.f("ix_integration_right_org_id"), "integration", ["right_org_id"], unique=False)
    op.create_table(
        "lease_log",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["org.id"], name=op.f("fk_lease_log_org_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_lease_log_workspace_id")),
        sa.PrimaryKeyConstraint("org_id", "fence", name=op.f("pk_lease_log")),
    )
    op.create_table(
        "org_lease",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=True),
        sa.Column("integration_id", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wanted_by", sa.String(), nullable=True),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('run', 'webhook', 'import')", name=op.f("ck_org_lease_kind")),
        sa.ForeignKeyConstraint(["org_id"], ["org.id"], name=op.f("fk_org_lease_org_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_org_lease_workspace_id")),
        sa.PrimaryKeyConstraint("org_id", name=op.f("pk_org_lease")),
    )
    op.create_table(
        "due",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("event", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("why IN ('retry', 'in_doubt', 'blocked', 'failed')", name=op.f("ck_due_why")),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integration.id"], name=op.f("fk_due_integration_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_due_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_due")),
        sa.UniqueConstraint(
            "integration_id", "pair", "side", "record_id", name=op.f("uq_due_integration_id_pair_side_record_id")
        ),
    )
    op.create_index("ix_due_at", "due", ["due_at"], unique=False)
    op.create_index("ix_due_run", "due", ["run_id"], unique=False)
    op.create_table(
        "intent",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("folded_key", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("looks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("state IN ('open', 'in_doubt')", name=op.f("ck_intent_state")),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integration.id"], name=op.f("fk_intent_integration_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_intent_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intent")),
        sa.UniqueConstraint(
            "integration_id", "pair", "side", "record_id", name=op.f("uq_intent_integration_id_pair_side_record_id")
        ),
    )
    op.create_table(
        "open_batch",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integration.id"], name=op.f("fk_open_batch_integration_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_open_batch_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_open_batch")),
    )
    op.create_index(op.f("ix_open_batch_fence"), "open_batch", ["fence"], unique=False)
    op.create_table(
        "pending_sign_in",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("state_hash", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("vendor", sa.String(), nullable=False),
        sa.Column("data_centre", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("sealed_client_secret", sa.String(), nullable=False),
        sa.Column("redirect_uri", sa.String(), nullable=False),
        sa.Column("org_external_id", sa.String(), nullable=True),
        sa.Column("org_name", sa.String(), nullable=True),
        sa.Column("connection_id", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sealed_grant", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_pending_sign_in_connection_id")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_pending_sign_in_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_sign_in")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_pending_sign_in_state_hash")),
    )
    op.create_index(op.f("ix_pending_sign_in_expires_at"), "pending_sign_in", ["expires_at"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'queued'"), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pending", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("queued", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_detail", sa.String(), nullable=True),
        sa.Column(
            "report", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("claimed_by", sa.String(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('fetch', 'sync', 'webhook')", name=op.f("ck_run_kind")),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integration.id"], name=op.f("fk_run_integration_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_run_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("integration_id", "hour", name=op.f("uq_run_integration_id_hour")),
    )
    op.create_index("ix_run_integration_started", "run", ["integration_id", "created_at"], unique=False)
    op.create_index(
        "uq_run_active",
        "run",
        ["integration_id"],
        unique=True,
        postgresql_where=sa.text(
            "kind <> 'webhook' AND state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"
        ),
    )
    op.create_table(
        "watermark",
        sa.Column("integration_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("read_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integration.id"], name=op.f("fk_watermark_integration_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_watermark_workspace_id")),
        sa.PrimaryKeyConstraint("integration_id", "pair", "side", name=op.f("pk_watermark")),
    )
    op.create_table(
        "listing",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.String(), nullable=True),
        sa.Column("done", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("whole", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("rows", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_listing_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_listing_workspace_id")),
        sa.PrimaryKeyConstraint("run_id", "pair", "side", name=op.f("pk_listing")),
    )
    op.create_table(
        "run_count",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("conflicts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("listed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_count_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_run_count_workspace_id")),
        sa.PrimaryKeyConstraint("run_id", "direction", "pair", "outcome", "reason", name=op.f("pk_run_count")),
    )
    op.create_table(
        "staged",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("pair", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("inactive", sa.Boolean(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("folded_key", sa.String(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'listed'"), nullable=False),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("twin_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_staged_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_staged_workspace_id")),
        sa.PrimaryKeyConstraint("run_id", "pair", "side", "record_id", name=op.f("pk_staged")),
    )
    op.create_index("ix_staged_key", "staged", ["run_id", "pair", "side", "folded_key"], unique=False)
    op.create_index("ix_staged_state", "staged", ["run_id", "state", "pair"], unique=False)
    op.execute(PARTITIONS)
    op.execute("SELECT outcome_partitions(6)")


def downgrade() -> None:
    op.drop_index("ix_staged_state", table_name="staged")
    op.drop_index("ix_staged_key", table_name="staged")
    op.drop_table("staged")
    op.drop_table("run_count")
    op.drop_table("listing")
    op.drop_table("watermark")
    op.drop_index(
        "uq_run_active",
        table_name="run",
        postgresql_where=sa.text(
            "kind <> 'webhook' AND state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"
        ),
    )
    op.drop_index("ix_run_integration_started", table_name="run")
    op.drop_table("run")
    op.drop_index(op.f("ix_pending_sign_in_expires_at"), table_name="pending_sign_in")
    op.drop_table("pending_sign_in")
    op.drop_index(op.f("ix_open_batch_fence"), table_name="open_batch")
    op.drop_table("open_batch")
    op.drop_table("intent")
    op.drop_index("ix_due_run", table_name="due")
    op.drop_index("ix_due_at", table_name="due")
    op.drop_table("due")
    op.drop_table("org_lease")
    op.drop_table("lease_log")
    op.drop_index(op.f("ix_integration_right_org_id"), table_name="integration")
    op.drop_index(op.f("ix_integration_next_run_at"), table_name="integration")
    op.drop_table("integration")
    op.drop_index(op.f("ix_connection_workspace_id"), table_name="connection")
    op.drop_table("connection")
    op.drop_table("binding")
    op.drop_table("org")
    op.drop_table("workspace")
    op.drop_index("ix_outcome_run", table_name="outcome")
    op.drop_index("ix_outcome_record", table_name="outcome")
    op.drop_table("outcome")
    op.drop_table("installation")
    op.drop_index(op.f("ix_event_done_at"), table_name="event_done")
    op.drop_table("event_done")
    op.execute("DROP FUNCTION outcome_partitions")
    op.execute("DROP SEQUENCE fence_seq")
