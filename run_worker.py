"""The only wiring: settings → parts → run until SIGTERM.

python run_worker.py [worker]               the payment worker (default)
python run_worker.py webhooks               takes gateways' callbacks in (docs/webhooks.md)
python run_worker.py simulate stripe        Stripe's API as a program, with faults on demand
python run_worker.py simulate adyen         Adyen's, with webhooks
python run_worker.py simulate paypal        PayPal's
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import structlog
import typer

from consumers.breaker import Patience
from consumers.bus import KombuBus
from consumers.calls import Calls
from consumers.counts import Counts
from consumers.cycle import Cycle, Limits
from consumers.delivery import BusRefused
from consumers.topology import WORK_QUEUES
from consumers.tracing import Tracer
from gateways.notice import Reader
from gateways.protocol import Gateway
from gateways.sandbox import SandboxGateway
from handlers.decision import Policy
from ledger.ledger import Ledger, LedgerDown, NotMigrated
from ops.key_files import open_keyring
from ops.logs import configure_logs
from ops.settings import Settings, SettingsError, read_settings, seconds
from ops.tracing import tracing
from ops.watching import watched

log = structlog.get_logger()
app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None, pretty_exceptions_enable=False)
simulators = typer.Typer(help="Gateways as programs of their own, for tests and for trying the service.")
app.add_typer(simulators, name="simulate")
SIMULATOR_HOST = "Address to listen on. Anybody who reaches it can make it fail: keep it to yourself."


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Run the worker, unless another command is named."""
    if context.invoked_subcommand is None:
        worker()


@app.command()
def worker() -> None:
    """Take commands from the queues until SIGTERM. Settings: docs/settings.md; without any: the embedded default."""
    try:
        settings = read_settings()
        configure_logs(settings.log)
        run(settings, open_gateways(settings))
    except (SettingsError, BusRefused, NotMigrated, LedgerDown, OSError) as error:
        sys.exit(f"the worker cannot run: {error}")


@simulators.command("stripe")
def simulate_stripe(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 12111,
    host: Annotated[str, typer.Option(help=SIMULATOR_HOST)] = "127.0.0.1",
    data_file: Annotated[Path | None, typer.Option(help="Keep what happened here across restarts.")] = None,
) -> None:
    """Run Stripe's API on this machine, stateful and with faults on demand."""
    from simulators.stripe import serve

    serve(host=host, port=port, data_file=data_file)


@simulators.command("adyen")
def simulate_adyen(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 12112,
    host: Annotated[str, typer.Option(help=SIMULATOR_HOST)] = "127.0.0.1",
    data_file: Annotated[Path | None, typer.Option(help="Keep what happened here across restarts.")] = None,
) -> None:
    """Run Adyen's API on this machine, stateful, with webhooks and with faults on demand."""
    from simulators.adyen import serve

    serve(host=host, port=port, data_file=data_file)


@simulators.command("paypal")
def simulate_paypal(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 12113,
    host: Annotated[str, typer.Option(help=SIMULATOR_HOST)] = "127.0.0.1",
    data_file: Annotated[Path | None, typer.Option(help="Keep what happened here across restarts.")] = None,
) -> None:
    """Run PayPal's API on this machine, stateful and with faults on demand."""
    from simulators.paypal import serve

    serve(host=host, port=port, data_file=data_file)


@app.command()
def webhooks(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; a proxy with TLS belongs in front.")
    ] = "127.0.0.1",
) -> None:
    """Take gateways' callbacks in and put them on the bus. Settings: docs/webhooks.md."""
    from ops.verifiers import open_verifiers
    from webhooks.app import Ingestor, webhooks_app
    from webhooks.post import Post
    from webhooks.serving import Limits, serve

    try:
        settings = read_settings()
        configure_logs(settings.log)
        verifiers = open_verifiers(settings)
        # On RabbitMQ its user may only publish; there a worker, or `payments topology`, has declared everything.
        bounds = settings.webhooks
        bus = open_bus(
            settings,
            queues=(),
            declares=settings.broker_url is None,
            confirm_timeout_s=bounds.confirm_timeout_s,
        )
        post = Post(bus)
        ingestor = Ingestor(
            verifiers,
            post,
            lambda: datetime.now(UTC),
            body_within_s=bounds.request_timeout_s,
            confirm_within_s=bounds.confirm_timeout_s + 1,  # the bus's own word first
        )
        limits = Limits(
            connections=bounds.max_connections,
            request_timeout_s=bounds.request_timeout_s,
            stop_grace_s=bounds.stop_grace_s,
        )
        post.start()
        log.info("ingestor_started", gateways=sorted(verifiers))
        app = webhooks_app(ingestor, counts_every_s=bounds.counts_every_s)
        serve(app, host=host, port=port, limits=limits)
        post.close()
    except (SettingsError, BusRefused, OSError) as error:
        sys.exit(f"the ingestor cannot run: {error}")


def run(settings: Settings, gateways: dict[str, Gateway]) -> None:
    """Build the other parts and run the cycle until SIGTERM or SIGINT."""
    embedded = settings.database_url is None
    if embedded:
        from ledger.schema import migrate

        settings.data_dir.mkdir(parents=True, exist_ok=True)
        migrate(
            settings.ledger_url
        )  # a newcomer's own file; a production database is migrated by an operator
    ledger = open_ledger(settings)
    with tracing(settings.tracing) as tracer:
        counts, calls = Counts(), make_calls(settings, gateways, tracer)
        cycle = Cycle(
            worker=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            bus=open_bus(settings, queues=[queue.name for queue in WORK_QUEUES]),
            ledger=ledger,
            calls=calls,
            policy=make_policy(settings, gateways),
            clock=lambda: datetime.now(UTC),
            limits=make_limits(settings),
            readers=open_readers(gateways),
            counts=counts,
            tells_each=settings.log.messages,
            tracer=tracer,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: cycle.stop())
        log.info("worker_started", gateways=sorted(gateways), embedded=embedded)
        with watched(settings, gateways=gateways, counts=counts, calls=calls):
            cycle.run()


def open_ledger(settings: Settings) -> Ledger:
    """Make the ledger, with the keys that tokens are encrypted with.

    Raises:
        SettingsError: a key that is needed is not here.
    """
    ledger = Ledger(settings.ledger_url, keyring=open_keyring(settings))
    missing: list[str] = []
    with suppress(LedgerDown):  # it may come up after us, and is waited for
        missing = ledger.missing_keys()
    if missing:
        raise SettingsError(
            f"tokens in the database are encrypted with {', '.join(missing)}, and no such key is in"
            f" {settings.keys_directory}: bring it back, or finish `payments keys rotate` and retire it"
        )
    return ledger


def open_gateways(settings: Settings) -> dict[str, Gateway]:
    """Make the gateways that the settings name."""
    gateways: dict[str, Gateway] = {}
    sandbox = settings.sandbox
    if settings.serves_sandbox:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        gateways["sandbox"] = SandboxGateway(
            settings.data_dir / "sandbox.db",
            latency_s=sandbox.latency_s,
            slow_s=sandbox.slow_s,
            settle_delay=timedelta(seconds=sandbox.settle_s),
        )
    for name, block in settings.gateway_blocks.items():
        try:
            gateways[name] = block.open_gateway()
        except ValueError as error:
            raise SettingsError(str(error)) from error
    if settings.default_gateway not in gateways:
        raise SettingsError(
            f"PAYMENTS_DEFAULT_GATEWAY is {settings.default_gateway}, which is not set up; "
            f"there is {', '.join(sorted(gateways)) or 'no gateway at all'}"
        )
    unknown = {name for route in settings.routes for name in route.gateways} - gateways.keys()
    if unknown:
        raise SettingsError(f"PAYMENTS_ROUTES names {', '.join(sorted(unknown))}, which is not set up")
    return gateways


def open_readers(gateways: Iterable[str]) -> dict[str, Reader]:
    """Take those that read the callbacks of the gateways there are; some gateways tell nothing unasked."""
    modules = {name: f"gateways.{name}_webhooks" for name in gateways}
    return {name: import_module(module).read for name, module in modules.items() if find_spec(module)}


def open_bus(
    settings: Settings,
    *,
    queues: Sequence[str],
    declares: bool = True,
    confirm_timeout_s: float | None = None,
) -> KombuBus:
    """Make the bus; nothing is connected yet. Confirms may take what the broker's settings say, unless told here."""
    broker = settings.broker
    return KombuBus(
        urls=settings.broker_urls,
        queues=queues,
        declares=declares,
        prefetch=broker.prefetch,
        heartbeat_s=broker.heartbeat_s,
        confirm_timeout_s=confirm_timeout_s or broker.confirm_timeout_s,
        tls=broker.tls,
    )


def make_policy(settings: Settings, gateways: dict[str, Gateway]) -> Policy:
    """Turn settings into the rules handlers decide by."""
    worker = settings.worker
    return Policy(
        default_gateway=settings.default_gateway,
        gateways={name: gateway.capabilities for name, gateway in gateways.items()},
        rules=tuple(route.rule() for route in settings.routes),
        lease_margin=timedelta(seconds=worker.lease_margin_s),
        retry_delays=seconds(worker.retry_delays_s),
        inquiry_delays=seconds(worker.inquiry_delays_s),
        pending_delays=seconds(worker.pending_delays_s),
        absence_window=timedelta(seconds=worker.absence_window_s),
        action_time=timedelta(seconds=worker.action_time_s),
        refund_patience=timedelta(seconds=worker.refund_patience_s),
        refund_poll=timedelta(seconds=worker.refund_poll_s),
        refund_resends=worker.refund_resends,
        refund_resend_delay=timedelta(seconds=worker.refund_resend_delay_s),
        expiry_warning=timedelta(seconds=worker.expiry_warning_s),
        hold_lasts=timedelta(seconds=worker.hold_lasts_s),
        late_grace=timedelta(seconds=worker.late_grace_s),
        callback_patience=timedelta(seconds=worker.callback_patience_s),
        callback_poll=timedelta(seconds=worker.callback_poll_s),
    )


def make_patience(settings: Settings) -> Patience:
    """Turn settings into what a gateway's circuit breaker bears."""
    worker = settings.worker
    return Patience(failures=worker.breaker_failures, pause_s=worker.breaker_pause_s)


def make_calls(settings: Settings, gateways: dict[str, Gateway], tracer: Tracer | None = None) -> Calls:
    """Make what calls them. A call may wait for its turn for a part of what its attempt's lease allows for."""
    turn_within_s = settings.worker.lease_margin_s / 2
    return Calls(gateways, make_patience(settings), turn_within_s=turn_within_s, tracer=tracer)


def make_limits(settings: Settings) -> Limits:
    """Turn settings into the cycle's bounds."""
    worker = settings.worker
    return Limits(
        turn=worker.turn,
        calls=worker.calls,
        timer_poll_s=worker.timer_poll_s,
        relay_grace=timedelta(seconds=worker.relay_grace_s),
        stop_grace_s=worker.stop_grace_s,
    )


if __name__ == "__main__":
    app()
