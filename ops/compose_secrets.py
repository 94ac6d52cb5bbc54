"""Makes the passwords and settings that `compose.yaml` needs: `make compose-secrets`. What is there already is kept.

Run by any Python 3 as it is, before anything is installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
from pathlib import Path

DIRECTORY = Path(".payments-compose")

# The gateways' own keys are those the simulators go by: they open nothing else.
_GATEWAYS = """
[stripe]
api_key = "{stripe_key}"
base_url = "http://stripe:12111"
webhook_secrets = ["{stripe_webhook}"]

[adyen]
api_key = "{adyen_key}"
merchant_account = "SimulatorECOM"
base_url = "http://adyen:12112"
hmac_keys = ["{adyen_hmac}"]
webhook_username = "adyen"
webhook_passwords = ["{adyen_password}"]

[paypal]
client_id = "simulator-client"
client_secret = "{paypal_secret}"
base_url = "http://paypal:12113"
webhook_ids = ["{paypal_webhook}"]
webhook_origins = ["http://paypal:12113"]
webhook_ca_file = "/var/lib/payments/authority/paypal.pem"
"""
_UNUSED = {"stripe_key": "unused", "adyen_key": "unused", "paypal_secret": "unused"}
_SIMULATED = {
    "stripe_key": "sk_test_simulator",
    "adyen_key": "AQE_simulator",
    "paypal_secret": "simulator-secret",
}

_LOGINS = {"worker": "payments_worker", "books": "payments_auditor"}
"""Users of the database beside its owner, each with the role that ops/grants/postgresql.sql gives it."""

_MAY = {
    "worker": (r"^payments\..*", r"^(payments\..*|amq\.default)$", r"^payments\..*"),
    "ingestor": ("^$", r"^payments\.callbacks$", "^$"),
    "shop": (
        r"^(order-service\..*|notification-service\..*|mails.*)$",
        r"^(payments\.commands|amq\.default|order-service\..*|notification-service\..*|mails.*)$",
        r"^(payments\.events|order-service\..*|notification-service\..*|mails.*)$",
    ),
    "admin": (".*", ".*", ".*"),
}
"""What each user of the broker may configure, write and read (rabbitmq.com/docs/access-control)."""


def files() -> dict[str, str]:
    """Every file by its name, with new passwords in it."""
    users = {user: secrets.token_urlsafe(24) for user in _MAY}
    logins = {user: secrets.token_urlsafe(24) for user in ("payments", *_LOGINS)}
    databases = {
        user: f"postgresql://{user}:{password}@postgres:5432/payments" for user, password in logins.items()
    }
    urls = {user: f"amqp://{user}:{password}@rabbitmq:5672/%2F" for user, password in users.items()}
    webhooks = {
        "stripe_webhook": f"whsec_{secrets.token_urlsafe(24)}",
        "adyen_hmac": secrets.token_hex(32).upper(),
        "adyen_password": secrets.token_urlsafe(24),
        "paypal_webhook": secrets.token_hex(8).upper(),
    }
    return {
        "rabbitmq.conf": "load_definitions = /run/secrets/definitions.json\n",
        "definitions.json": json.dumps(_definitions(users), indent=2),
        "rabbitmq_admin_password": users["admin"],
        "postgres_password": logins["payments"],
        "pg_service.conf": "[owner]\nhost=postgres\nport=5432\ndbname=payments\nuser=payments\n"
        f"password={logins['payments']}\n",
        "logins.sql": "".join(_login(user, role, logins[user]) for user, role in _LOGINS.items()),
        "owner.toml": f'database_url = "{databases["payments"]}"\n',
        "books.toml": f'database_url = "{databases["books"]}"\n',
        "shop_broker_url": urls["shop"],
        "tokens.key": base64.b64encode(secrets.token_bytes(32)).decode() + "\n",
        "grafana_password": secrets.token_urlsafe(24),
        "worker.toml": f'broker_url = "{urls["worker"]}"\n'
        f'database_url = "{databases["worker"]}"\n'
        f'keys_dir = "/run/secrets"\ndefault_gateway = "stripe"\n{_GATEWAYS.format(**webhooks, **_SIMULATED)}',
        # What faces the internet cannot move money: it has no gateway's key, and no database.
        "ingestor.toml": f'broker_url = "{urls["ingestor"]}"\n'
        f'default_gateway = "stripe"\n{_GATEWAYS.format(**webhooks, **_UNUSED)}',
    }


def _login(user: str, role: str, password: str) -> str:
    """SQL that makes a user, or changes its password; psql runs what the first line selects."""
    is_missing = f"WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{user}')"
    return "\n".join(
        (
            f"SELECT 'CREATE ROLE {user}' {is_missing} \\gexec",
            f"ALTER ROLE {user} LOGIN PASSWORD '{password}';",
            f"GRANT {role} TO {user};\n",
        )
    )


def _definitions(users: dict[str, str]) -> dict[str, object]:
    """The broker's users, as it imports them at its start: with hashes, and no user `guest`."""
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": user,
                "password_hash": _hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"] if user == "admin" else [],
            }
            for user, password in users.items()
        ],
        "permissions": [
            {"user": user, "vhost": "/", "configure": configure, "write": write, "read": read}
            for user, (configure, write, read) in _MAY.items()
        ],
    }


def _hash(password: str) -> str:
    """Salted as RabbitMQ does it (rabbitmq.com/docs/passwords#computing-password-hash)."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


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
    print(
        f"{DIRECTORY}/ holds the passwords, those for you too: grafana_password and rabbitmq_admin_password"
        " (user in both: admin)"
    )


if __name__ == "__main__":
    main()
