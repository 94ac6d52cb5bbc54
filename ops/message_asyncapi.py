"""The AsyncAPI 3.0 document: who sends what where, from the message classes and the topology.

Channels are routing keys of an exchange, as other services use them, and the queues behind them.
"""

from __future__ import annotations

from typing import Any

from consumers import topology
from consumers.embedded.routing import topic_matches
from messages.commands import COMMANDS
from messages.envelope import HEADER_PREFIX, MAX_BODY_BYTES, STRUCTURED
from messages.events import EVENTS
from ops.message_entries import DEAD_LETTER, Node, amqp, messages, ref, structured, summary
from ops.message_headers import dead_letter_headers, message_headers, structured_command
from ops.message_schemas import message_schemas

CONTRACT_VERSION = "1"
"""The major version that stands at the end of every `dataschema`."""

_DESCRIPTION = f"""\
Takes commands, moves money through gateways, and announces what became of it. AMQP 0-9-1, CloudEvents 1.0.

**Commands.** Publish to the exchange and routing key of the command, persistent and mandatory: a routing key
that is not listed here reaches no queue, and without the mandatory flag nobody tells you.
Binary mode (`application/json`, attributes in headers) and structured mode (`{STRUCTURED}`)
are both taken; the content type decides. A body has at most {MAX_BODY_BYTES // 1024} KiB.

You make `payment_id` and `refund_id`. The same id with the same body again is the same payment or refund: its
latest event is published again under its old id, and no money moves. With another body it is refused.

A command that is refused as such ends in `CommandRejected`. A message that names no sender who could be told
(`id`, `source`, `type`), and one that our own code fails on, is kept as a dead letter.

**Events.** Bind a queue of your own to `{topology.EVENTS.name}`. Every event comes at least once: drop what
you have seen, by its `id`. `sequence` counts a payment's events without gaps. Fields may be added: ignore
those you do not know. A field without a value is left out, never null.
"""


def asyncapi() -> Node:
    """Make the document."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:payment-service",
        "info": {"title": "Payment Service", "version": CONTRACT_VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "x-exchanges": [_exchange(exchange) for exchange in topology.EXCHANGES],
        "channels": {
            **_command_channels(),
            **_event_channels(),
            **_dead_letter_channel(),
            **_queue_channels(),
        },
        "operations": {**_receive_operations(), **_send_operations()},
        "components": {
            "messages": messages(),
            "schemas": _schemas(),
            "correlationIds": {
                "command": {
                    "description": "The id of the command that started it all.",
                    "location": f"$message.header#/{HEADER_PREFIX}correlationid",
                }
            },
        },
    }


def queue_of(name: str) -> str:
    """Name the queue a command ends up in."""
    command = COMMANDS[name]
    return next(
        queue.name
        for queue in topology.WORK_QUEUES
        for binding in queue.bindings
        if binding.exchange == command.exchange and topic_matches(binding.routing_key, command.routing_key)
    )


# --- channels ----------------------------------------------------------------------------------------


def _command_channels() -> Node:
    return {
        command.routing_key: _keyed(name, command.exchange, command.routing_key, [name, structured(name)])
        for name, command in COMMANDS.items()
    }


def _event_channels() -> Node:
    return {
        event.routing_key: _keyed(name, event.exchange, event.routing_key, [name])
        for name, event in EVENTS.items()
    }


def _keyed(name: str, exchange: str, routing_key: str, modes: list[str]) -> Node:
    return {
        "address": routing_key,
        "title": name,
        "description": f"Routing key of the exchange `{exchange}`.",
        "messages": {each: ref("components", "messages", each) for each in modes},
        "bindings": amqp(**{"is": "routingKey", "exchange": _exchange_named(exchange)}),
    }


def _dead_letter_channel() -> Node:
    queues = [queue.dead_letter_queue for queue in topology.WORK_QUEUES]
    exchange = topology.DEAD_LETTERS.name
    channel = _keyed(DEAD_LETTER, exchange, "{queue}", [DEAD_LETTER])
    channel["parameters"] = {
        "queue": {"enum": queues, "description": "The queue that keeps it, for a person."}
    }
    return {exchange: channel}


def _queue_channels() -> Node:
    channels: Node = {}
    for queue in topology.WORK_QUEUES:
        names = [name for name in COMMANDS if queue_of(name) == queue.name]
        bound = [{"exchange": each.exchange, "routingKey": each.routing_key} for each in queue.bindings]
        text = "Consumed by this service." if names else "Declared for later; nothing consumes it yet."
        messages = [each for name in names for each in (name, structured(name))]
        channels[queue.name] = _queue(queue.name, text, messages, queue.arguments, bound)
        dead = queue.dead_letter_queue
        bound = [{"exchange": topology.DEAD_LETTERS.name, "routingKey": dead}]
        text = f"Dead letters of `{queue.name}`. Nothing consumes it: a person looks."
        channels[dead] = _queue(dead, text, [DEAD_LETTER], queue.dead_letter_arguments, bound)
    return channels


def _queue(name: str, text: str, messages: list[str], arguments: Node, bound: list[Node]) -> Node:
    return {
        "address": name,
        "description": text,
        "messages": {each: ref("components", "messages", each) for each in messages},
        "bindings": amqp(
            **{
                "is": "queue",
                "queue": {"name": name, "durable": True, "exclusive": False, "autoDelete": False},
                # The binding has no place of its own for either.
                "x-arguments": arguments,
                "x-bound-to": bound,
            }
        ),
    }


def _receive_operations() -> Node:
    return {
        f"receive{name}": {
            "action": "receive",
            "summary": summary(name),
            "channel": ref("channels", command.routing_key),
            "messages": [
                ref("channels", command.routing_key, "messages", each) for each in (name, structured(name))
            ],
            "bindings": amqp(ack=True),
            "x-queue": queue_of(name),
        }
        for name, command in COMMANDS.items()
    }


def _send_operations() -> Node:
    operations: Node = {}
    for name, event in EVENTS.items():
        operations[f"send{name}"] = _send(name, event.routing_key, mandatory=False)
    operations[f"send{DEAD_LETTER}"] = _send(DEAD_LETTER, topology.DEAD_LETTERS.name, mandatory=True)
    return operations


def _send(name: str, channel: str, *, mandatory: bool) -> Node:
    return {
        "action": "send",
        "summary": summary(name),
        "channel": ref("channels", channel),
        "messages": [ref("channels", channel, "messages", name)],
        "bindings": amqp(deliveryMode=2, mandatory=mandatory, timestamp=True),
    }


def _exchange(exchange: topology.Exchange) -> Node:
    return {"name": exchange.name, "type": exchange.kind, "durable": True, "autoDelete": False}


def _exchange_named(name: str) -> Node:
    return next(_exchange(exchange) for exchange in topology.EXCHANGES if exchange.name == name)


# --- schemas -----------------------------------------------------------------------------------------


def _schemas() -> Node:
    schemas: Node = {}
    shared: Node = {}
    for name, schema in message_schemas().items():
        shared |= _pointing_here(schema.get("$defs", {}))
        body = {
            key: value for key, value in schema.items() if key not in ("$schema", "$id", "$defs", "examples")
        }
        schemas[name] = _pointing_here(body)
        schemas[f"{name}Headers"] = message_headers(name)
        if name in COMMANDS:
            data = ref("components", "schemas", name)
            schemas[structured(name)] = structured_command(name, data=data)
    schemas["StructuredHeaders"] = {
        "type": "object",
        "description": "None are read: the attributes are in the body.",
    }
    schemas[f"{DEAD_LETTER}Headers"] = dead_letter_headers()
    return {**schemas, **dict(sorted(shared.items()))}


def _pointing_here(node: Any) -> Any:
    """Let references to a schema's own definitions point to the document's shared ones."""
    if isinstance(node, list):
        return [_pointing_here(each) for each in node]
    if isinstance(node, dict):
        return {key: _pointing_here(value) for key, value in node.items()}
    return node.replace("#/$defs/", "#/components/schemas/") if isinstance(node, str) else node
