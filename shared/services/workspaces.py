"""Workspaces (PE-6). An installation has one from its first start."""

from __future__ import annotations

from sqlalchemy import select, text

from shared.db.models import Workspace
from shared.db.session import Database
from shared.sync.access import Actor, host


def default_workspace(database: Database) -> int:
    """The first workspace; made where there is none. Two that start at once make one."""
    with database.transaction() as session:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('bothways.workspace'))"))
        found = session.scalar(select(Workspace.id).order_by(Workspace.id).limit(1))
        if found is None:
            row = Workspace(name="default")
            session.add(row)
            session.flush()
            found = row.id
        return found


def host_actor(database: Database) -> Actor:
    """The local administrator in the first workspace."""
    return host(default_workspace(database))
