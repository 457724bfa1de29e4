"""A mail server for tests: a real one over TCP, which keeps what it is sent and can be told to fail."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
USER, PASSWORD = "bothways", "canary-of-the-mail-server"


@dataclass
class Sink:
    """`answers`: of RCPT, by address (once each where the list has one). `after_data`: called with the server as a
    message is there and not answered yet."""

    port: int
    answers: dict[str, list[str]] = field(default_factory=dict)
    after_data: Callable[[SMTP], None] | None = None
    kept: list[tuple[str, EmailMessage]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.answers.get(address):
            return self.answers[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        assert len(envelope.rcpt_tos) == 1, "nobody is told who else is"
        self.kept.append((envelope.rcpt_tos[0], message))
        self.encrypted.append(session.ssl is not None)
        if self.after_data is not None:
            self.after_data(server)
        return "250 OK"

    @property
    def told(self) -> list[str]:
        return [address for address, _ in self.kept]

    def only(self) -> EmailMessage:
        ((_, message),) = self.kept
        return message

    def text(self) -> str:
        body = self.only().get_content()
        assert isinstance(body, str)
        return body.replace("\r\n", "\n")


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


@contextmanager
def listening(port: int | None = None, *, certificate: Path | None = None, at_once: bool = False) -> Iterator[Sink]:
    """With a certificate: encrypted by STARTTLS, and USER must sign in; or, `at_once`, from the start, and may."""
    sink = Sink(port or free_port())
    more: dict[str, Any] = {}
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        by_starttls = {"tls_context": context, "require_starttls": True, "auth_required": True}
        more = {"ssl_context": context, "auth_require_tls": False} if at_once else by_starttls
        more["authenticator"] = _authenticator
    controller = Controller(sink, hostname=HOST, port=sink.port, **more)
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


def _authenticator(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object) -> AuthResult:
    good = isinstance(given, LoginPassword) and (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def own_certificate() -> Iterator[Path]:
    """Key and certificate of 127.0.0.1 in one file, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of the tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as folder:
        path = Path(folder) / "mail.pem"
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(secret + made.public_bytes(pem))
        yield path
