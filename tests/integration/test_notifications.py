"""Notification e-mail (LG-8): who is told of what, once, and what becomes of it where mail servers fail."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from pydantic import SecretStr
from sqlalchemy import text

from shared import mail
from shared.engine import housekeeping, mailing
from shared.engine.notices import note_disabled, note_end
from shared.errors import NotAllowed, NotFound, Refused
from shared.points import arm
from shared.services.integrations import IntegrationService
from shared.services.notifications import MOST_ADDRESSES, Notifications, NotificationService
from shared.services.workspaces import host_actor
from shared.settings import Settings
from shared.sync.access import Actor, ActorKind, Permission, Role, host
from tests.callers import made, token_of
from tests.conftest import MakeSettings
from tests.integration.conftest import TIME_SCALE
from tests.integration.smtp_sink import HOST, PASSWORD, USER, Sink, free_port, listening, own_certificate
from tests.integration.test_doors import serving
from tests.integration.world import Office, World, opened

pytestmark = pytest.mark.rule("LG-8")

ANN, BEN = "ann@example.com", "ben@example.com"
FROM = "bothways@sync.example.com"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with listening() as sink:
        yield sink


@pytest.fixture
def settings(make_settings: MakeSettings, database_url: str, redis: object, redis_url: str, sink: Sink) -> Settings:
    return _settings(make_settings, database_url, redis_url, sink.port)


def _settings(make_settings: MakeSettings, database_url: str, redis_url: str, port: int, **more: Any) -> Settings:
    return make_settings(
        **{
            "database_url": database_url, "redis_url": redis_url, "time_scale": TIME_SCALE, "smtp_host": HOST,
            "smtp_port": port, "smtp_security": "none", "smtp_from": FROM, **more,
        }
    )  # fmt: skip


def integration(
    office: Office, *, addresses: tuple[str, ...] = (ANN,), manual: bool = True, automatic: bool = True
) -> int:
    """Of two orgs that nobody is connected to."""
    actor = host_actor(office.db)
    left, right = (
        office.value(
            "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre) VALUES (:w, :v, :v, :v, 'eu') "
            "ON CONFLICT DO NOTHING RETURNING id", w=actor.workspace, v=vendor,
        )
        for vendor in ("zoho_fsm", "zoho_books")
    )  # fmt: skip
    made = int(
        office.value(
            "INSERT INTO integration (workspace_id, kind, name, left_org_id, right_org_id, state) "
            "VALUES (:w, 'fsm_books', 'Zylker', :l, :r, 'enabled') RETURNING id", w=actor.workspace, l=left, r=right,
        )
    )  # fmt: skip
    NotificationService(office.db).save(actor, made, addresses, manual=manual, automatic=automatic)
    return made


def ended(office: Office, integration_id: int, **values: Any) -> int:
    """A run that ended, past the engine, and what is to be told of it."""
    values = {"kind": "sync", "trigger": "manual", "state": "completed", "code": None, "detail": None, **values}
    with office.db.transaction() as session:
        run_id = int(
            session.execute(
                text(
                    "INSERT INTO run (workspace_id, integration_id, kind, trigger, state, ended_at, error_code, "
                    "error_detail) SELECT workspace_id, id, :kind, :trigger, :state, clock_timestamp(), :code, :detail "
                    "FROM integration WHERE id = :i RETURNING id"
                ),
                {"i": integration_id, **values},
            ).scalar_one()
        )
        note_end(session, run_id)
    return run_id


def send(office: Office) -> None:
    mailing.send_notices(office.ports)


def hurry(office: Office) -> None:
    """What waits for its next attempt is due; as after a claim that nobody came back to."""
    office.sql("UPDATE notification SET due_at = clock_timestamp() WHERE state = 'waiting'")


def states(office: Office) -> list[tuple[Any, ...]]:
    rows = office.sql(
        "SELECT state, sent, refused, jsonb_array_length(addresses) AS left_ FROM notification ORDER BY id"
    )
    return [tuple(row.values()) for row in rows]


# What is told.


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "no manual"])
@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "no automatic"])
def test_who_is_told_of_what(office: Office, sink: Sink, manual: bool, automatic: bool) -> None:
    here = integration(office, manual=manual, automatic=automatic)
    told = {
        (kind, trigger, state): bool(
            office.sql(
                "SELECT 1 FROM notification WHERE run_id = :r",
                r=ended(office, here, kind=kind, trigger=trigger, state=state),
            )
        )
        for kind, trigger in (("sync", "manual"), ("sync", "scheduled"), ("fetch", "manual"), ("webhook", "webhook"))
        for state in ("completed", "completed_with_failures", "failed", "cancelled")
    }
    assert told == {
        (kind, trigger, state): kind != "webhook"
        and (
            state == "failed"
            or (kind == "sync" and state != "cancelled" and (manual if trigger == "manual" else automatic))
        )
        for kind, trigger, state in told
    }
    send(office)
    assert len(sink.kept) == sum(told.values())


def test_without_addresses_nothing_waits(office: Office) -> None:
    here = integration(office, addresses=())
    ended(office, here)
    ended(office, here, state="failed", code="INTERNAL", detail="x")
    with office.db.transaction() as session:
        note_disabled(session, here, ended(office, here, state="failed"))
    assert states(office) == []


def test_it_is_written_down_with_the_end_of_the_run_or_not_at_all(office: Office) -> None:
    here = integration(office)
    run_id = ended(office, here, state="cancelled")
    office.sql("UPDATE run SET state = 'failed'")

    def fails_after_it() -> None:
        with office.db.transaction() as session:
            note_end(session, run_id)
            assert session.execute(text("SELECT count(*) FROM notification")).scalar() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_after_it()
    assert states(office) == []


def test_an_end_is_told_once_however_often_it_is_noted(office: Office, sink: Sink) -> None:
    run_id = ended(office, integration(office))
    for _ in range(2):
        with office.db.transaction() as session:
            note_end(session, run_id)
        send(office)
    assert sink.told == [ANN]


@pytest.mark.rule("ST-1")
@pytest.mark.parametrize("first", [note_end, None], ids=["after", "before"])
def test_that_an_integration_was_disabled_is_told_instead_of_the_failure(
    office: Office, sink: Sink, first: Callable[..., None] | None
) -> None:
    here = integration(office)
    with office.db.transaction() as session:
        run_id = ended(office, here, state="cancelled")
        office.sql(
            "UPDATE run SET state = 'failed', error_code = 'RUN_STOPPED', "
            "error_detail = 'Sync types differ: I and IV.' WHERE id = :r", r=run_id,
        )  # fmt: skip
        if first is not None:
            first(session, run_id)
        note_disabled(session, here, run_id)
        note_end(session, run_id)
    send(office)
    assert sink.only()["Subject"] == f"Bothways: Zylker was disabled by sync {run_id}"
    assert "Why (RUN_STOPPED): Sync types differ: I and IV. Read the rule's sentence" in sink.text()
    assert f"bothways support enable {here} --note WHY" in sink.text()


def test_what_it_says(office: Office, sink: Sink) -> None:
    here = integration(office)
    office.sql("UPDATE integration SET name = :n", n="Zylker\r\nBcc: evil@example.com\n– Bücher \x07")
    run_id = ended(office, here, state="completed_with_failures")
    office.sql(
        "INSERT INTO run_count (run_id, direction, pair, outcome, reason, workspace_id, records, conflicts) "
        "SELECT :r, 'zoho_fsm>zoho_books', v.pair, v.outcome, v.reason, 1, v.n, v.c FROM (VALUES "
        "('companies', 'created', '', 12, 0), ('companies', 'updated', '', 3, 1), "
        "('companies', 'failed', 'DUPLICATE_NAME', 2, 0), ('items', 'unchanged', '', 5, 0)) "
        "v(pair, outcome, reason, n, c)",
        r=run_id,
    )
    send(office)
    message, said = sink.only(), sink.text()
    name = "Zylker Bcc: evil@example.com – Bücher"
    assert message["Subject"] == f"Bothways: {name}: sync {run_id} completed with failures"
    assert (message["To"], message["From"], message["Bcc"]) == (ANN, FROM, None)
    assert message["Auto-Submitted"] == "auto-generated"
    assert f"Integration {here}: {name}\nSync ID {run_id} (manual sync): completed with failures." in said
    (line,) = [one for one in said.splitlines() if "12 created" in one]
    assert line.endswith("zoho_fsm>zoho_books: 12 created, 3 updated, 2 failed, 1 in conflict")
    assert "2 DUPLICATE_NAME: Another record at the target already has this name. Rename one of the two" in said
    assert f"bothways run {run_id}" in said
    assert f"bothways failures {run_id}" in said


def test_runs_of_the_product_are_told_and_no_record_is(
    world: World, make_settings: MakeSettings, database_url: str, redis_url: str, sink: Sink,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Fetch and a sync that end well, one that the timer began, and one that fails, by the engine itself."""
    NotificationService(world.office.db).save(world.actor, world.integration, [ANN, BEN], manual=False, automatic=True)
    world.company("Kanary & Sons")
    world.fetch()
    world.sync()
    assert states(world.office) == []
    world.office.sql("UPDATE integration SET next_run_at = clock_timestamp()")
    housekeeping.start_scheduled(world.office.ports)
    world.ended(world.office.value("SELECT max(id) FROM run"))
    world.office.sql("UPDATE connection SET status = 'broken', broken_reason = 'CONNECTION_BROKEN'")
    failed = world.runs.sync_now(world.actor, world.integration)
    world.office.crew.until(lambda: world.runs.get(world.actor, failed).ended, "it fails")
    with opened(_settings(make_settings, database_url, redis_url, sink.port), threads=0, beat=False) as office:
        send(office)
    assert sorted(sink.told) == [ANN, ANN, BEN, BEN]
    (told,) = {message.get_content() for _, message in sink.kept if message["Subject"].endswith(f"{failed} failed")}
    assert "CONNECTION_BROKEN" in told
    assert "Connect it again" in told
    assert "Kanary" not in "".join(str(message) for _, message in sink.kept)
    assert ANN not in caplog.text


# How it is sent.


def test_two_beats_send_each_mail_once(office: Office, sink: Sink) -> None:
    here = integration(office, addresses=(ANN, BEN))
    for _ in range(10):
        ended(office, here)
    beats = [threading.Thread(target=send, args=(office,)) for _ in range(4)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()
    assert sorted(sink.told) == [ANN] * 10 + [BEN] * 10
    assert len({message["Message-ID"] for _, message in sink.kept}) == 20
    assert set(states(office)) == {("sent", 2, 0, 0)}


def test_a_refused_address_keeps_nothing_from_the_others(office: Office, sink: Sink) -> None:
    here = integration(office, addresses=(ANN, BEN))
    sink.answers[ANN] = [f"550 5.1.1 <{ANN}> has left"] * 2
    ended(office, here)
    send(office)
    assert sink.told == [BEN]
    assert states(office) == [("failed", 1, 1, 0)]
    (seen,) = NotificationService(office.db).recent(host_actor(office.db), here)
    assert seen.detail == "The mail server answered 550 to an address."
    hurry(office)
    send(office)
    assert sink.told == [BEN]


def test_who_is_put_off_is_told_later_and_the_others_not_again(office: Office, sink: Sink) -> None:
    here = integration(office, addresses=(ANN, BEN))
    sink.answers[ANN] = ["451 4.7.1 greylisted, come back"]
    ended(office, here)
    send(office)
    assert (sink.told, states(office)) == ([BEN], [("waiting", 1, 0, 1)])
    send(office)
    assert sink.told == [BEN], "not before it is due"
    hurry(office)
    send(office)
    assert (sink.told, states(office)) == ([BEN, ANN], [("sent", 2, 0, 0)])
    assert office.value("SELECT detail FROM notification") == ""


def test_a_server_that_is_away_is_tried_eight_times_each_time_later(
    make_settings: MakeSettings, database_url: str, redis: object, redis_url: str
) -> None:
    with opened(_settings(make_settings, database_url, redis_url, free_port()), threads=0, beat=False) as office:
        ended(office, integration(office))
        waits = []
        for attempt in range(1, mailing.ATTEMPTS + 1):
            send(office)
            row = office.sql("SELECT attempts, detail, due_at - clock_timestamp() AS wait FROM notification")[0]
            assert row["attempts"] == attempt
            assert row["detail"] == "The mail server cannot be reached (ConnectionRefusedError)."
            waits.append(row["wait"])
            hurry(office)
        assert waits[:4] == sorted(waits[:4])
        assert timedelta(seconds=5) < waits[0] < timedelta(seconds=7), "a minute, scaled"
        assert states(office) == [("failed", 0, 1, 0)]
        send(office)
        assert office.value("SELECT attempts FROM notification") == mailing.ATTEMPTS


def test_it_is_sent_again_under_the_same_id_where_nobody_knows_whether_it_came(office: Office, sink: Sink) -> None:
    def die(server: SMTP) -> None:
        sink.after_data = None
        assert isinstance(server.transport, asyncio.Transport)
        server.transport.abort()

    sink.after_data = die
    ended(office, integration(office))
    send(office)
    assert states(office) == [("waiting", 0, 0, 1)]
    hurry(office)
    send(office)
    assert states(office) == [("sent", 1, 0, 0)]
    first, second = (message for _, message in sink.kept)
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()


def test_a_worker_that_dies_as_it_sends_leaves_the_rest_to_the_next(office: Office, sink: Sink) -> None:
    def die(point: str) -> None:
        if point == "notice.sent":
            raise SystemExit(1)

    ended(office, integration(office, addresses=(ANN, BEN)))
    arm(die)
    try:
        with pytest.raises(SystemExit):
            send(office)
    finally:
        arm(None)
    assert states(office) == [("waiting", 0, 0, 2)]
    send(office)
    assert sink.told == [ANN], "claimed by the dead one, for a while"
    hurry(office)
    send(office)
    assert sink.told == [ANN, ANN, BEN]
    assert sink.kept[0][1]["Message-ID"] == sink.kept[1][1]["Message-ID"]


def test_what_ends_its_worker_each_time_is_given_up(office: Office) -> None:
    ended(office, integration(office))
    office.sql("UPDATE notification SET attempts = :n", n=mailing.ATTEMPTS)
    send(office)
    assert states(office) == [("failed", 0, 1, 0)]
    assert office.value("SELECT detail FROM notification") == mailing.GAVE_UP


def test_without_a_mail_server_it_waits_a_day_and_then_says_why(
    make_settings: MakeSettings, database_url: str, redis: object, redis_url: str
) -> None:
    settings = make_settings(database_url=database_url, redis_url=redis_url)
    with opened(settings, threads=0, beat=False) as office:
        ended(office, integration(office))
        send(office)
        assert states(office) == [("waiting", 0, 0, 1)]
        office.sql("UPDATE notification SET created_at = created_at - interval '25 hours'")
        send(office)
        assert states(office) == [("failed", 0, 1, 0)]
        assert "BOTHWAYS_SMTP_HOST" in office.value("SELECT detail FROM notification")
        with serving(settings) as client:
            assert client.get("/workz").json()["mail_set_up"] is False


@pytest.mark.rule("P14")
def test_it_signs_in_over_an_encrypted_connection_and_never_without(
    make_settings: MakeSettings, database_url: str, redis: object, redis_url: str, sink: Sink,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def attempt(port: int, password: str = PASSWORD, security: str = "starttls") -> str:
        """Why it was not sent; "" where it was."""
        wanted = {"smtp_security": security, "smtp_username": USER, "smtp_password": SecretStr(password)}
        settings = _settings(make_settings, database_url, redis_url, port, **wanted)
        with opened(settings, threads=0, beat=False) as office:
            hurry(office)
            send(office)
            return str(office.value("SELECT detail FROM notification"))

    with own_certificate() as certificate, listening(certificate=certificate) as secure:
        with opened(_settings(make_settings, database_url, redis_url, secure.port), threads=0, beat=False) as office:
            ended(office, integration(office))
        assert "CERTIFICATE_VERIFY_FAILED" in attempt(secure.port)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert attempt(secure.port, "wrong-canary") == "The mail server refused the sign-in (535)."
        assert "offers no encryption" in attempt(sink.port)
        assert (secure.kept, sink.kept) == ([], [])
        assert attempt(secure.port) == ""
        assert (secure.told, secure.encrypted) == ([ANN], [True])
        with listening(certificate=certificate, at_once=True) as at_once:
            with opened(
                _settings(make_settings, database_url, redis_url, free_port()), threads=0, beat=False
            ) as office:
                office.sql(
                    "UPDATE notification SET state = 'waiting', addresses = CAST(:a AS jsonb)", a=json.dumps([ANN])
                )
            assert attempt(at_once.port, security="tls") == ""
            assert at_once.told == [ANN]
    assert "canary" not in caplog.text


def test_a_server_that_drips_is_cut_off(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is in time for the socket's own timeout; together they would last for ever."""
    monkeypatch.setattr(mail, "DEADLINE_S", 0.5)
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        line, _ = listener.accept()
        with closing(line):
            while not over.wait(0.01):
                try:
                    line.sendall(b"2")
                except OSError:
                    return

    with closing(socket.create_server((HOST, 0))) as listener:
        server = threading.Thread(target=drip, args=(listener,))
        server.start()
        try:
            settings = make_settings(
                smtp_host=HOST, smtp_port=listener.getsockname()[1], smtp_security="none", smtp_from=FROM
            )
            with pytest.raises(mail.MailUnavailable, match="SMTPServerDisconnected"):
                list(mail.deliver(settings, []))
            server.join(10)
            assert not server.is_alive(), "the connection is closed"
        finally:
            over.set()
            server.join()


# By whom it is set.


def test_it_is_set_by_who_may_configure_and_read_by_nobody_else(office: Office, settings: Settings) -> None:
    here = integration(office, addresses=(), manual=False, automatic=False)
    path = f"/api/v1/integrations/{here}/notifications"
    with serving(settings) as client:
        body = {"addresses": ["Ann@EXAMPLE.com", BEN, "ann@example.com"], "manual": True}
        assert client.put(path, json=body).json() == {
            "addresses": ["Ann@example.com", BEN], "manual": True, "automatic": False,
        }  # fmt: skip
        assert client.get(path).json()["addresses"] == ["Ann@example.com", BEN]
        assert client.get(f"/api/v1/integrations/{here}").json()["notifications"]["manual"] is True
        audited = office.sql("SELECT action, before, after FROM audit_log ORDER BY id DESC LIMIT 1")[0]
        assert audited == {
            "action": "integration.notifications_set",
            "before": {"addresses": 0, "manual": False, "automatic": False},
            "after": {"addresses": 2, "manual": True, "automatic": False},
        }
        before = office.value("SELECT count(*) FROM audit_log")
        assert client.put(path, json=body).status_code == 200
        assert office.value("SELECT count(*) FROM audit_log") == before, "nothing was changed"
        viewer = {"Authorization": f"Bearer {token_of(office.db, Role.VIEWER)}"}
        for address in (path, f"{path}/sent"):
            assert client.get(address, headers=viewer).status_code == 403
        for address in (f"/api/v1/integrations/{here}", "/api/v1/integrations"):
            answer = client.get(address, headers=viewer)
            assert answer.status_code == 200
            assert "example.com" not in answer.text
        ended(office, here)
        (one,) = client.get(f"{path}/sent").json()
        assert (one["state"], one["waiting"], one["kind"]) == ("waiting", 2, "run_ended")


@pytest.mark.rule("P14")
@pytest.mark.parametrize(
    "address",
    ["", "ann", "@example.com", "ann@example.com\r\nBcc: eve@example.com", "ann@example.com, eve@example.com",
     "Ann <ann@example.com>", "ann@exa mple.com", "ann@example.com\0", "a" * 70 + "@example.com", "jörg@example.com"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(office: Office, address: str) -> None:
    here = integration(office)
    actor, service = host_actor(office.db), NotificationService(office.db)
    with pytest.raises(Refused) as caught:
        service.save(actor, here, [BEN, address], manual=True, automatic=True)
    assert str(caught.value) == "Address 2 is no e-mail address."
    assert service.get(actor, here) == Notifications((ANN,), manual=True, automatic=True)


def test_who_may_not_and_what_is_not_there(office: Office) -> None:
    here = integration(office)
    service, actor = NotificationService(office.db), host_actor(office.db)
    viewer = Actor(actor.workspace, "v", ActorKind.TOKEN, frozenset({Permission.VIEW}))
    for act in (
        lambda who, i: service.get(who, i),
        lambda who, i: service.recent(who, i),
        lambda who, i: service.save(who, i, [], manual=False, automatic=False),
    ):
        with pytest.raises(NotAllowed):
            act(viewer, here)
        with pytest.raises(NotFound):
            act(actor, here + 1)
        with pytest.raises(NotFound):
            act(host(actor.workspace + 1), here)
    with pytest.raises(Refused, match=str(MOST_ADDRESSES)):
        service.save(actor, here, [f"a{n}@x.example" for n in range(MOST_ADDRESSES + 1)], manual=False, automatic=False)
    assert IntegrationService(office.db, office.settings).get(viewer, here).notifications is None
    assert made(office.db, Role.VIEWER)
