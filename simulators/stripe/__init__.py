"""Stripe's API as a program of its own: stateful, and wrong on demand.

It speaks API version 2026-10-28.endive as far as the service needs it: PaymentIntents (create, confirm,
capture, cancel, retrieve, list), refunds, charges, balance transactions and customers, with Stripe's
idempotency keys. Nothing here proves how the real Stripe behaves; it is what its documentation and SDK say.

How a payment ends is decided by its card (`payment_method`):

| token                                       | how the attempt ends                                 |
|---------------------------------------------|------------------------------------------------------|
| `pm_card_visa`, `pm_card_mastercard`        | succeeds                                             |
| `pm_card_chargeDeclined`                    | 402, `generic_decline`                               |
| `pm_card_chargeDeclinedInsufficientFunds`   | 402; so `…LostCard`, `…StolenCard`, `…ExpiredCard`,  |
|                                             | `…IncorrectCvc` and `…ProcessingError`               |
| `pm_card_authenticationRequired`            | `requires_action`; 402 when `off_session`            |
| `pm_simulated_authenticationSoftDecline` (*)| 402 `authentication_required`, unless 3-D Secure was |
|                                             | asked for: then `requires_action`                    |
| `pm_card_refundFail`                        | succeeds; its refunds succeed, and fail later        |
| `pm_card_pendingRefund`                     | succeeds; its refunds are pending, and succeed later |
| `pm_simulated_processing_then_succeeds` (*) | `processing`, later succeeds                         |
| `pm_simulated_processing_then_fails` (*)    | `processing`, later fails                            |
| `pm_simulated_<fault>` (*)                  | succeeds; the call that confirms it meets the fault  |

(*) The simulator's own; Stripe has no such tokens.

"Later" is `settle_after_s` on the simulator's clock, or when the control interface says so. A customer
authenticates by a GET of the link in `next_action`; `?decision=fail` refuses. `request_three_d_secure` (`any`,
`challenge`) makes any card that would pay ask for it. An authorization that nobody captures expires after 7 days.
A refund goes as `metadata[simulate_refund_ending]` says, its own or its intent's: `succeed`, `fail_later`,
`pend_then_succeed`, `pend_then_fail`.

Every change is an Event, delivered once the control interface was told where to (`simulators.deliveries`), signed
as Stripe signs, and again until it is accepted. `simulators.stripe.webhooks.StripeEndpoint` says what can be set.

Faults (`simulators.faults`) are armed by the control interface (`simulators.control`), or asked for by the
call: `metadata[simulate]=<fault>` on create, capture and refund for that very call, and on create also
`metadata[simulate_confirm]`, `[simulate_capture]`, `[simulate_cancel]` and `[simulate_refund]` for later
calls about the intent; `metadata[simulate_seconds]` for how long `slow` waits. Such a fault comes once per
idempotency key, so a repeat gets through.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from simulators.serving import listening, serve_here
from simulators.stripe.app import stripe_app
from simulators.stripe.simulator import StripeSimulator
from simulators.stripe.webhooks import DEFAULT_SECRET

DEFAULT_API_KEY = "sk_test_simulator"
DEFAULT_SETTLE_AFTER_S = 60.0


def create_app(
    *,
    data_file: Path | None = None,
    api_key: str = DEFAULT_API_KEY,
    settle_after_s: float = DEFAULT_SETTLE_AFTER_S,
) -> Starlette:
    """The simulator as an ASGI application; without a data file it forgets everything when it ends."""
    return stripe_app(StripeSimulator(data_file=data_file, settle_after_s=settle_after_s), api_key=api_key)


def serve(
    *,
    host: str,
    port: int,
    data_file: Path | None,
    webhook_url: str | None = None,
    webhook_secret: str = DEFAULT_SECRET,
) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line that says where; port 0 takes a free one.

    With a `webhook_url`, events are delivered there, signed with the secret. Raises ValueError if it is no URL.
    """
    simulator = StripeSimulator(data_file=data_file, settle_after_s=DEFAULT_SETTLE_AFTER_S)
    if webhook_url is not None:
        simulator.office.change_endpoint({"url": webhook_url, "secrets": [webhook_secret]})
    listener = listening(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    print(f"Stripe simulator at {url} · API key {DEFAULT_API_KEY} · control {url}/_control", flush=True)
    try:
        serve_here(stripe_app(simulator, api_key=DEFAULT_API_KEY), listener)
    finally:
        simulator.close()
