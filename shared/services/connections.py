"""Use cases of connecting vendors: begin and finish a sign-in, list, describe, reconnect; and open a connector.

Doors (command line, API, workers) call only these; those for people take the actor, those for machines do not. No
secret leaves but in a SecretStr.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import SecretStr
from redis import Redis

from shared.connectors import custom_fields
from shared.connectors.base import CallClass, Capabilities, Connector, Limit, WebhookMaker
from shared.connectors.limits import RedisLimiter, Unlimited
from shared.connectors.registry import get_vendor
from shared.connectors.tokens import CLAIM_S, FixedToken, Held, SharedTokens
from shared.connectors.vendor import (
    AccessToken,
    Client,
    DataCentre,
    Grant,
    Limiter,
    Link,
    OrgChoice,
    Vendor,
    limits_in_force,
)
from shared.db.models.orgs import Connection, Org, PendingSignIn
from shared.db.repositories import audit
from shared.db.repositories import connections as repository
from shared.db.session import Database
from shared.errors import ConfigError, ConnectionBroken, NotFound, RateLimited, Refused, RetryableError
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.model import ModuleName, VendorName
from shared.vault import Vault

log = logging.getLogger(__name__)

STATE_S = 600.0
_SECRET_CHARS = 48
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Connected:
    connection_id: int
    org_id: int
    vendor: VendorName
    org_name: str


@dataclass(frozen=True, slots=True)
class ChooseOrg:
    """The grant reaches several orgs: `choose(state, external_id)` within ten minutes of `begin`."""

    state: str
    choices: tuple[OrgChoice, ...]


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A connection for people: no secrets. Times are aware UTC. `webhook_live_at`: when the first delivery came that
    was signed with the secret in force; None: it is awaited (SU-8)."""

    id: int
    org_id: int
    vendor: VendorName
    vendor_label: str
    org_external_id: str
    org_name: str
    data_centre: str
    status: str
    broken_reason: str | None
    scopes: tuple[str, ...]
    capabilities: Mapping[str, bool | int | str]
    webhook_live_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WebhookSetup:
    """What set-up shows a person to paste (SU-8): the path below the public address, and the secret."""

    path: str
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Whom a delivery is for, by its path token; `secrets` are the current and, while it is rotated, the previous.
    `live`: a delivery with the current one has come; `sealed_secret` tells later whether that is still in force."""

    connection_id: int
    org_id: int
    workspace_id: int
    vendor: VendorName
    secrets: tuple[SecretStr, ...] = field(repr=False)
    live: bool
    sealed_secret: str = field(repr=False)


class ConnectionService:
    """`redis` None: no budget is held (tests of doors); workers always give one."""

    def __init__(self, database: Database, vault: Vault, settings: Settings, redis: Redis | None = None) -> None:
        self._database = database
        self._safe = _Safe(vault)
        self._settings = settings
        self._redis = redis

    # Signing in.

    def begin(
        self,
        actor: Actor,
        vendor: str,
        data_centre: str,
        client_id: str,
        client_secret: SecretStr,
        redirect_uri: str,
        *,
        org_external_id: str | None = None,
        org_name: str | None = None,
    ) -> tuple[str, str]:
        """(state, address to send the person to). `org_*` name the org beforehand: needed where no call lists orgs.

        Raises NotFound (vendor), ConfigError (data centre).
        """
        actor.must(Permission.CONNECT)
        row = PendingSignIn(workspace_id=actor.workspace, org_external_id=org_external_id, org_name=org_name)
        return self._begin(row, vendor, data_centre, Client(client_id, client_secret), redirect_uri)

    def reconnect(
        self, actor: Actor, connection_id: int, redirect_uri: str, *, client_secret: SecretStr | None = None
    ) -> tuple[str, str]:
        """As `begin`, for an org that is connected already: its id, bindings and webhook address stay.

        The stored client secret is used where none is given.
        """
        actor.must(Permission.CONNECT)
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            org = repository.load_org(session, connection.org_id)
        secret = client_secret or self._safe.opened(connection, "client_secret")
        row = PendingSignIn(
            workspace_id=connection.workspace_id,
            org_external_id=org.external_id,
            org_name=org.name,
            connection_id=connection_id,
        )
        client = Client(connection.client_id, secret)
        return self._begin(row, connection.vendor, connection.data_centre, client, redirect_uri)

    def _begin(
        self, row: PendingSignIn, vendor: str, data_centre: str, client: Client, redirect_uri: str
    ) -> tuple[str, str]:
        known = get_vendor(vendor)
        centre = self._centre(known, data_centre)
        if not known.lists_orgs and not (row.org_external_id or row.org_name):
            raise ConfigError(f"{known.label} does not tell which org it is: give it a name.", code="ORG_NAME_MISSING")
        state = secrets.token_urlsafe(32)
        row.state_hash = hashed(state)
        row.vendor, row.data_centre, row.redirect_uri = known.name, centre.name, redirect_uri
        row.client_id = client.id
        row.sealed_client_secret = self._safe.vault.seal(client.secret, row=_sign_in(row), field="client_secret")
        with self._database.transaction() as session:
            row.expires_at = repository.sign_in_expiry(session, STATE_S)
            repository.save_sign_in(session, row)
        url = known.sign_in.authorize_url(centre, client_id=client.id, redirect_uri=redirect_uri, state=state)
        return state, url

    def finish(
        self, actor: Actor, state: str, code: str, *, accounts_server: str | None = None, location: str | None = None
    ) -> Connected | ChooseOrg:
        """Ends a sign-in with what the redirect brought. The state is used up, whatever comes of it.

        Raises Refused (state unknown, used or older than ten minutes), ConfigError (foreign host, code, scope),
        RetryableError, RateLimited.
        """
        actor.must(Permission.CONNECT)
        with self._database.transaction() as session:
            row = repository.use_sign_in(session, actor.workspace, hashed(state))
        if row is None:
            raise Refused("This sign-in is unknown, used or older than ten minutes: begin again.", code="BAD_STATE")
        vendor = get_vendor(row.vendor)
        chosen = self._centre(vendor, row.data_centre)
        centre = vendor.sign_in.redirected(chosen, accounts_server, location, self._settings.sandbox_url)
        client = self._client_of(row)
        grant = vendor.sign_in.exchange(centre, client, code=code, redirect_uri=row.redirect_uri)
        orgs = self._reached(vendor, centre, grant, row)
        if len(orgs) == 1:
            return self._store(actor, row, vendor, centre, grant, orgs[0])
        with self._database.transaction() as session:
            kept = session.merge(row)
            kept.data_centre = centre.name
            kept.sealed_grant = self._safe.vault.seal(_grant_text(grant), row=_sign_in(row), field="grant")
        return ChooseOrg(state, tuple(orgs))

    def choose(self, actor: Actor, state: str, org_external_id: str) -> Connected:
        """Ends a sign-in that reached several orgs. Raises Refused, NotFound (an org that it does not reach)."""
        actor.must(Permission.CONNECT)
        with self._database.transaction() as session:
            row = repository.waiting_choice(session, actor.workspace, hashed(state))
        if row is None or row.sealed_grant is None:
            raise Refused("This sign-in waits for no choice, or is too old: begin again.", code="BAD_STATE")
        vendor = get_vendor(row.vendor)
        centre = self._centre(vendor, row.data_centre)
        grant = _grant_of(self._safe.vault.open(row.sealed_grant, row=_sign_in(row), field="grant"))
        row.org_external_id = org_external_id
        orgs = self._reached(vendor, centre, grant, row)
        return self._store(actor, row, vendor, centre, grant, orgs[0])

    def _reached(self, vendor: Vendor, centre: DataCentre, grant: Grant, row: PendingSignIn) -> Sequence[OrgChoice]:
        """The orgs to choose from; exactly one where the person, or the vendor, leaves no choice."""
        if not vendor.lists_orgs:
            name = row.org_name or row.org_external_id or ""
            return [OrgChoice(row.org_external_id or name, name)]
        orgs = list(vendor.orgs(self._first_link(vendor, centre, grant, "", Unlimited())))
        wanted = [org for org in orgs if row.org_external_id in (None, org.external_id)]
        if not wanted:
            raise NotFound(f"This sign-in does not reach that {vendor.label} org.", code="UNKNOWN_ORG")
        return wanted

    def _first_link(self, vendor: Vendor, centre: DataCentre, grant: Grant, external_id: str, limiter: Limiter) -> Link:
        token = AccessToken(grant.access_token, datetime.now(UTC) + timedelta(seconds=grant.expires_in_s), 0)
        api_domain = vendor.sign_in.api_domain(centre, grant.api_domain)
        return Link(external_id, api_domain, FixedToken(token), limiter, call_class=CallClass.PERSON)

    def _store(
        self, actor: Actor, row: PendingSignIn, vendor: Vendor, centre: DataCentre, grant: Grant, org: OrgChoice
    ) -> Connected:
        link = self._first_link(vendor, centre, grant, org.external_id, Unlimited())
        flags = _probed(vendor, link)
        with self._database.transaction() as session:
            org_id = repository.save_org(
                session,
                workspace_id=row.workspace_id,
                vendor=vendor.name,
                external_id=org.external_id,
                name=org.name,
                data_centre=centre.name,
            )
            connection = repository.connection_of_org(
                session, org_id=org_id, workspace_id=row.workspace_id, vendor=vendor.name
            )
            if row.connection_id not in (None, connection.id):
                raise Refused("Another org was signed in to than the one to connect again.", code="OTHER_ORG")
            renewed = connection.sealed_client_secret is not None
            before = _told(connection, org) if renewed else {}
            self._fill(connection, self._client_of(row), centre, link.api_domain, grant, flags)
            action = Action.CONNECTION_RENEWED if renewed else Action.CONNECTION_MADE
            audit.record(session, actor, action, connection.id, before=before, after=_told(connection, org))
            repository.end_sign_in(session, row.id)
            connection_id = connection.id
        return Connected(connection_id, org_id, vendor.name, org.name)

    def _fill(
        self,
        connection: Connection,
        client: Client,
        centre: DataCentre,
        api_domain: str,
        grant: Grant,
        flags: Mapping[str, bool | int | str],
    ) -> None:
        """Writes a new grant over whatever was there: a previous refresh token of another grant is of no use."""
        if connection.sealed_client_secret is not None:
            connection.version += 1
        connection.data_centre, connection.accounts_server = centre.name, centre.accounts_server
        connection.api_domain, connection.client_id = api_domain, client.id
        self._safe.put(connection, "client_secret", client.secret)
        self._safe.put(connection, "refresh_token", grant.refresh_token)
        self._safe.put(connection, "previous_refresh_token", None)
        self._safe.put(connection, "access_token", grant.access_token)
        connection.access_expires_at = datetime.now(UTC) + timedelta(seconds=grant.expires_in_s)
        connection.refresh_started_at = connection.refresh_not_before = None
        connection.status, connection.broken_reason = "live", None
        connection.scopes = list(grant.scopes)
        connection.capabilities = dict(flags)
        if connection.webhook_path_hash is None:
            self._make_webhook(connection)

    def _make_webhook(self, connection: Connection) -> None:
        """32 random bytes in the path; a secret of letters and digits (one vendor takes 12 to 50 of those only)."""
        path_token = secrets.token_urlsafe(32)
        connection.webhook_path_hash = hashed(path_token)
        self._safe.put(connection, "webhook_path_token", SecretStr(path_token))
        self._safe.put(connection, "webhook_secret", _new_webhook_secret())

    # Looking.

    def list(self, actor: Actor) -> tuple[ConnectionView, ...]:
        actor.must(Permission.VIEW)
        with self._database.transaction() as session:
            return tuple(_view(*pair) for pair in repository.of_workspace(session, actor.workspace))

    def describe(self, actor: Actor, connection_id: int) -> ConnectionView:
        """Raises NotFound."""
        actor.must(Permission.VIEW)
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            return _view(connection, repository.load_org(session, connection.org_id))

    def limits(self, actor: Actor, connection_id: int) -> tuple[Limit, ...]:
        """What the org's calls are held to; empty: nothing but the vendor's own refusal."""
        actor.must(Permission.VIEW)
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            org = repository.load_org(session, connection.org_id)
            published = get_vendor(connection.vendor).facts(capabilities_of(connection, org)).limits
            return limits_in_force(published, org.settings)

    def set_limits(
        self, actor: Actor, connection_id: int, wanted: Mapping[str, object] | Literal[False]
    ) -> tuple[Limit, ...]:
        """`wanted` as in `limits_in_force`: {name: calls, or false for none}; {}: what is published; False: no limit.

        Workers take it up with their next batch.
        """
        actor.must(Permission.CONNECT)
        chosen = False if wanted is False else dict(wanted)
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            org = repository.load_org(session, connection.org_id)
            before = {"limits": org.settings.get("limits", {})}
            org.settings = {**org.settings, "limits": chosen}
            connection.updated_at = datetime.now(UTC)  # tells workers to open it anew
            audit.record(session, actor, Action.LIMITS_SET, connection.id, before=before, after={"limits": chosen})
        return self.limits(actor, connection_id)

    def webhook_setup(self, actor: Actor, connection_id: int) -> WebhookSetup:
        """What it returns are secrets, so the audit log has who asked for them."""
        actor.must(Permission.CONNECT)
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            audit.record(session, actor, Action.WEBHOOK_SHOWN, connection.id)
        return self._setup(connection)

    def _setup(self, connection: Connection) -> WebhookSetup:
        token = self._safe.opened(connection, "webhook_path_token")
        path = f"/webhooks/{connection.vendor}/{token.get_secret_value()}"
        return WebhookSetup(path, self._safe.opened(connection, "webhook_secret"))

    def rotate_webhook_secret(self, actor: Actor, connection_id: int) -> WebhookSetup:
        """A new secret; the one in force until now is accepted beside it until the next rotation."""
        actor.must(Permission.CONNECT)
        secret = _new_webhook_secret()
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            before = self._safe.opened(connection, "webhook_secret")
            self._safe.put(connection, "previous_webhook_secret", before)
            self._safe.put(connection, "webhook_secret", secret)
            connection.webhook_live_at = None  # whether the vendor has the new one is to be seen
            audit.record(
                session, actor, Action.WEBHOOK_RENEWED, connection.id,
                before={"webhook_secret": before}, after={"webhook_secret": secret},
            )  # fmt: skip
        return self._setup(connection)

    def make_webhooks(self, actor: Actor, connection_id: int, public_base: str) -> None:
        """At the vendor, with the secret in force, where it lets them be made by API. Raises Refused where it does not,
        and as writes do."""
        actor.must(Permission.CONNECT)
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
        setup = self._setup(connection)
        connector = self.open_connector(connection_id, call_class=CallClass.PERSON)
        try:
            if not isinstance(connector, WebhookMaker):
                label = get_vendor(connection.vendor).label
                raise Refused(f"{label} takes webhooks by hand only; the steps are shown.", code="WEBHOOKS_BY_HAND")
            with self._database.transaction() as session:  # before the vendor has them: nobody's wish is unnamed
                audit.record(session, actor, Action.WEBHOOK_MADE, connection.id)
            connector.make_webhooks(public_base + setup.path, setup.secret.get_secret_value())
        finally:
            connector.close()

    def webhook_target(self, path_token: str) -> WebhookTarget | None:
        """Whom the path token belongs to; found by its hash, so nothing is compared byte by byte."""
        with self._database.transaction() as session:
            connection = repository.by_path_hash(session, hashed(path_token))
        if connection is None:
            return None
        fields = ("webhook_secret", "previous_webhook_secret")
        found = [self._safe.maybe(connection, name) for name in fields]
        return WebhookTarget(
            connection.id,
            connection.org_id,
            connection.workspace_id,
            VendorName(connection.vendor),
            tuple(secret for secret in found if secret is not None),
            connection.webhook_live_at is not None,
            connection.sealed_webhook_secret or "",
        )

    def note_webhook(self, target: WebhookTarget) -> None:
        """A delivery came that was signed with the first of its secrets. Only the first one is noted, and only where
        that secret is still in force: whoever asks may have looked before it was renewed."""
        with self._database.transaction() as session:
            repository.note_webhook(session, target.connection_id, target.sealed_secret)

    def webhook_paths(self) -> frozenset[str]:
        """The hashes of all path tokens."""
        with self._database.transaction() as session:
            return frozenset(repository.path_hashes(session))

    # Working.

    def capabilities(self, connection_id: int) -> Capabilities:
        """What the probe found, with what a person set for the org laid over it."""
        with self._database.transaction() as session:
            connection = repository.load(session, connection_id)
            return capabilities_of(connection, repository.load_org(session, connection.org_id))

    def probe(self, actor: Actor, connection_id: int) -> Capabilities:
        """Asks the vendor again and stores what it found. Raises as reads do."""
        actor.must(Permission.CONNECT)
        with self._database.transaction() as session:
            repository.load_own(session, actor.workspace, connection_id)
        connector = self.open_connector(connection_id, call_class=CallClass.PERSON)
        try:
            found = connector.probe()
        finally:
            connector.close()
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            before, after = {"capabilities": connection.capabilities}, {"capabilities": _stored(found)}
            connection.capabilities = _stored(found)
            audit.record(session, actor, Action.CONNECTION_PROBED, connection.id, before=before, after=after)
        return self.capabilities(connection_id)

    def open_connector(
        self, connection_id: int, *, call_class: CallClass = CallClass.RUN, limit_wait_s: float = 10.0
    ) -> Connector:
        """A connector of its own client; whoever opens it keeps it per process and closes it.

        Raises NotFound, ConnectionBroken, Unavailable. Nothing is called at the vendor yet.
        """
        with self._database.transaction() as session:
            connection = repository.load(session, connection_id)
            org = repository.load_org(session, connection.org_id)
        if connection.status != "live":
            raise ConnectionBroken(f"Connection {connection_id} is broken: {connection.broken_reason}")
        vendor = get_vendor(connection.vendor)
        capabilities = capabilities_of(connection, org)
        centre = self._centre(vendor, connection.data_centre)
        grants = PostgresGrants(self._database, self._safe, centre, connection_id)
        link = Link(
            org_external_id=org.external_id,
            api_domain=vendor.sign_in.api_domain(centre, connection.api_domain),
            tokens=SharedTokens(grants, vendor.sign_in),
            limiter=self._limiter(vendor, org, capabilities, connection.client_id),
            capabilities=capabilities,
            settings=org.settings,
            call_class=call_class,
            limit_wait_s=limit_wait_s,
            call_s=self._settings.scaled(self._settings.push_deadline_s),
        )
        return vendor.connect(link)

    def rotate_keys(self, actor: Actor, *, batch: int = 100) -> int:
        """Seals everything under the vault's current key, in batches; returns how many connections were touched."""
        actor.must(Permission.ROTATE_KEYS)
        key_id, touched = self._safe.vault.current, 0
        while True:
            with self._database.transaction() as session:
                rows = repository.sealed_under_other_keys(session, key_id, batch)
                for row in rows:
                    self._safe.reseal(row)
                if rows:
                    audit.record(session, actor, Action.KEYS_ROTATED, key_id, after={"connections": len(rows)})
            if not rows:
                return touched
            touched += len(rows)

    def _limiter(self, vendor: Vendor, org: Org, capabilities: Capabilities, client_id: str) -> Limiter:
        limits = limits_in_force(vendor.facts(capabilities).limits, org.settings)
        if self._redis is None or not limits:
            return Unlimited()
        org_key = f"{vendor.name}:{org.data_centre}:{org.external_id}"
        return RedisLimiter(self._redis, org_key, limits, app_key=hashed(client_id)[:16])

    def _centre(self, vendor: Vendor, name: str) -> DataCentre:
        known = vendor.sign_in.data_centres(self._settings.sandbox_url)
        if name not in known:
            raise ConfigError(f"There is no data centre {name!r}; known are {', '.join(known)}.", code="UNKNOWN_CENTRE")
        return known[name]

    def _client_of(self, row: PendingSignIn) -> Client:
        secret = self._safe.vault.open(row.sealed_client_secret, row=_sign_in(row), field="client_secret")
        return Client(row.client_id, secret)


class _Safe:
    """The sealed columns of a connection: each is bound to its row and its field."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def put(self, connection: Connection, name: str, secret: SecretStr | None) -> None:
        sealed = None if secret is None else self.seal(connection.id, name, secret)
        setattr(connection, repository.SEALED_COLUMNS[name], sealed)

    def seal(self, connection_id: int, name: str, secret: SecretStr) -> str:
        return self.vault.seal(secret, row=_row(connection_id), field=name)

    def maybe(self, connection: Connection, name: str) -> SecretStr | None:
        sealed = getattr(connection, repository.SEALED_COLUMNS[name])
        return None if sealed is None else self.vault.open(sealed, row=_row(connection.id), field=name)

    def opened(self, connection: Connection, name: str) -> SecretStr:
        """Raises ConfigError where there is none."""
        found = self.maybe(connection, name)
        if found is None:
            raise ConfigError(f"Connection {connection.id} has no {name}: connect again.", code="SECRET_MISSING")
        return found

    def reseal(self, connection: Connection) -> None:
        for name, column in repository.SEALED_COLUMNS.items():
            sealed = getattr(connection, column)
            if sealed is not None:
                setattr(connection, column, self.vault.rotate(sealed, row=_row(connection.id), field=name))


class PostgresGrants:
    """GrantStore on the connection's row: each method is one short transaction, none lasts over a vendor's call."""

    def __init__(self, database: Database, safe: _Safe, centre: DataCentre, connection_id: int) -> None:
        self._database = database
        self._safe = safe
        self._centre = centre
        self._id = connection_id

    def load(self) -> Held:
        with self._database.transaction() as session:
            found = repository.look(session, self._id, claim_s=CLAIM_S)
        if found.row.status != "live":
            raise ConnectionBroken(f"Connection {self._id} is broken: {found.row.broken_reason}")
        return self._held(found)

    def claim(self, version: int) -> Held | None:
        with self._database.transaction() as session:
            found = repository.claim(session, self._id, version=version, claim_s=CLAIM_S)
        if found is None:
            return None
        if not found.claimed and found.row.refresh_not_before is not None:
            left = (found.row.refresh_not_before - found.seen_at).total_seconds()
            raise RateLimited("The vendor grants no more access tokens for some minutes.", retry_after_s=left)
        return self._held(found)

    def save(self, held: Held, grant: Grant, *, used: SecretStr, expires_at: datetime) -> AccessToken:
        """Old and new are stored before the new token is used. A replaced refresh token stays as the previous one."""
        refresh, previous = _pair(held, grant, used)
        sealed = repository.SealedGrant(
            access_token=self._safe.seal(self._id, "access_token", grant.access_token),
            access_expires_at=expires_at,
            refresh_token=self._safe.seal(self._id, "refresh_token", refresh),
            previous_refresh_token=(
                None if previous is None else self._safe.seal(self._id, "previous_refresh_token", previous)
            ),
        )
        with self._database.transaction() as session:
            saved = repository.save_grant(
                session, self._id, version=held.version, started_at=_started(held), grant=sealed
            )
        if not saved:
            raise RetryableError("Another process refreshed this connection meanwhile.", retry_after_s=1)
        return AccessToken(grant.access_token, expires_at, held.version + 1)

    def release(self, held: Held, *, not_before_s: float | None) -> None:
        with self._database.transaction() as session:
            repository.release(
                session, self._id, version=held.version, started_at=_started(held), not_before_s=not_before_s
            )

    def break_(self, held: Held, reason: str) -> None:
        with self._database.transaction() as session:
            repository.mark_broken(session, self._id, version=held.version, reason=reason)

    def _held(self, found: repository.Claim) -> Held:
        row = found.row
        access = self._safe.maybe(row, "access_token")
        expires_at = row.access_expires_at
        return Held(
            centre=self._centre,
            client=Client(row.client_id, self._safe.opened(row, "client_secret")),
            refresh_token=self._safe.opened(row, "refresh_token"),
            previous_refresh_token=self._safe.maybe(row, "previous_refresh_token"),
            access=None if access is None or expires_at is None else AccessToken(access, expires_at, row.version),
            version=row.version,
            claimed=found.claimed,
            started_at=row.refresh_started_at,
        )


def _pair(held: Held, grant: Grant, used: SecretStr) -> tuple[SecretStr, SecretStr | None]:
    """(refresh token, previous): a new one pushes out the one that was used; without one, what was used stays."""
    if grant.refresh_token is not None and grant.refresh_token != used:
        return grant.refresh_token, used
    if used == held.refresh_token:
        return used, held.previous_refresh_token
    return used, None


def _started(held: Held) -> datetime:
    if held.started_at is None:
        raise ValueError("a grant that was not claimed")
    return held.started_at


def _stored(found: Capabilities) -> dict[str, Any]:
    custom = {"custom_fields": custom_fields.dumped(found.custom_fields)} if found.custom_fields else {}
    return {**found.flags, **custom}


def _probed(vendor: Vendor, link: Link) -> Mapping[str, Any]:
    """Capabilities by reading only. A probe that fails leaves them off: they can be asked for again later."""
    connector = vendor.connect(link)
    try:
        return _stored(connector.probe())
    except RetryableError as error:
        log.warning("%s: capabilities could not be probed (%s)", vendor.name, error.code)
        return {}
    finally:
        connector.close()


def capabilities_of(connection: Connection, org: Org) -> Capabilities:
    """What the probe found, with what a person set for the org laid over it. Raises ConfigError."""
    chosen = org.settings.get("capabilities")
    found = {name: value for name, value in connection.capabilities.items() if name != "custom_fields"}
    return Capabilities(
        {**found, **(chosen if isinstance(chosen, dict) else {})},
        {
            ModuleName(name): fields
            for name, fields in custom_fields.loaded(
                connection.capabilities.get("custom_fields"), org.settings.get("custom_fields")
            ).items()
        },
        custom_fields.private_names(org.settings.get("private_fields")),
    )


def _view(connection: Connection, org: Org) -> ConnectionView:
    return ConnectionView(
        id=connection.id,
        org_id=org.id,
        vendor=VendorName(connection.vendor),
        vendor_label=get_vendor(connection.vendor).label,
        org_external_id=org.external_id,
        org_name=org.name,
        data_centre=connection.data_centre,
        status=connection.status,
        broken_reason=connection.broken_reason,
        scopes=tuple(str(scope) for scope in connection.scopes),
        capabilities=capabilities_of(connection, org).flags,
        webhook_live_at=connection.webhook_live_at,
        created_at=connection.created_at,
        updated_at=connection.updated_at,
    )


def _told(connection: Connection, org: OrgChoice) -> dict[str, object]:
    """What the audit log tells of a grant; the vault's texts stand for the secrets that they seal."""
    return {
        "vendor": connection.vendor,
        "org": org.external_id,
        "data_centre": connection.data_centre,
        "client_id": connection.client_id,
        "scopes": [str(scope) for scope in connection.scopes],
        "client_secret": SecretStr(connection.sealed_client_secret or ""),
        "tokens": SecretStr(connection.sealed_access_token or ""),
    }


def _grant_text(grant: Grant) -> SecretStr:
    return SecretStr(
        json.dumps(
            {
                "access_token": grant.access_token.get_secret_value(),
                "refresh_token": None if grant.refresh_token is None else grant.refresh_token.get_secret_value(),
                "expires_in_s": grant.expires_in_s,
                "api_domain": grant.api_domain,
                "scopes": list(grant.scopes),
            }
        )
    )


def _grant_of(text: SecretStr) -> Grant:
    raw = json.loads(text.get_secret_value())
    refresh = raw["refresh_token"]
    return Grant(
        access_token=SecretStr(raw["access_token"]),
        refresh_token=None if refresh is None else SecretStr(refresh),
        expires_in_s=raw["expires_in_s"],
        api_domain=raw["api_domain"],
        scopes=tuple(raw["scopes"]),
    )


def hashed(value: str) -> str:
    """Of random texts of 32 bytes: nothing to guess, so a plain digest is enough."""
    return hashlib.sha256(value.encode()).hexdigest()


def _row(connection_id: int) -> str:
    return f"connection:{connection_id}"


def _sign_in(row: PendingSignIn) -> str:
    return f"sign_in:{row.state_hash}"


def _new_webhook_secret() -> SecretStr:
    return SecretStr("".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS)))


def lists_orgs(vendor: str) -> bool:
    """False: no call of the vendor names its org, so a person must. Raises NotFound for an unknown vendor."""
    return get_vendor(vendor).lists_orgs
