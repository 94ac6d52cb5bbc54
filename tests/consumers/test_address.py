"""Broker URLs: what is read from them, what is refused, and that their passwords stay out of sight."""

from pathlib import Path

import pytest

from consumers.address import Address, EmbeddedAddress, Tls, parse_addresses, safe_url
from consumers.bus import KombuBus
from consumers.delivery import BusRefused


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://u:p@h//", ("amqp", "h", 5672, "u", "p", "/")),
        ("amqp://u:p@h", ("amqp", "h", 5672, "u", "p", "/")),
        ("amqp://u:p@h/%2F", ("amqp", "h", 5672, "u", "p", "/")),
        ("amqps://u:p@h/pay", ("amqps", "h", 5671, "u", "p", "pay")),
        ("amqp://u%40x:p%2F%23%3F%3A%40@h:15672/a%2Fb", ("amqp", "h", 15672, "u@x", "p/#?:@", "a/b")),
        ("amqp://u:p@[::1]:5673//", ("amqp", "::1", 5673, "u", "p", "/")),
    ],
)
def test_a_broker_url_is_read(url: str, expected: tuple[str, str, int, str, str, str]) -> None:
    addresses = parse_addresses([url])
    assert not isinstance(addresses, EmbeddedAddress)
    [address] = addresses

    read = (address.scheme, address.host, address.port, address.user, address.password, address.virtual_host)
    assert read == expected


def test_an_embedded_url_names_a_directory() -> None:
    assert parse_addresses(["embedded:///var/lib/pay%20ments"]) == EmbeddedAddress(
        directory=Path("/var/lib/pay ments")
    )


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ([], "must start with"),
        (["h:5672"], "must start with"),
        (["redis://u:geheim@h"], "must start with"),
        (["amqp://u:geheim@a", "amqps://u:geheim@b"], "mix amqp and amqps"),
        (["amqp://u:geheim@a", "embedded:///tmp/x"], "mix amqp and embedded"),
        (["embedded:///a", "embedded:///b"], "only one embedded"),
        (["embedded://a/b"], "absolute directory"),
        (["embedded:///"], "absolute directory"),
        (["amqp://"], "names no host"),
        (["amqp://u:geheim/17@h"], "cannot be read"),
        (["amqp://u:geheim#17@h"], "cannot be read"),
        (["amqp://u:geheim@h:port"], "cannot be read"),
        (["amqp://u:geheim@h//?heartbeat=7"], "settings of their own"),
        (["amqps://u:geheim@h//?ssl_ca_certs=ca.pem"], "settings of their own"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_showing_its_password(
    urls: list[str], reason: str
) -> None:
    with pytest.raises(BusRefused, match=reason) as refused:
        parse_addresses(urls)

    assert "geheim" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_no_text_of_the_bus_shows_a_password() -> None:
    bus = KombuBus(urls=["amqp://u:geheim@a//", "amqp://u:geheim@b:1/v"], queues=[], prefetch=1)
    shown = [
        repr(bus),
        bus.safe_url(),
        safe_url("amqps://u:geheim@a"),
        repr(parse_addresses(["amqp://u:geheim@a"])),
    ]
    bus.close()

    assert "geheim" not in "".join(shown)
    assert bus.safe_url() == "amqp://u:***@a:5672//, amqp://u:***@b:1/v"


def test_an_ipv6_host_is_shown_as_it_is_written() -> None:
    address = Address(scheme="amqp", host="::1", port=5672, user="u", password="p", virtual_host="/")

    assert str(address) == "amqp://u:***@[::1]:5672//"


@pytest.mark.parametrize("setting", [{"heartbeat_s": 0}, {"prefetch": 0}, {"confirm_timeout_s": 0}])
def test_settings_that_would_stop_the_bus_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(BusRefused):
        KombuBus(**{"urls": ["amqp://h"], "queues": [], "prefetch": 1} | setting)  # type: ignore[arg-type]


def test_tls_files_that_are_missing_or_wrong_are_refused_by_name(tmp_path: Path) -> None:
    not_a_certificate = tmp_path / "ca.pem"
    not_a_certificate.write_text("hello")

    with pytest.raises(BusRefused, match="absent"):
        Tls(ca_file=tmp_path / "absent").check()
    with pytest.raises(BusRefused, match=r"ca\.pem"):
        Tls(ca_file=not_a_certificate).check()
    with pytest.raises(BusRefused, match="client certificate"):
        Tls(login_by_certificate=True).check()
