"""The pages of the sync logs over REST, and what Postgres is asked for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

from tests.logs.fill import Filled

API = "/api/v1"


def pages(filled: Filled) -> dict[str, str]:
    """Name -> path. A cursor in the middle of the log has its page too."""
    run, here = f"{API}/runs/{filled.largest}", f"{API}/integrations/{filled.integration}"
    direction = "zoho_fsm%3Ezoho_books"
    return {
        "overview": f"{API}/runs?limit=50",
        "overview of one integration": f"{API}/runs?integration_id={filled.integration}&limit=50",
        "overview of six months": f"{API}/runs?since=2000-01-01T00:00:00Z&limit=1000",
        "a sync with its counts": run,
        "details": f"{run}/outcomes",
        "details, failed": f"{run}/outcomes?outcome=failed",
        "details, of an outcome that is not there": f"{run}/outcomes?outcome=created",
        "details of an old sync": f"{API}/runs/{filled.old}/outcomes",
        "failures by cause": f"{run}/failures",
        "failures as CSV": f"{run}/failures.csv",
        "failures of one cause as CSV": f"{run}/failures.csv?pair=companies&direction={direction}&reason=NO_KEY",
        "a month as CSV": f"{here}/logs.csv?from={filled.month}",
        "a record": f"{here}/records/companies/left/{filled.record}",
    }


@dataclass
class Asked:
    """Statements with their values, in order, without those about tokens: of a token a use is noted now and then."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def note(self, _connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if "api_token" not in statement:
            self.statements.append((statement, values))


@contextmanager
def asked() -> Iterator[Asked]:
    """By every engine of this process."""
    found = Asked()
    event.listen(Engine, "before_cursor_execute", found.note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", found.note)
