"""The small tables under /settings: currencies, taxes and their kin. No webhooks, no times."""

from __future__ import annotations

from abc import ABC, abstractmethod

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.zoho_books import errors, listing, wire
from deploy.sandbox.zoho_books.office import Office


class SettingsTable(ABC):
    """`path` names the calls, `plural` the key of a list and the module of the control, `words` the vendor's messages
    for a create, an update and a delete."""

    path: str
    plural: str
    singular: str
    label: str
    words: tuple[str, str, str]
    first_id: int
    created_status = 201
    listed = True
    # One record comes as a list of one [V], of taxes.
    in_list = False

    def __init__(self, office: Office) -> None:
        self.office = office
        self.id_key = f"{self.singular}_id"
        self._next_id = self.first_id
        self.clear()
        self._add_routes()
        office.modules[self.plural] = self

    def _add_routes(self) -> None:
        path, add = f"{self.office.settings}/{self.path}", self.office.router.add
        if self.listed:
            add("GET", path, self._list, "settings.read")
        add("POST", path, self._create, "settings.create")
        add("GET", f"{path}/{{id}}", self._read, "settings.read")
        add("PUT", f"{path}/{{id}}", self._update, "settings.update")
        add("DELETE", f"{path}/{{id}}", self._delete, "settings.delete")

    # What a table says of itself

    @abstractmethod
    def start(self) -> list[JsonObject]:
        """The rows after a reset."""

    @abstractmethod
    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """The whole row that a write leaves, checked."""

    def check_on(self, request: Request) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuses writes where the organisation has the feature switched off."""

    def check_deletable(self, row: JsonObject) -> None:  # noqa: B027
        """Raises where something needs the row."""

    def shown_rows(self, request: Request) -> list[JsonObject]:
        return list(self.rows.values())

    def in_use(self, name: str, value: str) -> bool:
        """Whether a contact or an item names it."""
        modules = ("contacts", "items")
        return any(str(row.get(name) or "") == value for one in modules for row in self.office.modules[one].internal())

    # Calls

    def _list(self, request: Request) -> Answer:
        rows, context = listing.paged(request.query, self.shown_rows(request))
        return Answer.of({"code": 0, "message": "success", self.plural: rows, "page_context": context})

    def found(self, request: Request) -> JsonObject:
        request.touch(self.plural, request.params["id"])
        row = self.rows.get(request.params["id"])
        if row is None:
            raise errors.not_found(self.label)
        return row

    def _read(self, request: Request) -> Answer:
        return self._one(self.found(request), "success")

    def _one(self, row: JsonObject, message: str, status: int = 200) -> Answer:
        shown = [row] if self.in_list else row
        return Answer.of({"code": 0, "message": message, self.singular: shown}, status)

    def _create(self, request: Request) -> Answer:
        self.check_on(request)
        row = {**self.cleaned(wire.body_of(request), None), self.id_key: self.new_id()}
        self.rows[row[self.id_key]] = row
        request.touch(self.plural, row[self.id_key], applied=True)
        return self._one(row, self.words[0], self.created_status)

    def _update(self, request: Request) -> Answer:
        row = self.found(request)
        self.check_on(request)
        row.update(self.cleaned(wire.body_of(request), row))
        self._wrote(request)
        return self._one(row, self.words[1])

    def _delete(self, request: Request) -> Answer:
        row = self.found(request)
        self.check_deletable(row)
        del self.rows[row[self.id_key]]
        self._wrote(request)
        return Answer.of({"code": 0, "message": self.words[2]})

    def _wrote(self, request: Request) -> None:
        request.touch(self.plural, request.params["id"], applied=True)
        self.office.forget_renderings()

    def new_id(self) -> str:
        self._next_id += 1
        return str(self._next_id)

    # The control: past the rules, what is left out is as in the first row after a reset

    def clear(self) -> None:
        self.rows: dict[str, JsonObject] = {row[self.id_key]: dict(row) for row in self.start()}

    def forget_renderings(self) -> None:  # noqa: B027
        """Nothing is kept rendered."""

    def blank(self) -> JsonObject:
        return {}

    def seed(self, given: JsonObject) -> str:
        row_id = str(given.get(self.id_key) or self.new_id())
        self.rows[row_id] = {**self.blank(), **given, self.id_key: row_id}
        self.office.forget_renderings()
        return row_id

    def internal(self) -> list[JsonObject]:
        return list(self.rows.values())

    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        if method == "DELETE":
            self.office.forget_renderings()
            return self.rows.pop(record_id or "")
        held = self.rows[record_id] if record_id else {}
        return self.rows[self.seed({**held, **fields})]


def required(given: JsonObject, held: JsonObject | None, *names: str) -> None:
    """Needed at a create; at an update they may be left out, not emptied [I]."""
    for name in names:
        if given.get(name) in (None, "") and (held is None or name in given):
            raise errors.empty(name)


def refused_use(label: str) -> Exception:
    """Code and text [I]."""
    return errors.refuse(400, 2049, f"The {label} is in use and cannot be deleted.")


def switched_off(label: str) -> Exception:
    """Code and text [I]."""
    return errors.refuse(400, 57, f"{label} is not enabled for this organization.")
