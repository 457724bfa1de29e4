"""How errors look at the edge: a status, a code and a sentence."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.db.session import REFUSED_BY_POSTGRES
from shared.errors import (
    BothwaysError,
    ConfigError,
    NotAllowed,
    NotFound,
    OrgHeld,
    Refused,
    RetryableError,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnsureWrite,
)

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[BothwaysError], int], ...] = (
    (Unauthenticated, 401),
    (NotAllowed, 403),
    (NotFound, 404),
    (OrgHeld, 409),
    (Refused, 409),
    (Throttled, 429),
    (Unavailable, 503),
    (RetryableError, 503),
    (UnsureWrite, 502),
    (ConfigError, 422),
)
REALM = 'Bearer realm="bothways"'


def install(app: FastAPI) -> None:
    app.add_exception_handler(BothwaysError, _known_trouble)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _mistake)


def known(error: BothwaysError, method: str, path: str) -> JSONResponse:
    """A mistake of ours where Postgres refused a statement: its words are about our statements, for the log."""
    if error.code == REFUSED_BY_POSTGRES:
        log.error("%s %s: %s", method, path, error)
        return _internal()
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 400)
    body = {"code": error.code, "message": str(error)}
    if isinstance(error, NotAllowed):
        body["permission"] = error.permission
    return JSONResponse(body, status_code=status, headers=_headers(error))


def _headers(error: BothwaysError) -> dict[str, str]:
    match error:
        case Unauthenticated(code="NO_TOKEN"):
            return {"WWW-Authenticate": REALM}
        case Unauthenticated():
            return {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
        case NotAllowed():
            return {"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'}
        case Unavailable() | Throttled():
            return {"Retry-After": str(error.retry_after_s)}
    return {}


async def _known_trouble(request: Request, error: Exception) -> JSONResponse:
    return known(error, request.method, request.url.path) if isinstance(error, BothwaysError) else _internal()


async def _misshapen(_request: Request, error: Exception) -> JSONResponse:
    """What is wrong and where, never what was sent: it may be a secret, or nothing that JSON can hold."""
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{"loc": [_shown(part) for part in one["loc"]], "msg": _shown(one["msg"])} for one in wrong]
    where = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in detail)
    return JSONResponse({"code": "BAD_REQUEST", "message": where[:1000], "detail": detail}, status_code=422)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: no such path, a wrong method, a body that is too long."""
    status, said = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LONG"}.get(status, "BAD_REQUEST")
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"code": code, "message": _shown(said)}, status_code=status, headers=headers)


def _shown(part: object) -> str:
    return str(part).encode("utf-8", "replace").decode()[:200]


async def _mistake(_request: Request, _error: Exception) -> JSONResponse:
    """A mistake of ours: the log has it, the caller gets a sentence."""
    return _internal()


def _internal() -> JSONResponse:
    return JSONResponse({"code": "INTERNAL", "message": "An internal error occurred; the log has it."}, status_code=500)
