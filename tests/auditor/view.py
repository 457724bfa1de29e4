"""The evidence, indexed: one look-up for every check, and where findings are put."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property

from tests.auditor.fields import LEFT, RIGHT, SIDES, SYNCED, VENDORS, pairs_of, parent_key
from tests.auditor.journal import Edit, Journal
from tests.auditor.report import Counts, Expect, Finding, Report
from tests.auditor.seen import (
    Binding,
    Call,
    Delivery,
    Due,
    Evidence,
    Mark,
    Outcome,
    Record,
    Run,
    Span,
    Tables,
    Watermark,
)

Key = tuple[str, str]
"""(vendor, record id)."""


class View:
    def __init__(self, evidence: Evidence, journal: Journal, expect: Expect) -> None:
        self.evidence = evidence
        self.journal = journal
        self.expect = expect
        self.report = Report()
        self._found: set[tuple[str, str, str]] = set()

    # Findings

    def find(self, promise: str, what: str, subject: object, counts: Counts = "") -> None:
        finding = Finding(promise, what, str(subject), counts)
        if finding.key in self._found:
            return
        self._found.add(finding.key)
        if self.mark is not None and finding.key in self.mark.known:
            self.report.known += 1
        else:
            self.report.findings.append(finding)

    def unchecked(self, what: str) -> None:
        if what not in self.report.unchecked:
            self.report.unchecked.append(what)

    # Straight

    @property
    def tables(self) -> Tables:
        return self.evidence.tables

    @property
    def mark(self) -> Mark | None:
        return self.evidence.since

    @property
    def since_ms(self) -> float:
        """When the cell began; 0 where everything is the cell."""
        return self.mark.at_ms if self.mark else 0.0

    @cached_property
    def records(self) -> dict[Key, Record]:
        return {one.key: one for one in self.evidence.records}

    @cached_property
    def first(self) -> dict[Key, Record]:
        """The records as they were at the mark."""
        return {one.key: one for one in self.mark.records} if self.mark else {}

    @cached_property
    def bindings(self) -> dict[Key, Binding]:
        return {(VENDORS[side], one.id_at(side)): one for one in self.tables.bindings for side in (LEFT, RIGHT)}

    def ends(self, binding: Binding) -> tuple[Record | None, Record | None]:
        left, right = (self.records.get((VENDORS[side], binding.id_at(side))) for side in (LEFT, RIGHT))
        return left, right

    @cached_property
    def pairs(self) -> set[str]:
        """Those that are synced, by the sync types."""
        types = {one.sync_type for one in self.tables.integrations}
        for unknown in types - SYNCED.keys():
            self.unchecked(f"P5: contacts, for sync type {unknown} is not known here")
        return {name for one in types for name in SYNCED.get(one, SYNCED["I"])}

    def is_synced(self, record: Record) -> bool:
        return record.pair in self.pairs and record.in_scope and record.active

    def changed_by(self, call: Call) -> list[Key]:
        """The records that a write was about: of one about a person that person, or the customer who is that person."""
        if call.inner and call.record:
            person = (call.vendor, f"{call.record}.{call.inner}")
            customer = self.records.get((call.vendor, call.record))
            return [(call.vendor, call.record)] if customer and customer.pair == "contacts" else [person]
        return [(call.vendor, one) for one in call.records or ((call.record,) if call.record else ())]

    def twin(self, key: Key) -> Key | None:
        binding = self.bindings.get(key)
        if binding is None:
            return None
        side = RIGHT if SIDES[key[0]] == LEFT else LEFT
        return VENDORS[side], binding.id_at(side)

    @cached_property
    def outcomes(self) -> dict[Key, list[Outcome]]:
        """By the record whose event it was, as committed; the vendors' ids differ, so the id tells whose it is."""
        found: dict[Key, list[Outcome]] = defaultdict(list)
        for one in sorted(self.tables.outcomes, key=lambda one: one.at_ms):
            for vendor in SIDES:
                found[vendor, one.record_id].append(one)
        return found

    @cached_property
    def outcome_times(self) -> dict[Key, list[float]]:
        """When the outcomes of a record were committed, as `outcomes` has them."""
        return {key: [one.at_ms for one in found] for key, found in self.outcomes.items()}

    @cached_property
    def waiting(self) -> dict[Key, Due]:
        """Due rows that wait for a time, by record."""
        return {(VENDORS[one.side], one.record_id): one for one in self.tables.due if one.why != "failed"}

    @cached_property
    def failed(self) -> dict[Key, Due]:
        return {(VENDORS[one.side], one.record_id): one for one in self.tables.due if one.why == "failed"}

    def may_differ(self, keys: Sequence[Key]) -> bool:
        """Failed, as the scenario lets it, or as another check says; or nobody was told yet. A person, with their
        customer."""
        keys = [*keys, *(parent for one in keys if (parent := parent_key(one)) is not None)]
        return self.expect.excused(one for _, one in keys) or any(
            one in self.failed or one in self.untold for one in keys
        )

    @cached_property
    def org_vendors(self) -> dict[int, str]:
        return {one.id: one.vendor for one in self.tables.orgs}

    @cached_property
    def runs(self) -> dict[int, Run]:
        return {one.id: one for one in self.tables.runs}

    @cached_property
    def watermarks(self) -> dict[Key, Watermark]:
        """By (pair, side): of the earliest integration where several have one."""
        return {(one.pair, one.side): one for one in sorted(self.tables.watermarks, key=lambda one: -one.read_from_ms)}

    # Calls and deliveries of the cell

    def calls(self, vendor: str | None = None) -> Iterator[Call]:
        return (one for one in self.evidence.calls if vendor in (None, one.vendor) and one.end_ms >= self.since_ms)

    @cached_property
    def writes(self) -> list[Call]:
        """The product's calls that would change something at a vendor, applied or not, in their order."""
        found = [one for one in self.calls() if one.by_product and one.write and one.vendor in SIDES]
        return sorted(found, key=lambda one: one.at_ms)

    @cached_property
    def troubled(self) -> set[Key | None]:
        """Records about which a call failed, or a write had no answer; None: one that named no record."""
        failed = (one for one in self.calls() if not one.by_person and (one.failed or (one.write and not one.clean)))
        return {(one.vendor, one.record) if one.record else None for one in failed if one.vendor in SIDES}

    @cached_property
    def writes_to(self) -> dict[Key, list[Call]]:
        found: dict[Key, list[Call]] = defaultdict(list)
        for one in self.writes:
            for key in self.changed_by(one)[:1] if one.record else ():
                found[key].append(one)
        return found

    @cached_property
    def mapped_deliveries(self) -> list[Delivery]:
        """Of modules that are mapped, and not of another org."""
        return [
            one
            for one in self.evidence.deliveries
            if any(pair.name in self.pairs for pair in pairs_of(one.vendor, one.module))
            if not one.foreign and one.id not in self.expect.foreign
        ]

    # People

    @cached_property
    def edits(self) -> dict[Key, list[Edit]]:
        """The journal's, of the cell, by record, in their order."""
        found: dict[Key, list[Edit]] = defaultdict(list)
        for one in sorted(self.journal.edits, key=lambda one: (one.end_ms, one.begin_ms)):
            if one.end_ms >= self.since_ms:
                found[one.vendor, one.record_id].append(one)
        return found

    @cached_property
    def peoples_calls(self) -> Counter[Key]:
        """How often people changed each record, by the vendors' logs."""
        calls = (one for one in self.calls() if one.by_person and one.write and one.applied)
        return Counter((one.vendor, one.record) for one in calls if one.record)

    @cached_property
    def made_by_people(self) -> set[Key]:
        """Records known to be people's own: by the journal, or by the call that made them."""
        made = {(one.vendor, one.record_id) for one in self.journal.edits if one.kind == "create"}
        calls = (one for one in self.evidence.calls if one.by_person and one.method == "POST" and one.applied)
        return made | {(one.vendor, one.record) for one in calls if one.record}

    @cached_property
    def made_by_product(self) -> dict[Key, Call]:
        """Records that the product's calls of the cell made."""
        found: dict[Key, Call] = {}
        for one in self.writes:
            if one.method == "POST" and one.applied and pairs_of(one.vendor, one.module or ""):
                found.update(dict.fromkeys(self.changed_by(one), one))
        return found

    # Leases

    @cached_property
    def spans(self) -> dict[str, list[Span]]:
        """By vendor, in the order in which they were taken."""
        known = ((self.org_vendors[one.org_id], one) for one in self.tables.leases if one.org_id in self.org_vendors)
        found: dict[str, list[Span]] = defaultdict(list)
        for vendor, span in known:
            found[vendor].append(span)
        return {vendor: sorted(spans, key=lambda one: (one.taken_ms, one.fence)) for vendor, spans in found.items()}

    # Time

    @property
    def lost_spans(self) -> tuple[tuple[float, float], ...]:
        return self.expect.history_lost_ms + self.expect.database_lost_ms

    def forgotten(self, at_ms: float) -> float | None:
        """The end of the forgotten span that a moment lies in."""
        ends = [end for start, end in self.lost_spans if start <= at_ms <= end]
        return max(ends) if ends else None

    @cached_property
    def untold(self) -> set[Key]:
        """Records of which a change was told to nobody, or to somebody who has forgotten it: a sync finds it."""
        if self.expect.synced:
            return set()
        return {
            (one.vendor, one.record)
            for one in self.evidence.deliveries
            if not one.accepted or self.forgotten(one.end_ms) is not None
        }

    def synced_after(self, at_ms: float) -> bool:
        return any(
            one.kind == "sync" and one.completed and one.started_ms is not None and one.started_ms >= at_ms
            for one in self.tables.runs
        )

    def passed(self, pair: str, record: Record) -> bool:
        """Whether a sync that began after its last change has completed, by the true clock: it had to see it."""
        mark = self.watermarks.get((pair, SIDES[record.vendor]))
        if mark is None:
            return False
        run = self.runs.get(mark.run_id)
        began_ms = mark.read_from_ms if run is None or run.started_ms is None else run.started_ms
        # A vendor that does not tell the true time is taken to have had this offset all the time.
        changed_ms = record.written_ms or record.modified_ms - self.evidence.offsets_ms.get(record.vendor, 0.0)
        return changed_ms + self.expect.hidden_ms < began_ms


def name_of(key: Key) -> str:
    return f"{key[0]} {key[1]}"
