"""A certificate authority of the tests' own, and a server that keeps certificates as PayPal does."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from zlib import crc32

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEBHOOK_ID = "4JH86294D6297924G"
NAME = "messageverificationcerts.sandbox.paypal.com"
YEAR = timedelta(days=365)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whoever signs certificates."""

    name: str
    key: rsa.RSAPrivateKey = field(default_factory=rsa_key)

    def root(self) -> x509.Certificate:
        """Its own certificate, signed by itself."""
        return self.authority(self.name, self.key.public_key())

    def authority(self, name: str, key: rsa.RSAPublicKey) -> x509.Certificate:
        """A certificate for somebody who may sign others."""
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            self._builder(name, key, NOW - YEAR, NOW + 10 * YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(usage, critical=True)
        )
        return builder.sign(self.key, hashes.SHA256())

    def leaf(
        self,
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        *,
        name: str = NAME,
        since: datetime = NOW - timedelta(days=30),
        until: datetime = NOW + timedelta(days=60),
    ) -> x509.Certificate:
        """A certificate for a server."""
        builder = (
            self._builder(name, key, since, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())

    def _builder(
        self,
        name: str,
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        since: datetime,
        until: datetime,
    ) -> x509.CertificateBuilder:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(identifier, critical=False)
        )


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def signed_headers(
    key: rsa.RSAPrivateKey,
    url: str,
    body: bytes,
    *,
    webhook_id: str = WEBHOOK_ID,
    sent_at: str = "2026-11-20T11:59:30Z",
) -> dict[str, str]:
    """The headers of a callback, signed as PayPal signs, names in lower case."""
    id = "dfb3be50-fd74-11e4-8bf3-77339302725b"
    message = f"{id}|{sent_at}|{webhook_id}|{crc32(body)}".encode()
    signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return {
        "paypal-transmission-id": id,
        "paypal-transmission-time": sent_at,
        "paypal-transmission-sig": base64.b64encode(signature).decode(),
        "paypal-cert-url": url,
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-auth-version": "v2",
        "content-type": "application/json",
    }


@dataclass(slots=True)
class Shelf:
    """What the server gives at which path, and how often it was asked."""

    origin: str
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, name: str, content: bytes) -> str:
        """Keep a certificate; where it lies."""
        path = f"/v1/notifications/certs/{name}"
        self.files[path] = content
        return f"{self.origin}{path}"


@contextmanager
def shelf() -> Iterator[Shelf]:
    """A server of certificates on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept.asked.append(self.path)
            content = kept.files.get(self.path)
            target = kept.redirects.get(self.path)
            self.send_response(302 if target else 404 if content is None else 200)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Shelf(origin=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
