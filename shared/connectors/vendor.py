"""What a vendor's folder offers to the rest: sign-in, facts, a connector, a webhook parser. It names no vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from pydantic import SecretStr

from shared.connectors.base import CallClass, Capabilities, Connector, Limit, VendorFacts, WebhookParser
from shared.sync.model import ModuleName, RecordId, VendorName


@dataclass(frozen=True, slots=True)
class AccessToken:
    """`version` counts the grants of a connection; `expires_at` is aware UTC."""

    value: SecretStr
    expires_at: datetime
    version: int


class TokenSource(Protocol):
    def token(self) -> AccessToken:
        """A token that is good for some minutes. Raises RetryableError, ConfigError, ConnectionBroken, Unavailable."""
        ...

    def invalidate(self, version: int) -> None:
        """The vendor refused the token of this version: the next `token()` fetches another."""
        ...


class Limiter(Protocol):
    """The budget of an org's calls: `acquire` before each, `release` after it."""

    def acquire(self, cls: CallClass, *, wait_s: float, hold_s: float) -> str:
        """Takes one call from each limit; returns a token for `release`, which lapses after `hold_s` by itself.

        Raises RateLimited (with the limit's name) where that needs more than `wait_s`; Unavailable.
        """
        ...

    def release(self, token: str, *, sent: bool = True, headers: Mapping[str, str] | None = None) -> None:
        """The call has ended. Not `sent`: the vendor cannot have counted it. `headers` (lower case) of its answer may
        say what is left. Never raises: an answer must not be lost for it."""
        ...

    def block(self, *, limit: str, problem: str, said_s: float | None, otherwise_s: float) -> tuple[str, float]:
        """The vendor answered 429: no call of this limit for `said_s`, or, without a word, for `otherwise_s`, longer
        each time. Returns the limit's name and the seconds. `problem` is what the vendor called the limit, `limit` what
        its error stands for; both may be "". Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """What a connector is opened with: one connection of one org.

    `api_domain` has been checked against the list of data centres. `settings` are the connector's own (see each
    vendor's settings.py), unknown keys are ignored. `limit_wait_s` is how long a call may wait for the budget, `call_s`
    bounds the whole call, waiting and signing in included.
    """

    org_external_id: str
    api_domain: str
    tokens: TokenSource
    limiter: Limiter
    capabilities: Capabilities = field(default_factory=Capabilities)
    settings: Mapping[str, object] = field(default_factory=dict)
    call_class: CallClass = CallClass.RUN
    limit_wait_s: float = 10.0
    call_s: float = 30.0


@dataclass(frozen=True, slots=True)
class OrgChoice:
    external_id: str
    name: str


@dataclass(frozen=True, slots=True)
class DataCentre:
    """`accounts_server` and `api_domains` are base addresses without a slash at the end."""

    name: str
    label: str
    accounts_server: str
    api_domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """The OAuth client that the user made at the vendor."""

    id: str
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class Grant:
    """A token answer. `refresh_token` None: the one in use stays. `expires_in_s` counts from now."""

    access_token: SecretStr
    refresh_token: SecretStr | None
    expires_in_s: int
    api_domain: str | None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Where people see a record at its vendor. `accounts_server` tells the org's data centre; `template` is the org's
    setting `record_url`, "" where nobody set it."""

    org_external_id: str
    accounts_server: str
    module: ModuleName
    record_id: RecordId
    template: str = ""


class SignIn(Protocol):
    """The vendor family's OAuth 2. Every call is bounded by 30 s and goes to a host of the list only."""

    scopes: tuple[str, ...]

    def data_centres(self, sandbox_url: str | None) -> Mapping[str, DataCentre]: ...

    def redirected(
        self, chosen: DataCentre, accounts_server: str | None, location: str | None, sandbox_url: str | None
    ) -> DataCentre:
        """The data centre that the redirect named, else `chosen`. Raises ConfigError for a host not in the list."""
        ...

    def api_domain(self, centre: DataCentre, said: str | None) -> str:
        """The API's base address: what the token answer said, if it is in the list, else the data centre's own."""
        ...

    def authorize_url(self, centre: DataCentre, *, client_id: str, redirect_uri: str, state: str) -> str: ...

    def exchange(self, centre: DataCentre, client: Client, *, code: str, redirect_uri: str) -> Grant:
        """Raises ConfigError (code used up or late, client wrong), RateLimited, RetryableError."""
        ...

    def refresh(self, centre: DataCentre, client: Client, refresh_token: SecretStr) -> Grant:
        """Raises ConnectionBroken (invalid_grant), ConfigError (client wrong), RateLimited, RetryableError."""
        ...

    def revoke(self, centre: DataCentre, refresh_token: SecretStr) -> None:
        """Raises RetryableError; a token that is already dead is fine."""
        ...


class Vendor(Protocol):
    @property
    def name(self) -> VendorName: ...

    @property
    def label(self) -> str: ...

    @property
    def sign_in(self) -> SignIn: ...

    @property
    def webhooks(self) -> WebhookParser: ...

    @property
    def settable(self) -> Mapping[str, type[bool] | type[int] | type[str]]:
        """Capabilities that a person may set for an org, and of what kind each is."""
        ...

    @property
    def lists_orgs(self) -> bool:
        """False: no call names the org; a person names it."""
        ...

    def facts(self, capabilities: Capabilities) -> VendorFacts: ...

    def record_url(self, page: RecordPage) -> str | None:
        """The address of the record's page for people, always https. None: not known."""
        ...

    def connect(self, link: Link) -> Connector: ...

    def orgs(self, link: Link) -> Sequence[OrgChoice]:
        """The orgs that the grant reaches; `link.org_external_id` is not used. Raises as reads do."""
        ...


def limits_in_force(published: Sequence[Limit], settings: Mapping[str, object]) -> tuple[Limit, ...]:
    """The published limits, changed by an org's setting `limits`: {name: calls, or false to switch it off}; false alone
    switches all off.

    A name that is not published adds one: {"per_day": {"calls": 2000, "window_s": 86400}} (0 seconds: at once).
    """
    raw = settings.get("limits")
    if raw is False:
        return ()
    wanted = raw if isinstance(raw, Mapping) else {}
    found = {limit.name: limit for limit in published}
    for name, value in wanted.items():
        known = found.get(str(name))
        match value:
            case False | None:
                found.pop(str(name), None)
            case True:
                continue
            case int() if known is not None and value > 0:
                found[known.name] = replace(known, calls=value, published=known.published or known.calls)
            case {"calls": int(calls), "window_s": int(window_s)} if calls > 0 and window_s >= 0:
                if known is not None and known.window_s == window_s:
                    found[known.name] = replace(known, calls=calls, published=known.published or known.calls)
                else:
                    found[str(name)] = Limit(str(name), calls, window_s)
    return tuple(found.values())
