"""The certificates PayPal signs its webhooks with: fetched from PayPal alone, checked up to a root we trust.

A webhook says itself where its certificate lies, so nothing is fetched but from origins on a list, and nothing is
believed but a chain that ends at a root of ours and a name that is PayPal's.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from gateways.notice import Forged

ORIGINS = frozenset(
    f"https://{host}"
    for host in (
        "api.paypal.com",
        "api-m.paypal.com",
        "api.sandbox.paypal.com",
        "api-m.sandbox.paypal.com",
    )
)
"""Where PayPal keeps its certificates: samples name the second level `api`, its API runs under both."""

PATH = "/v1/notifications/certs/"
NAME_SUFFIX = ".paypal.com"
"""Whose certificate it must be: PayPal's are of `messageverificationcerts[.sandbox].paypal.com`, from memory."""

KEPT_MOST = 16
FETCHES_MOST = 4
BYTES_MOST = 64 * 1024
CHAIN_MOST = 8

Chain = Sequence[x509.Certificate]


class Certificates:
    """Gives the key behind a certificate's address, once its chain is checked. One instance serves one loop."""

    def __init__(
        self,
        *,
        origins: Collection[str] = ORIGINS,
        ca_file: Path | None = None,
        fetch_timeout_s: float = 5,
    ) -> None:
        """Read the roots: of `ca_file` (PEM; an authority between may stand there, too), or those certifi keeps.

        Raises:
            ValueError: an origin is neither `https://host` nor `http://` on this very machine, or there is no root.
        """
        for origin in origins:
            if not _is_origin(origin):
                raise ValueError(f"certificates are not to be fetched from {origin}")
        self._origins = frozenset(origins)
        self._roots = Store(_roots(ca_file or Path(certifi.where())))
        self._timeout_s = fetch_timeout_s
        self._client: httpx.AsyncClient | None = None
        self._kept: OrderedDict[str, Chain] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[Chain]] = {}

    async def key(self, url: str, now: datetime) -> RSAPublicKey:
        """The key of the certificate at `url`, if all of its chain is good now.

        Raises:
            Forged: the address is not PayPal's, there is no certificate, or it is not to be trusted.
        """
        self._require_allowed(url)
        chain = self._kept.get(url)
        if chain is None:
            chain = await self._fetched(url)
        key = self._checked(chain, now)
        # Only now: what is not PayPal's must not drive out what is.
        self._kept[url] = chain
        self._kept.move_to_end(url)
        if len(self._kept) > KEPT_MOST:
            self._kept.popitem(last=False)
        return key

    async def close(self) -> None:
        """Let connections go."""
        for task in self._fetching.values():
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    def _require_allowed(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise Forged("the certificate's address is none") from error
        name = parts.path.removeprefix(PATH)
        if (
            f"{parts.scheme}://{parts.netloc}" not in self._origins
            or name == parts.path
            or not name.replace("-", "").replace("_", "").isalnum()
            or not url.isascii()
            or url != f"{parts.scheme}://{parts.netloc}{parts.path}"
        ):
            raise Forged("the certificate's address is not on the list")

    async def _fetched(self, url: str) -> Chain:
        """Fetch a certificate once for all that wait for it."""
        task = self._fetching.get(url)
        if task is None:
            if len(self._fetching) >= FETCHES_MOST:
                # Forged callbacks could name many; PayPal sends again what is refused here.
                raise Forged("too many certificates are being fetched")
            task = asyncio.create_task(self._fetch(url))
            self._fetching[url] = task
            task.add_done_callback(lambda ended: self._fetch_ended(url, ended))
        return await asyncio.shield(task)

    def _fetch_ended(self, url: str, task: asyncio.Task[Chain]) -> None:
        self._fetching.pop(url, None)
        if not task.cancelled():
            task.exception()  # its callers hear of it; if they all gave up, nobody needs to

    async def _fetch(self, url: str) -> Chain:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout_s, follow_redirects=False, trust_env=False)
        pem = bytearray()
        try:
            async with asyncio.timeout(2 * self._timeout_s), self._client.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise Forged("there is no certificate at its address")
                async for piece in answer.aiter_bytes():
                    pem += piece
                    if len(pem) > BYTES_MOST:
                        raise Forged("the certificate is too long")
        except (httpx.HTTPError, TimeoutError) as error:
            raise Forged(f"the certificate could not be fetched ({type(error).__name__})") from error
        try:
            chain = x509.load_pem_x509_certificates(bytes(pem))
        except ValueError as error:
            raise Forged("what lies at the certificate's address is none") from error
        if len(chain) > CHAIN_MOST:
            raise Forged("the certificate's chain is too long")
        return chain

    def _checked(self, chain: Chain, now: datetime) -> RSAPublicKey:
        leaf, name = _leaf(chain)
        others = [one for one in chain if one is not leaf]
        policy = PolicyBuilder().store(self._roots).time(now).build_server_verifier(x509.DNSName(name))
        try:
            policy.verify(leaf, others)
        except VerificationError as error:
            raise Forged("the certificate's chain is not good") from error
        key = leaf.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Forged("the certificate's key is not RSA")
        return key


def _leaf(chain: Chain) -> tuple[x509.Certificate, str]:
    """The certificate that bears a name of PayPal's, whatever place it has in the file, and that name."""
    for certificate in chain:
        with suppress(x509.ExtensionNotFound, ValueError):
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            for name in names.get_values_for_type(x509.DNSName):
                if name.lower().endswith(NAME_SUFFIX) and "*" not in name:
                    return certificate, name
    raise Forged("the certificate is not PayPal's")


def _roots(file: Path) -> list[x509.Certificate]:
    """Read roots, but for those this library does not: a few old ones are numbered 0, which is not allowed now."""
    roots = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for pem in re.findall(
            rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", file.read_bytes()
        ):
            with suppress(ValueError):
                roots.append(x509.load_pem_x509_certificate(pem))
    if not roots:
        raise ValueError(f"no root certificate in {file}")
    return roots


def _is_origin(origin: str) -> bool:
    parts = urlsplit(origin)
    if origin != f"{parts.scheme}://{parts.netloc}" or not parts.hostname or "@" in parts.netloc:
        return False
    if parts.scheme == "https":
        return True
    try:
        return parts.scheme == "http" and ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
