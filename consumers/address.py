"""Where the broker is: reads and checks the configured URLs, and shows them without their passwords."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kombu.utils.url import url_to_parts

from consumers.delivery import BusRefused

EMBEDDED = "embedded"
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificates for amqps: whom we trust and, optionally, who we are."""

    ca_file: Path | None = None
    """Authorities to trust instead of the system's."""
    cert_file: Path | None = None
    key_file: Path | None = None
    login_by_certificate: bool = False
    """Log in by the client certificate's name (SASL EXTERNAL) instead of user and password."""

    def check(self) -> None:
        """Raises: BusRefused if a file is missing or is not what it should be."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            files = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file)
            raise BusRefused(f"TLS files of the broker cannot be used ({files}): {error}") from error
        if self.login_by_certificate and self.cert_file is None:
            raise BusRefused("TLS login by certificate needs a client certificate and its key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One parsed broker URL; its password is kept out of every text."""

    scheme: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    virtual_host: str

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self.scheme == "amqps"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{self.user}:***@{host}:{self.port}/{self.virtual_host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedAddress:
    """The directory of an embedded broker."""

    directory: Path

    def __str__(self) -> str:
        return f"{EMBEDDED}://{self.directory}"


def parse_addresses(urls: Sequence[str]) -> tuple[Address, ...] | EmbeddedAddress:
    """Parse the configured URLs: one `embedded:///directory`, or `amqp(s)://` hosts to fail over between.

    Raises: BusRefused saying what is wrong, without showing a password.
    """
    schemes = {url.split("://", 1)[0] if "://" in url else "" for url in urls}
    if not urls or not schemes <= {"amqp", "amqps", EMBEDDED}:
        raise BusRefused("A broker URL must start with amqp://, amqps:// or embedded:///.")
    if schemes == {EMBEDDED} and len(urls) == 1:
        directory = Path(unquote(urlsplit(urls[0]).path))
        if urlsplit(urls[0]).netloc or directory == Path("/") or not directory.is_absolute():
            raise BusRefused(
                "The embedded broker's URL names an absolute directory: embedded:///path/to/directory."
            )
        return EmbeddedAddress(directory=directory)
    if len(schemes) > 1:
        raise BusRefused(
            f"The broker URLs mix {' and '.join(sorted(schemes))}. All must be of one kind: a fail-over "
            f"must not silently drop encryption."
        )
    if EMBEDDED in schemes:
        raise BusRefused("There can be only one embedded broker URL.")
    return tuple(_parse(position, url) for position, url in enumerate(urls, start=1))


def safe_url(url: str) -> str:
    """Show a broker URL without its password. Raises: BusRefused if it is not one."""
    parsed = parse_addresses([url])
    return str(parsed) if isinstance(parsed, EmbeddedAddress) else str(parsed[0])


def _parse(position: int, url: str) -> Address:
    try:
        parts = url_to_parts(url)
        port = parts.port
    except ValueError:
        # The original error quotes the URL, and with it perhaps the password.
        raise BusRefused(
            f"Broker URL {position} cannot be read. In user and password, write / # @ : as %2F %23 %40 %3A."
        ) from None
    if not parts.hostname:
        raise BusRefused(f"Broker URL {position} names no host.")
    if parts.query or "#" in url:
        raise BusRefused(
            f"Broker URL {position} has something after '?' or '#'. Heartbeat and TLS have settings "
            f"of their own; in a password write %3F and %23."
        )
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or _DEFAULT_PORTS[parts.scheme],
        user=parts.username or "guest",
        password=parts.password or "guest",
        virtual_host=parts.path or "/",
    )
