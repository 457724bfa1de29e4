"""Health: alive, and able to do its work."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import text

from api.deps import TheDoors
from shared.bus import redis_errors
from shared.errors import BothwaysError

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process is alive")
def alive() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Postgres and Redis answer")
def ready(doors: TheDoors) -> JSONResponse:
    checks = {"postgres": _postgres(doors), "redis": _redis(doors)}
    down = [name for name, works in checks.items() if not works]
    body = {"status": "unavailable" if down else "ok", **{name: "ok" if up else "down" for name, up in checks.items()}}
    return JSONResponse(body, status_code=503 if down else 200, headers={"Retry-After": "5"} if down else None)


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
