"""What a person tells of an org where no call of the vendor does: capabilities, custom fields, personal fields.

Kept in `Org.settings`; workers take a change up with their next batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from shared.connectors import custom_fields
from shared.connectors.base import CallClass, Capabilities, Connector, Helper, HelperMaker
from shared.connectors.custom_fields import CustomField
from shared.connectors.registry import get_vendor
from shared.db.models.orgs import Connection, Org
from shared.db.repositories import audit
from shared.db.repositories import connections as repository
from shared.db.session import Database
from shared.errors import NotFound, Refused
from shared.services.connections import ConnectionService, capabilities_of
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.model import FieldDef, ModuleName

UPSERT_FIELD = "upsert_field"
"""The capability that names the helper field, of each vendor that takes one."""
Kind = type[bool] | type[int] | type[str]
_KIND_WORDS: Mapping[Kind, str] = {bool: "true or false", int: "a whole number", str: "text"}


class OrgSettingsService:
    """Everything raises NotFound (connection, module, field), NotAllowed; what changes raises Refused."""

    def __init__(self, database: Database, connections: ConnectionService) -> None:
        self._database = database
        self._connections = connections

    def capabilities(self, actor: Actor, connection_id: int) -> Mapping[str, bool | int | str]:
        """In force: what the probe found, with what a person set laid over it."""
        actor.must(Permission.VIEW)
        return self._capabilities(actor, connection_id)[1].flags

    def set_capabilities(
        self, actor: Actor, connection_id: int, wanted: Mapping[str, bool | int | str | None]
    ) -> Mapping[str, bool | int | str]:
        """`wanted`: None takes a setting back; what is not named stays."""
        actor.must(Permission.CONNECT)
        with self._changing(actor, connection_id) as (session, connection, org):
            kinds = get_vendor(connection.vendor).settable
            for name, value in wanted.items():
                _check_kind(kinds, name, value)
            held = _mapping(org.settings.get("capabilities"))
            after = {name: value for name, value in {**held, **wanted}.items() if value is not None}
            org.settings = {**org.settings, "capabilities": after}
            _record(session, actor, Action.CAPABILITIES_SET, connection.id, held, after)
        return self._capabilities(actor, connection_id)[1].flags

    def fields(self, actor: Actor, connection_id: int) -> Mapping[str, tuple[FieldDef, ...]]:
        """All fields of each module, custom ones and personal ones among them. Raises ConfigError."""
        actor.must(Permission.VIEW)
        vendor, capabilities = self._capabilities(actor, connection_id)
        modules = get_vendor(vendor).facts(capabilities).modules
        return {name: tuple(module.fields.values()) for name, module in modules.items()}

    def set_custom_fields(
        self, actor: Actor, connection_id: int, module: str, wanted: Sequence[CustomField]
    ) -> tuple[FieldDef, ...]:
        """FM-7: all that a person tells of the module's custom fields, beside what the probe found."""
        actor.must(Permission.CONNECT)
        with self._changing(actor, connection_id) as (session, connection, org):
            standard = get_vendor(connection.vendor).facts(Capabilities()).modules
            if ModuleName(module) not in standard:
                raise _no_module(module, standard)
            names, own = [one.name for one in wanted], standard[ModuleName(module)].fields
            if taken := sorted({name for name in names if names.count(name) > 1 or name in own}):
                raise Refused(f"There is a field {', '.join(taken)} already.", code="FIELD_TAKEN")
            held = _mapping(org.settings.get("custom_fields"))
            after = {**held, **custom_fields.dumped({module: [one.definition() for one in wanted]})}
            org.settings = {**org.settings, "custom_fields": after}
            told = ({module: held.get(module, [])}, {module: after[module]})
            _record(session, actor, Action.CUSTOM_FIELDS_SET, connection.id, *told)
        return self.fields(actor, connection_id)[module]

    def set_private_fields(
        self, actor: Actor, connection_id: int, module: str, names: Sequence[str]
    ) -> tuple[FieldDef, ...]:
        """FM-2: the fields that hold personal or health data, beside those that the vendor marks. They are offered to
        nobody, and a mapping that names one is refused."""
        actor.must(Permission.CONNECT)
        known = self.fields(actor, connection_id)
        if module not in known:
            raise _no_module(module, known)
        if missing := sorted(set(names) - {one.name for one in known[module]}):
            raise NotFound(f"{module} has no field {', '.join(missing)}.", code="UNKNOWN_FIELD")
        with self._changing(actor, connection_id) as (session, connection, org):
            held = _mapping(org.settings.get("private_fields"))
            after = {**held, module: sorted(set(names))}
            org.settings = {**org.settings, "private_fields": after}
            told = ({module: held.get(module, [])}, {module: after[module]})
            _record(session, actor, Action.PRIVATE_FIELDS_SET, connection.id, *told)
        return self.fields(actor, connection_id)[module]

    # Helper fields (SU-7)

    def helpers(self, actor: Actor, connection_id: int) -> tuple[Helper, ...]:
        """The fields of ours that the vendor can hold, and which are there. Asks the vendor; raises as reads do."""
        actor.must(Permission.CONNECT)
        with self._opened(actor, connection_id) as connector:
            return tuple(connector.helpers()) if isinstance(connector, HelperMaker) else ()

    def make_helpers(self, actor: Actor, connection_id: int) -> tuple[Helper, ...]:
        """Makes those that are missing; doing it twice changes nothing. `use_helpers` has creates use them."""
        actor.must(Permission.CONNECT)
        with self._opened(actor, connection_id) as connector:
            if not isinstance(connector, HelperMaker):
                return ()
            missing = [one for one in connector.helpers() if not one.name]
            if missing:
                with self._database.transaction() as session:  # before the vendor has it: nobody's wish is unnamed
                    after = {str(one.module): one.label for one in missing}
                    audit.record(session, actor, Action.HELPER_MADE, connection_id, after=after)
            for one in missing:
                connector.make_helper(one.module)
            return tuple(connector.helpers())

    def use_helpers(self, actor: Actor, connection_id: int) -> None:
        """Where all are there, under one name: what is made from then on bears the id of what it is made for."""
        names = {one.name for one in self.helpers(actor, connection_id)}
        if len(names) == 1 and "" not in names:
            self._connections.probe(actor, connection_id)  # workers must know the field
            if self.capabilities(actor, connection_id).get(UPSERT_FIELD) not in names:
                self.set_capabilities(actor, connection_id, {UPSERT_FIELD: names.pop()})

    @contextmanager
    def _opened(self, actor: Actor, connection_id: int) -> Iterator[Connector]:
        with self._database.transaction() as session:
            repository.load_own(session, actor.workspace, connection_id)
        connector = self._connections.open_connector(connection_id, call_class=CallClass.PERSON)
        try:
            yield connector
        finally:
            connector.close()

    def _capabilities(self, actor: Actor, connection_id: int) -> tuple[str, Capabilities]:
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            return connection.vendor, capabilities_of(connection, repository.load_org(session, connection.org_id))

    @contextmanager
    def _changing(self, actor: Actor, connection_id: int) -> Iterator[tuple[Session, Connection, Org]]:
        """One transaction, at the end of which workers are told to open the connection anew."""
        with self._database.transaction() as session:
            connection = repository.load_own(session, actor.workspace, connection_id)
            yield session, connection, repository.load_org(session, connection.org_id)
            connection.updated_at = datetime.now(UTC)


def _check_kind(kinds: Mapping[str, Kind], name: str, value: object) -> None:
    if name not in kinds:
        there = ", ".join(sorted(kinds))
        raise Refused(f"There is no capability {name} to set; there is {there}.", code="UNKNOWN_CAPABILITY")
    if value is not None and type(value) is not kinds[name]:
        raise Refused(f"{name} is {_KIND_WORDS[kinds[name]]}.", code="WRONG_KIND")


def _mapping(stored: object) -> dict[str, Any]:
    return dict(stored) if isinstance(stored, dict) else {}


def _record(
    session: Session,
    actor: Actor,
    action: Action,
    connection_id: int,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> None:
    audit.record(session, actor, action, connection_id, before=before, after=after)


def _no_module(module: str, known: Iterable[str]) -> NotFound:
    return NotFound(f"There is no module {module}; there is {', '.join(known)}.", code="UNKNOWN_MODULE")
