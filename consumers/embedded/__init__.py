"""The embedded broker: a kombu transport over SQLite, for a first hour with the service and for one machine.

`embedded:///absolute/directory` keeps durable exchanges (direct, topic, fanout), queues, bindings, messages
in `broker.db` there. Any number of processes and threads of one machine may use it, each with its own
connection. A message is on disk when its publish or tx_commit returns; it is delivered in order, and again
until it is acked; when a process dies, by kill -9 too, its unacked messages return to their queues at once.
Dead letters, delivery limits, prefetch counts, mandatory publishes and exclusive queues work as on RabbitMQ.

Refused rather than ignored: times to live, maximum lengths, headers exchanges, global qos, auto-delete
without exclusive, network file systems. Ignored, as by RabbitMQ without x-max-priority: priorities.
"""

from kombu.transport import TRANSPORT_ALIASES

from consumers.embedded.errors import BrokerDown, BrokerUnusable
from consumers.embedded.transport import POLL_S, Connection

__all__ = ["POLL_S", "BrokerDown", "BrokerUnusable", "Connection", "register"]


def register() -> None:
    """Make kombu know `embedded:///directory` URLs."""
    TRANSPORT_ALIASES["embedded"] = "consumers.embedded.transport:Transport"
