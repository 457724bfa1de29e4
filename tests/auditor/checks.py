"""The audit: every check, over evidence, journal and what the scenario lets be."""

from __future__ import annotations

from tests.auditor import events, ledger, records, writes
from tests.auditor.journal import Edit, Journal
from tests.auditor.report import EXPECT, Expect, Finding, Report
from tests.auditor.seen import Evidence
from tests.auditor.view import View

__all__ = ["EXPECT", "Edit", "Evidence", "Expect", "Finding", "Journal", "Report", "audit"]


def audit(evidence: Evidence, journal: Journal, *, expect: Expect | None = None) -> Report:
    """Reads nothing more than what it is given; the order of the findings is that of the promises' checks."""
    view = View(evidence, journal, expect or Expect())
    for part in (events, records, writes, ledger):
        part.check(view)
    return view.report
