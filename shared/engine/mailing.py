"""Sends notification e-mail (LG-8), address by address: what `notices` wrote down.

A row is claimed in Postgres by pushing its `due_at` out, so two beats do no harm. One message per address: the refusal
of one keeps nothing from another, and nobody sees who else is told. After each its address leaves the row, so that a
crash sends again at most the message that was under way, under its old Message-ID.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from sqlalchemy import Row, text

from shared.db.queries.runs import counts as counts_of
from shared.engine.context import Ports
from shared.errors import NotFound
from shared.integrations.registry import integration as declared
from shared.mail import DEADLINE_S, Answer, MailUnavailable, deliver
from shared.points import at
from shared.sync.notice import CountLine, Facts, Notice, NoticeKind, notice_of

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 20
ATTEMPTS = 8
CLAIM_S = 3 * DEADLINE_S
"""Not scaled: longer than any sending takes."""
WITHOUT_HOST_S = 86_400.0
"""So long what cannot be sent waits for somebody to set mail up."""
_FIRST_S, _FACTOR, _LONGEST_S = 60.0, 4, 28_800.0
"""Between the attempts: 1, 4, 16 and 64 minutes, 4 hours and a bit, then 8 hours. 22 hours in all: a night."""
GAVE_UP = "A mistake of ours ended each attempt; the log has it."
NO_HOST = "Mail is not set up (BOTHWAYS_SMTP_HOST): nothing was sent."


def send_notices(ports: Ports) -> None:
    """What is due, a bounded number. Called often, by itself: a mail server that is slow holds up nothing else."""
    set_up = ports.settings.smtp_host is not None
    _give_up(ports, set_up=set_up)
    for _ in range(ROWS_AT_ONCE if set_up else 0):
        row = _claim(ports)
        if row is None:
            return
        _send(ports, row)


def _give_up(ports: Ports, *, set_up: bool) -> None:
    """What waited a day for mail to be set up; and what ended its worker at each attempt."""
    too_old = "created_at < clock_timestamp() - make_interval(secs => :s)"
    too_often = "attempts >= :most AND due_at <= clock_timestamp()"
    with ports.db.transaction() as session:
        given_up = session.execute(
            text(
                "UPDATE notification SET state = 'failed', detail = :why, addresses = '[]', "
                "refused = refused + jsonb_array_length(addresses) "
                f"WHERE state = 'waiting' AND {too_often if set_up else too_old} RETURNING id"
            ),
            {"why": GAVE_UP if set_up else NO_HOST, "s": WITHOUT_HOST_S, "most": ATTEMPTS},
        ).all()
    if given_up:
        log.warning("%d notifications were given up", len(given_up))


def _claim(ports: Ports) -> Row[Any] | None:
    with ports.db.transaction() as session:
        return session.execute(
            text(
                """
                UPDATE notification n SET attempts = n.attempts + 1,
                    due_at = clock_timestamp() + make_interval(secs => :claim)
                FROM (SELECT id FROM notification WHERE state = 'waiting' AND due_at <= clock_timestamp()
                      ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) f
                WHERE n.id = f.id
                RETURNING n.id, n.run_id, n.kind, n.message_key, n.addresses, n.attempts, n.created_at
                """
            ),
            {"claim": CLAIM_S},
        ).first()


def _send(ports: Ports, row: Row[Any]) -> None:
    """Address by address; what is left after it waits for its next attempt."""
    notice = _notice(ports, row)
    messages = [_message(ports.settings.smtp_from or "", address, notice, row) for address in row.addresses]
    why = ""
    try:
        for message, answer in deliver(ports.settings, messages):
            at("notice.sent")
            if answer.accepted or answer.for_good:
                _told(ports, row.id, str(message["To"]), answer)
            if not answer.accepted:
                why = f"The mail server answered {answer.code} to an address."
    except MailUnavailable as error:
        why = str(error)
    _close(ports, row, why)


def _told(ports: Ports, notification_id: int, address: str, answer: Answer) -> None:
    column = "sent" if answer.accepted else "refused"
    with ports.db.transaction() as session:
        session.execute(
            text(
                f"UPDATE notification SET addresses = addresses - CAST(:address AS text), {column} = {column} + 1 "
                "WHERE id = :id AND addresses ? :address"
            ),
            {"id": notification_id, "address": address},
        )


def _close(ports: Ports, row: Row[Any], why: str) -> None:
    """Ended where nobody is left to be told, or all attempts are used up; else due again, each time later."""
    wait_s = min(_FIRST_S * _FACTOR ** (row.attempts - 1), _LONGEST_S)
    with ports.db.transaction() as session:
        state = session.execute(
            text(
                """
                UPDATE notification SET
                    refused = refused + CASE WHEN :last THEN jsonb_array_length(addresses) ELSE 0 END,
                    addresses = CASE WHEN :last THEN '[]' ELSE addresses END,
                    state = CASE WHEN addresses <> '[]' AND NOT :last THEN 'waiting'
                        WHEN addresses <> '[]' OR refused > 0 THEN 'failed' ELSE 'sent' END,
                    sent_at = coalesce(sent_at, CASE WHEN sent > 0 THEN clock_timestamp() END),
                    detail = CASE WHEN :why <> '' THEN :why WHEN refused > 0 THEN detail ELSE '' END,
                    due_at = clock_timestamp() + make_interval(secs => :wait)
                WHERE id = :id RETURNING state
                """
            ),
            {"id": row.id, "why": why, "last": row.attempts >= ATTEMPTS, "wait": ports.settings.scaled(wait_s)},
        ).scalar()
    if state != "sent":
        log.warning("notification %d of run %d is %s: %s", row.id, row.run_id, state, why)


def _notice(ports: Ports, row: Row[Any]) -> Notice:
    with ports.db.transaction() as session:
        run = session.execute(
            text(
                """
                SELECT r.id, r.kind, r.trigger, r.state, coalesce(r.started_at, r.created_at) AS began_at, r.ended_at,
                    coalesce(r.error_code, '') AS error_code, coalesce(r.error_detail, '') AS error_detail,
                    i.id AS integration_id, i.name, i.kind AS integration_kind
                FROM run r JOIN integration i ON i.id = r.integration_id WHERE r.id = :run
                """
            ),
            {"run": row.run_id},
        ).one()
        counted = counts_of(session, row.run_id)
    base = ports.settings.public_url
    return notice_of(
        Facts(
            kind=NoticeKind(row.kind),
            integration_id=run.integration_id,
            integration=run.name,
            run_id=run.id,
            run_kind=run.kind,
            trigger=run.trigger,
            state=run.state,
            began_at=run.began_at,
            ended_at=run.ended_at,
            error_code=run.error_code,
            error_detail=run.error_detail,
            counts=_lines(run.integration_kind, counted),
            log_url=f"{ports.settings.public_base}/api/v1/runs/{run.id}" if base else "",
        )
    )


def _lines(kind: str, counted: Sequence[Any]) -> list[CountLine]:
    return [
        CountLine(
            _label(kind, one["pair"]), one["direction"], one["outcome"], one["reason"], one["records"], one["conflicts"]
        )
        for one in counted
    ]


def _label(kind: str, pair: str) -> str:
    try:
        return declared(kind).declaration(pair).label
    except NotFound:  # a dead letter has no pair
        return pair or "records"


def _message(sender: str, address: str, notice: Notice, row: Row[Any]) -> EmailMessage:
    """The same to the letter each time it is made. EmailMessage refuses a header of more than one line."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = address
    message["Subject"] = notice.subject
    message["Date"] = format_datetime(row.created_at)
    own = hashlib.sha256(f"{row.message_key} {address}".encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{own}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notice.body, charset="utf-8", cte="quoted-printable")
    message.policy = SMTP.clone(max_line_length=998)  # a Message-ID that is folded is another one
    return message
