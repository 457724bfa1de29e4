"""The blueprint of work orders: the only way in which their status moves [T]. Its steps are the organisation's own."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from deploy.sandbox.jsonio import JsonObject


@dataclass(frozen=True, slots=True)
class Transition:
    id: str
    name: str
    before: str
    after: str


# Names Complete, Cancel and Close [T]; Start is [I].
DEFAULT = (
    Transition("1011000000149301", "Start", "New", "In Progress"),
    Transition("1011000000149302", "Complete", "In Progress", "Completed"),
    Transition("1011000000149303", "Close", "Completed", "Closed"),
    Transition("1011000000149304", "Cancel", "New", "Cancelled"),
    Transition("1011000000149305", "Cancel", "In Progress", "Cancelled"),
)


class Blueprint:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.transitions: tuple[Transition, ...] = DEFAULT

    def define(self, given: JsonObject) -> None:
        """{transitions: [{id, name, before, after}]}; replaces all."""
        self.transitions = tuple(
            Transition(str(one.get("id") or 1011000000149400 + number), one["name"], one["before"], one["after"])
            for number, one in enumerate(given["transitions"], 1)
        )

    def describe(self) -> list[JsonObject]:
        return [asdict(one) for one in self.transitions]

    def offered(self, status: str) -> list[Transition]:
        return [one for one in self.transitions if one.before == status]
