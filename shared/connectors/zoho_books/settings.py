"""What an org's settings may say of Zoho Books (`Org.settings`), and the names of its capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shared.connectors.base import TIME_ZONE, Limit

ITEMS_SORT_MODIFIED = "items_sort_modified"
"""bool, probed: items can be sorted by last_modified_time, which the vendor does not document."""
ITEMS_LIST_MODIFIED = "items_list_modified"
"""bool, probed: list rows of items carry last_modified_time, which the vendor's schema does not show."""
ITEMDETAILS_BATCH = "itemdetails_batch"
"""int, set: ids per GET /itemdetails (1 to 200); the vendor states no number."""
SKIP_WEBHOOK_TRIGGER = "skip_webhook_trigger"
"""bool, set, default true: writes carry X-ZOHO-Skip-Webhook-Trigger (TR-8). Its effect is not established."""

DUPLICATE_CONTACT_NAMES = "duplicate_contact_names"
"""bool, set, default false: the organisation allows several contacts of one display name. No call tells it. Where it is
wrongly off, Clone is refused; where it is wrongly on, Books refuses the second name (3062)."""

UPSERT_FIELD = "upsert_field"
"""text, set: api name of a custom field without duplicates, of contacts and items alike, that holds the id of the
record which one was made for (SU-7). Then a create is an upsert, and is made once however often it is sent."""

BASE_CURRENCY = "base_currency"
"""text, probed: the code of the organisation's base currency, in which its items' prices are (TR-10)."""

RECORD_URL = "record_url"
"""text, set: the address of a record's page for people, with {org}, {page} (the module) and {id} in it."""

SETTABLE: Mapping[str, type[bool] | type[int] | type[str]] = MappingProxyType(
    {
        ITEMS_SORT_MODIFIED: bool,
        ITEMS_LIST_MODIFIED: bool,
        ITEMDETAILS_BATCH: int,
        SKIP_WEBHOOK_TRIGGER: bool,
        DUPLICATE_CONTACT_NAMES: bool,
        UPSERT_FIELD: str,
        BASE_CURRENCY: str,
        TIME_ZONE: str,  # set or probed
        RECORD_URL: str,
    }
)

# [T] books.zoho.com/app/8745725#/invoices/… and books.zoho.com/app#/items/… in public code; the vendor says nothing.
DEFAULT_RECORD_URL = "https://books.{domain}/app/{org}#/{page}/{id}"
DEFAULT_ITEMDETAILS_BATCH = 50
MOST_ITEMDETAILS_BATCH = 200

# [V] 100 a minute and organisation; at the same time 5 on Free, 10 (soft) on paid plans. Per day 1,000 (Free) to
# 10,000: the plan cannot be read, so a daily limit is a setting, as is more at the same time.
LIMITS = (Limit("per_minute", 100, 60), Limit("concurrent", 5, 0))
