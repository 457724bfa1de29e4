"""Zoho's data centres: the only hosts that a client secret or a token is ever sent to (zoho-crm.md, section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shared.connectors.vendor import DataCentre
from shared.errors import ConfigError

SANDBOX = "sandbox"


def _centre(name: str, label: str, accounts_host: str, api_host: str) -> DataCentre:
    return DataCentre(name, label, f"https://{accounts_host}", (f"https://{api_host}",))


# Canada's accounts server is zohocloud.ca: accounts.zoho.ca does not resolve.
CENTRES: Mapping[str, DataCentre] = MappingProxyType(
    {
        centre.name: centre
        for centre in (
            _centre("us", "United States", "accounts.zoho.com", "www.zohoapis.com"),
            _centre("eu", "Europe", "accounts.zoho.eu", "www.zohoapis.eu"),
            _centre("in", "India", "accounts.zoho.in", "www.zohoapis.in"),
            _centre("au", "Australia", "accounts.zoho.com.au", "www.zohoapis.com.au"),
            _centre("jp", "Japan", "accounts.zoho.jp", "www.zohoapis.jp"),
            _centre("cn", "China", "accounts.zoho.com.cn", "www.zohoapis.com.cn"),
            _centre("ca", "Canada", "accounts.zohocloud.ca", "www.zohoapis.ca"),
            _centre("sa", "Saudi Arabia", "accounts.zoho.sa", "www.zohoapis.sa"),
        )
    }
)


def centres(sandbox_url: str | None, product: str) -> Mapping[str, DataCentre]:
    """The fixed list, and `sandbox` where a sandbox is configured; `product` is its folder there (zoho_books)."""
    if sandbox_url is None:
        return CENTRES
    base = sandbox_url.rstrip("/")
    sandbox = DataCentre(SANDBOX, "Sandbox", f"{base}/zoho_accounts", (f"{base}/{product}",))
    return MappingProxyType({**CENTRES, SANDBOX: sandbox})


def redirected(
    chosen: DataCentre, accounts_server: str | None, location: str | None, known: Mapping[str, DataCentre]
) -> DataCentre:
    """Whoever forges `accounts-server` in the redirect would get the client secret: only a host of the list will do.

    `accounts_server` decides, `location` (us, eu, …) must then agree; both missing: the centre that was chosen.
    """
    by_location = None if location is None else known.get(location.lower())
    if location is not None and by_location is None:
        raise ConfigError("The sign-in was redirected to an unknown data centre; it was stopped.", code="FOREIGN_HOST")
    if accounts_server is None:
        return by_location or chosen
    wanted = accounts_server.rstrip("/")
    for centre in known.values():
        # The sandbox plays one of the real data centres and says so.
        if centre.accounts_server == wanted and (by_location in (None, centre) or centre.name == SANDBOX):
            return centre
    raise ConfigError("The sign-in was redirected to an unknown accounts server; it was stopped.", code="FOREIGN_HOST")


def api_domain(centre: DataCentre, said: str | None, known: Mapping[str, DataCentre]) -> str:
    """The API's base address: the token answer's `api_domain` where any data centre has it, never a foreign one."""
    if said is None:
        return centre.api_domains[0]
    wanted = said.rstrip("/")
    if any(wanted in other.api_domains for other in known.values()):
        return wanted
    raise ConfigError("The sign-in named an API address that is no data centre's; it was stopped.", code="FOREIGN_HOST")
