"""What arrived and how soon, by the sandbox's own call logs; what is doubled or lost, by its own records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.demo.changes import Change
from deploy.demo.northwind import Cast
from deploy.demo.shapes import KINDS, LABELS, VENDORS, Json, Kind, Values, fold, other
from deploy.demo.vendors import CallReader, Sandbox

Key = tuple[str, str]
"""(label of the kind, folded name)"""


class Watch:
    """Follows changes from the person's write to the product's write on the twin.

    A delay runs from the moment the person's call arrived at its vendor to the moment the product's call was answered
    by the other; both times are the sandbox's.
    """

    def __init__(self, sandbox: Sandbox, changes: Iterable[Change]) -> None:
        self._sandbox = sandbox
        self._open = {change.request_id: change for change in changes}
        self._readers = {vendor: CallReader(sandbox, vendor) for vendor in VENDORS}
        self._person = sandbox.told["vendors"]["zoho_accounts"]["users"]["person"]
        self._writes: dict[tuple[str, str, str], list[Json]] = {}
        self._creates: dict[tuple[str, str], list[Json]] = {}
        self._looked_at: dict[tuple[str, str], int] = {}
        for reader in self._readers.values():
            reader.new()  # what was before

    @property
    def missing(self) -> list[Change]:
        return list(self._open.values())

    def look(self) -> tuple[list[Change], int]:
        """(what has arrived since the last look, how many calls were seen)"""
        seen = 0
        for vendor, reader in self._readers.items():
            calls = reader.new()
            seen += len(calls)
            for call in calls:
                if call["applied"] and call["write"]:
                    self._note(vendor, call)
        self._find_new_twins()
        return [change for change in self.missing if self._arrived(change)], seen

    def _note(self, vendor: str, call: Json) -> None:
        if call["user"] == self._person:
            if call["request_id"] in self._open:
                self._open[call["request_id"]].started_ms = call["at"]
            return
        self._writes.setdefault((vendor, call["module"], call["record"]), []).append(call)
        if call["method"] == "POST":
            self._creates.setdefault((vendor, call["module"]), []).append(call)

    def _find_new_twins(self) -> None:
        """The log tells the id of a new record (the first, where a call makes several), not its name."""
        wanted = {(other(one.vendor), one.kind) for one in self.missing if one.new and not one.twin_id}
        for vendor, kind in wanted:
            place = (vendor, kind.module(vendor))
            made = len(self._creates.get(place, ()))
            if made == self._looked_at.get(place, 0):
                continue
            self._looked_at[place] = made
            rows = {fold(str(kind.read(vendor, row)["name"])): row for row in self._sandbox.rows(vendor, kind)}
            for change in self.missing:
                if change.new and change.kind is kind and change.vendor != vendor and change.key in rows:
                    self._found(change, vendor, rows[change.key])

    def _found(self, change: Change, vendor: str, row: Json) -> None:
        change.twin_id = str(row[change.kind.id_key(vendor)])
        module = change.kind.module(vendor)
        born = row["_sandbox"]["created_ms"]
        if (vendor, module, change.twin_id) not in self._writes:  # one of several in a call
            around = [c for c in self._creates[vendor, module] if c["at"] - 1 <= born <= c["at"] + c["ms"] + 1]
            self._writes[vendor, module, change.twin_id] = around[:1]

    def _arrived(self, change: Change) -> bool:
        vendor = other(change.vendor)
        for call in self._writes.get((vendor, change.kind.module(vendor), change.twin_id), ()):
            if change.started_ms is not None and call["at"] >= change.started_ms:
                change.delay_ms = float(call["at"] + call["ms"] - change.started_ms)
                del self._open[change.request_id]
                return True
        return False


def percentile(values: Sequence[float], share: float) -> float:
    """By rank: the smallest value that `share` of them do not exceed. Raises ValueError where there is none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass
class Verdict:
    """`records` on both sides together; a sentence for each name that is doubled, or lost on either side."""

    records: int = 0
    duplicates: dict[Key, str] = field(default_factory=dict)
    lost: dict[Key, str] = field(default_factory=dict)


def judge(sandbox: Sandbox, cast: Cast) -> Verdict:
    """Both vendors' records as they are, against what they must be; those meant to fail are left out by name."""
    verdict = Verdict()
    for kind in KINDS:
        truth = {key: values for (label, key), values in cast.truth.items() if label == kind.label}
        failing = {key: count for (label, key), count in cast.failing.items() if label == kind.label}
        for vendor in VENDORS:
            rows = [kind.read(vendor, row) for row in sandbox.rows(vendor, kind)]
            verdict.records += len(rows)
            _judge_side(verdict, kind, LABELS[vendor], _by_name(rows), truth, failing)
    return verdict


def _by_name(rows: Iterable[Values]) -> dict[str, list[Values]]:
    found: dict[str, list[Values]] = {}
    for row in rows:
        found.setdefault(fold(str(row["name"])), []).append(row)
    return found


def _judge_side(
    verdict: Verdict,
    kind: Kind,
    label: str,
    found: Mapping[str, list[Values]],
    truth: Mapping[str, Values],
    failing: Mapping[str, int],
) -> None:
    for key, rows in found.items():
        allowed = failing.get(key, 1 if key in truth else 0)
        if len(rows) > allowed:
            told = f"{len(rows)} records in {label} have the name {rows[0]['name']}, {allowed} are expected."
            verdict.duplicates[kind.label, key] = told
    for key, wanted in truth.items():
        if key not in found:
            verdict.lost[kind.label, key] = f"The {kind.label} {wanted['name']} is missing in {label}."
            continue
        wrong = [name for name, value in wanted.items() if found[key][0][name] != value]
        if wrong:
            fields = ", ".join(kind.label_of(name) for name in wrong)
            verdict.lost[kind.label, key] = f"The {kind.label} {wanted['name']} has another {fields} in {label}."


def ids_by_name(sandbox: Sandbox, kind: Kind, vendor: str) -> dict[str, str]:
    rows = sandbox.rows(vendor, kind)
    return {fold(str(kind.read(vendor, row)["name"])): str(row[kind.id_key(vendor)]) for row in rows}


def know_ids(sandbox: Sandbox, changes: Iterable[Change]) -> list[Change]:
    """Fills in the ids of what is there already; returns the changes whose record, or twin, is not."""
    ids = {(kind.label, vendor): ids_by_name(sandbox, kind, vendor) for kind in KINDS for vendor in VENDORS}
    unknown = []
    for change in changes:
        if change.new:
            continue
        change.record_id = ids[change.kind.label, change.vendor].get(change.key, "")
        change.twin_id = ids[change.kind.label, other(change.vendor)].get(change.key, "")
        if not (change.record_id and change.twin_id):
            unknown.append(change)
    return unknown


class Quiet:
    """No webhook under way, and no call of the product for a while."""

    def __init__(self, watch: Watch, idle: Callable[[], bool], now: Callable[[], float], calm_s: float) -> None:
        self._watch, self._idle, self._now, self._calm_s = watch, idle, now, calm_s
        self._since = now()

    def reached(self) -> bool:
        _, seen = self._watch.look()
        if seen or not self._idle():
            self._since = self._now()
        return self._now() - self._since >= self._calm_s
