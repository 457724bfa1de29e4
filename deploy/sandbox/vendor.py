"""What every vendor of the sandbox has. A new one is a folder whose `__init__` offers `build(world)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

from deploy.sandbox.calls import CallLog
from deploy.sandbox.capabilities import Capabilities
from deploy.sandbox.clock import Clock
from deploy.sandbox.faults import Fault, FaultBook
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.ledger import Ledger
from deploy.sandbox.limits import Limits, Verdict
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.routing import Router
from deploy.sandbox.visibility import Visibility
from deploy.sandbox.waits import Waits
from deploy.sandbox.webhooks import Change, Dispatcher, Hook, Message

T = TypeVar("T")


class World:
    """What the vendors of one process share: the data centre, and things a family has in common (such as grants)."""

    def __init__(self, data_centre: str = "us") -> None:
        self.data_centre = data_centre
        self._shared: dict[type[Any], Any] = {}

    def get(self, kind: type[T]) -> T:
        """The one instance of a kind, made on first use, so that no vendor depends on another being built first."""
        if kind not in self._shared:
            self._shared[kind] = kind()
        found = self._shared[kind]
        assert isinstance(found, kind)  # noqa: S101
        return found


class Vendor(ABC):
    """The machinery round a vendor's handlers; the pipeline calls the hooks below in this order."""

    name: str
    # Where the fault bad_utf8 puts its bytes: the first of these that a body has.
    text_fields: tuple[str, ...] = ()
    # What this vendor offers those that make invoices through it, and what the others of this process offer, by name.
    ledger: Ledger | None = None
    ledgers: Mapping[str, Ledger] = {}

    def __init__(self, world: World, capabilities: JsonObject, published_limits: JsonObject) -> None:
        self.world = world
        self.capabilities = Capabilities(capabilities)
        self.faults = FaultBook()
        self.limits = Limits(published_limits)
        self.clock = Clock()
        self.visibility = Visibility()
        self.calls = CallLog()
        self.waits = Waits()
        # Counts the resets: a call that began before the last one is not logged.
        self.era = 0
        self.webhooks = Dispatcher(self.compose_webhook, self.faults)
        # Routes under /_sandbox/{vendor}/ that only this vendor has.
        self.controls = Router()

    # The call

    @abstractmethod
    def identify(self, request: Request) -> None:
        """Sets `request.caller`, or raises Refusal in the vendor's words."""

    @abstractmethod
    def user_of(self, request: Request) -> str | None:
        """Who calls, as far as the call tells; for faults that strike one user's calls."""

    @abstractmethod
    def limit_key(self, request: Request) -> str:
        """Whose limit the call uses: an organisation, or a user."""

    @abstractmethod
    def handle(self, request: Request) -> Answer: ...

    # The vendor's words

    @abstractmethod
    def over_limit(self, exceeded: str) -> Answer: ...

    @abstractmethod
    def limit_headers(self, verdict: Verdict) -> dict[str, str]: ...

    @abstractmethod
    def server_error(self, status: int) -> Answer: ...

    @abstractmethod
    def body_error(self, fault: Fault) -> Answer:
        """An answer with HTTP 200 whose body says that the call failed."""

    @abstractmethod
    def token_error(self) -> Answer: ...

    @abstractmethod
    def end_token(self, request: Request) -> None:
        """Ends the access token of a call, for the fault expired_token."""

    # The control

    @abstractmethod
    def describe(self, base_url: str) -> JsonObject:
        """Addresses and test credentials."""

    @abstractmethod
    def seed(self, given: JsonObject) -> dict[str, list[str]]:
        """Records by module, in the vendor's field names; answers their ids."""

    @abstractmethod
    def state(self, module: str | None) -> JsonObject: ...

    @abstractmethod
    def edit(self, method: str, module: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        """A person's change at the vendor, past its API rules; webhooks fire as they do for any change."""

    def ids_of(self, module: str, which: str, count: int) -> list[str]:
        """Ids of a module for a flood of webhooks; see Table.ids."""
        raise NotImplementedError(f"{self.name} sends no webhooks")

    def foreign_change(self, module: str, record_id: str, event: str, organization_id: str | None) -> Change:
        """What a webhook tells of a record that may be there, be gone, or never have been; perhaps of another
        organisation's."""
        raise NotImplementedError(f"{self.name} sends no webhooks")

    @abstractmethod
    def reset_records(self) -> None: ...

    def compose_webhook(self, hook: Hook, change: Change) -> Message:
        raise NotImplementedError(f"{self.name} sends no webhooks")

    def short_page(self, request: Request, rows: list[T]) -> tuple[list[T], bool]:
        """What is left of a page when the fault short_page strikes, and whether it did: the last `by` rows, half of
        them by default, are lost, the first never is."""
        if len(rows) < 2:
            return rows, False
        fault = self.faults.for_page(request.method, request.path, lambda: self.user_of(request))
        if fault is None:
            return rows, False
        request.fault = fault.kind
        return rows[: max(1, len(rows) - (fault.by or len(rows) // 2))], True

    def reset(self) -> None:
        self.era += 1
        self.waits.end()
        self.capabilities.reset()
        self.clock.set(0)
        self.visibility.configure({})
        self.faults.clear()
        self.limits.reset()
        self.calls.clear()
        self.webhooks.clear()
        self.reset_records()
