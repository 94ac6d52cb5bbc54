"""The simulator's own certificate authority, and the certificate and key under which its webhooks are signed.

Made when they are first needed, and kept in the data file: it takes a moment, and most runs need none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from simulators.store import Json, Store

CERTIFICATE_PATH = "/v1/notifications/certs/{name}"
SIGNER = "messageverificationcerts.sandbox.paypal.com"  # from memory
_GOOD_FOR = timedelta(days=365)
_GOOD_SINCE = timedelta(days=1)


class Notary:
    """Signs as PayPal does; who trusts its authority finds the signatures good."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """The certificate's name at its address."""
        return str(self._papers["name"])

    @property
    def authority(self) -> str:
        """The authority's own certificate (PEM), for those who are to trust it."""
        return str(self._papers["authority"])

    def certificate(self, name: str) -> str | None:
        """What lies at a certificate's address (PEM), if it is this one."""
        return str(self._papers["certificate"]) if name == self.name else None

    def signature(self, message: bytes, *, by_somebody_else: bool = False) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        key = _new_key() if by_somebody_else else self._key
        return key.sign(message, PKCS1v15(), SHA256())

    @cached_property
    def _key(self) -> RSAPrivateKey:
        key = load_pem_private_key(str(self._papers["key"]).encode(), password=None)
        assert isinstance(key, RSAPrivateKey)
        return key

    @cached_property
    def _papers(self) -> Json:
        kept = self._store.get("notary", "papers")
        if kept is None:
            kept = _new_papers()
            self._store.put("notary", "papers", kept)
        return kept


def _new_papers() -> Json:
    authority_key, key = _new_key(), _new_key()
    authority = _signed(_authority(authority_key), authority_key)
    certificate = _signed(_signer(key.public_key(), authority_key), authority_key)
    name = f"CERT-{x509.random_serial_number():040x}"[:29]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {"name": name, "authority": authority, "certificate": certificate, "key": pem}


def _authority(key: RSAPrivateKey) -> x509.CertificateBuilder:
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
    public = key.public_key()
    return (
        _builder("PayPal simulator's authority", public, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(usage, critical=True)
    )


def _signer(key: RSAPublicKey, authority_key: RSAPrivateKey) -> x509.CertificateBuilder:
    return (
        _builder(SIGNER, key, authority_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SIGNER)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )


def _builder(name: str, key: RSAPublicKey, authority_key: RSAPrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("PayPal simulator's authority"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _GOOD_SINCE)
        .not_valid_after(now + _GOOD_FOR)
        .add_extension(identifier, critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: RSAPrivateKey) -> str:
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)
