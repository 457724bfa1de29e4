"""Calls that leave us: no redirect, no proxy of the environment, no certificate that nobody signed."""

from __future__ import annotations

import ast
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.connectors.http import VendorHttp
from shared.connectors.limits import Unlimited
from shared.connectors.tokens import FixedToken
from shared.connectors.zoho_books.errors import RULES
from shared.errors import BothwaysError, RetryableError
from tests.connectors.support import TOKEN

pytestmark = pytest.mark.rule("P14")

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("GET", "POST", "PUT", "DELETE")


@dataclass
class Server:
    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def answering(status: int, headers: dict[str, str], tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server on this machine that notes each request line with its token, and answers them all alike."""

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            told.asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no news
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    told = Server(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def client(url: str) -> Iterator[VendorHttp]:
    http = VendorHttp(
        base_url=url, tokens=FixedToken(TOKEN), limiter=Unlimited(), rules=RULES, auth_scheme="Zoho-oauthtoken"
    )
    yield http
    http.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with answering(200, {}) as elsewhere, answering(status, {"Location": f"{elsewhere.url}/x"}) as vendor:
        for method in METHODS:
            with client(vendor.url) as http, pytest.raises(BothwaysError):
                http.call(method, "/x", json=None if method == "GET" else {})
        assert len(vendor.asked) == len(METHODS)
        assert elsewhere.asked == []


def test_no_proxy_of_the_environment_sees_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, {}) as proxy, answering(200, {}) as vendor:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        with client(vendor.url) as http:
            http.call("GET", "/x")
        assert len(vendor.asked) == 1
        assert proxy.asked == []


def test_a_certificate_that_nobody_signed_gets_no_request(tmp_path: Path) -> None:
    """Though the environment names it as one to trust."""
    with answering(200, {}, tls=_self_signed(tmp_path)) as vendor:
        with client(vendor.url) as http, pytest.raises(RetryableError, match="could not be reached"):
            http.call("POST", "/x", json={})
        assert vendor.asked == []


def test_the_environment_cannot_name_other_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.connectors.transport import _ssl_context

    tls = _self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    _ssl_context.cache_clear()
    try:
        with answering(200, {}, tls=tls) as vendor:
            with client(vendor.url) as http, pytest.raises(RetryableError, match="could not be reached"):
                http.call("GET", "/x")
            assert vendor.asked == []
    finally:
        _ssl_context.cache_clear()


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


# The code itself: a client made somewhere else would have none of this.

CLIENTS = {"Client", "AsyncClient", "get", "post", "put", "delete", "request", "stream"}
OTHER_WAYS_OUT = ("requests", "urllib.request", "urllib3", "aiohttp", "http.client", "ftplib", "smtplib", "telnetlib")
MAIL = ("shared/mail.py", "smtplib")
"""The one other way out: to the mail server of the installation's settings, which no user names."""


def calls_of_httpx(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLIENTS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "httpx":
                yield node


def test_every_client_of_the_product_is_made_that_way() -> None:
    made = 0
    for folder in ("api", "workers", "shared"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
                where = path.relative_to(ROOT).as_posix()
                assert not [name for name in names if name in OTHER_WAYS_OUT and (where, name) != MAIL], path
            for call in calls_of_httpx(tree):
                given = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert isinstance(call.func, ast.Attribute)
                assert call.func.attr == "Client", f"{path}: {ast.unparse(call)}"
                assert given.get("trust_env") == "False", f"{path}: {ast.unparse(call)}"
                assert given.get("follow_redirects", "False") == "False", f"{path}: {ast.unparse(call)}"
                made += 1
    assert made == 1, "the sign-in's; the vendors' calls go by a transport alone, which knows no redirect and no proxy"
