"""A Valkey that runs with deploy/redis.acl, as an operator would set it up."""

from __future__ import annotations

from pathlib import Path

from deploy.local.valkey import ValkeyServer

ACL = Path(__file__).resolve().parents[2] / "deploy" / "redis.acl"
ROLES = ("door", "worker", "flower")


def password(role: str) -> str:
    """Of this test; letters and digits, as they become part of an address."""
    return f"{role}PasswordOfATest"


class GuardedValkey(ValkeyServer):
    """The default user keeps its password and all rights, for the person who looks after the server."""

    def _configuration(self) -> str:
        users = ACL.read_text()
        for role in ROLES:
            users = users.replace(f"{role.upper()}_PASSWORD", password(role))
        path = self._home / "users.conf"
        path.write_text(users)
        path.chmod(0o600)
        return super()._configuration() + f"include {path.name}\n"


def url_of(server: ValkeyServer, role: str) -> str:
    return f"redis://bothways-{role}:{password(role)}@127.0.0.1:{server.port}/0"
