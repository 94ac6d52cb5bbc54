"""The consuming half of the bus: holds what was delivered until it is taken, and settles it with few acks."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import amqp

from consumers.delivery import BusRefused, Delivery
from consumers.line import Line


class _Settle(Protocol):
    def __call__(self, tag: int, *, multiple: bool) -> None: ...


class Subscription:
    """The consumers of one connection, and every delivery of it that is not settled."""

    def __init__(self, line: Line, *, queues: Sequence[str], prefetch: int, generation: int) -> None:
        """Start consuming with at most `prefetch` unsettled deliveries per queue. Raises: BusRefused."""
        self._line = line
        self._queues = queues
        self._generation = generation
        self._buffer: deque[Delivery] = deque()
        # In order of tags: a dict, because an ack removes from anywhere.
        self._unsettled: dict[int, None] = {}
        self._consuming = True
        # Per consumer: quorum queues have no limit per channel (rabbitmq.com/docs/quorum-queues#global-qos).
        line.channel.basic_qos(0, prefetch, False)
        for queue in queues:
            try:
                line.consume(queue, self._receiver(queue), wait=True)
            except amqp.NotFound as error:
                raise BusRefused(
                    f"Queue {queue!r} is not there: declare it with `payments topology`"
                ) from error
            except amqp.AccessRefused as error:
                raise BusRefused(f"Queue {queue!r} cannot be consumed: {error.reply_text}") from error

    def __len__(self) -> int:
        """How many deliveries are buffered."""
        return len(self._buffer)

    def take(self, limit: int) -> list[Delivery]:
        """Return at most `limit` buffered deliveries, oldest first."""
        popleft = self._buffer.popleft
        return [popleft() for _ in range(min(limit, len(self._buffer)))]

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries of this connection; others, and ones settled before, are dropped."""
        self._settle(deliveries, self._line.ack)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Hand deliveries of this connection back."""
        self._settle(deliveries, self._line.requeue)

    def requeue_buffered(self) -> None:
        """Hand back what was never taken."""
        buffered = list(self._buffer)
        self._buffer.clear()
        self.requeue(buffered)

    def pause(self, *, timeout_s: float) -> None:
        """Cancel the consumers, waiting at most `timeout_s` seconds for the broker's answer."""
        if self._consuming:
            self._line.cancel_all(timeout_s=timeout_s)
            self._consuming = False

    def resume(self) -> None:
        """Consume again."""
        if not self._consuming:
            for queue in self._queues:
                self._line.consume(queue, self._receiver(queue), wait=False)
            self._consuming = True

    def _receiver(self, queue: str) -> Callable[[Any], None]:
        return partial(self._on_message, queue)

    def _on_message(self, queue: str, message: Any) -> None:
        delivery = _delivery(queue, message, self._generation)
        self._unsettled[delivery.tag] = None
        self._buffer.append(delivery)

    def _settle(self, deliveries: Iterable[Delivery], settle: _Settle) -> None:
        generation, unsettled = self._generation, self._unsettled
        tags = {each.tag for each in deliveries if each.generation == generation and each.tag in unsettled}
        prefix = []
        for tag in unsettled:
            if tag not in tags:
                break
            prefix.append(tag)
        with self._line.gathered():
            if prefix:
                settle(prefix[-1], multiple=True)
            for tag in sorted(tags.difference(prefix)):
                settle(tag, multiple=False)
        for tag in tags:
            del unsettled[tag]


def _delivery(queue: str, message: Any, generation: int) -> Delivery:
    """Translate a py-amqp message."""
    info, properties = message.delivery_info, message.properties
    return Delivery(
        queue=queue,
        exchange=info["exchange"],
        routing_key=info["routing_key"],
        body=message.body or b"",
        headers=properties.get("application_headers") or {},
        content_type=properties.get("content_type"),
        message_id=properties.get("message_id"),
        correlation_id=properties.get("correlation_id"),
        reply_to=properties.get("reply_to"),
        type=properties.get("type"),
        app_id=properties.get("app_id"),
        redelivered=info["redelivered"],
        tag=info["delivery_tag"],
        generation=generation,
    )
