"""What the audit log keeps of a value."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pydantic import SecretStr

from shared.sync.audit import Action, plain, plain_text

pytestmark = pytest.mark.rule("PE-1", "P14")


def test_a_secret_is_told_as_changed_wherever_it_lies() -> None:
    kept = plain({"secret": SecretStr("s3cret"), "more": {"list": [SecretStr("s3cret"), 1]}})
    assert kept == {"secret": "changed", "more": {"list": ["changed", 1]}}


def test_values_as_json_takes_them() -> None:
    at = datetime(2026, 11, 27, 3, tzinfo=timezone(timedelta(hours=2)))
    kept = plain({"at": at, "none": None, "yes": True, "n": 7, "roles": ("a", "b"), "role": Action.TOKEN_MADE})
    assert kept == {
        "at": "2026-11-27T01:00:00+00:00", "none": None, "yes": True, "n": 7, "roles": ["a", "b"], "role": "token.made",
    }  # fmt: skip
    with pytest.raises(TypeError, match="object has no form"):
        plain({"x": object()})


def test_what_postgres_cannot_hold_is_replaced_and_long_texts_are_cut() -> None:
    assert plain_text("a\0b\ud800c") == "a?b?c"
    assert len(plain_text("x" * 10_000)) == 500


def test_an_act_names_the_kind_of_its_subject() -> None:
    kinds = {"connection", "keys", "integration", "run", "record", "import", "token"}
    assert {one.subject_kind for one in Action} == kinds
