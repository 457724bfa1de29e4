"""The fixed vocabulary of why a record was not written, or a run not started (LG-4).

A code is stable and stored; its sentence and what to do are shown. `sentence` fills in field names, never values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    MANDATORY_FIELD_EMPTY = "MANDATORY_FIELD_EMPTY"
    EMAIL_IN_COMPANY = "EMAIL_IN_COMPANY"
    COMPANY_CANNOT_CHANGE = "COMPANY_CANNOT_CHANGE"
    DUPLICATE_NAME = "DUPLICATE_NAME"
    AMBIGUOUS_MATCH = "AMBIGUOUS_MATCH"
    NO_KEY = "NO_KEY"
    KEY_CUT = "KEY_CUT"
    TWIN_TAKEN = "TWIN_TAKEN"
    TWIN_SET_ASIDE = "TWIN_SET_ASIDE"
    SET_ASIDE = "SET_ASIDE"
    KEPT_BY_CLONE = "KEPT_BY_CLONE"
    FIELD_TOO_LONG = "FIELD_TOO_LONG"
    VALUE_NOT_MAPPED = "VALUE_NOT_MAPPED"
    TEXT_UNREADABLE = "TEXT_UNREADABLE"
    VENDOR_REJECTED = "VENDOR_REJECTED"
    TARGET_GONE = "TARGET_GONE"
    TWIN_DELETED = "TWIN_DELETED"
    SOURCE_DELETED = "SOURCE_DELETED"
    RECORD_GONE = "RECORD_GONE"
    INACTIVE = "INACTIVE"
    WRONG_TYPE = "WRONG_TYPE"
    MOVED = "MOVED"
    PARENT_NOT_SYNCED = "PARENT_NOT_SYNCED"
    POLICY_SKIP = "POLICY_SKIP"
    POLICY_NOT_AVAILABLE = "POLICY_NOT_AVAILABLE"
    OUTSIDE_MAPPING = "OUTSIDE_MAPPING"
    IN_DOUBT_UNRESOLVED = "IN_DOUBT_UNRESOLVED"
    CONNECTION_BROKEN = "CONNECTION_BROKEN"
    SIGN_IN_REFUSED = "SIGN_IN_REFUSED"
    SCOPE_MISSING = "SCOPE_MISSING"
    CONFIG = "CONFIG"
    RATE_LIMITED = "RATE_LIMITED"
    VENDOR_UNAVAILABLE = "VENDOR_UNAVAILABLE"
    BINDING_CONFLICT = "BINDING_CONFLICT"
    MERGED = "MERGED"
    TAX_NOT_MAPPED = "TAX_NOT_MAPPED"
    CURRENCY_MISSING = "CURRENCY_MISSING"
    DUPLICATES_NOT_ALLOWED = "DUPLICATES_NOT_ALLOWED"
    MANUAL_STEP_NEEDED = "MANUAL_STEP_NEEDED"
    POISON = "POISON"
    INTERNAL = "INTERNAL"
    CANCELLED = "CANCELLED"
    FETCH_FIRST = "FETCH_FIRST"
    NOT_ENABLED = "NOT_ENABLED"
    ORG_HELD = "ORG_HELD"
    LEASE_LOST = "LEASE_LOST"
    RUN_STOPPED = "RUN_STOPPED"
    INVOICED = "INVOICED"
    NOTHING_TO_INVOICE = "NOTHING_TO_INVOICE"
    CUSTOMER_NOT_NAMED = "CUSTOMER_NOT_NAMED"
    SYNC_TYPES_DIFFER = "SYNC_TYPES_DIFFER"
    TOO_MANY_RECORDS = "TOO_MANY_RECORDS"
    TAXES_DIFFER = "TAXES_DIFFER"
    UNREADABLE_ROW = "UNREADABLE_ROW"
    BAD_CELL = "BAD_CELL"
    DUPLICATE_IN_FILE = "DUPLICATE_IN_FILE"
    EXISTS_ALREADY = "EXISTS_ALREADY"
    NOTHING_TO_CHANGE = "NOTHING_TO_CHANGE"
    LINK_UNKNOWN = "LINK_UNKNOWN"
    LINK_AMBIGUOUS = "LINK_AMBIGUOUS"
    LINK_CANNOT_CHANGE = "LINK_CANNOT_CHANGE"
    IMPORT_ENDED = "IMPORT_ENDED"


@dataclass(frozen=True, slots=True)
class Reason:
    """`retry`: time alone may mend it, so it is tried again without a person. A `sentence` ending in a colon is
    completed by the detail."""

    code: str
    sentence: str
    remedy: str
    retry: bool = False


_ALL = (
    # Three sentences that the users know, to the letter.
    Reason(
        Code.MANDATORY_FIELD_EMPTY,
        "The following mandatory field(s) were left empty:",
        "Fill the named fields in the source record, or give their mapping a default.",
    ),
    Reason(
        Code.EMAIL_IN_COMPANY,
        "Contact with this email-id is already associated with this company",
        "Use another e-mail for one of the two, or bind them by hand.",
    ),
    Reason(
        Code.COMPANY_CANNOT_CHANGE,
        "Company cannot be changed for Contacts that are already synced with Zoho Finance",
        "Put the company back, or unbind the contact and bind it anew.",
    ),
    # Matching and binding.
    Reason(
        Code.DUPLICATE_NAME,
        "Another record at the target already has this name",
        "Rename one of the two, or bind this record to that one.",
    ),
    Reason(
        Code.AMBIGUOUS_MATCH,
        "More than one record has this match key",
        "Make the key unique on both sides, or bind the right two by hand.",
    ),
    Reason(Code.NO_KEY, "The match key is empty:", "Fill the named field; the record follows with the next sync."),
    Reason(
        Code.KEY_CUT,
        "The match key does not fit into the target, and cut short it would match other records:",
        "Shorten the named field in the source record.",
    ),
    Reason(
        Code.TWIN_TAKEN,
        "The record with this match key is already bound to another one",
        "Look at that binding; unbind it, or rename one of the records.",
    ),
    Reason(
        Code.TWIN_SET_ASIDE,
        "The record with this match key was unbound by hand, and is not matched",
        "Bind the two by hand, or release that record; or rename one of them.",
    ),
    Reason(
        Code.SET_ASIDE,
        "The record was unbound by hand, and is left alone",
        "Bind it to its twin by hand, or release it; then it is synced again.",
    ),
    Reason(
        Code.KEPT_BY_CLONE,
        "The duplicates policy is Clone: its match has, or gets, a record of its own here, and this one stays as it is",
        "Nothing; or bind it by hand to the right record.",
    ),
    Reason(
        Code.BINDING_CONFLICT,
        "The bindings of two integrations disagree about this record",
        "Open its record page and unbind the one that is wrong.",
    ),
    Reason(
        Code.MERGED,
        "The record was merged into another one at the vendor, and both are bound",
        "Unbind one of the two, then release the other.",
    ),
    # Values.
    Reason(
        Code.TEXT_UNREADABLE,
        "The vendor sent bytes that are no text in these field(s):",
        "Type the named fields anew at that vendor; the record follows with the next sync.",
    ),
    Reason(
        Code.VALUE_NOT_MAPPED,
        "The mapping has no value for what the source holds in these field(s):",
        "Add the value to the field's table in the mapping, or correct it in the source record.",
    ),
    Reason(
        Code.FIELD_TOO_LONG,
        "The vendor refused a value as too long:",
        "Shorten the named field in the source record.",
    ),
    Reason(
        Code.TAX_NOT_MAPPED,
        "The record's tax has no counterpart in the other organisation",
        "Add a line for it to the table of the tax in the mapping, or the tax there: a sync adds none.",
    ),
    Reason(
        Code.CURRENCY_MISSING,
        "The record's currency does not exist in the other organisation:",
        "Add the currency there. A sync adds none to Books, and to FSM only where `currencies_api` says that it can.",
    ),
    Reason(
        Code.DUPLICATES_NOT_ALLOWED,
        "The accounting organisation does not allow duplicate display names",
        "Allow duplicates in its preferences, or choose another duplicates policy.",
    ),
    Reason(
        Code.VENDOR_REJECTED,
        "The vendor refused the record",
        "Read the vendor's message beside this failure and correct the record.",
    ),
    # Gone, away, outside.
    Reason(
        Code.TARGET_GONE,
        "The target record was deleted while it was being written",
        "Nothing: the next sync marks the binding.",
    ),
    Reason(
        Code.TWIN_DELETED,
        "The record's twin was deleted on the other side",
        "Nothing is made again by itself: use Create again on the record's page if you want it back.",
    ),
    Reason(
        Code.SOURCE_DELETED,
        "The record was deleted; its twin stays as it is",
        "Nothing: should the record return under its id, the sync goes on.",
    ),
    Reason(Code.RECORD_GONE, "The record no longer exists at the vendor", "Nothing."),
    Reason(Code.INACTIVE, "The record, or its twin, is inactive", "Activate it; it is synced at once from then on."),
    Reason(
        Code.WRONG_TYPE,
        "The record is of a type that this integration does not sync",
        "Nothing, or choose another sync type.",
    ),
    Reason(
        Code.MOVED,
        "The contact belongs to a company by now, and is synced as its contact person; this customer stays as it is",
        "Nothing; or make the customer inactive if it is not needed any more.",
    ),
    Reason(
        Code.PARENT_NOT_SYNCED,
        "The company or customer that this person belongs to is not synced",
        "Look at the reason on its own page; the person follows as soon as it is synced.",
    ),
    Reason(
        Code.POLICY_SKIP,
        "A record with this match key exists, and the duplicates policy is to skip",
        "Bind the two by hand if they are the same.",
    ),
    Reason(
        Code.POLICY_NOT_AVAILABLE,
        "The duplicates policy of this integration is not available yet",
        "Choose another duplicates policy.",
    ),
    Reason(
        Code.OUTSIDE_MAPPING,
        "The record belongs to nothing that this integration maps",
        "Nothing, or add its module to the integration.",
    ),
    # Trouble with time, access, and ourselves.
    Reason(
        Code.IN_DOUBT_UNRESOLVED,
        "A write was sent and it could not be found out whether it arrived",
        "Look the record up at the vendor; bind it if it is there, retry if it is not.",
    ),
    Reason(
        Code.CONNECTION_BROKEN,
        "The vendor no longer accepts this connection",
        "Connect the organisation again; what waited goes on by itself.",
    ),
    Reason(
        Code.SIGN_IN_REFUSED,
        "The vendor refused the sign-in of this connection",
        "Connect the organisation again; what waited goes on by itself.",
    ),
    Reason(
        Code.SCOPE_MISSING,
        "The connection lacks a permission at the vendor",
        "Connect the organisation again and grant the permissions it asks for.",
    ),
    Reason(Code.CONFIG, "A setting of the connection is wrong", "Look at the connection's page."),
    Reason(Code.RATE_LIMITED, "The vendor's call limit is used up", "Nothing: tried again when it is free.", True),
    Reason(Code.VENDOR_UNAVAILABLE, "The vendor does not answer", "Nothing: tried again by itself.", True),
    Reason(
        Code.MANUAL_STEP_NEEDED,
        "The vendor offers no call for this; a person must do it there:",
        "Do the named step at the vendor, then retry.",
    ),
    Reason(
        Code.POISON,
        "The record ended its worker three times and was set aside",
        "Report it with the correlation id; the rest goes on.",
    ),
    Reason(
        Code.INTERNAL,
        "A mistake in Bothways kept this record from being synced",
        "Report it with the correlation id; the rest goes on.",
    ),
    Reason(Code.CANCELLED, "The sync was cancelled before this record", "Start a sync again."),
    Reason(
        Code.FETCH_FIRST,
        "Fetch has not run yet: it binds what is the same before anything is written",
        "Run Fetch, look at its report, then sync.",
    ),
    Reason(Code.NOT_ENABLED, "The integration is not enabled", "Save and enable it first."),
    Reason(Code.ORG_HELD, "Another sync or an import holds the organisation", "Nothing: it waits its turn.", True),
    Reason(
        Code.LEASE_LOST,
        "Another worker took this run over",
        "Nothing: it goes on there.",
        True,
    ),
    Reason(Code.RUN_STOPPED, "The sync was stopped by a rule", "Read the rule's sentence on the sync's page."),
    # Invoices of work orders (TR-7).
    Reason(
        Code.INVOICED,
        "The invoice was generated; later edits, voids and payments of it are not followed",
        "Nothing.",
    ),
    Reason(
        Code.NOTHING_TO_INVOICE,
        "The work order has no status at which it is invoiced, or each of its service lines is on an invoice",
        "Nothing; or have it invoiced by hand: sync this record now.",
    ),
    Reason(
        Code.CUSTOMER_NOT_NAMED,
        "The work order names no company or contact that this integration syncs",
        "Name one in the work order, or choose a sync type that syncs its customer.",
    ),
    # Rules that stop a sync, and some of them the integration (ST-1 to ST-3).
    Reason(
        Code.SYNC_TYPES_DIFFER,
        "Two integrations write into one accounting organisation, and their sync types differ",
        "Give both the same sync type, then let support enable this one again.",
    ),
    Reason(
        Code.TOO_MANY_RECORDS,
        "The accounting organisation holds more records than an integration is made for",
        "Delete or archive what is not needed, or raise the limit (BOTHWAYS_MOST_RECORDS); then let support enable it "
        "again.",
    ),
    Reason(
        Code.TAXES_DIFFER,
        "Taxes are enabled in one of the two organisations and disabled in the other",
        "Enable or disable them in both; the next sync goes on.",
    ),
    # Rows of an import (LK-5).
    Reason(
        Code.UNREADABLE_ROW,
        "The row cannot be read:",
        "Correct the line in the file and import it again; the other rows are done already.",
    ),
    Reason(
        Code.BAD_CELL,
        "A cell does not fit its field:",
        "Correct the named columns and import the row again.",
    ),
    Reason(
        Code.DUPLICATE_IN_FILE,
        "An earlier row of the file has the same match key:",
        "Nothing, if it is the same record; else give the two rows different keys.",
    ),
    Reason(
        Code.EXISTS_ALREADY,
        "A record with this match key is there already, and the import leaves such records as they are",
        "Nothing; or import the row again with `overwrite`.",
    ),
    Reason(Code.NOTHING_TO_CHANGE, "The record holds all of the row's values already", "Nothing."),
    Reason(
        Code.LINK_UNKNOWN,
        "The organisation has no record of the name in this column:",
        "Import or make that record first, or correct the name.",
    ),
    Reason(
        Code.LINK_AMBIGUOUS,
        "The organisation has several records of the name in this column:",
        "Give one of them another name, or leave the column blank.",
    ),
    Reason(
        Code.LINK_CANNOT_CHANGE,
        "The record that is there belongs to another one than this column names:",
        "Leave the column blank, or correct the record at the vendor.",
    ),
    Reason(
        Code.IMPORT_ENDED,
        "The import ended before this row was written",
        "Import the failed rows again: the report is a file that can be imported.",
    ),
)

REASONS: Mapping[str, Reason] = {reason.code: reason for reason in _ALL}


def sentence(code: str, detail: str = "") -> str:
    """The sentence for people; `detail` holds field labels or a step. Raises KeyError on a code that is not listed."""
    text = REASONS[code].sentence
    if not detail:
        return text
    return f"{text} {detail}" if text.endswith(":") else f"{text} ({detail})"
