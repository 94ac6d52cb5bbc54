"""Whose callbacks are taken: a verifier for each gateway whose webhook secrets are set."""

from __future__ import annotations

from gateways.notice import Verifier
from ops.gateway_settings import AdyenSettings, PaypalSettings, StripeSettings
from ops.settings import Settings, SettingsError


def open_verifiers(settings: Settings) -> dict[str, Verifier]:
    """Make the verifiers.

    Raises:
        SettingsError: no gateway has webhook secrets, or one of them is none.
    """
    verifiers: dict[str, Verifier] = {}
    try:
        if settings.stripe is not None and settings.stripe.webhook_secrets:
            verifiers["stripe"] = _stripe(settings.stripe)
        if settings.adyen is not None and settings.adyen.hmac_keys:
            verifiers["adyen"] = _adyen(settings.adyen)
        if settings.paypal is not None and settings.paypal.webhook_ids:
            verifiers["paypal"] = _paypal(settings.paypal)
    except ValueError as error:
        raise SettingsError(f"webhook secrets: {error}") from error
    if not verifiers:
        raise SettingsError(
            "no gateway has webhook secrets: set PAYMENTS_STRIPE__WEBHOOK_SECRETS, PAYMENTS_ADYEN__HMAC_KEYS "
            "or PAYMENTS_PAYPAL__WEBHOOK_IDS (docs/webhooks.md)"
        )
    return verifiers


def _stripe(stripe: StripeSettings) -> Verifier:
    from gateways.stripe_webhooks import StripeVerifier

    return StripeVerifier([secret.get_secret_value() for secret in stripe.webhook_secrets])


def _adyen(adyen: AdyenSettings) -> Verifier:
    from gateways.adyen_webhooks import AdyenVerifier

    return AdyenVerifier(
        hmac_keys=[key.get_secret_value() for key in adyen.hmac_keys],
        merchant_account=adyen.merchant_account,
        username=adyen.webhook_username,
        passwords=[password.get_secret_value() for password in adyen.webhook_passwords],
    )


def _paypal(paypal: PaypalSettings) -> Verifier:
    from gateways.paypal_certificates import ORIGINS, Certificates
    from gateways.paypal_webhooks import PaypalVerifier

    certificates = Certificates(origins=paypal.webhook_origins or ORIGINS, ca_file=paypal.webhook_ca_file)
    return PaypalVerifier(webhook_ids=paypal.webhook_ids, certificates=certificates)
