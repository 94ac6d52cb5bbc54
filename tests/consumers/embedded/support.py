"""What the tests of the embedded broker share: publishing, collecting, and processes to kill."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import kombu

from consumers import embedded
from consumers.embedded.channel import Channel

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0


def open_connection(url: str) -> embedded.Connection:
    """Open a connection as kombu does."""
    connection: embedded.Connection = kombu.Connection(url).transport.establish_connection()
    return connection


def declare(channel: Channel, queue: str, arguments: Mapping[str, str | int] | None = None) -> None:
    """Declare a durable queue."""
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)


def publish(
    channel: Channel,
    body: bytes | str,
    *,
    exchange: str = "",
    key: str,
    mandatory: bool = False,
    headers: dict[str, Any] | None = None,
    **properties: Any,
) -> None:
    """Publish one message."""
    message = channel.prepare_message(body, headers=headers, properties=properties)
    channel.basic_publish(message, exchange=exchange, routing_key=key, mandatory=mandatory)


def take_all(channel: Channel, queue: str) -> list[bytes]:
    """Take and ack everything in a queue."""
    bodies = []
    while (message := channel.basic_get(queue, no_ack=True)) is not None:
        bodies.append(message.body)
    return bodies


def count(channel: Channel, queue: str) -> int:
    """Count the ready messages of a queue."""
    return int(channel.queue_declare(queue, passive=True).message_count)


class Process:
    """A process of `tests/consumers/embedded/process.py`, and what it said so far."""

    def __init__(self, story: Path, *arguments: str) -> None:
        self._story = story
        command = [sys.executable, "-m", "tests.consumers.embedded.process", *arguments]
        with story.open("wb") as output:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=output)

    @property
    def lines(self) -> list[str]:
        """Every whole line it said."""
        return [
            line.strip() for line in self._story.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]

    def await_lines(self, number: int) -> None:
        """Wait until it has said so many lines."""
        await_that(lambda: len(self.lines) >= number)

    def stop(self) -> None:
        """Make it stand still."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill -9 it, unless that was done before."""
        self._process.kill()
        self._process.wait()


def await_that(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline, "it did not come to pass"
        sleep(0.01)
