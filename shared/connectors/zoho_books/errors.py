"""Answers: `{"code": int, "message": text}`; 0 is success, whatever the HTTP status is (zoho-books.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from shared.connectors.errors import Answer, Complaint, Kind, Rule

_BAD_TOKEN = "14"  # noqa: S105  the vendor's error code

TABLE = (
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", code="44", retry_after_s=60, limit="per_minute"),
    # Per day: when the vendor's day begins is not documented, so it is asked again each hour.
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", code="45", retry_after_s=3_600, limit="per_day"),
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", code="1070", retry_after_s=2, limit="concurrent"),
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", code="43", status=429, retry_after_s=10),
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", code="4", status=429, retry_after_s=10),
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", status=429, retry_after_s=60),
    Rule(Kind.CONFIG, "SCOPE_MISSING", code="57"),
    Rule(Kind.CONFIG, "SIGN_IN_REFUSED", code=_BAD_TOKEN),
    Rule(Kind.CONFIG, "SIGN_IN_REFUSED", status=401),
    Rule(Kind.REJECTED, "TARGET_GONE", code="1002"),
    # [I] From Zoho Billing's item page: 2006 does not exist, 1000 name already exists. Books' own are not established.
    Rule(Kind.REJECTED, "TARGET_GONE", code="2006", status=404),
    Rule(Kind.REJECTED, "DUPLICATE_NAME", code="3062"),
    Rule(Kind.REJECTED, "DUPLICATE_NAME", phrase="already exist"),
    Rule(Kind.INTERNAL, "INTERNAL", code="1000"),
    Rule(Kind.REJECTED, "FIELD_TOO_LONG", code="15"),
    Rule(Kind.REJECTED, "MANDATORY_FIELD_EMPTY", code="4"),
    Rule(Kind.REJECTED, "VENDOR_REJECTED", code="5"),
    Rule(Kind.REJECTED, "VENDOR_REJECTED", status=404, code=""),
    Rule(Kind.REJECTED, "TARGET_GONE", status=404),
)


@dataclass(frozen=True, slots=True)
class BooksRules:
    vendor: str = "Zoho Books"
    table: tuple[Rule, ...] = TABLE

    def complaint(self, answer: Answer) -> Complaint | None:
        """A 2xx without a code is no complaint: what it lacks besides decides whether it can be read."""
        body = answer.body or {}
        code = str(body.get("code", ""))
        if answer.status < 300 and code in ("0", ""):
            return None
        return Complaint(code, str(body.get("message") or ""))

    def token_refused(self, answer: Answer) -> bool:
        """Code 14, or a 401 that names no code; 57 is a missing scope and no new token would help."""
        code = str((answer.body or {}).get("code", ""))
        return code == _BAD_TOKEN or (answer.status == 401 and code == "")


RULES = BooksRules()
