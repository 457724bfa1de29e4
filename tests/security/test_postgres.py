"""What a session with Postgres runs under (reliability section 5), asked of Postgres and of the kernel."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import text

from shared.db.session import Database, make_engine
from tests.conftest import MakeSettings

pytestmark = pytest.mark.rule("P4", "P7")

WANTED = {
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
    "synchronous_commit": "on",
    "TimeZone": "UTC",
}


def test_sessions_set_their_own_bounds_whatever_the_server_says(database_url: str, make_settings: MakeSettings) -> None:
    database = Database(make_engine(make_settings(database_url=database_url)))
    name = database_url.rsplit("/", 1)[1]
    try:
        with database.transaction() as session:
            for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                session.execute(text(f"ALTER DATABASE {name} SET {setting} = 0"))
            session.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        database.engine.dispose()
        with database.transaction() as session:
            found = {setting: session.scalar(text(f"SHOW {setting}")) for setting in WANTED}
    finally:
        database.close()
    assert found == WANTED


def test_a_dead_line_to_postgres_ends_in_ten_seconds(database_url: str, make_settings: MakeSettings) -> None:
    engine = make_engine(make_settings(database_url=database_url))
    with engine.connect() as connection:
        number = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
        line = socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM)
        with line:
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            kept = [
                line.getsockopt(socket.IPPROTO_TCP, one)
                for one in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            ]
        assert kept == [10, 5, 3]
    engine.dispose()


@pytest.mark.rule("P14")
def test_statements_of_the_engine_show_no_parameters(database_url: str, make_settings: MakeSettings) -> None:
    engine = make_engine(make_settings(database_url=database_url))
    assert engine.hide_parameters
    assert not engine.echo
    engine.dispose()
