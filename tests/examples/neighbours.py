"""A worker with the sandbox, the two neighbours as programs of their own, and a mail server that keeps what it gets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.workers import QUICK, ROOT, eventually, workers


@dataclass
class Letterbox:
    """Takes every mail."""

    mails: list[Message] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """aiosmtpd's hook, by its name."""
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        return "250 taken"


@contextmanager
def mail_server(letterbox: Letterbox, *, port: int) -> Iterator[None]:
    """A mail server on this machine."""
    controller = Controller(letterbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Programs beside one worker."""

    broker_url: str
    directory: Path
    smtp_port: int

    @property
    def environment(self) -> dict[str, str]:
        """What the examples read."""
        return {
            **os.environ,
            "BROKER_URL": self.broker_url,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.smtp_port),
            "MAIL_DATABASE": str(self.directory / "mails.db"),
            "PYTHONPATH": str(ROOT),
        }

    def order_service(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the Order Service to its end."""
        program = [sys.executable, str(ROOT / "examples" / "order_service.py"), "--until-settled"]
        return subprocess.run(
            [*program, "--database", str(self.directory / "orders.db"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    @contextmanager
    def running(self, *argv: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program until the block is left."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, env=self.environment, cwd=self.directory, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @contextmanager
    def notification_service(self) -> Iterator[subprocess.Popen[bytes]]:
        """Its taker, and one process of actors; gives the taker."""
        actors = [sys.executable, "-m", "dramatiq", "--processes", "1", "--threads", "2"]
        log = self.directory / "taker.log"
        with (
            self.running(*actors, "examples.notification_service", name="actors"),
            self.running(sys.executable, "-m", "examples.notification_service", name="taker") as taker,
        ):
            eventually(lambda: b"takes events" in log.read_bytes(), within_s=30, what="it takes events")
            yield taker


@contextmanager
def neighbourhood(broker_url: str, directory: Path, *, smtp_port: int) -> Iterator[Neighbours]:
    """Open it: one worker with the sandbox, its books in a file."""
    settings = {**QUICK, "PAYMENTS_BROKER_URL": broker_url, "PAYMENTS_DATA_DIR": str(directory)}
    with workers(settings, directory, count=1) as (worker,):
        eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")
        yield Neighbours(broker_url=broker_url, directory=directory, smtp_port=smtp_port)
