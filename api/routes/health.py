"""Health: alive, and able to do its work."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import text

from api.bearer import needs
from api.deps import TheActor, TheDoors
from shared.bus import redis_errors
from shared.errors import BothwaysError
from shared.services.health import work_health
from shared.sync.access import Permission

open_router = APIRouter(tags=["health"])
"""What a load balancer asks: open."""
router = APIRouter(tags=["health"])


@open_router.get("/healthz", summary="The process is alive")
def alive() -> dict[str, str]:
    return {"status": "ok"}


@open_router.get("/readyz", summary="Postgres and Redis answer")
def ready(doors: TheDoors) -> JSONResponse:
    checks = {"postgres": _postgres(doors), "redis": _redis(doors)}
    down = [name for name, works in checks.items() if not works]
    body = {"status": "unavailable" if down else "ok", **{name: "ok" if up else "down" for name, up in checks.items()}}
    return JSONResponse(body, status_code=503 if down else 200, headers={"Retry-After": "5"} if down else None)


@router.get("/workz", summary="Work flows: each queue ran its canary a short while ago", **needs(Permission.VIEW))
def flowing(doors: TheDoors, actor: TheActor) -> JSONResponse:
    """503 where a queue is stalled. What a load balancer must not ask: the doors keep events while workers are away."""
    actor.must(Permission.VIEW)  # here, for the host asks without Postgres, and so without an actor
    health = work_health(doors.bus, doors.settings)
    status, headers = (503, {"Retry-After": "15"}) if health.stalled else (200, None)
    return JSONResponse({**asdict(health), "stalled": list(health.stalled)}, status_code=status, headers=headers)


def _postgres(doors: TheDoors) -> bool:
    try:
        with doors.db.transaction() as session:
            session.execute(text("SELECT 1"))
    except BothwaysError:
        return False
    return True


def _redis(doors: TheDoors) -> bool:
    try:
        with redis_errors():
            doors.bus.redis.ping()
    except BothwaysError:
        return False
    return True
