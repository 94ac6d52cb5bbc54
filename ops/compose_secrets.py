"""Makes the passwords and settings that `compose.yaml` needs: `make compose-secrets`. What is there already is kept."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

DIRECTORY = Path(".payments-compose")

_GATEWAYS = """
[stripe]
api_key = "sk_test_simulated"
base_url = "http://stripe:12111"
webhook_secrets = ["{stripe_webhook}"]

[adyen]
api_key = "simulated"
merchant_account = "SimulatedMerchant"
base_url = "http://adyen:12112"
hmac_keys = ["{adyen_hmac}"]
webhook_username = "adyen"
webhook_passwords = ["{adyen_password}"]

[paypal]
client_id = "simulated"
client_secret = "{paypal_secret}"
base_url = "http://paypal:12113"
"""


def files() -> dict[str, str]:
    """Every file by its name, with new passwords in it."""
    broker, database = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    broker_url = f"amqp://payments:{broker}@rabbitmq:5672/%2F"
    gateways = _GATEWAYS.format(
        stripe_webhook=f"whsec_{secrets.token_urlsafe(24)}",
        adyen_hmac=secrets.token_hex(32).upper(),
        adyen_password=secrets.token_urlsafe(24),
        paypal_secret=secrets.token_urlsafe(24),
    )
    ingestor = f'broker_url = "{broker_url}"\ndefault_gateway = "stripe"\n{gateways}'
    return {
        "rabbitmq.conf": f"default_user = payments\ndefault_pass = {broker}\n",
        "postgres_password": database,
        "broker_url": broker_url,
        "grafana_password": secrets.token_urlsafe(24),
        "ingestor.toml": ingestor,
        "worker.toml": f'database_url = "postgresql://payments:{database}@postgres:5432/payments"\n{ingestor}',
    }


def main() -> None:
    """Write them, for this user's eyes: the directory is closed, containers are handed single files."""
    if DIRECTORY.exists():
        sys.exit(
            f"{DIRECTORY}/ is there already; the servers' data know its passwords. Remove both to begin anew."
        )
    DIRECTORY.mkdir(mode=0o700)
    for name, text in files().items():
        path = DIRECTORY / name
        path.write_text(text)
        path.chmod(0o644)  # read in the container by its own user
    print(f"{DIRECTORY}/ holds the passwords; Grafana's is in {DIRECTORY / 'grafana_password'} (user: admin)")


if __name__ == "__main__":
    main()
