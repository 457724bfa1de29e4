"""Alembic's door into the migrations; run through `shared.db.migrate`, which hands the connection in."""

from __future__ import annotations

from alembic import context

import shared.db.models  # noqa: F401  every table in the metadata
from shared.db.base import Base
from shared.db.migrate import is_ours

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, include_object=is_ours, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
