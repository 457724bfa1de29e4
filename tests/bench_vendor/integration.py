"""Bench Field (left) and Bench Books (right): one pair, so that a run is calls and little else."""

from __future__ import annotations

from shared.integrations.base import Integration, PairDeclaration, SyncType
from shared.sync.model import FieldPair, Policy, Side
from tests.bench_vendor.connector import BOOKS, CONTACTS, FIELD, FIELDS

PAIR = "contacts"
BENCH_PAIR = Integration(
    key="bench_pair",
    label="Bench",
    left=(FIELD.name,),
    right=(BOOKS.name,),
    left_label=FIELD.label,
    right_label=BOOKS.label,
    pairs=(
        PairDeclaration(
            name=PAIR,
            label="Contacts",
            left_module=CONTACTS,
            right_module=CONTACTS,
            key_left="name",
            key_right="name",
            defaults=tuple(FieldPair(name, name) for name in FIELDS),
        ),
    ),
    tie_side=Side.RIGHT,
    policies=(Policy.OVERWRITE,),
    sync_types=(SyncType("I", "All", "Everything.", (PAIR,)),),
    default_type="I",
)
