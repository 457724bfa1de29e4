"""What routes are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from api.ports import Doors


def doors_of(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


def workspace_of(doors: Annotated[Doors, Depends(doors_of)]) -> int:
    """Until people sign in (PE-1), every caller works in the first workspace."""
    return doors.workspace()


TheDoors = Annotated[Doors, Depends(doors_of)]
TheWorkspace = Annotated[int, Depends(workspace_of)]
MOST_ID = 2**63 - 1
"""The most that Postgres can hold as one; more is a bad question, not a mistake of ours."""
Id = Annotated[int, Path(ge=1, le=MOST_ID)]
