"""Zoho's OAuth 2 for all its products: authorise, exchange, refresh, revoke (zoho-crm.md, section 1).

A refusal may be HTTP 200 with `error` in its body. Tokens are only ever in bodies, but for revoke, whose call the
vendor defines with a query; it is not logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from shared.connectors import wire
from shared.connectors._zoho import centres
from shared.connectors.transport import DeadlineTransport, call_deadline
from shared.connectors.vendor import Client, DataCentre, Grant
from shared.errors import BothwaysError, ConfigError, ConnectionBroken, RateLimited, RetryableError

log = logging.getLogger(__name__)

# A rotated token lost to a short timeout would sign everybody out; 30 s is the whole call (reliability.md 4).
TOKEN_CALL_S = 30.0
# At most 10 access tokens per refresh token in 10 minutes, then refused for the rest of the window.
WINDOW_S = 600.0
_DEFAULT_LIFE_S = 3600


class _TokenAnswer(BaseModel):
    """Shape: {access_token, refresh_token?, api_domain?, token_type, expires_in, scope?} or {error, …}."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    access_token: SecretStr | None = None
    refresh_token: SecretStr | None = None
    api_domain: str | None = None
    expires_in: int = _DEFAULT_LIFE_S
    scope: str | None = None
    error: str | None = None
    error_description: str | None = None


@dataclass(frozen=True)
class ZohoSignIn:
    """`product` names the sandbox's folder of the vendor; `scopes` are what its connector needs."""

    product: str
    scopes: tuple[str, ...]
    transport: httpx.BaseTransport | None = field(default=None, repr=False)
    call_s: float = TOKEN_CALL_S

    def data_centres(self, sandbox_url: str | None) -> Mapping[str, DataCentre]:
        return centres.centres(sandbox_url, self.product)

    def redirected(
        self, chosen: DataCentre, accounts_server: str | None, location: str | None, sandbox_url: str | None
    ) -> DataCentre:
        return centres.redirected(chosen, accounts_server, location, self.data_centres(sandbox_url))

    def api_domain(self, centre: DataCentre, said: str | None) -> str:
        return centres.api_domain(centre, said, {**centres.CENTRES, centre.name: centre})

    def authorize_url(self, centre: DataCentre, *, client_id: str, redirect_uri: str, state: str) -> str:
        query = {
            "response_type": "code",
            "client_id": client_id,
            "scope": ",".join(self.scopes),
            "redirect_uri": redirect_uri,
            "access_type": "offline",
            "prompt": "consent",
            "state": state,
        }
        return f"{centre.accounts_server}/oauth/v2/auth?{urlencode(query)}"

    def exchange(self, centre: DataCentre, client: Client, *, code: str, redirect_uri: str) -> Grant:
        """A code lives 3 minutes and is good once. A grant without a refresh token is of no use here: ConfigError."""
        grant = self._token(
            centre, client, {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        )
        if grant.refresh_token is None:
            raise ConfigError("Zoho granted no lasting access; connect again and accept.", code="NO_REFRESH_TOKEN")
        return grant

    def refresh(self, centre: DataCentre, client: Client, refresh_token: SecretStr) -> Grant:
        """The refresh token lasts and is not replaced: the answer usually has none."""
        body = {"grant_type": "refresh_token", "refresh_token": refresh_token.get_secret_value()}
        return self._token(centre, client, body)

    def revoke(self, centre: DataCentre, refresh_token: SecretStr) -> None:
        query = urlencode({"token": refresh_token.get_secret_value()})
        url = f"{centre.accounts_server}/oauth/v2/token/revoke?{query}"
        status, _ = self._post(url, {})
        if status >= 500 or status == 429:
            raise RetryableError(f"Zoho's accounts server answered HTTP {status} when the grant was to be revoked.")

    def _token(self, centre: DataCentre, client: Client, body: Mapping[str, str]) -> Grant:
        form = {**body, "client_id": client.id, "client_secret": client.secret.get_secret_value()}
        status, content = self._post(f"{centre.accounts_server}/oauth/v2/token", form)
        answer = _answer_of(content) or _TokenAnswer()
        error = _refusal(status, answer)
        if error is not None:
            raise error

        return Grant(
            access_token=answer.access_token or SecretStr(""),
            refresh_token=answer.refresh_token,
            expires_in_s=answer.expires_in,
            api_domain=answer.api_domain,
            scopes=tuple((answer.scope or "").replace(",", " ").split()),
        )

    def _post(self, url: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body. A failure is raised outside the handler, so that no request (and secret) hangs on it."""
        failure: BothwaysError
        timeout = httpx.Timeout(self.call_s, connect=5.0)
        began = time.monotonic()
        with httpx.Client(
            transport=self.transport or DeadlineTransport(connections=1), timeout=timeout, trust_env=False
        ) as http:
            try:
                with call_deadline(began + self.call_s):
                    response = http.post(url, data=dict(form), follow_redirects=False)
                took_ms = round((time.monotonic() - began) * 1000)
                log.info("zoho accounts POST /oauth/v2/token -> %d in %d ms", response.status_code, took_ms)
                return response.status_code, response.content
            except httpx.HTTPError as error:
                failure = RetryableError(f"Zoho's accounts server did not answer ({type(error).__name__}).")
        raise failure


def _answer_of(content: bytes) -> _TokenAnswer | None:
    try:
        return _TokenAnswer.model_validate(wire.loads(content))
    except (ValueError, ValidationError):
        return None


def _refusal(status: int, answer: _TokenAnswer) -> BothwaysError | None:
    """The error that a token answer stands for; None where it holds a token."""
    said = f"{answer.error or ''} {answer.error_description or ''}".lower()
    if status == 429 or "access denied" in said or "access_denied" in said or "too many" in said:
        return RateLimited("Zoho grants no more access tokens for some minutes.", retry_after_s=WINDOW_S)
    if status >= 500 or (not answer.access_token and answer.error is None):
        return RetryableError(f"Zoho's accounts server answered HTTP {status} without a token.")
    if "invalid_grant" in said or "invalid_code" in said:
        return ConnectionBroken("Zoho no longer accepts this grant: connect again.")
    if answer.error is not None:
        # `error` is one of a fixed list (invalid_client, invalid_client_secret, …); anything longer is not shown.
        word = answer.error if len(answer.error) <= 40 and answer.error.replace("_", "").isalnum() else "unknown"
        return ConfigError(f"Zoho refused the sign-in ({word}): check client id and secret.", code="CLIENT_REFUSED")
    return None
