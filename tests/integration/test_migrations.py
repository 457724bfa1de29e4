"""The schema: made from nothing, equal to the models, taken back; and the partitions of the sync log."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from shared.db import migrate
from shared.db.base import Base
from shared.db.session import make_engine
from shared.engine import housekeeping
from shared.errors import BothwaysError
from tests.conftest import Databases, MakeSettings
from tests.integration.world import Office

pytestmark = pytest.mark.rule("P13")


@pytest.fixture
def empty(empty_database_url: str, make_settings: MakeSettings) -> Iterator[Engine]:
    engine = make_engine(make_settings(database_url=empty_database_url))
    yield engine
    engine.dispose()


def tables(engine: Engine) -> set[str]:
    return {name for name in inspect(engine).get_table_names() if not name.startswith("outcome_")}


def test_from_nothing_to_the_models_and_back(empty: Engine) -> None:
    assert tables(empty) == set()
    migrate.upgrade(empty)
    assert tables(empty) == set(Base.metadata.tables) | {"alembic_version"}
    assert migrate.differences(empty) == []
    migrate.upgrade(empty)  # again: nothing to do
    with empty.begin() as connection:
        command.downgrade(migrate._config(connection), "base")
    assert tables(empty) == {"alembic_version"}
    with empty.begin() as connection:
        left = (
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"
        )
        assert connection.execute(text(f"{left} AND c.relname NOT LIKE 'alembic%'")).scalar() == 0
    migrate.upgrade(empty)
    assert migrate.differences(empty) == []


def test_what_the_models_do_not_know_is_seen(empty: Engine) -> None:
    migrate.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("ALTER TABLE run ADD COLUMN surprise integer"))
        connection.execute(text("DROP INDEX ix_due_at"))
    assert len(migrate.differences(empty)) == 2


def test_two_migrators_at_once_make_one_schema(empty: Engine) -> None:
    trouble: list[Exception] = []

    def run() -> None:
        try:
            migrate.upgrade(empty)
        except Exception as error:  # noqa: BLE001
            trouble.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert migrate.differences(empty) == []


def test_the_program_checks_and_says_in_one_line_what_is_wrong(
    empty_database_url: str, empty: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    assert migrate.main(["--check"]) == 0
    assert tables(empty) == set(Base.metadata.tables) | {"alembic_version"}
    with empty.begin() as connection:
        connection.execute(text("ALTER TABLE run ADD COLUMN surprise integer"))
    assert migrate.main(["--check"]) == 1
    assert "surprise" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://nobody:secret@127.0.0.1:9/none")
    assert migrate.main([]) == 1
    told = capsys.readouterr().err
    assert told.startswith("UNAVAILABLE: ")
    assert len(told.splitlines()) == 1
    assert "secret" not in told
    monkeypatch.delenv("DATABASE_URL")
    assert migrate.main([]) == 1
    assert capsys.readouterr().err.startswith("NO_DATABASE_URL: ")


# Partitions.


def outcome(office: Office, at: str) -> str:
    """Puts a row at that time; answers the partition it lies in."""
    return str(
        office.value(
            "INSERT INTO outcome (at, workspace_id, integration_id, run_id, event_id, origin, pair, direction, "
            f"record_id, outcome, fence) VALUES ({at}, 1, 1, 1, 'e', 'poll', 'p', 'd', 'r', 'updated', 1) "
            "RETURNING tableoid::regclass::text"
        )
    )


def partitions(office: Office) -> list[str]:
    query = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outcome'::regclass"
    return sorted(row["name"] for row in office.sql(query))


def this_month(office: Office, ahead: int = 0) -> str:
    return str(
        office.value(
            "SELECT 'outcome_' || to_char(date_trunc('month', timezone('UTC', clock_timestamp())) "
            "+ make_interval(months => :n), 'YYYY_MM')",
            n=ahead,
        )
    )


def test_an_outcome_lies_in_the_partition_of_its_month(office: Office) -> None:
    assert partitions(office) == sorted([*(this_month(office, n) for n in range(3)), "outcome_default"])
    assert outcome(office, "clock_timestamp()") == this_month(office)
    start = "date_trunc('month', timezone('UTC', clock_timestamp())) AT TIME ZONE 'UTC'"
    assert outcome(office, start) == this_month(office)
    assert outcome(office, f"{start} + interval '1 month'") == this_month(office, 1)
    assert outcome(office, "'1999-01-01Z'") == "outcome_default", "a clock far off is refused nothing"


@pytest.mark.rule("LG-1")
def test_what_is_older_than_the_months_kept_is_dropped_with_its_partition(office: Office) -> None:
    keep = office.settings.outcome_months
    start = "date_trunc('month', timezone('UTC', clock_timestamp()))"
    for back in (keep, keep + 1, keep + 30):
        office.sql(
            "DO $$ BEGIN EXECUTE format('CREATE TABLE %I PARTITION OF outcome FOR VALUES FROM (%L) TO (%L)', "
            f"'{this_month(office, -back)}', "
            f"({start} - interval '{back} months') || '+00', "
            f"({start} - interval '{back - 1} months') || '+00'); END $$"
        )
        moment = f"{start} AT TIME ZONE 'UTC' - interval '{back} months'"
        assert outcome(office, f"{moment} + interval '1 day'") == this_month(office, -back)
    outcome(office, "clock_timestamp()")
    housekeeping.hourly(office.ports)
    left = partitions(office)
    assert this_month(office, -keep) in left
    assert this_month(office, -keep - 1) not in left
    assert this_month(office, -keep - 30) not in left
    assert office.value("SELECT count(*) FROM outcome") == 2


def test_the_next_months_are_made_ahead(office: Office) -> None:
    office.sql(f"DROP TABLE {this_month(office, 1)}, {this_month(office, 2)}")
    housekeeping.hourly(office.ports)
    housekeeping.hourly(office.ports)
    assert {this_month(office, 1), this_month(office, 2)} <= set(partitions(office))


@pytest.mark.rule("P14")
def test_the_database_is_reached_by_its_address_alone(databases: Databases, make_settings: MakeSettings) -> None:
    engine = make_engine(make_settings(database_url=databases.migrated()))
    assert "secret" not in repr(engine)
    assert str(engine.url).count("***") == 1
    engine.dispose()
    with pytest.raises(BothwaysError, match="DATABASE_URL"):
        make_engine(make_settings())
