"""What an integration is to the engine: two sides, pairs of modules in order, and what may be chosen in set-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.errors import NotFound
from shared.sync.mapping import MappingProblem, ProblemCode, check_mapping
from shared.sync.model import FieldDef, FieldPair, ModuleName, Pair, Parent, Policy, Scope, Side, Value, VendorName


@dataclass(frozen=True, slots=True)
class SyncType:
    """What of companies and contacts is synced (SU-5). `pairs` are names of pair declarations; `scope` narrows what
    belongs to a pair, per side, beyond its own.

    `offered` False: described, but it cannot be chosen yet.
    """

    key: str
    label: str
    description: str
    pairs: tuple[str, ...]
    scope: Mapping[str, Mapping[Side, Scope]] = field(default_factory=dict)
    offered: bool = True


@dataclass(frozen=True, slots=True)
class PairDeclaration:
    """One pair of modules, without the mapping that a user may change. Fields are as in `sync.model.Pair`.

    `warn_if_mapped`: sentences, by field pair side and field, that the editor shows when a mapping names it.
    """

    name: str
    label: str
    left_module: ModuleName
    right_module: ModuleName
    key_left: str
    key_right: str
    defaults: tuple[FieldPair, ...]
    scope: Mapping[Side, Scope] = field(default_factory=dict)
    constants: Mapping[Side, Mapping[str, Value]] = field(default_factory=dict)
    parent: Parent | None = None
    names: Mapping[Side, tuple[str, ...]] = field(default_factory=dict)
    breaks_ties: Mapping[Side, str] = field(default_factory=dict)
    stranger: Mapping[Side, str] = field(default_factory=dict)
    follows: Side | None = None
    warn_if_mapped: Mapping[tuple[Side, str], str] = field(default_factory=dict)
    makes: bool = True
    sides: tuple[Side, ...] = tuple(Side)
    """At which its records are looked at."""

    def module(self, side: Side) -> ModuleName:
        return self.left_module if side is Side.LEFT else self.right_module


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """An org that holds more of it than `most_records` (settings) is not synced (ST-2). `label` is plural."""

    side: Side
    module: ModuleName
    label: str


@dataclass(frozen=True, slots=True)
class Invoicing:
    """Invoices that are made of work orders, once each (TR-7). `pair`: the two modules, and the Invoice Mapping (FM-6).

    The vendor of the work orders makes the invoice, at the accounting org behind it. Before that the customer must be
    bound, in the first of `customers` that is synced and that the work order names, and each line's item in `items`.
    `status_field` and `billed_field` are those of the work order's list row; a row with `billed` needs nothing.
    """

    side: Side
    pair: PairDeclaration
    customers: tuple[str, ...]
    items: str
    status_field: str
    statuses: tuple[str, ...]
    billed_field: str
    billed: str


@dataclass(frozen=True, slots=True)
class Integration:
    """`left` and `right` are the vendors that a side may be of: they have the same modules and fields for it, and the
    engine asks for none by name. `pairs` are in the order in which a sync takes them. `tie_side`: the accounting side,
    else the CRM (DU-3). `default_type`: the sync type where nobody chose one. `same_type_as`: kinds whose sync
    type must be this one's on the same org (SU-5, ST-1). `limits_manual`: Sync Now is accepted so many times a day
    (TR-4)."""

    key: str
    label: str
    left: tuple[VendorName, ...]
    right: tuple[VendorName, ...]
    left_label: str
    right_label: str
    pairs: tuple[PairDeclaration, ...]
    tie_side: Side
    policies: tuple[Policy, ...]
    sync_types: tuple[SyncType, ...]
    default_type: str
    same_type_as: tuple[str, ...] = ()
    limited: tuple[SizeLimit, ...] = ()
    limits_manual: bool = False
    invoicing: Invoicing | None = None

    def vendors(self, side: Side) -> tuple[VendorName, ...]:
        return self.left if side is Side.LEFT else self.right

    @property
    def declared(self) -> tuple[PairDeclaration, ...]:
        """All that has a mapping: the pairs, and the invoices'."""
        return (*self.pairs, self.invoicing.pair) if self.invoicing else self.pairs

    def sharing(self, name: str, side: Side) -> tuple[str, ...]:
        """The pairs whose records at `side` are of the same module, this one among them. Raises NotFound."""
        module = self.declaration(name).module(side)
        return tuple(one.name for one in self.declared if one.module(side) == module)

    def in_force(self, sync_type: str, *, invoices: bool) -> tuple[PairDeclaration, ...]:
        """What events are of, in the order of a sync: the pairs of the sync type, then the work orders where they are
        invoiced. Raises NotFound."""
        synced = self.sync_type(sync_type).pairs
        found = tuple(one for one in self.pairs if one.name in synced)
        return (*found, self.invoicing.pair) if invoices and self.invoicing else found

    def declaration(self, name: str) -> PairDeclaration:
        """Raises NotFound on a pair that the integration does not have."""
        for declaration in self.declared:
            if declaration.name == name:
                return declaration
        raise NotFound(f"{self.label} has no pair of modules called {name!r}")

    def pair(
        self,
        name: str,
        left_fields: Mapping[str, FieldDef],
        right_fields: Mapping[str, FieldDef],
        mapping: Sequence[FieldPair] | None = None,
        sync_type: str | None = None,
        state_fields: Mapping[Side, str] | None = None,
    ) -> Pair:
        """The pair with the mapping in force (None: the default one) and the fields as the vendors define them.

        Nothing is checked: `check` does, on save. Raises NotFound.
        """
        declared = self.declaration(name)
        narrowed = self.sync_type(sync_type).scope.get(name, {}) if sync_type else {}
        return Pair(
            name=declared.name,
            left_module=declared.left_module,
            right_module=declared.right_module,
            key_left=declared.key_left,
            key_right=declared.key_right,
            mapping=declared.defaults if mapping is None else tuple(mapping),
            tie_side=self.tie_side,
            left_fields=left_fields,
            right_fields=right_fields,
            scope={side: {**declared.scope.get(side, {}), **narrowed.get(side, {})} for side in Side},
            constants=declared.constants,
            parent=declared.parent,
            names=declared.names,
            breaks_ties=declared.breaks_ties,
            stranger=declared.stranger,
            follows=declared.follows,
            state_fields=state_fields or {},
            makes=declared.makes,
        )

    def sync_type(self, key: str) -> SyncType:
        """Raises NotFound."""
        for one in self.sync_types:
            if one.key == key:
                return one
        raise NotFound(f"{self.label} has no sync type {key!r}")

    def check(self, pair: Pair) -> tuple[MappingProblem, ...]:
        """`check_mapping`, and what this integration warns of."""
        return check_mapping(pair) + warnings_of(self.declaration(pair.name), pair)


def warnings_of(declaration: PairDeclaration, pair: Pair) -> tuple[MappingProblem, ...]:
    return tuple(
        MappingProblem(ProblemCode.BETTER_NOT, sentence, fp.key, warning=True)
        for fp in pair.mapping
        for (side, name), sentence in declaration.warn_if_mapped.items()
        if fp.field(side) == name
    )
