"""What routes are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from api.ports import Doors
from shared.sync.access import Actor


def doors_of(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


def actor_of(request: Request) -> Actor:
    """Whom the token belongs to; `api/bearer.py` put it there, or the request did not come so far."""
    actor: Actor = request.state.actor
    return actor


TheDoors = Annotated[Doors, Depends(doors_of)]
TheActor = Annotated[Actor, Depends(actor_of)]
MOST_ID = 2**63 - 1
"""The most that Postgres can hold as one; more is a bad question, not a mistake of ours."""
Id = Annotated[int, Path(ge=1, le=MOST_ID)]
