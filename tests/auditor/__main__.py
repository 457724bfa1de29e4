"""`python -m tests.auditor --sandbox URL`: looks at a stack and says which promise was broken. Exit code 1: any was.

DATABASE_URL and REDIS_URL come from the environment. `--mark FILE` writes where things stand now, and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tests.auditor.checks import EXPECT, Expect, Journal, audit
from tests.auditor.evidence import Evidence, Mark, collect, mark


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    expect = EXPECT.validate_json(given.expect.read_bytes()) if given.expect else Expect()
    journal = Journal.load(given.journal) if given.journal else Journal()
    if given.evidence is not None:
        evidence = Evidence.load(given.evidence)
    else:
        stores = {"database_url": os.environ["DATABASE_URL"], "redis_url": os.environ["REDIS_URL"]}
        if given.mark is not None:
            mark(sandbox_url=given.sandbox, database_url=stores["database_url"]).save(given.mark)
            return 0
        since = Mark.load(given.since) if given.since else None
        evidence = collect(sandbox_url=given.sandbox, since=since, **stores)
    if given.keep is not None:
        evidence.save(given.keep)
    report = audit(evidence, journal, expect=expect)
    print(json.dumps(report.as_dict(), indent=1) if given.json else report.text())
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.auditor", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--sandbox", metavar="URL", help="base address of the sandbox vendors")
    source.add_argument("--evidence", type=Path, metavar="FILE", help="look at evidence that was kept, at no stack")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="what people did")
    parser.add_argument("--since", type=Path, metavar="FILE", help="the mark at which the cell began")
    parser.add_argument("--expect", type=Path, metavar="FILE", help="what the scenario lets be (JSON of Expect)")
    parser.add_argument("--mark", type=Path, metavar="FILE", help="write a mark and end")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the evidence")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
