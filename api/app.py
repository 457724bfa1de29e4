"""create_app(): lifespan, routers, and how errors look at the edge."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from api import webhooks
from api.bodies import BoundedBodies
from api.ports import open_doors
from api.routes import health, integrations, runs
from shared.db.session import REFUSED_BY_POSTGRES
from shared.errors import BothwaysError, ConfigError, NotFound, OrgHeld, Refused, RetryableError, Unavailable
from shared.points import run_test_hook
from shared.settings import Settings, load_settings

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[BothwaysError], int], ...] = (
    (NotFound, 404),
    (OrgHeld, 409),
    (Refused, 409),
    (Unavailable, 503),
    (RetryableError, 503),
    (ConfigError, 422),
)


def create_app(settings: Settings | None = None) -> FastAPI:
    chosen = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        run_test_hook(chosen)
        app.state.doors = open_doors(chosen)
        yield
        app.state.doors.close()

    # Its pages come from here, not from somebody's CDN: they work without the internet, and tell nobody who looks.
    app = FastAPIOffline(
        redoc_url=None,
        title="Bothways",
        description="Two-way record sync: integrations, syncs and their outcomes.",
        version="0.1.0",
        lifespan=lifespan,
    )
    app.include_router(health.router)
    app.include_router(integrations.router, prefix="/api/v1")
    app.include_router(runs.router, prefix="/api/v1")
    app.router.routes.append(webhooks.route)
    app.add_exception_handler(BothwaysError, _known_trouble)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _mistake)
    app.add_middleware(BoundedBodies, most_bytes=chosen.webhook_max_bytes)
    return app


async def _known_trouble(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, BothwaysError):
        return await _mistake(_request, error)
    if error.code == REFUSED_BY_POSTGRES:  # its words are about our statements: for the log
        log.error("%s %s: %s", _request.method, _request.url.path, error)
        return await _mistake(_request, error)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 400)
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else None
    return JSONResponse({"code": error.code, "message": str(error)}, status_code=status, headers=headers)


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
    return JSONResponse({"code": "INTERNAL", "message": "An internal error occurred; the log has it."}, status_code=500)
