"""Checks of what is on this machine: versions, and settings that are valid and still dangerous."""

from __future__ import annotations

import ipaddress
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url

from consumers.address import EmbeddedAddress, parse_addresses
from ops.doctor.finding import Finding, unsure, well, wrong
from ops.gateway_settings import AdyenSettings, PaypalSettings, StripeSettings
from ops.settings import Settings
from ops.verifiers import open_verifiers

PYTHON = (3, 11)
SQLITE = (3, 35)
"""The first with RETURNING (sqlite.org/lang_returning.html)."""
CHECKED_TLS = ("verify-full", "verify-ca")
"""`sslmode`s that look at the server's certificate (postgresql.org/docs/current/libpq-ssl.html, table 32.1)."""


def versions(settings: Settings) -> Iterator[Finding]:
    """This program, Python, and SQLite where it keeps the books."""
    try:
        ours = version("payment-service")
    except PackageNotFoundError:
        ours = "run from its source"
    yield well("payment service", ours)
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        yield wrong("Python", python, "install Python 3.11 or later")
    else:
        yield well("Python", python)
    if settings.ledger_url.startswith("sqlite"):
        if sqlite3.sqlite_version_info < SQLITE:
            yield wrong("SQLite", sqlite3.sqlite_version, "use a Python with SQLite 3.35 or later")
        else:
            yield well("SQLite", sqlite3.sqlite_version)


def encryption_on_the_way(settings: Settings) -> Iterator[Finding]:
    """TLS to whatever is not on this machine."""
    lines = {"broker": _broker_line(settings), "database": _database_line(settings)}
    lines |= {f"{name} line": _gateway_line(block) for name, block in settings.gateway_blocks.items()}
    for point, (told, to_do) in lines.items():
        name = point if point.endswith("line") else f"{point} line"
        yield wrong(name, told, to_do) if to_do else well(name, told)


def _broker_line(settings: Settings) -> tuple[str, str]:
    addresses = parse_addresses(settings.broker_urls)
    if isinstance(addresses, EmbeddedAddress):
        return "a directory on this machine", ""
    open_ones = [one.host for one in addresses if not one.encrypted and not is_local(one.host)]
    if open_ones:
        return f"not encrypted to {', '.join(open_ones)}", "write amqps:// in PAYMENTS_BROKER_URL"
    return "encrypted" if addresses[0].encrypted else "on this machine", ""


def _database_line(settings: Settings) -> tuple[str, str]:
    url = make_url(settings.ledger_url)
    hosts = [host for host in (url.host, *_listed(url.query.get("host"))) if host]
    if all(is_local(host) for host in hosts):
        return "on this machine", ""
    mode = url.query.get("sslmode", "prefer")
    if mode in CHECKED_TLS:
        return f"encrypted ({mode})", ""
    return (
        f"sslmode={mode} to {', '.join(hosts)}: the server's certificate is not looked at",
        "add ?sslmode=verify-full&sslrootcert=… to PAYMENTS_DATABASE_URL",
    )


def _listed(value: str | tuple[str, ...] | None) -> list[str]:
    """Hosts as a URL's query names them, with or without a port."""
    texts = (value,) if isinstance(value, str) else value or ()
    return [host.rsplit(":", 1)[0] for text in texts for host in text.split(",")]


def _gateway_line(block: object) -> tuple[str, str]:
    url = getattr(block, "base_url", None)
    if url is None or url.startswith("https://"):
        return "encrypted", ""
    host = urlsplit(url).hostname or ""
    if is_local(host):
        return f"a simulator at {url}", ""
    return f"not encrypted to {host}", "remove its BASE_URL, or write https://"


def is_local(host: str) -> bool:
    """Whether a host is this machine: by name, loopback address, or the path of a socket."""
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def webhook_secrets(settings: Settings) -> Iterator[Finding]:
    """Whether callbacks of each gateway can be told from forged ones, as far as this machine is told."""
    missing = []
    for name, block in settings.gateway_blocks.items():
        match block:
            case StripeSettings(webhook_secrets=secrets) if not secrets:
                missing.append((name, "PAYMENTS_STRIPE__WEBHOOK_SECRETS"))
            case AdyenSettings(hmac_keys=keys) if not keys:
                missing.append((name, "PAYMENTS_ADYEN__HMAC_KEYS"))
            case PaypalSettings(webhook_ids=ids) if not ids:
                missing.append((name, "PAYMENTS_PAYPAL__WEBHOOK_IDS"))
            case _:
                yield well(f"{name} callbacks", "secrets are set")
    for name, setting in missing:
        yield unsure(f"{name} callbacks", "no secret here", f"{setting} must be set where the ingestor runs")
    if settings.gateway_blocks and len(missing) < len(settings.gateway_blocks):
        open_verifiers(settings)


def what_is_shown(settings: Settings) -> Iterator[Finding]:
    """Whether anybody can watch this worker, and whether it takes real money."""
    if settings.metrics.port:
        yield well("metrics", f"on port {settings.metrics.port}")
    else:
        yield unsure("metrics", "no port is set: nobody watches this worker", "set PAYMENTS_METRICS__PORT")
    if settings.serves_sandbox and settings.broker_url is not None:
        yield unsure(
            "sandbox gateway",
            "served beside a real broker; it approves without money",
            "leave PAYMENTS_SANDBOX__ENABLED out where real orders come in",
        )


CHECKS = (versions, encryption_on_the_way, webhook_secrets, what_is_shown)
