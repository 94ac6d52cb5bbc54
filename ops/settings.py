"""All settings in one frozen object: `PAYMENTS_…` in the environment, then a TOML file, then the embedded default."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from consumers.address import Tls
from consumers.breaker import LONGEST_PAUSE_S
from handlers.routing import Rule
from messages.commands import GatewayName
from messages.money import MAX_MINOR, Currency
from ops.gateway_settings import AdyenSettings, Block, GatewayBlock, PaypalSettings, Seconds, StripeSettings

OTHER_NAMES = ("CONFIG_FILE", "SECRETS_DIR", "TEST_", "SPECS_DIR", "VENDOR_")
"""Variables beginning with PAYMENTS_ that are no settings of the service itself."""

Delays = Annotated[tuple[Seconds, ...], Field(min_length=1)]


class SettingsError(Exception):
    """A setting is missing or wrong; the text is one sentence for each, with its name."""


class SandboxSettings(Block):
    """The gateway without a network, for trying the service and for tests."""

    enabled: bool | None = Field(
        default=None,
        description="Default: only where broker and database are the embedded ones. It approves without money.",
    )
    latency_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    slow_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 3.0


class RouteSettings(Block):
    """Which payments go to which gateways: one table for each rule, the first that matches decides."""

    gateways: dict[GatewayName, Annotated[int, Field(ge=0, le=1_000_000)]]
    currencies: frozenset[Currency] = frozenset()
    countries: frozenset[Annotated[str, Field(pattern="^[A-Z]{2}$")]] = frozenset()
    methods: frozenset[Annotated[str, Field(pattern="^[a-z_]{1,32}$")]] = frozenset()
    min_minor: Annotated[int, Field(ge=0, le=MAX_MINOR)] | None = None
    max_minor: Annotated[int, Field(ge=0, le=MAX_MINOR)] | None = None

    @model_validator(mode="after")
    def _is_a_rule(self) -> Self:
        self.rule()
        return self

    def rule(self) -> Rule:
        """Make the rule that handlers decide by.

        Raises:
            ValueError: what is written is no rule, and why.
        """
        return Rule(
            gateways=self.gateways,
            currencies=self.currencies,
            countries=self.countries,
            methods=self.methods,
            min_minor=self.min_minor,
            max_minor=self.max_minor,
        )


class BrokerSettings(Block):
    """How the bus is used."""

    prefetch: Annotated[int, Field(gt=0, le=10_000)] = 1000
    heartbeat_s: Annotated[int, Field(gt=0, le=300)] = 15
    confirm_timeout_s: Seconds = 10.0
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    login_by_certificate: bool = False

    @property
    def tls(self) -> Tls | None:
        """How `amqps://` is spoken; None: the system's authorities, and no certificate of ours."""
        if not (self.ca_file or self.cert_file or self.key_file or self.login_by_certificate):
            return None
        return Tls(
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            login_by_certificate=self.login_by_certificate,
        )


class WorkerSettings(Block):
    """Bounds and patience of the worker."""

    turn: Annotated[int, Field(gt=0, le=5000)] = 500
    calls: Annotated[int, Field(gt=0, le=20_000)] = 2000
    timer_poll_s: Seconds = 0.5
    relay_grace_s: Seconds = 3.0
    stop_grace_s: Seconds = 25.0
    lease_margin_s: Seconds = 15.0
    retry_delays_s: Delays = (1, 5, 30, 120, 600)
    inquiry_delays_s: Delays = (10, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
    pending_delays_s: Delays = (30, 120, 600, 3600, 6 * 3600)
    absence_window_s: Seconds = 900
    action_time_s: Seconds = 3600
    refund_patience_s: Seconds = 24 * 3600
    refund_poll_s: Seconds = 30
    refund_resends: Annotated[int, Field(ge=0, le=5)] = 1
    refund_resend_delay_s: Seconds = 24 * 3600
    expiry_warning_s: Seconds = 24 * 3600
    hold_lasts_s: Seconds = 7 * 24 * 3600
    late_grace_s: Seconds = 600
    callback_patience_s: Seconds = 900
    callback_poll_s: Seconds = 30
    breaker_failures: Annotated[int, Field(gt=0, le=1000)] = 10
    breaker_pause_s: Annotated[float, Field(gt=0, le=LONGEST_PAUSE_S)] = 5.0


class WebhookSettings(Block):
    """Bounds and patience of the webhook ingestor."""

    max_connections: Annotated[int, Field(gt=0, le=5000)] = 256
    request_timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    confirm_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    stop_grace_s: Seconds = 20.0
    counts_every_s: Seconds = 60.0


class LogSettings(Block):
    """What the log looks like."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool | None = Field(default=None, description="Default: at a terminal for people, else JSON.")
    messages: bool = Field(default=False, description="A line for each message, answer and timer.")


class MetricsSettings(Block):
    """Where the worker shows its metrics and health."""

    port: Annotated[int, Field(ge=0, le=65535, description="0: nothing is shown.")] = 0
    host: str = "127.0.0.1"
    live_within_s: Annotated[float, Field(ge=10, le=3600)] = 120.0


class OperatorSettings(Block):
    """Who operates, and what one person may do alone."""

    actor: str | None = Field(
        default=None, description="Who you are, for the audit log. Default: your login."
    )
    second_person_above: int | None = Field(
        default=None,
        ge=0,
        description="Minor units of any currency: what is about more waits for another person. Default: nothing does.",
    )


class TracingSettings(Block):
    """Where OpenTelemetry traces are sent, over HTTP; without an endpoint nothing is traced."""

    endpoint: str | None = Field(
        default=None, pattern="^https?://", description="Such as `http://collector:4318/v1/traces`."
    )
    service_name: Annotated[str, Field(min_length=1)] = "payments-worker"


class Settings(BaseSettings):
    """The service's settings. Secrets, the URLs too, are masked wherever the object is shown."""

    model_config = SettingsConfigDict(
        env_prefix="PAYMENTS_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(
        default=Path(".payments"), description="Home of the embedded broker, ledger and sandbox."
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description="amqp:// or amqps://, several separated by `;`; default: the embedded broker.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="postgresql+psycopg://…; default: SQLite in the data directory."
    )
    keys_dir: Path | None = Field(
        default=None,
        description="Directory of the keys (`*.key`) that tokens are encrypted with; "
        "default: made in the data directory, but not for PostgreSQL.",
    )
    default_gateway: str = "sandbox"
    routes: tuple[RouteSettings, ...] = ()
    sandbox: SandboxSettings = SandboxSettings()
    stripe: StripeSettings | None = None
    adyen: AdyenSettings | None = None
    paypal: PaypalSettings | None = None
    broker: BrokerSettings = BrokerSettings()
    worker: WorkerSettings = WorkerSettings()
    webhooks: WebhookSettings = WebhookSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    operators: OperatorSettings = OperatorSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def gateway_blocks(self) -> dict[str, GatewayBlock]:
        """The gateways that are set up, by name. The sandbox is not among them: it needs no account."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: block for name, block in fields.items() if isinstance(block, GatewayBlock)}

    @property
    def serves_sandbox(self) -> bool:
        """Whether the gateway without money is there: never by accident where real commands come in."""
        if self.sandbox.enabled is not None:
            return self.sandbox.enabled
        return self.broker_url is None and self.database_url is None

    @model_validator(mode="after")
    def _no_certificates_in_vain(self) -> Self:
        if self.broker.tls is not None and not all(url.startswith("amqps://") for url in self.broker_urls):
            raise ValueError(
                "PAYMENTS_BROKER__… names certificates, and PAYMENTS_BROKER_URL is not encrypted: write amqps://"
            )
        return self

    @property
    def broker_urls(self) -> list[str]:
        """Where the broker is; several for failover."""
        if self.broker_url is None:
            return [f"embedded://{self.data_dir.absolute()}"]
        return [url.strip() for url in self.broker_url.get_secret_value().split(";") if url.strip()]

    @property
    def ledger_url(self) -> str:
        """Where the database is."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir.absolute() / 'ledger.db'}"
        url = self.database_url.get_secret_value()
        # What hosting services hand out; SQLAlchemy wants the driver named.
        for short in ("postgresql://", "postgres://"):
            url = url.replace(short, "postgresql+psycopg://", 1) if url.startswith(short) else url
        return url

    @property
    def keys_directory(self) -> Path:
        """Where the keys are that tokens are encrypted with."""
        return self.keys_dir or self.data_dir / "keys"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values first, then the environment, then secrets, then the file."""
        return init_settings, env_settings, _secrets(file_secret_settings), _File(settings_cls)


def _secrets(source: PydanticBaseSettingsSource) -> PydanticBaseSettingsSource:
    """The directory that `PAYMENTS_SECRETS_DIR` names: a file for each secret, named as its variable would be."""
    named = os.environ.get("PAYMENTS_SECRETS_DIR")
    if named and not Path(named).is_dir():
        raise SettingsError(f"PAYMENTS_SECRETS_DIR names {named}, which is no directory")
    if named:
        for file in sorted(Path(named).iterdir()):
            _check_name(
                file.name.upper(), known={field.upper() for field in source.settings_cls.model_fields}
            )
    return NestedSecretsSettingsSource(source, secrets_dir=named)


class _File(TomlConfigSettingsSource):
    """The file that `PAYMENTS_CONFIG_FILE` names, else `payments.toml` where it runs, if there is one."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        named = os.environ.get("PAYMENTS_CONFIG_FILE")
        if named and not Path(named).is_file():
            raise SettingsError(f"PAYMENTS_CONFIG_FILE names {named}, which is not there")
        super().__init__(settings_cls, toml_file=Path(named or "payments.toml"))


def read_settings(**explicit: Any) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: names every setting that is missing or wrong.
    """
    known = {field.upper() for field in Settings.model_fields}
    for name in os.environ:
        _check_name(name, known=known)
    try:
        settings = Settings(**explicit)
    except ValidationError as error:
        raise SettingsError("\n".join(_explained(problem) for problem in error.errors())) from None
    except ValueError as error:  # a TOML file that is none, JSON in a nested variable that is none
        raise SettingsError(f"the settings cannot be read: {error}") from None
    return settings


def _check_name(name: str, *, known: set[str]) -> None:
    part = name.removeprefix("PAYMENTS_").split("__")[0]
    if name.startswith("PAYMENTS_") and part not in known and not part.startswith(OTHER_NAMES):
        raise SettingsError(f"{name} is no setting of this service; see docs/settings.md")


def _explained(problem: Any) -> str:
    if problem["loc"][:1] == ("routes",):
        return _explained_route(problem)
    names = [part for part in problem["loc"] if isinstance(part, str)]
    if not names:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = "PAYMENTS_" + "__".join(names).upper()
    match problem["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"{name} is no setting of this service; see docs/settings.md"
        case _:
            return f"{name} is wrong: {problem['msg']}"


def _explained_route(problem: Any) -> str:
    """Say which of the tables it is, counted from 1, and which of its fields."""
    _, *inner = problem["loc"]
    place = f"PAYMENTS_ROUTES, route {inner[0] + 1}" if inner else "PAYMENTS_ROUTES"
    names = [part for part in inner[1:] if isinstance(part, str) and part != "[key]"]
    where = ": ".join([place, ".".join(names)] if names else [place])
    match problem["type"]:
        case "missing":
            return f"{where} is missing"
        case "extra_forbidden":
            return f"{where} is no part of a route; see docs/settings.md"
        case _:
            return f"{where} is wrong: {str(problem['msg']).removeprefix('Value error, ')}"


def seconds(values: tuple[float, ...]) -> tuple[timedelta, ...]:
    """Turn lengths in seconds into lengths of time."""
    return tuple(timedelta(seconds=value) for value in values)
