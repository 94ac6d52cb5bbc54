"""Checks of the gateways: one authenticated call to each that moves no money, and what its clock says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ops.doctor.database import judged_clock
from ops.doctor.finding import Finding, unsure, well, wrong
from ops.gateway_settings import AdyenSettings, GatewayBlock, PaypalSettings, StripeSettings
from ops.settings import Settings

PATIENCE_S = 10.0
SKEW_S = 5.0
"""A `Date` has whole seconds only, and stands still on the way."""
REFUSED = (401, 403)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One harmless call; its headers hold a secret."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    form: dict[str, str] | None = None
    json: dict[str, Any] | None = None
    setting: str
    """What to look at if the gateway refuses."""


def gateway_answers(settings: Settings) -> Iterator[Finding]:
    """Ask each gateway something harmless, as whom we shall ask it for money."""
    if not settings.gateway_blocks:
        yield (
            well("gateways", "the sandbox only, which is part of this program")
            if settings.serves_sandbox
            else wrong(
                "gateways", "none is set up", "set PAYMENTS_STRIPE__API_KEY, or another's (docs/gateways.md)"
            )
        )
    for name, block in settings.gateway_blocks.items():
        if (question := _question(block)) is None:
            yield unsure(name, "there is no harmless call to ask it with", "look at its dashboard")
        else:
            yield from _asked(name, question)


def _question(block: GatewayBlock) -> Question | None:
    match block:
        case StripeSettings(api_key=key):  # docs.stripe.com/api/payment_intents/list
            return Question(
                method="GET",
                url=f"{_base(block.base_url, 'https://api.stripe.com')}/v1/payment_intents?limit=1",
                headers={"Authorization": f"Bearer {key.get_secret_value()}"},
                setting="PAYMENTS_STRIPE__API_KEY",
            )
        case AdyenSettings(api_key=key):  # docs.adyen.com/api-explorer/Checkout/72/post/paymentMethods
            return Question(
                method="POST",
                url=f"{_adyen_base(block)}/v72/paymentMethods",
                headers={"X-API-Key": key.get_secret_value()},
                json={"merchantAccount": block.merchant_account},
                setting="PAYMENTS_ADYEN__API_KEY and PAYMENTS_ADYEN__MERCHANT_ACCOUNT",
            )
        case PaypalSettings(client_secret=secret):  # developer.paypal.com/api/rest/authentication
            return Question(
                method="POST",
                url=f"{_base(block.base_url, 'https://api-m.paypal.com')}/v1/oauth2/token",
                auth=(block.client_id, secret.get_secret_value()),
                form={"grant_type": "client_credentials"},
                setting="PAYMENTS_PAYPAL__CLIENT_ID and PAYMENTS_PAYPAL__CLIENT_SECRET",
            )
    return None


def _base(set_url: str | None, real_url: str) -> str:
    return (set_url or real_url).rstrip("/")


def _adyen_base(block: AdyenSettings) -> str:
    """Where Adyen's Checkout API is (docs.adyen.com/development-resources/live-endpoints)."""
    if block.live_endpoint_prefix:
        return f"https://{block.live_endpoint_prefix}-checkout-live.adyenpayments.com/checkout"
    return _base(block.base_url, "https://checkout-test.adyen.com")


def _asked(name: str, question: Question) -> Iterator[Finding]:
    began = time.monotonic()
    try:
        # The adapters take no proxy from the environment either.
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            answer = client.request(
                question.method,
                question.url,
                headers=question.headers,
                auth=question.auth,
                data=question.form,
                json=question.json,
            )
    except httpx.HTTPError as error:
        yield wrong(
            name,
            f"no answer: {type(error).__name__}: {error}",
            "its status page; DNS, firewall and certificates between here and there; see CircuitOpen in "
            "docs/runbook.md",
        )
        return
    took_ms = 1000 * (time.monotonic() - began)
    yield _judged(name, question, answer.status_code, took_ms)
    if "date" in answer.headers:
        theirs = parsedate_to_datetime(answer.headers["date"])
        ahead_s = (theirs - datetime.now(UTC)).total_seconds()
        yield judged_clock(f"{name} clock", ahead_s, within_s=SKEW_S)


def _judged(name: str, question: Question, status: int, took_ms: float) -> Finding:
    if status in REFUSED:
        return wrong(name, f"refuses us ({status})", f"correct {question.setting}")
    if status >= 500:
        return wrong(name, f"is in trouble ({status})", "its status page; see CircuitOpen in docs/runbook.md")
    if status >= 400:
        return unsure(
            name, f"answers {status} to a harmless call", f"compare {question.setting} with its dashboard"
        )
    return well(name, f"knows us, answers in {took_ms:.0f} ms")


CHECKS = (gateway_answers,)
