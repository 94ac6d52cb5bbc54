"""Tells the simulators of `compose.yaml` where to deliver their webhooks, and fetches PayPal's authority.

python -m ops.compose_gateways http://ingestor:8080
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ops.settings import Settings, read_settings
from simulators.control_client import ControlClient
from simulators.paypal.control_client import PaypalControlClient


def endpoints(settings: Settings) -> Mapping[str, dict[str, object]]:
    """By gateway, how its simulator is to sign: with what the ingestor's settings go by."""
    stripe, adyen, paypal = settings.stripe, settings.adyen, settings.paypal
    assert stripe is not None
    assert adyen is not None
    assert paypal is not None
    return {
        "stripe": {"secrets": [secret.get_secret_value() for secret in stripe.webhook_secrets]},
        "adyen": {
            "hmac_key": adyen.hmac_keys[0].get_secret_value(),
            "username": adyen.webhook_username,
            "password": adyen.webhook_passwords[0].get_secret_value(),
        },
        "paypal": {"webhook_id": paypal.webhook_ids[0]},
    }


def main(ingestor_url: str) -> None:
    """Tell them. Safe to run again."""
    settings = read_settings()
    assert settings.paypal is not None
    assert settings.paypal.webhook_ca_file is not None
    for name, endpoint in endpoints(settings).items():
        control = ControlClient(f"{settings.gateway_blocks[name].model_dump()['base_url']}/_control")
        control.deliver(url=f"{ingestor_url}/webhooks/{name}", **endpoint)
        control.close()
        print(f"{name} delivers to {ingestor_url}/webhooks/{name}", flush=True)
    paypal = PaypalControlClient(f"{settings.paypal.base_url}/_control")
    settings.paypal.webhook_ca_file.write_text(paypal.authority(), encoding="utf-8")
    paypal.close()


if __name__ == "__main__":
    main(sys.argv[1])
