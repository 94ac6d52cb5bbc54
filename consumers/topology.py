"""The exchanges, queues and bindings a payment's messages travel through, and the call that declares them.

The wire contract in `docs/` and the AsyncAPI file are generated from the same tables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import amqp

from consumers.delivery import BusRefused

PAYMENT_COMMANDS = "payments.payment-commands"
REFUND_COMMANDS = "payments.refund-commands"
METHOD_COMMANDS = "payments.method-commands"
OPERATIONS = "payments.operations"
GATEWAY_CALLBACKS = "payments.gateway-callbacks"

WORK_DELIVERY_LIMIT = 50
"""How often a message may kill its reader before the broker dead-letters it. Far above our attempts: up to
RabbitMQ 4.2 a hand-back counts as well, and a reader that crashes counts against all it had prefetched."""

NO_DELIVERY_LIMIT = 2**31 - 1
"""Looking at a dead letter must never lose it. RabbitMQ 4 has a limit of 20 where none is set, and -1 means
"unlimited" to 4.0 but "drop at once" to 3.10 (rabbitmq.com/docs/quorum-queues#poison-message-handling)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Which routing keys of an exchange reach a queue."""

    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkQueue:
    """A queue the worker consumes, whose dead letters go to the queue beside it."""

    name: str
    bindings: tuple[Binding, ...]

    @property
    def dead_letter_queue(self) -> str:
        """The queue that keeps this one's dead letters, and their routing key."""
        return f"{self.name}.dead"

    @property
    def arguments(self) -> dict[str, str | int]:
        """Immutable arguments of the queue (rabbitmq.com/docs/quorum-queues)."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": WORK_DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_LETTERS.name,
            "x-dead-letter-routing-key": self.dead_letter_queue,
            # At least once needs reject-publish: rabbitmq.com/docs/quorum-queues#dead-lettering.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    @property
    def dead_letter_arguments(self) -> dict[str, str | int]:
        """Immutable arguments of the dead-letter queue: no time to live, no limit on being looked at."""
        return {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}


COMMANDS = Exchange(name="payments.commands", kind="topic")
EVENTS = Exchange(name="payments.events", kind="topic")
CALLBACKS = Exchange(name="payments.callbacks", kind="topic")
OPERATOR_COMMANDS = Exchange(name="payments.operations", kind="topic")
DEAD_LETTERS = Exchange(name="payments.dead-letters", kind="direct")

EXCHANGES = (COMMANDS, EVENTS, CALLBACKS, OPERATOR_COMMANDS, DEAD_LETTERS)


def _work_queue(name: str, exchange: Exchange, *routing_keys: str) -> WorkQueue:
    bindings = tuple(Binding(exchange=exchange.name, routing_key=key) for key in routing_keys)
    return WorkQueue(name=name, bindings=bindings)


WORK_QUEUES = (
    _work_queue(PAYMENT_COMMANDS, COMMANDS, "payment.*"),
    _work_queue(REFUND_COMMANDS, COMMANDS, "refund.*"),
    _work_queue(METHOD_COMMANDS, COMMANDS, "payment_method.*", "query.*", "customer.*"),
    _work_queue(OPERATIONS, OPERATOR_COMMANDS, "review.*"),
    _work_queue(GATEWAY_CALLBACKS, CALLBACKS, "callback.*"),
)


def declare(channel: Any) -> None:
    """Declare everything on a kombu channel, idempotently.

    Raises: BusRefused naming an exchange or queue that exists otherwise or that we may not declare.
    """
    for exchange in EXCHANGES:
        with _refusals_named("exchange", exchange.name):
            channel.exchange_declare(
                exchange=exchange.name, type=exchange.kind, durable=True, auto_delete=False
            )
    for queue in WORK_QUEUES:
        # Dead letters first: a work queue must never exist without the place its dead letters go to.
        dead_letters = Binding(exchange=DEAD_LETTERS.name, routing_key=queue.dead_letter_queue)
        _declare_queue(channel, queue.dead_letter_queue, queue.dead_letter_arguments, (dead_letters,))
        _declare_queue(channel, queue.name, queue.arguments, queue.bindings)


def _declare_queue(
    channel: Any, name: str, arguments: dict[str, str | int], bindings: tuple[Binding, ...]
) -> None:
    with _refusals_named("queue", name):
        channel.queue_declare(queue=name, durable=True, auto_delete=False, arguments=arguments)
        for binding in bindings:
            channel.queue_bind(queue=name, exchange=binding.exchange, routing_key=binding.routing_key)


@contextmanager
def _refusals_named(what: str, name: str) -> Iterator[None]:
    try:
        yield
    except amqp.PreconditionFailed as error:
        raise BusRefused(
            f"{what} {name!r} exists with other properties than this version declares ({error.reply_text}). "
            f"Empty it, delete it and start again: it is then declared anew."
        ) from error
    except amqp.AccessRefused as error:
        raise BusRefused(
            f"The broker user may not declare {what} {name!r} ({error.reply_text}). "
            f"Give it configure, write and read permission on 'payments\\..*'."
        ) from error
