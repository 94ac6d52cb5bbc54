"""Settings: where a value comes from, what is refused and in which words, and that no secret is ever shown."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from consumers.address import Tls
from handlers.routing import Rule
from ops.settings import Settings, SettingsError, read_settings, seconds

SECRET = "geheim-7f3a"


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory to run in, and no settings from outside."""
    for name in os.environ:
        if name.startswith("PAYMENTS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal() -> str:
    """What is said about the settings as they are."""
    with pytest.raises(SettingsError) as refused:
        read_settings()
    return str(refused.value)


def test_without_any_setting_everything_is_embedded(directory: Path) -> None:
    settings = read_settings()

    assert settings.broker_urls == [f"embedded://{directory}/.payments"]
    assert settings.ledger_url == f"sqlite:///{directory}/.payments/ledger.db"
    assert settings.default_gateway == "sandbox"
    assert settings.serves_sandbox
    assert settings.stripe is None
    assert settings.broker.tls is None


def test_the_environment_reaches_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_WORKER__CALLS", "17")
    monkeypatch.setenv("PAYMENTS_WORKER__RETRY_DELAYS_S", "[1, 2.5]")
    monkeypatch.setenv("PAYMENTS_STRIPE__API_KEY", SECRET)
    monkeypatch.setenv("PAYMENTS_SANDBOX__ENABLED", "false")
    monkeypatch.setenv("PAYMENTS_LOG__LEVEL", "debug")

    settings = read_settings()

    assert settings.worker.calls == 17
    assert settings.worker.retry_delays_s == (1, 2.5)
    assert settings.worker.turn == 500
    assert settings.stripe is not None
    assert settings.stripe.api_key.get_secret_value() == SECRET
    assert not settings.serves_sandbox
    assert settings.log.level == "debug"


def test_a_file_is_read_from_where_the_program_runs_or_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    (directory / "payments.toml").write_text("[worker]\ncalls = 1\n")
    here = read_settings().worker.calls
    (directory / "elsewhere").mkdir()
    (directory / "elsewhere" / "other.toml").write_text("[worker]\ncalls = 2\n")
    monkeypatch.setenv("PAYMENTS_CONFIG_FILE", str(directory / "elsewhere" / "other.toml"))

    assert (here, read_settings().worker.calls) == (1, 2)


def test_what_is_given_comes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    (directory / "payments.toml").write_text(
        'default_gateway = "file"\ndata_dir = "file"\n[worker]\nturn = 1\ncalls = 1\n'
    )
    monkeypatch.setenv("PAYMENTS_DEFAULT_GATEWAY", "environment")
    monkeypatch.setenv("PAYMENTS_WORKER__CALLS", "2")

    settings = read_settings(default_gateway="given")

    assert settings.default_gateway == "given"
    assert settings.data_dir == Path("file")
    assert (settings.worker.calls, settings.worker.turn) == (2, 1)


def test_the_sandbox_is_not_served_by_accident_where_real_commands_come_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PAYMENTS_BROKER_URL", "amqp://rabbit/")
    by_default = read_settings().serves_sandbox
    monkeypatch.setenv("PAYMENTS_SANDBOX__ENABLED", "true")

    assert (by_default, read_settings().serves_sandbox) == (False, True)


def test_secrets_are_read_from_files_named_as_their_variables(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    secrets = directory / "secrets"
    secrets.mkdir()
    (secrets / "payments_broker_url").write_text(f"amqp://u:{SECRET}@rabbit/\n")
    (secrets / "PAYMENTS_STRIPE__API_KEY").write_text(SECRET)
    (secrets / "payments_stripe__webhook_secrets").write_text(json.dumps([SECRET]))
    (secrets / "somebody_elses").write_text("other")
    (directory / "payments.toml").write_text('broker_url = "amqp://file/"\n[worker]\ncalls = 3\n')
    monkeypatch.setenv("PAYMENTS_SECRETS_DIR", str(secrets))

    settings = read_settings()

    assert settings.broker_urls == [f"amqp://u:{SECRET}@rabbit/"], "without the newline, and before the file"
    assert settings.stripe is not None
    assert settings.stripe.api_key.get_secret_value() == SECRET
    assert [secret.get_secret_value() for secret in settings.stripe.webhook_secrets] == [SECRET]
    assert settings.worker.calls == 3
    assert SECRET not in repr(settings)
    monkeypatch.setenv("PAYMENTS_BROKER_URL", "amqp://environment/")
    assert read_settings().broker_urls == ["amqp://environment/"]


def test_a_secret_that_is_no_setting_or_a_directory_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("PAYMENTS_SECRETS_DIR", str(directory / "nowhere"))
    assert refusal() == f"PAYMENTS_SECRETS_DIR names {directory}/nowhere, which is no directory"

    (directory / "payments_brokerurl").write_text(SECRET)
    monkeypatch.setenv("PAYMENTS_SECRETS_DIR", str(directory))
    assert refusal() == "PAYMENTS_BROKERURL is no setting of this service; see docs/settings.md"


# --- addresses ---


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:postgres://@h/d", "postgresql+psycopg://u:postgres://@h/d"),
        ("sqlite:////var/ledger.db", "sqlite:////var/ledger.db"),
    ],
)
def test_a_database_url_may_be_written_as_hosting_services_write_it(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", given)

    assert read_settings().ledger_url == used


def test_several_broker_urls_are_separated_by_semicolons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_BROKER_URL", " amqp://a/ ; amqp://b/x;")

    assert read_settings().broker_urls == ["amqp://a/", "amqp://b/x"]


def test_certificates_are_handed_to_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_BROKER_URL", "amqps://a/;amqps://b/")
    monkeypatch.setenv("PAYMENTS_BROKER__CA_FILE", "ca.pem")
    monkeypatch.setenv("PAYMENTS_BROKER__CERT_FILE", "cert.pem")
    monkeypatch.setenv("PAYMENTS_BROKER__KEY_FILE", "key.pem")
    monkeypatch.setenv("PAYMENTS_BROKER__LOGIN_BY_CERTIFICATE", "true")

    assert read_settings().broker.tls == Tls(
        ca_file=Path("ca.pem"),
        cert_file=Path("cert.pem"),
        key_file=Path("key.pem"),
        login_by_certificate=True,
    )


@pytest.mark.parametrize("url", ["amqp://a/", "amqps://a/;amqp://b/", None])
def test_certificates_for_a_connection_that_is_not_encrypted_are_refused(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    if url is not None:
        monkeypatch.setenv("PAYMENTS_BROKER_URL", url)
    monkeypatch.setenv("PAYMENTS_BROKER__CA_FILE", "ca.pem")

    assert "write amqps://" in refusal()


# --- secrets ---


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting that is a secret, set."""
    monkeypatch.setenv("PAYMENTS_BROKER_URL", f"amqps://u:{SECRET}@h/")
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", f"postgresql://u:{SECRET}@h/d")
    monkeypatch.setenv("PAYMENTS_STRIPE__API_KEY", SECRET)
    monkeypatch.setenv("PAYMENTS_STRIPE__WEBHOOK_SECRETS", json.dumps([SECRET, SECRET]))
    monkeypatch.setenv("PAYMENTS_ADYEN__API_KEY", SECRET)
    monkeypatch.setenv("PAYMENTS_ADYEN__MERCHANT_ACCOUNT", "ShopECOM")
    monkeypatch.setenv("PAYMENTS_ADYEN__HMAC_KEYS", json.dumps([SECRET]))
    monkeypatch.setenv("PAYMENTS_ADYEN__WEBHOOK_PASSWORDS", json.dumps([SECRET]))
    monkeypatch.setenv("PAYMENTS_PAYPAL__CLIENT_ID", "client-1")
    monkeypatch.setenv("PAYMENTS_PAYPAL__CLIENT_SECRET", SECRET)


@pytest.mark.usefixtures("secretive")
def test_secrets_are_masked_wherever_the_settings_are_shown() -> None:
    settings = read_settings()

    shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
    assert not [text for text in shown if SECRET in text]


@pytest.mark.usefixtures("secretive")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYMENTS_WORKER__CALLS", SECRET),
        ("PAYMENTS_STRIPE", SECRET),
        ("PAYMENTS_STRIPE", json.dumps({"api_keys": [SECRET]})),
        ("PAYMENTS_STRIPE__READ_TIMEOUT_S", SECRET),
        ("PAYMENTS_LOG__LEVEL", SECRET),
        ("PAYMENTS_WORKER__RETRY_DELAYS_S", f"[{SECRET}"),
        ("PAYMENTS_STRIPE__WEBHOOK_SECRETS", SECRET),
        ("PAYMENTS_ADYEN__HMAC_KEYS", json.dumps([[SECRET]])),
        ("PAYMENTS_WEBHOOKS__CONFIRM_TIMEOUT_S", SECRET),
    ],
)
def test_a_wrong_value_is_never_quoted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    assert SECRET not in refusal()


def test_a_file_that_is_no_toml_is_refused_without_being_quoted(directory: Path) -> None:
    (directory / "payments.toml").write_text(f"broker_url = amqp://u:{SECRET}@h/\n")

    said = refusal()

    assert said.startswith("the settings cannot be read")
    assert SECRET not in said


def test_settings_cannot_be_changed_once_read() -> None:
    settings = read_settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.default_gateway = "other"


# --- refusals ---


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PAYMENTS_FOO", "1", "PAYMENTS_FOO is no setting of this service; see docs/settings.md"),
        ("PAYMENTS_BROKERURL", "x", "PAYMENTS_BROKERURL is no setting of this service; see docs/settings.md"),
        (
            "PAYMENTS_WORKER__TRUN",
            "1",
            "PAYMENTS_WORKER__TRUN is no setting of this service; see docs/settings.md",
        ),
        (
            "PAYMENTS_WORKER__TURN",
            "many",
            "PAYMENTS_WORKER__TURN is wrong: Input should be a valid integer, unable to parse string as an integer",
        ),
        ("PAYMENTS_WORKER__TURN", "0", "PAYMENTS_WORKER__TURN is wrong: Input should be greater than 0"),
        (
            "PAYMENTS_WORKER__RETRY_DELAYS_S",
            "[1, -1]",
            "PAYMENTS_WORKER__RETRY_DELAYS_S is wrong: Input should be greater than 0",
        ),
        (
            "PAYMENTS_LOG__LEVEL",
            "loud",
            "PAYMENTS_LOG__LEVEL is wrong: Input should be 'debug', 'info', 'warning' or 'error'",
        ),
        ("PAYMENTS_STRIPE__BASE_URL", "http://127.0.0.1:1", "PAYMENTS_STRIPE__API_KEY is missing"),
    ],
)
def test_a_refusal_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)

    assert refusal() == said


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({}, "PAYMENTS_ROUTES, route 2: gateways is missing"),
        ({"gateways": {}}, "PAYMENTS_ROUTES, route 2 is wrong: at least one gateway needs a weight above 0"),
        (
            {"gateways": {"stripe": -1}},
            "PAYMENTS_ROUTES, route 2: gateways.stripe is wrong: Input should be greater than or equal to 0",
        ),
        (
            {"gateways": {"Stripe": 1}},
            "PAYMENTS_ROUTES, route 2: gateways.Stripe is wrong: "
            "String should match pattern '^[a-z][a-z0-9_]{0,31}$'",
        ),
        (
            {"gateways": {"stripe": 1}, "min_minor": 1},
            "PAYMENTS_ROUTES, route 2 is wrong: min_minor and max_minor need exactly one currency",
        ),
        (
            {"gateways": {"stripe": 1}, "currencies": ["EUR"], "min_minor": 2, "max_minor": 1},
            "PAYMENTS_ROUTES, route 2 is wrong: min_minor is more than max_minor",
        ),
        (
            {"gateways": {"stripe": 1}, "currencies": ["eur"]},
            "PAYMENTS_ROUTES, route 2: currencies is wrong: "
            "not a currency code of ISO 4217 in upper case, such as EUR",
        ),
        (
            {"gateways": {"stripe": 1}, "countries": ["Germany"]},
            "PAYMENTS_ROUTES, route 2: countries is wrong: String should match pattern '^[A-Z]{2}$'",
        ),
        (
            {"gateways": {"stripe": 1}, "currency": "EUR"},
            "PAYMENTS_ROUTES, route 2: currency is no part of a route; see docs/settings.md",
        ),
    ],
)
def test_a_refused_route_is_named_by_its_place(
    monkeypatch: pytest.MonkeyPatch, route: dict[str, object], said: str
) -> None:
    monkeypatch.setenv("PAYMENTS_ROUTES", json.dumps([{"gateways": {"stripe": 1}}, route]))

    assert refusal() == said


def test_routes_that_are_no_list_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_ROUTES", "{}")

    assert refusal().startswith("PAYMENTS_ROUTES is wrong: ")


def test_routes_in_a_file_become_rules_in_their_order(directory: Path) -> None:
    (directory / "payments.toml").write_text(
        "[[routes]]\n"
        'currencies = ["EUR"]\ncountries = ["DE"]\nmethods = ["card"]\nmin_minor = 1\nmax_minor = 2\n'
        "gateways = { stripe = 3, adyen = 0 }\n"
        "[[routes]]\n"
        "gateways = { adyen = 1 }\n"
    )

    assert [route.rule() for route in read_settings().routes] == [
        Rule(
            gateways={"stripe": 3, "adyen": 0},
            currencies=frozenset({"EUR"}),
            countries=frozenset({"DE"}),
            methods=frozenset({"card"}),
            min_minor=1,
            max_minor=2,
        ),
        Rule(gateways={"adyen": 1}),
    ]


def test_an_empty_list_of_waits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_WORKER__INQUIRY_DELAYS_S", "[]")

    assert refusal().startswith("PAYMENTS_WORKER__INQUIRY_DELAYS_S is wrong")


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_WORKER__TURN", "0")
    monkeypatch.setenv("PAYMENTS_BROKER__PREFETCH", "0")

    assert [line.split()[0] for line in refusal().splitlines()] == [
        "PAYMENTS_BROKER__PREFETCH",
        "PAYMENTS_WORKER__TURN",
    ]


def test_a_name_in_the_file_that_is_no_setting_is_refused(directory: Path) -> None:
    (directory / "payments.toml").write_text("[stripe]\napi_kee = 'x'\n")

    assert sorted(refusal().splitlines()) == [
        "PAYMENTS_STRIPE__API_KEE is no setting of this service; see docs/settings.md",
        "PAYMENTS_STRIPE__API_KEY is missing",
    ]


def test_a_file_that_is_named_and_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_CONFIG_FILE", "nowhere.toml")

    assert refusal() == "PAYMENTS_CONFIG_FILE names nowhere.toml, which is not there"


def test_variables_of_the_tests_are_no_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENTS_TEST_BROKER_URL", "amqp://h/")
    monkeypatch.setenv("PAYMENTS_SPECS_DIR", "specs")

    assert isinstance(read_settings(), Settings)


def test_lengths_in_seconds_become_lengths_of_time() -> None:
    assert seconds((0.5, 60)) == (timedelta(milliseconds=500), timedelta(minutes=1))
