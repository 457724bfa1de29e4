"""Zoho's grants: codes, refresh tokens and access tokens, with the limits of the accounts server.

Source: fact sheet of Zoho CRM, section 1 (sign-in of all Zoho products)."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from deploy.sandbox.messages import Caller

CLIENT_ID = "1000.SANDBOXCLIENT0000000000000000000"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105  (of the imitation)
ADMIN = "admin@sandbox.test"
PERSON = "person@sandbox.test"
INTEGRATION = "integration@sandbox.test"

DEFAULTS = {
    "access_token_s": 3600,
    "grant_code_s": 180,
    "token_allowance": 10,
    "token_window_s": 600,
    "max_access_tokens": 15,
    "max_refresh_tokens": 20,
    "consent_denied": False,
    "rotate_refresh_tokens": False,
    "grace_s": 1800,
}


@dataclass(slots=True)
class Grant:
    """A refresh token: who gave what to which client. `id` names it in the log of calls, where no token belongs."""

    id: str
    token: str
    user: str
    client_id: str
    scopes: tuple[str, ...]
    refreshes: int = 0
    issued: deque[float] = field(default_factory=deque)
    live: deque[str] = field(default_factory=deque)


@dataclass(slots=True)
class Former:
    """A refresh token that was replaced, good until `expires` all the same."""

    grant: Grant
    expires: float


@dataclass(slots=True)
class Access:
    grant: Grant
    expires: float


@dataclass(slots=True)
class Code:
    user: str
    redirect_uri: str
    scopes: tuple[str, ...]
    offline: bool
    expires: float


@dataclass(slots=True)
class Product:
    """A vendor that takes these tokens: its scopes start with `prefix`, and it lives under /{vendor}."""

    prefix: str
    vendor: str
    all_scopes: tuple[str, ...]
    person_token: str = field(default_factory=lambda: f"1000.person.{secrets.token_hex(16)}")
    integration_token: str = field(default_factory=lambda: f"1000.integration.{secrets.token_hex(16)}")


class TokenError(Exception):
    """`error` is the word of the accounts server."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Grants:
    def __init__(self) -> None:
        self.products: dict[str, Product] = {}
        self.settings: Callable[[str], int] = lambda name: int(DEFAULTS[name])
        self.clock: Callable[[], float] = time.monotonic
        self.grants: dict[str, Grant] = {}
        self._ids = itertools.count(1)
        self._former: dict[str, Former] = {}
        self._access: dict[str, Access] = {}
        self._codes: dict[str, Code] = {}

    def add_product(self, product: Product) -> None:
        self.products[product.prefix.lower()] = product
        self._add_ready_grants(product)

    def reset(self) -> None:
        """Every token ends; those that were printed at the start are valid again, as new."""
        self.grants.clear()
        self._former.clear()
        self._access.clear()
        self._codes.clear()
        for product in self.products.values():
            self._add_ready_grants(product)

    def _add_ready_grants(self, product: Product) -> None:
        for token, user in ((product.person_token, PERSON), (product.integration_token, INTEGRATION)):
            self.grants[token] = self._new_grant(token, user, product.all_scopes)

    def _new_grant(self, token: str, user: str, scopes: tuple[str, ...]) -> Grant:
        return Grant(f"grant-{next(self._ids)}", token, user, CLIENT_ID, scopes)

    def vendor_of(self, grant: Grant) -> str | None:
        product = self.product_of(grant.scopes)
        return product.vendor if product else None

    def product_of(self, scopes: tuple[str, ...]) -> Product | None:
        """The first product named; a grant over two products gets the address of the first [I]."""
        for scope in scopes:
            product = self.products.get(scope.split(".")[0].lower())
            if product is not None:
                return product
        return None

    # Grant codes

    def new_code(self, redirect_uri: str, scopes: tuple[str, ...], offline: bool) -> str:
        code = f"1000.{secrets.token_hex(16)}"
        expires = self.clock() + self.settings("grant_code_s")
        self._codes[code] = Code(ADMIN, redirect_uri, scopes, offline, expires)
        return code

    def redeem(self, code: str, redirect_uri: str) -> tuple[Grant, bool]:
        """One use, within its time. The flag says whether the refresh token is to be told."""
        found = self._codes.pop(code, None)
        if found is None or found.expires < self.clock():
            raise TokenError("invalid_code")
        if found.redirect_uri != redirect_uri:
            raise TokenError("invalid_redirect_uri")
        grant = self._new_grant(f"1000.{secrets.token_hex(32)}", found.user, found.scopes)
        if found.offline:
            self._keep(grant)
        return grant, found.offline

    def _keep(self, grant: Grant) -> None:
        """The newest grants of a user and client stay; the oldest ends without notice [V]."""
        self.grants[grant.token] = grant
        own = [one for one in self.grants.values() if (one.user, one.client_id) == (grant.user, grant.client_id)]
        for oldest in own[: max(0, len(own) - self.settings("max_refresh_tokens"))]:
            self.revoke(oldest.token)

    # Access tokens

    def new_access(self, grant: Grant) -> str:
        self._spend_allowance(grant)
        token = f"1000.{secrets.token_hex(32)}"
        self._access[token] = Access(grant, self.clock() + self.settings("access_token_s"))
        grant.live.append(token)
        while len(grant.live) > self.settings("max_access_tokens"):
            self._access.pop(grant.live.popleft(), None)
        return token

    def grant_of(self, refresh_token: str) -> Grant | None:
        """By its token, or by one that was replaced and is within its grace."""
        grant = self.grants.get(refresh_token)
        former = self._former.get(refresh_token)
        if grant is None and former is not None and former.expires > self.clock():
            grant = self.grants.get(former.grant.token)
        return grant

    def refresh(self, refresh_token: str) -> tuple[Grant, str, bool]:
        """The grant, an access token, and whether the refresh token was replaced and has to be told.

        Zoho's does not rotate [V]; with rotation each refresh replaces it, one with a former token too, so that of two
        who refresh at once the first one's token has the grace left only."""
        grant = self.grant_of(refresh_token)
        if grant is None:
            raise TokenError("invalid_code")
        access = self.new_access(grant)
        grant.refreshes += 1
        rotates = bool(self.settings("rotate_refresh_tokens"))
        if rotates:
            self._rotate(grant)
        return grant, access, rotates

    def _rotate(self, grant: Grant) -> None:
        self._former[grant.token] = Former(grant, self.clock() + self.settings("grace_s"))
        del self.grants[grant.token]
        grant.token = f"1000.{secrets.token_hex(32)}"
        self.grants[grant.token] = grant

    def former_of(self, grant: Grant) -> dict[str, float]:
        """Replaced tokens that still work, with the seconds left."""
        now = self.clock()
        return {
            token: one.expires - now for token, one in self._former.items() if one.grant is grant and one.expires > now
        }

    def _spend_allowance(self, grant: Grant) -> None:
        now = self.clock()
        while grant.issued and now - grant.issued[0] >= self.settings("token_window_s"):
            grant.issued.popleft()
        if len(grant.issued) >= self.settings("token_allowance"):
            raise TokenError("Access Denied")
        grant.issued.append(now)

    def caller(self, token: str) -> Caller | None:
        access = self._access.get(token)
        if access is None or access.expires < self.clock():
            return None
        return Caller(access.grant.user, frozenset(scope.lower() for scope in access.grant.scopes), token)

    # Ends

    def revoke(self, token: str) -> bool:
        """A refresh token with all it gave, or one access token."""
        grant = self.grant_of(token)
        if grant is None:
            return self._access.pop(token, None) is not None
        del self.grants[grant.token]
        for live in grant.live:
            self._access.pop(live, None)
        return True

    def revoke_all(self, user: str | None, vendor: str | None, client_id: str | None) -> int:
        """Every grant to which all that is given applies."""
        ended = [
            token
            for token, grant in self.grants.items()
            if user in (None, grant.user)
            and vendor in (None, self.vendor_of(grant))
            and client_id in (None, grant.client_id)
        ]
        for token in ended:
            self.revoke(token)
        return len(ended)

    def end_access(self, token: str) -> None:
        self._access.pop(token, None)

    def end_all_access(self) -> int:
        ended = len(self._access)
        self._access.clear()
        return ended


def registered(redirect_uri: str) -> bool:
    """Any callback on this machine is registered for the test client."""
    parts = urlsplit(redirect_uri)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")


def bearer_of(headers: dict[str, str]) -> str | None:
    """The token of `Authorization: Zoho-oauthtoken …`; any other scheme, `Bearer` too, is none [V]."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme == "Zoho-oauthtoken" else None
