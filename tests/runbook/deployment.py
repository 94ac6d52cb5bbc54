"""A deployment for the runbook's drills, and an operator who types what the page says."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from ledger.states import AttemptState
from ledger.stories import story
from ops.cli import app
from ops.publish import CommandLine, publish
from tests.runbook.page import SECTIONS
from tests.servers import OwnPostgres, OwnRabbitmq
from tests.workers import QUICK, workers

TYPED: set[tuple[str, str]] = set()
"""Every section and line of it that was typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a command printed, and its exit status."""

    status: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A broker, a database and a key of its own, and an operator who types."""

    broker: OwnRabbitmq
    postgres: OwnPostgres
    broker_url: str
    database_url: str
    directory: Path
    port: int

    @property
    def settings(self) -> dict[str, str]:
        """What is set where the worker runs, and the operator."""
        return {
            "PAYMENTS_BROKER_URL": self.broker_url,
            "PAYMENTS_DATABASE_URL": self.database_url,
            "PAYMENTS_DATA_DIR": str(self.directory),
            "PAYMENTS_KEYS_DIR": str(self.directory / "keys"),
            "PAYMENTS_METRICS__PORT": str(self.port),
            "PAYMENTS_SANDBOX__ENABLED": "true",
        }

    def type(self, section: str, beginning: str, *more: str, **variables: object) -> Typed:
        """Type the section's command that begins so."""
        TYPED.add((section, SECTIONS[section].line(beginning)))
        settings = self.settings | {
            name: str(v) for name, v in variables.items() if name.startswith("PAYMENTS_")
        }
        program, *words = SECTIONS[section].typed(
            beginning, WORKER=f"http://127.0.0.1:{self.port}", DATABASE="", **variables
        )
        match program:
            case "payments":
                return self.payments(*words, *more, **settings)
            case "rabbitmqctl":
                return Typed(status=0, output=self.broker.ctl(*words))
            case "rabbitmq-diagnostics":
                return Typed(status=0, output=self.broker.run(self.broker.program(program), *words))
            case "psql":
                rows = self.postgres.psql(words[words.index("-c") + 1], url=self.database_url)
                return Typed(status=0, output=str(rows))
            case _:
                ended = subprocess.run(
                    [program, *words], capture_output=True, text=True, timeout=30, check=False
                )
                return Typed(status=ended.returncode, output=ended.stdout + ended.stderr)

    def payments(self, *words: str, **settings: str) -> Typed:
        """Type `payments …`."""
        unset = {name: None for name in os.environ if name.startswith("PAYMENTS_")}
        ended = CliRunner().invoke(app, words, env={**unset, **(settings or self.settings)})
        return Typed(status=ended.exit_code, output=ended.output)

    def doctor(self, section: str, **settings: str) -> dict[str, str]:
        """The worst mark of every point, as the section's `payments doctor` has it."""
        told: dict[str, str] = {}
        listed = self.type(section, "payments doctor", "--json", **settings).output
        for one in json.loads(listed[listed.index("{") :])["findings"]:
            if told.get(one["point"]) != "wrong":
                told[one["point"]] = one["mark"]
        return told

    def worker_starts(self, section: str) -> Any:
        """`python run_worker.py worker`, as the section says, until the block ends."""
        line = SECTIONS[section].line("python run_worker.py")
        assert line == "python run_worker.py worker"
        TYPED.add((section, line))
        return workers({**QUICK, **self.settings}, self.directory, count=1)

    def attempt(self, payment_id: str) -> AttemptState | None:
        """How the payment's first attempt stands."""
        told = story(self.database_url, payment_id)
        return told.attempts[0].state if told is not None and told.attempts else None

    def pay(self, payment_id: str, token: str = "tok_approved") -> None:  # noqa: S107
        """Ask for a payment."""
        data = {
            "payment_id": payment_id,
            "order_id": f"order_{payment_id}",
            "amount": {"minor": 1999, "currency": "EUR"},
            "payment_method": {"token": token},
        }
        text = json.dumps(data).encode()
        publish(
            [self.broker_url],
            [CommandLine(id=f"msg_{payment_id}", type="PaymentRequested", source="/shop", data=text)],
        )

    def is_announced(self, payment_id: str) -> bool:
        """Whether the payment's event has been published."""
        told = story(self.database_url, payment_id)
        return told is not None and any(one.published_at is not None for one in told.events)
