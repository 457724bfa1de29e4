"""`python -m shared.db.migrate`: brings the schema up to date; `--check`: says whether models and migrations agree.

One migrator at a time (a transaction-scoped advisory lock); lock and statement timeouts, so that a migration never
queues in front of the workers for long.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from shared.errors import BothwaysError, Unavailable
from shared.settings import load_settings

_LOCK = 0x626F7468  # "both"


def is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    """Partitions of the outcome table are made by a function in the database, not by models."""
    return not (kind in ("table", "index") and (name or "").startswith("outcome_"))


def upgrade(engine: Engine) -> None:
    with engine.begin() as connection:
        _guard(connection)
        command.upgrade(_config(connection), "head")


def differences(engine: Engine) -> list[Any]:
    """What autogenerate would change: empty where models and the migrated schema agree."""
    import shared.db.models  # noqa: F401
    from shared.db.base import Base

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours, "compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def _guard(connection: Connection) -> None:
    connection.execute(text("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '300s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def main(arguments: list[str]) -> int:
    from sqlalchemy.exc import OperationalError

    from shared.db.session import make_engine

    try:
        engine = make_engine(load_settings(), threads=1)
        try:
            upgrade(engine)
            found = differences(engine) if "--check" in arguments else []
        except OperationalError as error:
            raise Unavailable("The database cannot be reached. Is DATABASE_URL right, and is it running?") from error
        finally:
            engine.dispose()
    except BothwaysError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    for one in found:
        print(f"not in the migrations: {one}", file=sys.stderr)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
