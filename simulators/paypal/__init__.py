"""PayPal's API as a program of its own: stateful, and wrong on demand.

It speaks OAuth 2 (client credentials), Orders v2 (create, show, update, authorize, capture) and Payments v2
(authorizations: show, capture, void, reauthorize; captures: show, refund; refunds: show) as far as the
service needs them. Nothing here proves how the real PayPal behaves; it is what its OpenAPI files
(github.com/paypal/paypal-rest-api-specifications) and its documentation say. What is from memory says so.

How a payment ends is decided by its saved method (`payment_source.<paypal or card>.vault_id`). All ids are
the simulator's own:

| vault id                       | source | how a payment with it ends                                      |
|--------------------------------|--------|-----------------------------------------------------------------|
| `sim-wallet`, `sim-card`       |        | completed                                                       |
| `sim-card-<code>`              | card   | declined by the bank with this processor response code:         |
|                                |        | `sim-card-5120` lacks funds, `sim-card-9520` is lost or stolen  |
| `sim-card-<code>-<advice>`     | card   | the same, with a payment advice code: `sim-card-0500-03`        |
| `sim-card-5650`                | card   | declined so, but completed once the cardholder was asked        |
| `sim-card-3ds`                 | card   | PAYER_ACTION_REQUIRED, if the request asks for verification;    |
|                                |        | so is any card with SCA_ALWAYS                                  |
| `sim-wallet-<ISSUE>`           | paypal | refused by PayPal, 422: `sim-wallet-INSTRUMENT_DECLINED`        |
| `sim-wallet-payer-action`      | paypal | 422 PAYER_ACTION_REQUIRED, with the link; PAYER_CANNOT_PAY when |
|                                |        | the merchant starts the payment                                 |
| `sim-wallet-pending`           | paypal | PENDING, later COMPLETED                                        |
| `sim-wallet-pending-declined`  | paypal | PENDING, later DECLINED (an authorization: DENIED)              |
| `sim-wallet-refund-pending`    | paypal | completed; its refunds are PENDING, and COMPLETED later         |
| `sim-wallet-refund-fails`      | paypal | completed; its refunds are COMPLETED, and FAILED later          |
| `sim-wallet-fault-<fault>`     | paypal | completed; the call that pays with it meets the fault, once per |
|                                |        | PayPal-Request-Id                                               |

A hold nobody captures ends after 29 days. A capture that was completed can be made to fail (`decide`), too.

An order made with `payment_source.paypal` and no vault id waits for the payer: the link in the answer leads
to PayPal's page. A GET of it approves, with `&decision=fail` turns away.

"Later" is `settle_after_s` on the simulator's clock, or when the control interface says so.

Every change is told by webhook (`simulators.deliveries`), signed under a certificate of the simulator's own, which
lies where PayPal's lie. `simulators.paypal.webhooks.PaypalEndpoint` says what can be set. The control interface has
here, beside what every simulator offers:

| call                                | does                                                             |
|-------------------------------------|------------------------------------------------------------------|
| `GET /_control/webhooks/authority`  | gives the authority behind that certificate: `{pem}`             |
| `POST /_control/by_hand`            | acts as somebody in PayPal's pages: `{action, id, value}`;       |
|                                     | `capture` or `void` an authorization, `refund` a capture         |

Faults (`simulators.faults`) are armed by the control interface (`simulators.control`), where `match` knows a
call's vault id as its `token`, and `custom_id` and `invoice_id` as its `metadata`. As PayPal keeps under a
request id only what succeeded, `error_500_after` keeps the true answer here, and `error_500_kept` nothing.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from simulators.paypal.app import paypal_app
from simulators.paypal.simulator import PaypalSimulator
from simulators.paypal.webhooks import DEFAULT_WEBHOOK_ID
from simulators.serving import listening, serve_here

DEFAULT_CLIENT_ID = "simulator-client"
DEFAULT_CLIENT_SECRET = "simulator-secret"  # noqa: S105 - opens nothing but a simulator
DEFAULT_SETTLE_AFTER_S = 60.0


def create_app(
    *,
    data_file: Path | None = None,
    client_id: str = DEFAULT_CLIENT_ID,
    client_secret: str = DEFAULT_CLIENT_SECRET,
    settle_after_s: float = DEFAULT_SETTLE_AFTER_S,
) -> Starlette:
    """The simulator as an ASGI application; without a data file it forgets everything when it ends."""
    return paypal_app(
        PaypalSimulator(
            data_file=data_file,
            settle_after_s=settle_after_s,
            client_id=client_id,
            client_secret=client_secret,
        )
    )


def serve(
    *,
    host: str,
    port: int,
    data_file: Path | None,
    webhook_url: str | None = None,
    webhook_id: str = DEFAULT_WEBHOOK_ID,
) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line that says where; port 0 takes a free one.

    With a `webhook_url`, events are delivered there, signed for the id. Raises ValueError if it is no URL.
    """
    simulator = PaypalSimulator(
        data_file=data_file,
        settle_after_s=DEFAULT_SETTLE_AFTER_S,
        client_id=DEFAULT_CLIENT_ID,
        client_secret=DEFAULT_CLIENT_SECRET,
    )
    if webhook_url is not None:
        simulator.office.change_endpoint({"url": webhook_url, "webhook_id": webhook_id})
    listener = listening(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    print(
        f"PayPal simulator at {url} · client {DEFAULT_CLIENT_ID} · secret {DEFAULT_CLIENT_SECRET}"
        f" · control {url}/_control",
        flush=True,
    )
    try:
        serve_here(paypal_app(simulator), listener)
    finally:
        simulator.close()
