"""The accounts server: authorise, token, revoke. Every error of the token call comes with HTTP 200 [V]."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from deploy.sandbox import jsonio
from deploy.sandbox.accounts import grants as zoho
from deploy.sandbox.accounts.grants import Grants, TokenError
from deploy.sandbox.faults import Fault
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.limits import Verdict
from deploy.sandbox.messages import Answer, Caller, Request
from deploy.sandbox.routing import Router
from deploy.sandbox.vendor import Vendor, World

TOO_MANY = "You have made too many requests continuously. Please try again after some time."


class ZohoAccounts(Vendor):
    name = "zoho_accounts"

    def __init__(self, world: World) -> None:
        super().__init__(world, zoho.DEFAULTS, {})
        self.grants = world.get(Grants)
        self.grants.settings = lambda name: int(self.capabilities[name])
        self.router = Router()
        self.router.add("GET", "/oauth/v2/auth", self._authorise)
        self.router.add("POST", "/oauth/v2/token", self._token)
        self.router.add("POST", "/oauth/v2/token/revoke", self._revoke)
        self.router.add("GET", "/oauth/v2/token/revoke", self._revoke)
        self.controls.add("POST", "revoke", self._control_revoke)
        self.controls.add("POST", "expire", self._control_expire)

    def handle(self, request: Request) -> Answer:
        route = self.router.find(request)
        return route.handler(request) if route else Answer(404, b"Not Found", content_type="text/plain")

    # Calls

    def _authorise(self, request: Request) -> Answer:
        query = request.query
        if query.get("client_id") != zoho.CLIENT_ID:
            return _page("Invalid Client ID")
        if not zoho.registered(query.get("redirect_uri", "")):
            return _page("Invalid Redirect Uri")
        if query.get("response_type") != "code":
            return self._back(request, {"error": "invalid_response_type"})
        if self.capabilities["consent_denied"]:
            return self._back(request, {"error": "access_denied"})
        scopes = tuple(part.strip() for part in query.get("scope", "").split(",") if part.strip())
        if self.grants.product_of(scopes) is None:
            return self._back(request, {"error": "invalid_scope"})
        code = self.grants.new_code(query["redirect_uri"], scopes, query.get("access_type") == "offline")
        accounts = f"{request.base_url}/{self.name}"
        return self._back(request, {"code": code, "location": self.world.data_centre, "accounts-server": accounts})

    def _back(self, request: Request, answer: dict[str, str]) -> Answer:
        if "state" in request.query:
            answer["state"] = request.query["state"]
        target = request.query["redirect_uri"]
        separator = "&" if "?" in target else "?"
        return Answer(302, headers={"location": f"{target}{separator}{urlencode(answer)}"})

    def _token(self, request: Request) -> Answer:
        fields = {**request.query, **dict(parse_qsl(request.body.decode("utf-8", "replace")))}
        try:
            answer = self._grant_token(request, fields)
        except TokenError as error:
            return _token_error(error.error)
        request.touch("token", request.record, applied=True)
        return Answer.of(answer)

    def _grant_token(self, request: Request, fields: dict[str, str]) -> JsonObject:
        if fields.get("client_id") != zoho.CLIENT_ID:
            raise TokenError("invalid_client")
        if fields.get("client_secret") != zoho.CLIENT_SECRET:
            raise TokenError("invalid_client_secret")
        kind = fields.get("grant_type")
        if kind == "refresh_token":
            self._note_grant(request, self.grants.grant_of(fields.get("refresh_token", "")))
            grant, access, told = self.grants.refresh(fields.get("refresh_token", ""))
        elif kind == "authorization_code":
            grant, told = self.grants.redeem(fields.get("code", ""), fields.get("redirect_uri", ""))
            access = self.grants.new_access(grant)
            self._note_grant(request, grant)
        else:
            raise TokenError("unsupported_grant_type")
        answer = self._token_answer(request, access, grant)
        return {**answer, "refresh_token": grant.token} if told else answer

    def _note_grant(self, request: Request, grant: zoho.Grant | None) -> None:
        """For the log of calls."""
        if grant is not None:
            request.touch("token", grant.id)
            request.caller = Caller(grant.user, frozenset(), "")

    def user_of(self, request: Request) -> str | None:
        fields = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        grant = self.grants.grant_of(fields.get("refresh_token", ""))
        return grant.user if grant else None

    def _token_answer(self, request: Request, access: str, grant: zoho.Grant) -> JsonObject:
        """`token_type` says Bearer although the header must not [T]."""
        product = self.grants.product_of(grant.scopes)
        domain = f"{request.base_url}/{product.vendor}" if product else request.base_url
        return {
            "access_token": access, "scope": " ".join(grant.scopes), "api_domain": domain,
            "token_type": "Bearer", "expires_in": int(self.capabilities["access_token_s"]),
        }  # fmt: skip

    def _revoke(self, request: Request) -> Answer:
        fields = {**dict(parse_qsl(request.body.decode("utf-8", "replace"))), **request.query}
        if not self.grants.revoke(fields.get("token", "")):
            return _token_error("invalid_token")
        request.touch("token", None, applied=True)
        return Answer.of({"status": "success"})

    # Control

    def _control_revoke(self, request: Request) -> Answer:
        """{refresh_token}, or any of {user, vendor, client_id}: as when the user withdraws the grant."""
        given = jsonio.loads_object(request.body)
        if "refresh_token" in given:
            return Answer.of({"revoked": int(self.grants.revoke(given["refresh_token"]))})
        if not given or set(given) - {"user", "vendor", "client_id"}:
            raise ValueError("say whose: refresh_token, or any of user, vendor, client_id")
        revoked = self.grants.revoke_all(given.get("user"), given.get("vendor"), given.get("client_id"))
        return Answer.of({"revoked": revoked})

    def _control_expire(self, request: Request) -> Answer:
        """Every access token ends now; refresh tokens stay."""
        return Answer.of({"expired": self.grants.end_all_access()})

    def describe(self, base_url: str) -> JsonObject:
        return {
            "top": {"accounts_url": f"{base_url}/{self.name}", "client_id": zoho.CLIENT_ID,
                    "client_secret": zoho.CLIENT_SECRET, "redirect_uris": ["http://127.0.0.1:*", "http://localhost:*"]},
            "url": f"{base_url}/{self.name}",
            "auth_url": f"{base_url}/{self.name}/oauth/v2/auth",
            "token_url": f"{base_url}/{self.name}/oauth/v2/token",
            "users": {"admin": zoho.ADMIN, "person": zoho.PERSON, "integration": zoho.INTEGRATION},
        }  # fmt: skip

    def seed(self, given: JsonObject) -> dict[str, list[str]]:
        raise ValueError("the accounts server has no records")

    def edit(self, method: str, module: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        raise ValueError("the accounts server has no records")

    def state(self, module: str | None) -> JsonObject:
        return {
            "grants": [
                {
                    "id": one.id,
                    "vendor": self.grants.vendor_of(one),
                    "refresh_token": one.token,
                    "former": self.grants.former_of(one),
                    "refreshes": one.refreshes,
                    "user": one.user,
                    "scopes": list(one.scopes),
                    "live_access_tokens": len(one.live),
                }
                for one in self.grants.grants.values()
            ]
        }

    def reset_records(self) -> None:
        self.grants.reset()

    # The vendor's words

    def identify(self, request: Request) -> None:
        """Its calls carry their own secrets."""

    def limit_key(self, request: Request) -> str:
        return "all"

    def limit_headers(self, verdict: Verdict) -> dict[str, str]:
        return {}

    def over_limit(self, exceeded: str) -> Answer:
        return _token_error("Access Denied")

    def server_error(self, status: int) -> Answer:
        return Answer(status, b"<html><body>Internal Server Error</body></html>", content_type="text/html")

    def body_error(self, fault: Fault) -> Answer:
        return _token_error(str(fault.code or "general_error"))

    def token_error(self) -> Answer:
        return _token_error("invalid_code")

    def end_token(self, request: Request) -> None:
        """Nothing to end: the caller has no access token here."""


def _token_error(error: str) -> Answer:
    if error == "Access Denied":
        return Answer.of({"error_description": TOO_MANY, "error": error, "status": "failure"})
    return Answer.of({"error": error})


def _page(text: str) -> Answer:
    """What a person sees instead of the consent page [I for the status]."""
    return Answer(400, f"<html><body>{text}</body></html>".encode(), content_type="text/html")
