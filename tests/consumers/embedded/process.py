"""A process that uses the embedded broker until it is done or killed: `hold`, `work` or `fill` a queue."""

import os
import sys
import time
from contextlib import suppress
from typing import Any

import structlog

from consumers import embedded
from tests.consumers.embedded.support import open_connection

PARENT = os.getppid()


def main() -> None:
    """Do what the command line says; stdout tells what was done so far, and nothing else."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    embedded.register()
    role, url, queue, number = sys.argv[1:]
    {"hold": hold, "work": work, "fill": fill}[role](url, queue, int(number))


def hold(url: str, queue: str, messages: int) -> None:
    """Take some messages, say so, and keep them."""
    connection = open_connection(url)
    channel = connection.channel()
    channel.basic_qos(0, messages, False)
    channel.basic_consume(queue, callback=lambda message: None)
    for _ in range(messages):
        connection.drain_events(timeout=30)
    say("holding")
    while has_parent():
        time.sleep(0.1)


def work(url: str, queue: str, prefetch: int) -> None:
    """Write down each message, then ack it; for ever."""

    def handle(message: Any) -> None:
        say(f"{message.body.decode()} {message.delivery_info['redelivered']}")
        channel.basic_ack(message.delivery_tag)

    connection = open_connection(url)
    channel = connection.channel()
    channel.basic_qos(0, prefetch, False)
    channel.basic_consume(queue, callback=handle)
    while has_parent():
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.5)


def fill(url: str, queue: str, batch: int) -> None:
    """Publish numbers in transactions of `batch`, and say so after each; for ever."""
    connection = open_connection(url)
    channel = connection.channel()
    channel.tx_select()
    number = 0
    while has_parent():
        for _ in range(batch):
            channel.basic_publish(channel.prepare_message(str(number)), routing_key=queue)
            number += 1
        channel.tx_commit()
        say(str(number))


def has_parent() -> bool:
    """Whether the test that started us still lives."""
    return os.getppid() == PARENT


def say(line: str) -> None:
    """Print at once: what was said must outlive a kill."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    main()
