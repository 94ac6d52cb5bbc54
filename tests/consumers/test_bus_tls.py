"""The bus over TLS: a real broker with certificates of our own."""

import datetime
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumers.address import Tls
from consumers.delivery import BusDown, BusRefused
from consumers.topology import PAYMENT_COMMANDS
from ops.settings import read_settings
from run_worker import open_bus
from tests.consumers.bus_driver import await_deliveries, command, numbers, opened, publish
from tests.servers import OwnRabbitmq

USER = "payments-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority in a directory."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        """Its own certificate."""
        return self.directory / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """Write a certificate for a host or user, valid for 127.0.0.1, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            _builder(name, issuer=self.certificate.subject)
            .public_key(key.public_key())
            .add_extension(alternatives, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        return _write(self.directory / f"{name}.pem", certificate), _write_key(
            self.directory / f"{name}.key", key
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: str, *, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )


def _write(file: Path, certificate: x509.Certificate) -> Path:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def make_authority(directory: Path) -> Authority:
    """Make an authority that trusts itself."""
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("payments test authority", issuer=_name("payments test authority"))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_CERTIFICATES_ONLY, critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(directory=directory, key=key, certificate=certificate)
    _write(authority.file, certificate)
    return authority


_CERTIFICATES_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority the broker trusts."""
    return make_authority(tmp_path / "authority")


@pytest.fixture
def tls_port(rabbitmq_owned: OwnRabbitmq, authority: Authority) -> int:
    """A port where the broker speaks TLS, and logs in whoever shows a certificate of our authority."""
    certificate, key = authority.issue("broker")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    evaluate(
        rabbitmq_owned,
        f'Options = [{{cacertfile, "{authority.file}"}}, {{certfile, "{certificate}"}}, {{keyfile, "{key}"}},'
        "  {verify, verify_peer}, {fail_if_no_peer_cert, false}],"
        "application:set_env(rabbit, ssl_options, Options),"  # Read again by the login with a certificate.
        "rabbit_networking:ensure_ssl(),"
        f'rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, Options, 1)',
    )
    return port


def evaluate(broker: OwnRabbitmq, erlang: str) -> None:
    """Run Erlang in the broker."""
    broker.ctl("eval", f"{erlang}.")


@pytest.fixture
def url(rabbitmq_owned: OwnRabbitmq, tls_port: int) -> Iterator[str]:
    """An empty virtual host over TLS."""
    plain = rabbitmq_owned.fresh_vhost()
    yield with_host(plain, f"127.0.0.1:{tls_port}")
    rabbitmq_owned.drop_vhost(plain)


def with_host(url: str, host: str) -> str:
    """The URL with the scheme amqps and another host and port."""
    parts = urlsplit(url)
    return parts._replace(scheme="amqps", netloc=f"{parts.username}:{parts.password}@{host}").geturl()


def test_messages_of_every_size_travel_encrypted(url: str, authority: Authority) -> None:
    bodies = [bytes([size % 251]) * size for size in (0, 1, 1_000, 16_384, 100_000, 1_000_000)]
    with opened(url, tls=Tls(ca_file=authority.file)) as bus:
        publish(bus, [command(number, body=body) for number, body in enumerate(bodies)])
        deliveries = await_deliveries(bus, len(bodies))
        bus.ack(deliveries)

    assert [delivery.body for delivery in deliveries] == bodies


def test_two_thousand_messages_travel_encrypted_in_order(url: str, authority: Authority) -> None:
    with opened(url, tls=Tls(ca_file=authority.file)) as bus:
        received: list[int] = []
        publish(bus, [command(number) for number in range(2000)])
        while len(received) < 2000:
            deliveries = bus.receive(wait_s=5, limit=100)
            received += numbers(deliveries)
            bus.ack(deliveries)

    assert received == list(range(2000))


def test_a_broker_of_an_authority_we_do_not_trust_is_refused(url: str, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path / "stranger")
    with (
        pytest.raises(BusRefused, match="certificate is not trusted"),
        opened(url, tls=Tls(ca_file=stranger.file)),
    ):
        pass


def test_without_an_authority_of_our_own_the_systems_decide(url: str) -> None:
    with pytest.raises(BusRefused, match="certificate is not trusted"), opened(url):
        pass


def test_a_certificate_for_another_host_is_refused(url: str, tls_port: int, authority: Authority) -> None:
    with (
        pytest.raises(BusRefused, match="'localhost'"),
        opened(with_host(url, f"localhost:{tls_port}"), tls=Tls(ca_file=authority.file)),
    ):
        pass


def test_an_encrypted_url_on_a_plain_port_does_not_get_through(
    url: str, rabbitmq_owned: OwnRabbitmq, authority: Authority
) -> None:
    with (
        pytest.raises((BusDown, BusRefused)),
        opened(with_host(url, f"127.0.0.1:{rabbitmq_owned.port}"), tls=Tls(ca_file=authority.file)),
    ):
        pass


@pytest.fixture
def certificate_login(rabbitmq_owned: OwnRabbitmq, url: str) -> Iterator[None]:
    """Have the broker log in users by the common name of their certificate."""
    evaluate(
        rabbitmq_owned,
        '[code:add_path(P) || P <- filelib:wildcard(filename:join([code:lib_dir(rabbit), "..", '
        '"rabbitmq_auth_mechanism_ssl-*", "ebin"]))],'
        "application:set_env(rabbit, ssl_cert_login_from, common_name),"
        "application:set_env(rabbit, auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'EXTERNAL']),"
        "application:ensure_all_started(rabbitmq_auth_mechanism_ssl),"
        'rabbit_registry:register(auth_mechanism, <<"EXTERNAL">>, rabbit_auth_mechanism_ssl)',
    )
    rabbitmq_owned.ctl("add_user", USER, "not-used")
    rabbitmq_owned.ctl("set_permissions", "-p", urlsplit(url).path[1:], USER, ".*", ".*", ".*")
    yield
    rabbitmq_owned.ctl("delete_user", USER)


@pytest.mark.usefixtures("certificate_login")
def test_a_client_certificate_logs_in_without_a_password(
    url: str, tls_port: int, authority: Authority
) -> None:
    certificate, key = authority.issue(USER)
    tls = Tls(ca_file=authority.file, cert_file=certificate, key_file=key, login_by_certificate=True)
    without_user = f"amqps://127.0.0.1:{tls_port}{urlsplit(url).path}"
    with opened(without_user, tls=tls) as bus:
        publish(bus, [command()])

        assert numbers(await_deliveries(bus, 1)) == [1]


@pytest.mark.usefixtures("certificate_login")
def test_a_certificate_of_an_unknown_user_is_refused(url: str, authority: Authority) -> None:
    certificate, key = authority.issue("somebody-else")
    tls = Tls(ca_file=authority.file, cert_file=certificate, key_file=key, login_by_certificate=True)
    with pytest.raises(BusRefused, match="or the certificate"), opened(url, tls=tls):
        pass


@pytest.mark.usefixtures("certificate_login")
def test_a_worker_takes_its_certificates_from_the_settings(
    url: str, tls_port: int, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.issue(USER)
    monkeypatch.setenv("PAYMENTS_BROKER_URL", f"amqps://127.0.0.1:{tls_port}{urlsplit(url).path}")
    monkeypatch.setenv("PAYMENTS_BROKER__CA_FILE", str(authority.file))
    monkeypatch.setenv("PAYMENTS_BROKER__CERT_FILE", str(certificate))
    monkeypatch.setenv("PAYMENTS_BROKER__KEY_FILE", str(key))
    monkeypatch.setenv("PAYMENTS_BROKER__LOGIN_BY_CERTIFICATE", "true")
    bus = open_bus(read_settings(), queues=[PAYMENT_COMMANDS])
    bus.open()
    publish(bus, [command()])
    deliveries = await_deliveries(bus, 1)
    bus.close()

    assert numbers(deliveries) == [1]
