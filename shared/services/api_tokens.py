"""API tokens: made, listed, revoked by admins; and whose a request is.

A token is `bw_<id>_<secret>`. The secret is random and long, so a plain digest of it is enough, and it is shown once.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import SecretStr

from shared.db.models import ApiToken
from shared.db.repositories import api_tokens as repository
from shared.db.repositories import audit
from shared.db.repositories.api_tokens import Standing
from shared.db.session import Database
from shared.errors import ConfigError, NotAllowed, NotFound, Throttled, Unauthenticated
from shared.rates import Addresses
from shared.services.connections import hashed
from shared.services.known_keys import KnownKeys
from shared.sync.access import (
    BOTHWAYS,
    CLI,
    DEFAULT_DAYS,
    MOST_DAYS,
    Actor,
    ActorKind,
    Permission,
    Role,
    permissions_of,
)
from shared.sync.audit import Action

MOST_NAME = 100
BAD_PER_S, BAD_BURST = 1.0, 20.0
"""Tokens nobody knows from one address; over it 429. Each that is let through has the known ones read anew, so whoever
brings a good one made a moment ago gets in within a second, whatever strangers at the same address do."""
_ALPHABET = string.ascii_letters + string.digits
_SECRET_CHARS = 43
"""256 bits: 43 of 62 letters and digits."""
_FORM = re.compile(rf"bw_([1-9][0-9]{{0,18}})_([A-Za-z0-9]{{{_SECRET_CHARS}}})")


@dataclass(frozen=True, slots=True)
class ApiTokenView:
    """For people: all but the secret. Times are aware UTC; `last_used_at` within a minute."""

    id: int
    principal: str
    role: Role
    read_logs: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class MadeToken:
    view: ApiTokenView
    token: SecretStr = field(repr=False)


class ApiTokenService:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._known = KnownKeys(self._hashes)
        self._ended: dict[str, Unauthenticated] = {}
        self._strangers = Addresses(BAD_PER_S, BAD_BURST)

    # For admins.

    def add(
        self, actor: Actor, name: str, role: Role, *, read_logs: bool = False, expires_days: int | None = DEFAULT_DAYS
    ) -> MadeToken:
        """`expires_days` None: it lasts until it is revoked. The token is in the answer and nowhere else.

        Nobody gives away what they do not have, but the host, which is where support's come from (ST-4).
        Raises NotAllowed, ConfigError (name, days).
        """
        actor.must(Permission.MANAGE_TOKENS)
        _check(name, expires_days)
        missing = permissions_of(role, read_logs=read_logs) - actor.permissions
        if missing and actor.kind is not ActorKind.HOST:
            raise NotAllowed(min(missing).value)
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
        row = ApiToken(
            workspace_id=actor.workspace, principal=name, role=role.value, read_logs=read_logs,
            secret_hash=hashed(secret),
        )  # fmt: skip
        with self._db.transaction() as session:
            repository.add(session, row, None if expires_days is None else timedelta(days=expires_days))
            after = {"principal": name, "role": role.value, "read_logs": read_logs, "expires_at": row.expires_at}
            audit.record(session, actor, Action.TOKEN_MADE, row.id, after=after)
        return MadeToken(_view(row), SecretStr(f"bw_{row.id}_{secret}"))

    def list(self, actor: Actor) -> tuple[ApiTokenView, ...]:
        actor.must(Permission.MANAGE_TOKENS)
        with self._db.transaction() as session:
            return tuple(_view(row) for row in repository.of_workspace(session, actor.workspace))

    def revoke(self, actor: Actor, token_id: int) -> ApiTokenView:
        """It is refused from now on, by every process. Twice is as once. Raises NotFound."""
        actor.must(Permission.MANAGE_TOKENS)
        with self._db.transaction() as session:
            row = repository.load_own(session, actor.workspace, token_id)
            if row is None:
                raise NotFound(f"There is no token {token_id}. See `bothways tokens`.", code="UNKNOWN_TOKEN")
            if row.revoked_at is None:
                repository.revoke(session, row)
                about = {"principal": row.principal, "role": row.role}
                audit.record(session, actor, Action.TOKEN_REVOKED, row.id, before=about)
            return _view(row)

    # For the door.

    def authenticate(self, authorization: str | None, address: str) -> Actor:
        """Whose the request is, by its Authorization header. `address` is where it comes from.

        A token that is known to exist costs one look at its row, whatever strangers do; others cost what is allowed
        to their address, and together five looks a second. Raises Unauthenticated, Throttled, Unavailable.
        """
        token_id, digest = _parsed(authorization)
        if digest in self._ended:
            raise _again(self._ended[digest])
        found = self._known.known(digest)
        if found is None:
            if not self._strangers.take(address):
                raise Throttled("Too many bad tokens came from this address; try again in a second.", retry_after_s=1)
            found = self._known.find(digest)
        if found != token_id:
            raise _bad()
        standing = self._standing(found, digest)
        try:
            return _actor(standing)
        except Unauthenticated as refusal:  # an end is for ever: those who come with it again cost nothing
            self._ended[digest] = _again(refusal)
            raise

    def _standing(self, token_id: int, digest: str) -> Standing:
        with self._db.transaction() as session:
            found = repository.standing(session, token_id)
            if found is None or not hmac.compare_digest(found.row.secret_hash, digest):
                raise _bad()
            if found.unnoted and not found.expired and found.row.revoked_at is None:
                repository.note_use(session, token_id)
            return found

    def _hashes(self) -> dict[str, int]:
        with self._db.transaction() as session:
            return repository.hashes(session)


def _check(name: str, expires_days: int | None) -> None:
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable() or name in (CLI, BOTHWAYS):
        raise ConfigError(
            f"A token's name has 1 to {MOST_NAME} printable characters, and is neither {CLI!r} nor {BOTHWAYS!r}.",
            code="BAD_NAME",
        )
    if expires_days is not None and not 1 <= expires_days <= MOST_DAYS:
        raise ConfigError(f"A token lasts 1 to {MOST_DAYS} days, or has no end.", code="BAD_EXPIRY")


def _parsed(authorization: str | None) -> tuple[int, str]:
    """(id, digest of the secret). What has not the form of a token costs nothing but this."""
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Unauthenticated(
            "A token is needed: send it as `Authorization: Bearer bw_…`. `bothways tokens add` makes one.",
            code="NO_TOKEN",
        )
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise _bad()
    return int(form[1]), hashed(form[2])


def _actor(standing: Standing) -> Actor:
    row = standing.row
    if row.revoked_at is not None:
        raise Unauthenticated("This token was revoked. Ask an admin for another.", code="TOKEN_REVOKED")
    if standing.expired:
        raise Unauthenticated("This token has expired. Ask an admin for another.", code="TOKEN_EXPIRED")
    permissions = permissions_of(Role(row.role), read_logs=row.read_logs)
    return Actor(row.workspace_id, row.principal, ActorKind.TOKEN, permissions, row.id)


def _bad() -> Unauthenticated:
    return Unauthenticated("This token is not known. Check that it was copied whole.")


def _again(refusal: Unauthenticated) -> Unauthenticated:
    """A fresh one, for an exception that was raised holds the frames it came through."""
    return Unauthenticated(str(refusal), code=refusal.code)


def _view(row: ApiToken) -> ApiTokenView:
    return ApiTokenView(
        id=row.id,
        principal=row.principal,
        role=Role(row.role),
        read_logs=row.read_logs,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
