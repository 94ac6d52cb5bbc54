"""Adyen's API as a program of its own: stateful, telling by webhook, and wrong on demand.

It speaks Checkout v72 as far as the service needs it: `/payments` with stored cards, `/payments/details`,
captures, refunds, cancels and reversals of a payment, and `/cancels` by the merchant's own reference, with
Adyen's idempotency keys. Nothing here proves how the real Adyen behaves; it is what its specifications,
documentation and samples say.

How a payment ends is decided by its card (`paymentMethod.storedPaymentMethodId`, all the simulator's own;
`shopperReference` must be there, and may be any):

| token                                   | how the payment, or what follows, ends                      |
|-----------------------------------------|-------------------------------------------------------------|
| `sim_authorised`                        | Authorised                                                  |
| `sim_refused_<code>`                    | Refused with that `refusalReasonCode`: see `adyen.cards`    |
| `sim_stolen_card`                       | Refused, 5, with `refusalReasonRaw` 43                      |
| `sim_error`, `sim_cancelled`            | Error (4), Cancelled (16)                                   |
| `sim_redirect`                          | RedirectShopper; Refused (38) when nobody is there          |
| `sim_challenge`                         | ChallengeShopper, with an action for Adyen's component      |
| `sim_authentication_required`           | Refused (38), unless `attemptAuthentication` is `always`    |
| `sim_pending_then_authorised`           | Pending, later authorised; so `…_then_refused`              |
| `sim_received_then_authorised`          | Received, later authorised                                  |
| `sim_partially_authorised`              | PartiallyAuthorised, for half                               |
| `sim_capture_refused`                   | Authorised; its capture ends with `success` false;          |
|                                         | so `sim_cancel_refused`, `sim_refund_refused`               |
| `sim_capture_fails_later`               | Authorised; its capture succeeds, later CAPTURE_FAILED      |
| `sim_refund_fails_later`                | Authorised; its refund succeeds, later REFUND_FAILED        |
| `sim_refund_reversed_later`             | Authorised; its refund succeeds, later REFUNDED_REVERSED    |
| `sim_<fault>`                           | Authorised; the payment's call meets the fault              |

Of Adyen's test platform, `additionalData.RequestedTestAcquirerResponseCode` (a refusal code) and
`RequestedTestErrorResponseCode` (`NO_CONNECTION_AVAILABLE`, `IOEXCEPTION_RECEIVED`) are served.

"Later" is `settle_after_s` on the simulator's clock, or when the control interface says so; modifications are
executed as late as that. An authorisation that nobody captures expires after 28 days. With
`authenticationData.attemptAuthentication` any card that would pay asks for its customer first, by a redirect, or by
a challenge where `nativeThreeDS` is `preferred`. A customer follows the link of the action (`?decision=fail`
refuses) and comes back to `returnUrl` with `redirectResult`, which the shop hands in to `/payments/details`; the
link of a challenge answers with the `details` that Adyen's component would have given.

What is done by hand in the customer area, and what fails long after it succeeded, the control interface has
(`simulators.adyen.app`): the webhooks of the former go by the payment's own merchant reference.

Webhooks are delivered once the control interface was told where to (`simulators.deliveries`), signed, with
Basic authentication, one at a time and again until they are accepted. On request: more than once, late, out
of order, many in one body, wrongly signed or not at all. All can be read from the control interface.

Faults (`simulators.faults`) are armed by the control interface (`simulators.control`), or asked for by the
payment: `metadata.simulate` for that very call, `simulate_capture`, `simulate_cancel`, `simulate_refund` and
`simulate_reversal` for later calls about it; `simulate_seconds` for how long `slow` waits. Such a fault comes
once per idempotency key, so a repeat gets through. An error that is not kept under its key says so with
`transient-error: true`.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from simulators.adyen.app import adyen_app
from simulators.adyen.simulator import AdyenSimulator
from simulators.serving import listening, serve_here

DEFAULT_API_KEY = "AQE_simulator"
DEFAULT_MERCHANT_ACCOUNT = "SimulatorECOM"
DEFAULT_SETTLE_AFTER_S = 2.0


def create_app(
    *,
    data_file: Path | None = None,
    api_key: str = DEFAULT_API_KEY,
    merchant_account: str = DEFAULT_MERCHANT_ACCOUNT,
    settle_after_s: float = DEFAULT_SETTLE_AFTER_S,
) -> Starlette:
    """The simulator as an ASGI application; without a data file it forgets everything when it ends."""
    simulator = AdyenSimulator(
        data_file=data_file, merchant_account=merchant_account, settle_after_s=settle_after_s
    )
    return adyen_app(simulator, api_key=api_key)


def serve(*, host: str, port: int, data_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line that says where; port 0 takes a free one."""
    simulator = AdyenSimulator(
        data_file=data_file,
        merchant_account=DEFAULT_MERCHANT_ACCOUNT,
        settle_after_s=DEFAULT_SETTLE_AFTER_S,
    )
    listener = listening(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    print(
        f"Adyen simulator at {url} · API key {DEFAULT_API_KEY} · merchant account {DEFAULT_MERCHANT_ACCOUNT}"
        f" · control {url}/_control",
        flush=True,
    )
    try:
        serve_here(adyen_app(simulator, api_key=DEFAULT_API_KEY), listener)
    finally:
        simulator.close()
