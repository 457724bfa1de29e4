"""What a sync costs where nothing changed: 100,000 bound records, and what the vendor's own log says was asked.

The left side can only be listed whole, as Zoho FSM; the right one tells what changed since (If-Modified-Since). The
least is every page of the left, of 1,000 rows each, and one page of the right, which shows that there is nothing.
Nothing is read by its id, nothing is searched and nothing is written.

A first sync makes the records at the right side, another one settles what may be unsettled, and the next is measured.
The vendor's clock is an hour behind until then: what was changed within the last five minutes is listed again by rule
(P12), so that all pages of the right would be the least too, whatever the product does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Found, Json, Row, at_most
from tests.bench.rig import SETTINGS, bench_rig
from tests.bench_vendor.connector import WHOLE
from tests.bench_vendor.world import LEFT, RIGHT

RECORDS = 100_000
PAGE = 1_000
AGE_S = 3_600.0
MOST_LISTS = 1.02


def measure(folder: Path, size: float) -> Found:
    records = max(PAGE, round(RECORDS * size))
    with bench_rig(folder, left={WHOLE: 1}) as rig:
        for org in (LEFT, RIGHT):
            rig.bench.limits(org, behind_s=AGE_S)
        rig.seed(records)
        rig.fetch()
        (_, first_s), _ = rig.sync(), rig.sync()
        for org in (LEFT, RIGHT):
            rig.bench.limits(org, behind_s=0)
        bound = rig.sql("SELECT count(*) AS n FROM binding WHERE state = 'live' AND base <> '{}'")[0]["n"]
        assert bound == records, f"{bound} of {records} are agreed on"
        rig.bench.forget()
        _, took_s = rig.sync()
        asked = Counter((row["org"], row["asks"]) for row in rig.bench.whole_log()["log"])
    made = sum(count for (_, what), count in asked.items() if what == "list")
    writes = sum(count for (_, what), count in asked.items() if what == "write")
    looks = sum(asked.values()) - made - writes
    least = least_lists(records)
    figures: Json = {
        "writes": writes,
        "lists": {"made": made, "least": least, "left": asked[LEFT, "list"], "right": asked[RIGHT, "list"]},
        "reads": looks,
        "seconds": round(took_s, 2),
        "first_sync_s": round(first_s, 2),
        "records": records,
    }
    return Found(figures, _rows(records, writes, made, looks, least, took_s), SETTINGS)


def _rows(records: int, writes: int, made: int, looks: int, least: int, took_s: float) -> Sequence[Row]:
    return (
        at_most("writes of a sync without a change", writes, 0, unit="calls", digits=0),
        at_most("list calls beside the least", made / least, MOST_LISTS, f"{made} of {least}"),
        at_most("reads and searches of single records", looks, 0, unit="calls", digits=0),
        Row(f"a sync of {records:,} records", f"{took_s:.1f} s", f"{records / took_s:,.0f} records/s"),
    )


def least_lists(records: int) -> int:
    """Pages of the whole left side, and one of the right."""
    return -(-records // PAGE) + 1
