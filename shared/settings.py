"""Frozen settings, read once at the door (`load_settings`) and handed down. Nothing else reads the environment.

Each has its unit in its name; deploy/env.example lists them all, and a test compares the two.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigError


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BOTHWAYS_", frozen=True, extra="ignore", populate_by_name=True)

    # Servers. The two URLs have no prefix, as everywhere else in the world (OP-2).
    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    redis_url: SecretStr | None = Field(default=None, validation_alias="REDIS_URL")
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    public_url: str | None = None
    """Where vendors reach the API, if that is not http://api_host:api_port."""
    key_file: Path | None = None
    """Key ring that encrypts tokens at rest: {"current": id, "keys": {id: base64 of 32 bytes}}."""
    test_hook: str = ""
    """Tests alone: "package.module:function", called as each process starts. Never set it in production."""
    epoch_file: Path | None = None
    """Kept on this machine, apart from the servers' disks: tells that the database was restored (P2)."""
    sandbox_url: str | None = None
    """Base address of the sandbox vendors: allows the data centre `sandbox`. Never set it in production."""

    # Times (reliability section 4). All of them are multiplied by `time_scale`, which tests lower.
    time_scale: float = Field(default=1.0, gt=0, le=1.0)
    lease_ttl_s: float = 60.0
    lease_heartbeat_s: float = 10.0
    push_deadline_s: float = 30.0
    push_hard_deadline_s: float = 75.0
    """A push, its sign-in included, that lasts longer ends its process. Not scaled."""
    stop_s: float = 28.0
    """A worker that was asked to stop ends by then, whatever it does: its open pushes are in doubt. Not scaled."""
    worker_heartbeat_s: float = 3.0
    worker_gone_s: float = 10.0
    canary_s: float = 15.0
    """How often each queue is given a task that only says that it was run …"""
    stalled_s: float = 60.0
    """… and after what silence its work counts as stalled."""
    tick_s: float = 5.0
    """Due rows, due runs and the sweep that wakes what was missed."""
    quota_patience_s: float = 120.0
    """LK-4: a run that waits longer for quota gives its orgs back, and goes on from its checkpoint later."""
    debounce_s: float = 1.0
    """A record's first webhook is worked on at once, the following ones so far apart."""
    doubt_looks: int = 3
    """Looks that must find nothing before a record in doubt is believed absent …"""
    doubt_span_s: float = 60.0
    """… and the time they must span: lists and searches lag."""

    # The pipe.
    lock_scope: Literal["org", "installation"] = "org"
    """LK-1: who holds an org keeps others from that one; or, by "installation", from every org that is connected. The
    same for all processes."""
    shards: int = Field(default=4, ge=1, le=64)
    """Lanes per integration and class. Do not change while events lie on the lanes of removed shards."""
    batch_size: int = Field(default=400, ge=1, le=1000)
    lane_bound: int = 2000
    """The poller waits while a lane is longer (P13)."""
    webhook_bound: int = 100_000
    """The webhook door answers 503 while an integration's lanes hold more (P13)."""
    webhook_max_bytes: int = 1_000_000
    attempts_by_error: int = 8
    attempts_by_crash: int = 3

    # Data import (LK-5).
    import_max_bytes: int = Field(default=50_000_000, ge=1)
    import_max_rows: int = Field(default=200_000, ge=1)
    import_max_columns: int = Field(default=200, ge=1, le=1600)
    import_max_cell_chars: int = Field(default=32_000, ge=1)
    import_cells_days: float = 30.0
    """So long after its end an import keeps the cells of its failed rows, for its report. Not scaled."""

    # When.
    schedule_interval_h: float = 3.0
    """TR-2: after the end of the last scheduled or manual sync. Of new integrations; each keeps its own."""
    manual_syncs_per_day: int = Field(default=30, ge=0)
    """TR-4: how often in a day of the integration's time zone Sync Now is accepted, where its kind limits it. 0: no
    limit."""
    most_records: int = Field(default=10_000, ge=1)
    """ST-2: an integration whose accounting org holds more customers, or more items, is disabled."""
    overlap_s: float = Field(default=300.0, ge=300.0)
    """P12: how far behind the watermark a poll starts. Not scaled."""
    compare_days: float = 7.0
    """TR-13: the first sync after so long lists everything and finds what was deleted without a word. Not scaled."""
    vanish_share: float = Field(default=0.05, gt=0, le=1)
    """TR-13: where more of the bound records than this are missing at once (and more than three), a person is asked."""
    outcome_months: int = 6

    # Mail (LG-8). Without a host nothing is sent; without a port it is the usual one of `smtp_security`.
    smtp_host: str | None = None
    smtp_port: int | None = Field(default=None, ge=1, le=65535)
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_from: str | None = None
    """The sender's address, and nothing but the address."""

    @field_validator(
        "database_url", "redis_url", "smtp_host", "smtp_port", "smtp_username", "smtp_password", "smtp_from",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _deadlines_fit(self) -> Self:
        if self.push_deadline_s + 5 >= self.lease_ttl_s:
            raise ValueError("BOTHWAYS_LEASE_TTL_S must exceed BOTHWAYS_PUSH_DEADLINE_S by more than 5 seconds")
        return self

    @model_validator(mode="after")
    def _mail_can_be_sent(self) -> Self:
        if self.smtp_host and not self.smtp_from:
            raise ValueError("BOTHWAYS_SMTP_HOST needs BOTHWAYS_SMTP_FROM, the address that mail comes from")
        if self.smtp_from and ("@" not in self.smtp_from or not re.fullmatch(r"[!-~]+", self.smtp_from)):
            raise ValueError("BOTHWAYS_SMTP_FROM is an e-mail address alone, without a name")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError("BOTHWAYS_SMTP_USERNAME and BOTHWAYS_SMTP_PASSWORD are set together, or neither")
        if self.smtp_password and self.smtp_security == "none":
            raise ValueError("BOTHWAYS_SMTP_PASSWORD would cross the network in the clear; set BOTHWAYS_SMTP_SECURITY")
        return self

    @property
    def public_base(self) -> str:
        """Where vendors reach the API, without a slash at its end."""
        return (self.public_url or f"http://{self.api_host}:{self.api_port}").rstrip("/")

    def scaled(self, seconds: float) -> float:
        return seconds * self.time_scale


def load_settings() -> Settings:
    """Reads the environment. Raises ConfigError with a sentence per bad variable; values are never shown."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
        raise ConfigError("Settings cannot be used: " + "; ".join(lines), code="BAD_SETTINGS") from None
