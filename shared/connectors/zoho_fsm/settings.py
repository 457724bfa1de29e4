"""What an org's settings may say of Zoho FSM (`Org.settings`), and the names of its capabilities.

Capabilities that cannot be probed without writing are set by a person under `Org.settings["capabilities"]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shared.connectors.base import Limit

MODIFIED_TIME_SEARCH = "modified_time_search"
"""bool, probed: search takes Modified_Time with date-time comparators: then lists are read by it (SINCE)."""
ZBILLING_ID_WRITABLE = "zbilling_id_writable"
"""bool, set: ZBilling_Id can be written by API, so it can hold the twin's id."""
CREATE_BATCH = "create_batch"
"""int, set: records per create call (1 to 100). A third party sends 100; the vendor states no number."""
ITEM_UPDATE_PATH = "item_update_path"
"""text, set: "Products" or "Service_And_Parts", the first path tried to update an item; the other is the fallback."""

INACTIVE_WRITABLE = "inactive_writable"
"""bool, set: `$inactive` can be written by API (TR-9), of which the vendor says nothing. Off: a person is told to."""

CURRENCIES_API = "currencies_api"
"""bool, set: currencies can be listed and added by API as those of the CRM can, of which the vendor says nothing
(TR-10). Off: a record in a currency that FSM lacks fails, and a person adds it."""

BASE_CURRENCY = "base_currency"
"""text, set, or probed where `currencies_api` is on: the code of the organisation's base currency, in which its items'
prices are (TR-10)."""

TAXES_ENABLED = "taxes_enabled"
"""bool, set: the organisation works with taxes (ST-3), of which no call tells. Not set: the check is not made, and each
sync says so."""

RECORD_URL = "record_url"
"""text, set: the address of a record's page for people, with {org}, {page} (the module) and {id} in it."""

SETTABLE: Mapping[str, type[bool] | type[int] | type[str]] = MappingProxyType(
    {
        MODIFIED_TIME_SEARCH: bool,
        ZBILLING_ID_WRITABLE: bool,
        CREATE_BATCH: int,
        ITEM_UPDATE_PATH: str,
        INACTIVE_WRITABLE: bool,
        CURRENCIES_API: bool,
        BASE_CURRENCY: str,
        TAXES_ENABLED: bool,
        RECORD_URL: str,
    }
)

MOST_CREATE_BATCH = 100
# [T] One third party's setting gives this form, for work orders; the vendor says nothing.
DEFAULT_RECORD_URL = "https://fsm.{domain}/fsm/{org}#/tab/{page}/{id}"

# [T] A third party's reading of the vendor's page: 5,000 a minute and user; at the same time 5 (Free) or 15. Per day
# 5,000 (Free, trial) to 100,000 (Premium): the edition cannot be read, so a daily limit is a setting
# ({"limits": {"per_day": {"calls": 25000, "window_s": 86400}}}), as is more at the same time.
LIMITS = (Limit("per_minute", 5_000, 60), Limit("concurrent", 5, 0))
