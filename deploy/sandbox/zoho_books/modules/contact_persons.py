"""Single calls on contact persons. Each moves the contact's modified time [I] and counts as a change of the contact."""

from __future__ import annotations

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books import errors, persons, wire
from deploy.sandbox.zoho_books.modules.contacts import Contacts
from deploy.sandbox.zoho_books.office import Office
from deploy.sandbox.zoho_books.resource import BASE


class ContactPersons:
    def __init__(self, office: Office) -> None:
        self.office = office
        path, add = f"{BASE}/contacts/contactpersons", office.router.add
        add("POST", path, self._create, "contacts.create")
        add("PUT", f"{path}/{{person}}", self._update, "contacts.update")
        add("DELETE", f"{path}/{{person}}", self._delete, "contacts.delete")
        add("POST", f"{path}/{{person}}/primary", self._primary, "contacts.create")
        add("GET", f"{BASE}/contacts/{{id}}/contactpersons", self._list, "contacts.read")
        add("GET", f"{BASE}/contacts/{{id}}/contactpersons/{{person}}", self._read, "contacts.read")

    @property
    def contacts(self) -> Contacts:
        found = self.office.modules["contacts"]
        assert isinstance(found, Contacts)  # noqa: S101
        return found

    def _holder(self, request: Request) -> tuple[Record, JsonObject]:
        wanted = request.params["person"]
        for record in self.contacts.table.records.values():
            for person in record.data["contact_persons"]:
                if person["contact_person_id"] == wanted:
                    request.touch("contacts", record.id)
                    return record, person
        raise errors.not_found("Contact person")

    def _save(self, request: Request, record: Record, after: list[JsonObject]) -> None:
        if after and not any(one["is_primary_contact"] for one in after):
            after = persons.make_primary(after, after[0]["contact_person_id"])
        record.data["contact_persons"] = after
        self.contacts.saved(request, record)

    def _create(self, request: Request) -> Answer:
        given = wire.body_of(request)
        record = self.contacts.get(str(given.get("contact_id", "")))
        if not given.get("first_name"):
            raise errors.empty("first_name")
        person = persons.changed_person(None, given, self.contacts.new_part_id)
        after = [*record.data["contact_persons"], person]
        if person["is_primary_contact"]:
            after = persons.make_primary(after, person["contact_person_id"])
        self._save(request, record, after)
        return self._answer(person, "The contact person has been created.", 201)

    def _update(self, request: Request) -> Answer:
        record, person = self._holder(request)
        changed = persons.changed_person(person, wire.body_of(request), self.contacts.new_part_id)
        after = [changed if one is person else one for one in record.data["contact_persons"]]
        if changed["is_primary_contact"]:
            after = persons.make_primary(after, changed["contact_person_id"])
        self._save(request, record, after)
        return self._answer(changed, "The contactperson details has been updated.")

    def _delete(self, request: Request) -> Answer:
        record, person = self._holder(request)
        self._save(request, record, [one for one in record.data["contact_persons"] if one is not person])
        return Answer.of({"code": 0, "message": "The contact person has been deleted."})

    def _primary(self, request: Request) -> Answer:
        record, person = self._holder(request)
        self._save(request, record, persons.make_primary(record.data["contact_persons"], person["contact_person_id"]))
        return Answer.of({"code": 0, "message": "This contact person has been marked as your primary contact person."})

    def _list(self, request: Request) -> Answer:
        record = self.contacts.named(request)
        shown = [{"contact_id": record.id, **one} for one in record.data["contact_persons"]]
        return Answer.of({"code": 0, "message": "success", "contact_persons": shown})

    def _read(self, request: Request) -> Answer:
        record = self.contacts.named(request)
        for person in record.data["contact_persons"]:
            if person["contact_person_id"] == request.params["person"]:
                shown = {"contact_id": record.id, **person}
                return Answer.of({"code": 0, "message": "success", "contact_person": shown})
        raise errors.not_found("Contact person")

    def _answer(self, person: JsonObject, message: str, status: int = 200) -> Answer:
        """`contact_person` is a list here, in the specification's own example."""
        return Answer.of({"code": 0, "message": message, "contact_person": [person]}, status)


def register(office: Office) -> None:
    ContactPersons(office)
