"""The vocabulary is whole: every code that is used anywhere has its sentence and its remedy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shared
from shared.sync.reasons import REASONS, Code, sentence

SHARED = Path(shared.__file__).parent
MAKERS = {"Rejected": 0, "Fail": 0, "Skip": 0, "StopRun": 0, "PauseConnection": 0, "Trouble": 0, "Rule": 1}
"""Calls that take a code of ours, and which argument it is."""
KEYWORDS = {"Rule": "reason", "Action": "reason", "RecordRejected": "code", "Rejected": "code"}


@pytest.mark.rule("LG-4")
def test_every_code_has_a_reason_and_every_reason_a_code() -> None:
    assert set(REASONS) == {code.value for code in Code}
    for reason in REASONS.values():
        assert reason.sentence
        assert not reason.sentence.endswith(".")
        assert reason.remedy.endswith(".")


@pytest.mark.rule("LG-4")
def test_the_sentences_that_users_know_are_kept_to_the_letter() -> None:
    assert REASONS["MANDATORY_FIELD_EMPTY"].sentence == "The following mandatory field(s) were left empty:"
    assert REASONS["EMAIL_IN_COMPANY"].sentence == "Contact with this email-id is already associated with this company"
    assert (
        REASONS["COMPANY_CANNOT_CHANGE"].sentence
        == "Company cannot be changed for Contacts that are already synced with Zoho Finance"
    )


@pytest.mark.rule("LG-4")
def test_sentences_with_their_detail() -> None:
    assert sentence("MANDATORY_FIELD_EMPTY", "Rate, Unit") == (
        "The following mandatory field(s) were left empty: Rate, Unit"
    )
    assert sentence("AMBIGUOUS_MATCH", "3 records") == "More than one record has this match key (3 records)"
    assert sentence("INACTIVE") == REASONS["INACTIVE"].sentence
    with pytest.raises(KeyError):
        sentence("NEVER_HEARD")


def _codes_used() -> Iterator[tuple[str, str]]:
    for path in sorted(SHARED.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield from ((path.name, code) for code in _codes_of(node))


def _codes_of(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    given = call.args[MAKERS[name] : MAKERS[name] + 1] if name in MAKERS else []
    given += [keyword.value for keyword in call.keywords if keyword.arg == KEYWORDS.get(name, "")]
    yield from (node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.rule("LG-4")
def test_every_code_used_in_shared_is_in_the_table() -> None:
    used = {code: place for place, code in _codes_used()}
    assert "DUPLICATE_NAME" in used
    assert {code: place for code, place in used.items() if code not in REASONS} == {}


@pytest.mark.rule("LG-4")
def test_only_time_and_turns_are_retried() -> None:
    assert {code for code, reason in REASONS.items() if reason.retry} == {
        "RATE_LIMITED",
        "VENDOR_UNAVAILABLE",
        "ORG_HELD",
        "LEASE_LOST",
    }
