"""Single calls on contact persons. Each moves the contact's modified time [I] and counts as a change of the contact."""

from __future__ import annotations

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books import errors, listing, wire
from deploy.sandbox.zoho_books.modules.contacts import Contacts
from deploy.sandbox.zoho_books.office import Office
from deploy.sandbox.zoho_books.persons import SINGLE_LENGTHS, with_one_primary

# Not 200, as everywhere else [V].
PER_PAGE = 10


class ContactPersons:
    def __init__(self, office: Office) -> None:
        self.office = office
        path, add = f"{office.base}/contacts/contactpersons", office.router.add
        add("POST", path, self._create, "contacts.create")
        add("GET", f"{path}/{{person}}", self._read, "contacts.read")
        add("PUT", f"{path}/{{person}}", self._update, "contacts.update")
        add("DELETE", f"{path}/{{person}}", self._delete, "contacts.delete")
        add("POST", f"{path}/{{person}}/primary", self._primary, "contacts.create")
        add("GET", f"{office.base}/contacts/{{id}}/contactpersons", self._list, "contacts.read")
        add("GET", f"{office.base}/contacts/{{id}}/contactpersons/{{person}}", self._read, "contacts.read")
        office.modules["contact_persons"] = self

    @property
    def contacts(self) -> Contacts:
        found = self.office.modules["contacts"]
        assert isinstance(found, Contacts)  # noqa: S101
        return found

    # Finding

    def _found(self, person_id: str) -> tuple[Record, JsonObject]:
        for record in self.contacts.table.find("person", person_id):
            for person in record.data["contact_persons"]:
                if person["contact_person_id"] == person_id:
                    return record, person
        raise errors.not_found("Contact person")

    def _holder(self, request: Request) -> tuple[Record, JsonObject]:
        record, person = self._found(request.params["person"])
        if request.params.get("id", record.id) != record.id:
            raise errors.not_found("Contact person")
        request.touch("contacts", record.id)
        request.inner = person["contact_person_id"]
        return record, person

    # Writing

    def _create(self, request: Request) -> Answer:
        given = wire.body_of(request)
        record = self.contacts.get(str(given.get("contact_id", "")))
        if not given.get("first_name"):
            raise errors.empty("first_name")
        person = self.contacts.persons.changed(None, given, SINGLE_LENGTHS)
        after = self._saved(request, record, [*record.data["contact_persons"], person], person)
        return self._answer(record, after, "The contactperson has been Created", 201)

    def _update(self, request: Request) -> Answer:
        """contact_id and first_name are required here too, by the file of this module [V]; the contacts' own file
        requires nothing [V], which the capability stands for."""
        record, person = self._holder(request)
        given = wire.body_of(request)
        partial = self.office.capabilities["contact_person_partial_put"]
        for name in ("contact_id", "first_name"):
            if not given.get(name) and (name in given or not partial):
                raise errors.empty(name)
        if str(given.get("contact_id", record.id)) != record.id:
            raise errors.bad_value("contact_id")
        changed = self.contacts.persons.changed(person, given, SINGLE_LENGTHS)
        listed = [changed if one is person else one for one in record.data["contact_persons"]]
        after = self._saved(request, record, listed, changed)
        return self._answer(record, after, "The contactperson details has been updated.")

    def _saved(self, request: Request, record: Record, listed: list[JsonObject], changed: JsonObject) -> JsonObject:
        own_id = request.inner = changed["contact_person_id"]
        record.data["contact_persons"] = with_one_primary(listed, own_id if changed["is_primary_contact"] else None)
        self.contacts.saved(request, record)
        return self._found(own_id)[1]

    def _delete(self, request: Request) -> Answer:
        """The next person becomes primary when the primary one goes [I]."""
        record, person = self._holder(request)
        left = [one for one in record.data["contact_persons"] if one is not person]
        record.data["contact_persons"] = with_one_primary(left, None)
        self.contacts.saved(request, record)
        return Answer.of({"code": 0, "message": "The contact person has been deleted."})

    def _primary(self, request: Request) -> Answer:
        record, person = self._holder(request)
        persons = record.data["contact_persons"]
        record.data["contact_persons"] = with_one_primary(persons, person["contact_person_id"])
        self.contacts.saved(request, record)
        return Answer.of({"code": 0, "message": "This contact person has been marked as your primary contact person."})

    def _answer(self, record: Record, person: JsonObject, message: str, status: int = 200) -> Answer:
        """`contact_person` is a list after a write [V]."""
        shown = self.contacts.persons.shown(person, record.id)
        return Answer.of({"code": 0, "message": message, "contact_person": [shown]}, status)

    # Reading

    def _list(self, request: Request) -> Answer:
        """By id, which is the only sort there is [V]."""
        record = self.contacts.named(request)
        persons = sorted(record.data["contact_persons"], key=_in_order)
        rows, context = listing.paged(request.query, persons, PER_PAGE)
        rows, cut = self.office.vendor.short_page(request, rows)
        context["has_more_page"] = cut or context["has_more_page"]
        shown = [self.contacts.persons.shown(one) for one in rows]
        page = {**context, "sort_column": "contact_person_id", "sort_order": "A"}
        return Answer.of({"code": 0, "message": "success", "contact_persons": shown, "page_context": page})

    def _read(self, request: Request) -> Answer:
        record, person = self._holder(request)
        shown = self.contacts.persons.shown(person, record.id)
        return Answer.of({"code": 0, "message": "success", "contact_person": shown})

    # The control: persons are seeded and edited as the contact's own list is, past the rules

    def seed(self, given: JsonObject) -> str:
        record = self.contacts.table.records[str(given["contact_id"])]
        person = self._put(record, given)
        self.contacts.table.changed(record)
        return str(person["contact_person_id"])

    def _put(self, record: Record, given: JsonObject) -> JsonObject:
        person = self.contacts.persons.changed(None, given, checked=False)
        asked = person["contact_person_id"] if person["is_primary_contact"] else None
        record.data["contact_persons"] = with_one_primary([*record.data["contact_persons"], person], asked)
        return person

    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        if method == "POST":
            record = self.contacts.table.records[str(fields["contact_id"])]
            own_id = self._put(record, fields)["contact_person_id"]
        else:
            own_id = record_id or ""
            record, person = self._found(own_id)
            self._edited(record, person, None if method == "DELETE" else fields)
        self.contacts.edited(record)
        if method == "DELETE":
            return {"deleted": own_id}
        return {**self._found(own_id)[1], "contact_id": record.id}

    def _edited(self, record: Record, person: JsonObject, fields: JsonObject | None) -> None:
        changed = [self.contacts.persons.changed(person, fields, checked=False)] if fields is not None else []
        asked = person["contact_person_id"] if changed and changed[0]["is_primary_contact"] else None
        listed = [new for one in record.data["contact_persons"] for new in (changed if one is person else [one])]
        record.data["contact_persons"] = with_one_primary(listed, asked)

    def internal(self) -> list[JsonObject]:
        return [
            self.contacts.persons.shown(person, record.id)
            for record in self.contacts.table.records.values()
            for person in record.data["contact_persons"]
        ]

    def forget_renderings(self) -> None:
        """Nothing is kept rendered."""

    def clear(self) -> None:
        """The contacts keep them."""


def _in_order(person: JsonObject) -> tuple[int, str]:
    """As numbers; a seed may have another id."""
    return len(person["contact_person_id"]), person["contact_person_id"]


def register(office: Office) -> None:
    ContactPersons(office)
