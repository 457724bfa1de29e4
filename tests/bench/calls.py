"""How many calls a first and an incremental sync make at the Zoho sandboxes, beside the least that the vendors allow.

Type IV, everything: companies with a contact each, individuals, items (see firm.py). Counted is what the vendors' own
logs show of the product between two moments, webhooks off, so that our writes do not come back as events:

first        Fetch and the first sync after it
incremental  a sync after edits of bound records and new records at both sides, once nothing else is left to settle

The least is reckoned from what was seeded and changed, and from what the vendors publish: 200 rows a page, one record
a write, a record of FSM's lists whole, a contact of Books' lists without addresses and contact persons, no conditional
write. By term:

lists    pages of FSM's companies, contacts and items and of Books' contacts and items. Fetch is a run of its own, which
         a person looks at before the first sync. Books' contacts can be listed by their time, but all of them were
         changed in the last five minutes, which are listed again by rule (P12)
details  a Books contact whose addresses or persons are needed and which is not written. Fetch: each customer at both
         sides, for its people. First sync: customers and individuals at Books alone, and those at both sides but for
         the ones that are written in Books. Incremental: each that was edited in Books, or is new there
reads    one of the target just before each update; that of a Books contact serves as its detail
writes   one for each record that is created or updated. FSM's create call may take more, of which the vendor says
         nothing, and Books takes a new customer's persons with it: neither is in the least

`looks`, searches before a create, are in no least: a run that lists whole knows what is there, and Books refuses a
second customer or item of a name. `ratio_without_looks` is told beside. `left_out` are calls that no record asks for,
as those for an org's currency, taxes and custom fields, by path. Signing in is in none of these logs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figures import Found, Json, Row, at_most
from tests.bench.firm import KINDS, Firm
from tests.e2e.world import BOOKS, FSM, World, await_that, running_world

SHARE, LEAST_SHARE = 80, 12
PAGE = 200
MOST = 1.05
MOST_SETTLING = 6
TERMS = ("lists", "details", "reads", "looks", "writes")
LISTS = {FSM: {"Companies", "Contacts", "Service_And_Parts"}, BOOKS: {"contacts", "items"}}
LISTING = {"organization_id", "page", "per_page", "sort_column", "sort_order", "filter_by"}
"""What a call asks with that lists; with anything else it looks for one record."""
SETTINGS = ("the vendors' limits off", "webhooks off")


def measure(folder: Path, size: float) -> Found:
    share = max(LEAST_SHARE, round(SHARE * size))
    firm = Firm(share, share // 4)
    with running_world(folder, time_scale=1.0, sync_type="IV") as world:
        for vendor in (FSM, BOOKS):
            world.control("DELETE", vendor, "webhooks")
        firm.seed(world)
        world.forget_calls()
        _completed(world.fetch())
        _completed(world.sync())
        first = made(world)
        _settle(world)
        firm.change(world)
        world.forget_calls()
        _completed(world.sync())
        incremental = made(world)
    bounds = {"first": least_first(firm), "incremental": least_incremental(firm)}
    found = {"first": first, "incremental": incremental}
    figures: Json = {name: _figures(found[name], bounds[name]) for name in found}
    figures |= {"records": share * 3 * KINDS, "share": share, "edits": firm.edits}
    rows = [row for name in found for row in _rows(name, found[name], bounds[name])]
    return Found(figures, rows, SETTINGS)


def _completed(run: Json) -> None:
    assert run["state"] == "completed", run


def _settle(world: World) -> None:
    """A version younger than two seconds is not trusted, and what we made at one side is read by the sync after it."""
    for _ in range(MOST_SETTLING):
        await_that(world.versions_are_settled, "no version at the vendors is of this second")
        world.forget_calls()
        _completed(world.sync())
        if not any(call["record"] for vendor in (FSM, BOOKS) for call in world.ours(vendor)):
            return
    raise SystemExit(f"{MOST_SETTLING} syncs without a change did not settle everything")


# What was made


def made(world: World) -> Counter[str]:
    """Calls by term; what is left out, by path."""
    found: Counter[str] = Counter()
    for vendor in (FSM, BOOKS):
        calls = world.ours(vendor)
        updated = {call["record"] for call in calls if call["method"] == "PUT"}
        found.update(term(vendor, call, updated) for call in calls)
    return found


def term(vendor: str, call: Json, updated: set[str]) -> str:
    """`updated`: ids of records that were written at this vendor in the same time."""
    if call["write"]:
        return "writes"
    if call["record"]:
        return "reads" if call["record"] in updated else "details"
    module = call["path"].removesuffix("/search").rsplit("/", 1)[1]
    if module not in LISTS[vendor]:
        return f"{vendor} {call['method']} {call['path']}"
    searches = call["path"].endswith("/search") or call["query"].keys() - LISTING
    return "looks" if searches else "lists"


# The least


def least_first(firm: Firm) -> Mapping[str, int]:
    """Fetch and the first sync."""
    share, books, fsm = firm.share, firm.lacking[BOOKS], firm.lacking[FSM]
    fetch_details = share
    sync_details = 2 * share + 2 * (share - books)
    updates = KINDS * (books + fsm)
    return {
        "lists": 2 * pages(2 * share),
        "details": fetch_details + sync_details,
        "reads": updates,
        "writes": 2 * KINDS * share + updates,
    }


def least_incremental(firm: Firm) -> Mapping[str, int]:
    edits = firm.edits
    updates = 2 * KINDS * edits
    return {
        # Three shares at each side by now, and what is new at that side.
        "lists": pages(3 * firm.share + edits),
        # Edited in Books: companies, people of other companies, individuals. New there: companies, individuals.
        "details": 3 * edits + 2 * edits,
        "reads": updates,
        "writes": updates + 2 * KINDS * edits,
    }


def pages(each: int) -> int:
    """Pages of all five lists where there are so many of each kind at either side: FSM's contacts are people and
    individuals, Books' contacts companies and individuals."""
    return sum(-(-rows // PAGE) for rows in (each, 2 * each, each, 2 * each, each))


# What is told


def _figures(found: Mapping[str, int], least: Mapping[str, int]) -> Json:
    total = sum(found.get(name, 0) for name in TERMS)
    return {
        "made": {"all": total, **{name: found.get(name, 0) for name in TERMS}},
        "least": {"all": sum(least.values()), **least},
        "ratio": round(total / sum(least.values()), 4),
        "ratio_without_looks": round((total - found.get("looks", 0)) / sum(least.values()), 4),
        "left_out": {name: count for name, count in sorted(found.items()) if name not in TERMS},
    }


def _rows(name: str, found: Mapping[str, int], least: Mapping[str, int]) -> Sequence[Row]:
    told = _figures(found, least)
    beside = f"{told['made']['all']} of {told['least']['all']}"
    by_term = [
        Row(f"{name}: {one}", f"{found.get(one, 0)} calls", f"{least.get(one, 0)} at the least")
        for one in TERMS
        if found.get(one, 0) != least.get(one, 0)
    ]
    return (at_most(f"{name}: calls beside the least", told["ratio"], MOST, beside), *by_term)
