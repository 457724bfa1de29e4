"""How Zoho FSM writes and shows values: times, texts, addresses, the Tax group."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from deploy.sandbox.jsonio import JsonObject

# The organisation's offset, as in the vendor's samples.
OFFSET = timezone(timedelta(hours=-8))
OWNER: JsonObject = {"name": "Daniel Warne", "id": "1011000000139001", "email": "daniel.warne@zylker.test"}
ADDRESS_KEYS = ("Street_1", "Street_2", "City", "State", "Zip_Code", "Country", "Territory", "Tax")
ADDRESS_PLACES = ("Latitude", "Longitude")
TAX_KEYS = (
    "Taxable", "Tax_Id", "Tax_Name", "Tax_Percentage", "Tax_Exemption_Id", "Tax_Exemption_Code", "Tax_Authority",
    "Tax_Authority_Id", "GST_Treatment", "Place_of_Supply", "VAT_Treatment", "Tax_Reg_Number",
    "Inter_State_Tax_Rate", "Intra_State_Tax_Rate",
)  # fmt: skip
# Those that every Tax group shows, as in the samples.
TAX_SHOWN = ("Tax_Exemption_Code", "Tax_Id", "Tax_Name", "Tax_Exemption_Id", "Taxable")


def time_text(moment: datetime) -> str:
    """`2022-03-08T02:20:56-08:00`: whole seconds, cut off."""
    return moment.astimezone(OFFSET).replace(microsecond=0).isoformat()


def parse_time(text: str) -> datetime:
    """Aware UTC. ValueError when it is no time, or one without offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no offset in {text!r}")
    return moment.astimezone(UTC)


def cut_text(value: Any) -> Any:
    """Silently drops everything from the first character above U+FFFF on [T]."""
    if isinstance(value, str):
        return value if value.isascii() else _cut(value)
    if isinstance(value, dict):
        return {key: cut_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [cut_text(inner) for inner in value]
    return value


def _cut(text: str) -> str:
    for place, character in enumerate(text):
        if ord(character) > 0xFFFF:
            return text[:place]
    return text


def merge_address(held: JsonObject | None, given: JsonObject, new_id: str) -> JsonObject:
    """Kept by the write names. Only the keys given change, with or without the id of the address [I]."""
    address: JsonObject = dict(held) if held else {"id": new_id}
    for key in ("Address_Name", *ADDRESS_KEYS, *ADDRESS_PLACES):
        if key in given:
            address[key] = given[key]
    return address


def show_address(held: JsonObject | None, group: str) -> JsonObject | None:
    """By the prefixed names of a read: Service_Address shows Service_Street_1, Service_City, …, id and name [V]."""
    if held is None:
        return None
    prefix = group.removesuffix("Address")
    shown: JsonObject = {f"{prefix}{key}": held.get(key) for key in (*ADDRESS_KEYS, *ADDRESS_PLACES)}
    return {**shown, "id": held["id"], "name": held.get("Address_Name")}


def address_from_read(given: JsonObject, group: str) -> JsonObject:
    """For seeds and edits, which may use either spelling."""
    prefix = group.removesuffix("Address")
    plain = {key.removeprefix(prefix): value for key, value in given.items() if key != "name"}
    if "name" in given:
        plain["Address_Name"] = given["name"]
    return plain


def show_tax(held: JsonObject | None) -> JsonObject:
    held = held or {}
    return {**{key: held.get(key) for key in TAX_SHOWN}, **held}
