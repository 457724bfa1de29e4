"""create_app(): lifespan, routers, and what every request passes through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from api import bearer, refusals, webhooks
from api.bodies import BoundedBodies
from api.ports import open_doors
from api.routes import (
    audit,
    bindings,
    config,
    connections,
    health,
    imports,
    integrations,
    invoicing,
    logs,
    mappings,
    notifications,
    org_settings,
    runs,
    setup,
    tokens,
)
from shared.points import run_test_hook
from shared.settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    chosen = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        run_test_hook(chosen)
        app.state.doors = open_doors(chosen)
        yield
        await app.state.doors.intake.close()
        app.state.doors.close()

    # Its pages come from here, not from somebody's CDN: they work without the internet, and tell nobody who looks.
    app = FastAPIOffline(
        redoc_url=None,
        title="Bothways",
        description="Two-way record sync: integrations, syncs and their outcomes. Each call needs a token.",
        version="0.1.0",
        lifespan=lifespan,
    )
    app.include_router(health.open_router)
    closed = [Depends(bearer.scheme)]
    app.include_router(health.router, dependencies=closed)
    for part in (
        connections,
        org_settings,
        config,
        integrations,
        invoicing,
        setup,
        mappings,
        notifications,
        bindings,
        runs,
        imports,
        logs,
        tokens,
        audit,
    ):
        app.include_router(part.router, prefix="/api/v1", dependencies=closed)
    app.router.routes.append(webhooks.route)
    refusals.install(app)
    app.add_middleware(
        BoundedBodies, most_bytes=chosen.webhook_max_bytes, longer={imports.UPLOADS: chosen.import_max_bytes}
    )
    app.add_middleware(bearer.TokenNeeded)
    app.add_middleware(webhooks.Shortcut)  # the last one added is the first to see a request
    return app
