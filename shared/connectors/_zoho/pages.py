"""Addresses of records' pages for people. No page of the vendor gives their form, so an org's setting comes first."""

from __future__ import annotations

from urllib.parse import quote

_ACCOUNTS = "https://accounts."


def record_page(
    *, template: str, default: str, accounts_server: str, org: str, page: str, record_id: str
) -> str | None:
    """`template` or, where that is empty, `default`, with {domain} (zoho.com, zoho.eu …), {org}, {page} and {id} filled
    in. None where that gives no https address, or the data centre is not one of the vendor's."""
    domain = accounts_server.removeprefix(_ACCOUNTS) if accounts_server.startswith(_ACCOUNTS) else ""
    chosen = template or (default if domain else "")
    if not chosen.startswith("https://"):
        return None
    values = {"domain": domain, "org": quote(org, safe=""), "page": page, "id": quote(record_id, safe="")}
    for name, value in values.items():
        chosen = chosen.replace(f"{{{name}}}", value)
    return chosen
