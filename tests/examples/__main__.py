"""The neighbours at work: the end of `make demo`, where a RabbitMQ is at hand; elsewhere it says what is missing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.examples.neighbours import Letterbox, mail_server, neighbourhood
from tests.servers import BROKER_URL, NoServer, running_rabbitmq
from tests.workers import eventually

WHERE = "/usr/lib/rabbitmq/bin:/usr/sbin:/usr/local/sbin"


def main() -> int:
    """Let an Order Service order, and a Notification Service write to its customers."""
    print("\nThe neighbours: an Order Service (pika) and a Notification Service (dramatiq, SMTP)", flush=True)
    if not (
        os.environ.get(BROKER_URL) or shutil.which("rabbitmq-server", path=f"{os.environ['PATH']}:{WHERE}")
    ):
        print(
            f"  not shown: they speak AMQP. Install rabbitmq-server, or set {BROKER_URL}, and run it again."
        )
        return 0
    letterbox = Letterbox()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="payments-neighbours-")))
        try:
            broker = stack.enter_context(running_rabbitmq(say=lambda line: print(f"  {line}", flush=True)))
        except NoServer as error:
            print(f"  not shown: {error}")
            return 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        stack.enter_context(mail_server(letterbox, port=port))
        vhost = broker.fresh_vhost()
        neighbours = stack.enter_context(neighbourhood(vhost, directory, smtp_port=port))
        stack.enter_context(neighbours.notification_service())
        done = neighbours.order_service()
        print("".join(f"  {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
        eventually(lambda: len(letterbox.mails) >= 3, within_s=30, what="the mails have come")
        for mail in letterbox.mails:
            print(f"  mail: {mail['Subject']}: {str(mail.get_payload()).strip()}", flush=True)
        print(f"  {'✓' if done.returncode == 0 else '✗'} every order has its answer, every customer a mail")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
