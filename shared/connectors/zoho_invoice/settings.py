"""In what Zoho Invoice differs from Zoho Books' settings; the names of its capabilities are the same."""

from __future__ import annotations

from shared.connectors.base import Limit

# [I] As Books' with the product's name; the org's setting `record_url` comes first.
DEFAULT_RECORD_URL = "https://invoice.{domain}/app/{org}#/{page}/{id}"

# 100 a minute and organisation, as the platform's [V]; 5 at the same time, as of a free plan [I]. Of the day nothing
# was found: 1,000 [I]. An org's setting `limits` says otherwise ({"limits": {"per_day": 2000}}).
LIMITS = (Limit("per_minute", 100, 60), Limit("per_day", 1_000, 86_400), Limit("concurrent", 5, 0))
