"""What routes are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.ports import Doors


def doors_of(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


def workspace_of(doors: Annotated[Doors, Depends(doors_of)]) -> int:
    """Until people sign in (PE-1), every caller works in the first workspace."""
    return doors.workspace()


TheDoors = Annotated[Doors, Depends(doors_of)]
TheWorkspace = Annotated[int, Depends(workspace_of)]
