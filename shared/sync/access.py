"""Who may do what (PE-1, LG-6, ST-4): roles, permissions, one table, and the actor that each use case is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import NotAllowed


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    SUPPORT = "support"


class Permission(StrEnum):
    VIEW = "view"
    READ_LOGS = "read_logs"
    """"Two-way sync logs" (LG-6): granted beside the role, to whichever role; no role brings it."""
    SYNC = "sync"
    CONNECT = "connect"
    CONFIGURE = "configure"
    MANAGE_TOKENS = "manage_tokens"
    READ_AUDIT = "read_audit"
    SUPPORT_ENABLE = "support_enable"
    """Enable again what an error disabled (ST-4)."""
    ROTATE_KEYS = "rotate_keys"
    """Of the whole installation: whoever has its machine, and no role in a workspace."""


PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.OPERATOR: frozenset({Permission.VIEW, Permission.SYNC}),
    Role.ADMIN: frozenset(
        {
            Permission.VIEW,
            Permission.SYNC,
            Permission.CONNECT,
            Permission.CONFIGURE,
            Permission.MANAGE_TOKENS,
            Permission.READ_AUDIT,
        }
    ),
    Role.SUPPORT: frozenset({Permission.VIEW, Permission.SUPPORT_ENABLE}),
}

HOST_PERMISSIONS = frozenset(Permission) - {Permission.SUPPORT_ENABLE}
"""Of whoever has the machine. Acting as support is a command of its own there (ST-4)."""


def permissions_of(role: Role, *, read_logs: bool) -> frozenset[Permission]:
    return PERMISSIONS[role] | ({Permission.READ_LOGS} if read_logs else frozenset())


class ActorKind(StrEnum):
    TOKEN = "token"  # noqa: S105  the kind of an actor
    HOST = "host"
    RULE = "rule"
    """A rule of ours did it, and nobody asked (ST-1, ST-2)."""


DEFAULT_DAYS, MOST_DAYS = 90, 3650
"""How long an API token lasts."""
CLI = "cli"
"""The principal of the command line on the host; no token may be called so."""
BOTHWAYS = "bothways"
"""The principal of our own rules; no token may be called so."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, and where: the first argument of whatever a service does for people. It holds no secret."""

    workspace: int
    principal: str
    kind: ActorKind
    permissions: frozenset[Permission]
    token_id: int | None = None

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def must(self, permission: Permission) -> None:
        """Asked before anything is looked up, so that a refusal tells nothing of what is there. Raises NotAllowed."""
        if not self.may(permission):
            raise NotAllowed(permission.value)


def host(workspace: int) -> Actor:
    """The local administrator: whoever can read the database's address needs no token."""
    return Actor(workspace, CLI, ActorKind.HOST, HOST_PERMISSIONS)


def support(workspace: int) -> Actor:
    """Whoever has the machine, acting as support (ST-4)."""
    return Actor(workspace, CLI, ActorKind.HOST, permissions_of(Role.SUPPORT, read_logs=False))


def rule(workspace: int) -> Actor:
    """It may nothing: it is named in the audit log for what a rule did by itself."""
    return Actor(workspace, BOTHWAYS, ActorKind.RULE, frozenset())
