"""A small router: looking a call up costs a dictionary access and a few comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.sandbox.messages import Handler, Request


@dataclass(frozen=True, slots=True)
class Route:
    segments: tuple[str, ...]
    handler: Handler
    scope: str | None

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        params: dict[str, str] = {}
        for wanted, given in zip(self.segments, segments, strict=True):
            if wanted.startswith("{"):
                params[wanted[1:-1]] = given
            elif wanted != given:
                return None
        return params


class Router:
    """Paths are matched segment by segment, and the more literal route wins."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, int], list[Route]] = {}

    def add(self, method: str, path: str, handler: Handler, scope: str | None = None) -> None:
        segments = tuple(path.strip("/").split("/"))
        routes = self._routes.setdefault((method, len(segments)), [])
        routes.append(Route(segments, handler, scope))
        routes.sort(key=lambda route: [part.startswith("{") for part in route.segments])

    def find(self, request: Request) -> Route | None:
        segments = tuple(request.path.strip("/").split("/"))
        for route in self._routes.get((request.method, len(segments)), ()):
            params = route.match(segments)
            if params is not None:
                request.params = params
                return route
        return None
