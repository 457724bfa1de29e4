"""Mail by SMTP, from the standard library. It never hangs longer than its deadline, and says why it could not.

What a server says is not carried on: it likes to quote addresses. Its three digits are.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage

from shared.errors import RetryableError
from shared.settings import Settings

SOCKET_S = 10.0
"""Of one step: connecting, or waiting for an answer."""
DEADLINE_S = 60.0
"""Of one connection with all its messages: then it is cut off, whatever the server does."""
_USUAL_PORT = {"starttls": 587, "tls": 465, "none": 25}


class MailUnavailable(RetryableError):
    """The server cannot be used for now: away, no encryption, sign-in refused. One message may be on its way."""

    code = "MAIL_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the server to one message: 250, or why not. `for_good`: asking again would be answered the same."""

    code: int

    @property
    def accepted(self) -> bool:
        return self.code < 400

    @property
    def for_good(self) -> bool:
        return self.code >= 500


def deliver(settings: Settings, messages: Iterable[EmailMessage]) -> Iterator[tuple[EmailMessage, Answer]]:
    """Over one connection; each message, to one address, with the server's answer as soon as there is one.

    Raises MailUnavailable where it cannot go on. A message that was under way then may have arrived: it is sent again
    under the same Message-ID.
    """
    server = _client(settings)
    with _cut_off_in_time(server):
        try:
            _sign_in(server, settings)
            for message in messages:
                yield message, _send(server, message)
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise MailUnavailable(_sentence(error)) from None
        finally:
            server.close()


def _client(settings: Settings) -> smtplib.SMTP:
    name = socket.gethostname()
    mine = name if "." in name else "[127.0.0.1]"
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(local_hostname=mine, timeout=SOCKET_S, context=ssl.create_default_context())
    return smtplib.SMTP(local_hostname=mine, timeout=SOCKET_S)


@contextmanager
def _cut_off_in_time(server: smtplib.SMTP) -> Iterator[None]:
    """A server that sends a byte now and then keeps every socket's timeout from coming."""

    def cut() -> None:
        if server.sock is not None:
            with suppress(OSError):  # past TLS, whose own shutdown wants an answer
                socket.socket.shutdown(server.sock, socket.SHUT_RDWR)

    timer = threading.Timer(DEADLINE_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _sign_in(server: smtplib.SMTP, settings: Settings) -> None:
    host = settings.smtp_host or ""
    server._host = host  # type: ignore[attr-defined]  # for whom the certificate must be; set by the constructor alone
    server.connect(host, settings.smtp_port or _USUAL_PORT[settings.smtp_security])
    server.ehlo_or_helo_if_needed()
    if settings.smtp_security == "starttls":
        server.starttls(context=ssl.create_default_context())
        server.ehlo_or_helo_if_needed()
    if settings.smtp_username and settings.smtp_password:
        server.login(settings.smtp_username, settings.smtp_password.get_secret_value())


def _send(server: smtplib.SMTP, message: EmailMessage) -> Answer:
    try:
        server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        return Answer(max(code for code, _ in error.recipients.values()))
    except smtplib.SMTPDataError as error:
        return Answer(error.smtp_code)
    return Answer(250)


def _sentence(error: Exception) -> str:
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"The mail server refused the sign-in ({error.smtp_code})."
        case smtplib.SMTPSenderRefused():
            return f"The mail server refused the sender's address ({error.smtp_code})."
        case smtplib.SMTPResponseException():
            return f"The mail server answered {error.smtp_code}."
        case smtplib.SMTPNotSupportedError():
            return "The mail server offers no encryption, or no sign-in, as BOTHWAYS_SMTP_SECURITY asks for."
        case ssl.SSLError():
            return f"No encrypted connection to the mail server could be made ({error.reason})."
    return f"The mail server cannot be reached ({type(error).__name__})."
