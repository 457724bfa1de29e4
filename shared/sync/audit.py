"""What the audit log tells of: a closed list of acts, and values without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import SecretStr

CHANGED = "changed"
"""What stands in the place of a secret, before and after."""
_MOST_CHARS = 500


class Action(StrEnum):
    """`<kind of subject>.<what was done to it>`."""

    CONNECTION_MADE = "connection.made"
    CONNECTION_RENEWED = "connection.reconnected"
    CONNECTION_PROBED = "connection.probed"
    LIMITS_SET = "connection.limits_set"
    CAPABILITIES_SET = "connection.capabilities_set"
    CUSTOM_FIELDS_SET = "connection.custom_fields_set"
    PRIVATE_FIELDS_SET = "connection.private_fields_set"
    HELPER_MADE = "connection.helper_made"
    WEBHOOK_SHOWN = "connection.webhook_shown"
    WEBHOOK_RENEWED = "connection.webhook_renewed"
    WEBHOOK_MADE = "connection.webhook_made"
    KEYS_ROTATED = "keys.rotated"
    INTEGRATION_CREATED = "integration.created"
    INTEGRATION_RENAMED = "integration.renamed"
    SETUP_STEP_DONE = "integration.setup_step_done"
    INTEGRATION_ENABLED = "integration.enabled"
    INTEGRATION_PAUSED = "integration.paused"
    INTEGRATION_DISABLED = "integration.disabled"
    ENABLED_BY_SUPPORT = "integration.enabled_by_support"
    SCHEDULE_SET = "integration.schedule_set"
    INVOICING_SET = "integration.invoicing_set"
    DRAFT_DISCARDED = "integration.draft_discarded"
    MAPPING_SAVED = "integration.mapping_saved"
    NOTIFICATIONS_SET = "integration.notifications_set"
    FETCH_ASKED = "run.fetch_asked"
    SYNC_ASKED = "run.sync_asked"
    RECORD_SYNC_ASKED = "record.sync_asked"
    RECORD_BOUND = "record.bound"
    RECORD_UNBOUND = "record.unbound"
    RECORD_RELEASED = "record.released"
    TWIN_WANTED_AGAIN = "record.twin_wanted_again"
    BINDINGS_IMPORTED = "integration.bindings_imported"
    IMPORT_ASKED = "import.asked"
    IMPORT_CANCELLED = "import.cancelled"
    TOKEN_MADE = "token.made"  # noqa: S105  the name of an act
    TOKEN_REVOKED = "token.revoked"  # noqa: S105  the name of an act

    @property
    def subject_kind(self) -> str:
        return self.value.partition(".")[0]


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """As JSON takes it; a SecretStr is told as changed. Raises TypeError on what has no plain form."""
    return {str(name): _plain(value) for name, value in values.items()}


def plain_text(text: str) -> str:
    """Without what Postgres cannot hold, and bounded: parts of it come from whoever asks."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:_MOST_CHARS]


def _plain(value: object) -> object:
    match value:
        case SecretStr():
            return CHANGED
        case None | bool() | int() | float():
            return value
        case str():
            return plain_text(str(value))
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Mapping():
            return plain(value)
        case list() | tuple():
            return [_plain(one) for one in value]
    raise TypeError(f"{type(value).__name__} has no form in the audit log")
