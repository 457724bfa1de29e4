"""Who may do what: the table, written down a second time, and what it means for an actor."""

from __future__ import annotations

import pytest

from shared.errors import NotAllowed
from shared.sync.access import (
    HOST_PERMISSIONS,
    PERMISSIONS,
    Actor,
    ActorKind,
    Permission,
    Role,
    host,
    permissions_of,
)

pytestmark = pytest.mark.rule("PE-1", "LG-6", "ST-4")

TABLE = {
    # permission: viewer, operator, admin, support
    "view": (True, True, True, True),
    "read_logs": (False, False, False, False),
    "sync": (False, True, True, False),
    "connect": (False, False, True, False),
    "configure": (False, False, True, False),
    "manage_tokens": (False, False, True, False),
    "read_audit": (False, False, True, False),
    "support_enable": (False, False, False, True),
    "rotate_keys": (False, False, False, False),
}
ROLES = ("viewer", "operator", "admin", "support")


def test_the_table_says_who_may_what_and_nothing_more() -> None:
    assert set(TABLE) == set(Permission)
    assert tuple(Role) == ROLES
    for column, role in enumerate(ROLES):
        allowed = {name for name, row in TABLE.items() if row[column]}
        assert PERMISSIONS[Role(role)] == allowed, role


@pytest.mark.parametrize("role", Role)
def test_reading_logs_is_granted_beside_the_role(role: Role) -> None:
    without = permissions_of(role, read_logs=False)
    assert Permission.READ_LOGS not in without
    assert permissions_of(role, read_logs=True) - without == {Permission.READ_LOGS}


def test_the_host_may_everything_but_act_as_support() -> None:
    assert set(Permission) - HOST_PERMISSIONS == {Permission.SUPPORT_ENABLE}
    actor = host(7)
    assert (actor.workspace, actor.principal, actor.kind, actor.permissions) == (7, "cli", "host", HOST_PERMISSIONS)


def test_a_refusal_names_the_permission() -> None:
    actor = Actor(1, "Ann", ActorKind.TOKEN, permissions_of(Role.VIEWER, read_logs=False))
    actor.must(Permission.VIEW)
    for permission in set(Permission) - {Permission.VIEW}:
        with pytest.raises(NotAllowed, match=f"'{permission}'") as told:
            actor.must(permission)
        assert (told.value.code, told.value.permission) == ("NOT_ALLOWED", permission.value)
