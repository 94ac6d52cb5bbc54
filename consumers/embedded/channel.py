"""The channel: kombu's and py-amqp's way of declaring, publishing, consuming and settling, over the store."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import amqp
from amqp.exceptions import error_for_code
from amqp.protocol import queue_declare_ok_t
from kombu.transport import pyamqp
from kombu.transport.base import StdChannel

from consumers.embedded.dead_letters import decode_properties, encode_properties
from consumers.embedded.declarations import Declarations, QueueOptions
from consumers.embedded.errors import BrokerDown
from consumers.embedded.store import Claimed, Publication, Settlement, Store, Verdict
from consumers.embedded.subscriptions import Consumer, Subscriptions

if TYPE_CHECKING:
    from consumers.embedded.transport import Connection

_NO_ROUTE = 312  # amqp-0-9-1-reference, constants


class Channel(StdChannel):
    """A channel of an embedded connection. Methods are named and called as on py-amqp's channel.

    Every method may raise BrokerDown and BrokerUnusable besides what it names.
    """

    Message: Any = pyamqp.Message

    def __init__(self, connection: "Connection", channel_id: int) -> None:
        self.connection: Connection | None = connection
        self.channel_id = channel_id
        self.events: dict[str, set[Callable[..., object]]] = defaultdict(set)
        self.subscriptions = Subscriptions(connection.store)
        self.no_ack_consumers = self.subscriptions.no_ack_tags  # type: ignore[assignment]
        self._last_tag = 0
        self._unacked: dict[int, tuple[int, Consumer | None]] = {}
        """Delivery tag, in ascending order, to position in the store and who received it."""
        self._in_transaction = False
        self._publications: list[Publication] = []
        self._settlements: list[Settlement] = []

    @property
    def _store(self) -> Store:
        if self.connection is None:
            raise BrokerDown("the channel is closed")
        return self.connection.store

    @property
    def _declarations(self) -> Declarations:
        return Declarations(self._store.sql, self._store.owner)

    # Exchanges, queues, bindings

    def exchange_declare(
        self,
        exchange: str,
        type: str,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare an exchange, or with `passive` only see that it is there.

        Raises: amqp.PreconditionFailed, amqp.NotFound, amqp.AccessRefused, amqp.AMQPNotImplementedError.
        """
        if passive:
            return self._declarations.require_exchange(exchange)
        if auto_delete or arguments:
            raise amqp.AMQPNotImplementedError(
                "the embedded broker has no auto-delete exchanges and no arguments"
            )
        with self._store.transaction(durable=True):
            self._declarations.exchange(exchange, type, durable=durable)

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        """Delete an exchange. Raises: amqp.PreconditionFailed."""
        with self._store.transaction(durable=True):
            self._declarations.delete_exchange(exchange, if_unused=if_unused)

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> queue_declare_ok_t:
        """Declare a queue, or with `passive` only look: returns its name, ready messages and consumers.

        Raises: amqp.PreconditionFailed, amqp.NotFound, amqp.ResourceLocked, amqp.AMQPNotImplementedError.
        """
        if not passive:
            options = QueueOptions(durable, exclusive, auto_delete, arguments or {})
            with self._store.transaction(durable=True):
                queue = self._declarations.queue(queue, options)
        return self._declarations.queue_state(queue)

    def queue_bind(
        self,
        queue: str,
        exchange: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Bind a queue. Raises: amqp.NotFound, amqp.ResourceLocked, amqp.AccessRefused."""
        with self._store.transaction(durable=True):
            self._declarations.bind(queue, exchange, routing_key)

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Unbind a queue. Raises: amqp.NotFound, amqp.ResourceLocked."""
        with self._store.transaction(durable=True):
            self._declarations.unbind(queue, exchange, routing_key)

    def queue_purge(self, queue: str = "", nowait: bool = False) -> int:
        """Remove a queue's ready messages; returns how many. Raises: amqp.NotFound, amqp.ResourceLocked."""
        with self._store.transaction(durable=True):
            return self._declarations.purge(queue)

    def queue_delete(
        self, queue: str = "", if_unused: bool = False, if_empty: bool = False, nowait: bool = False
    ) -> int:
        """Delete a queue; returns how many messages were ready.

        Raises: amqp.PreconditionFailed, amqp.ResourceLocked.
        """
        with self._store.transaction(durable=True):
            return self._declarations.delete_queue(queue, if_unused=if_unused, if_empty=if_empty)

    # Publishing

    def prepare_message(
        self,
        body: bytes | str,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
    ) -> amqp.Message:
        """Put a message together as kombu does for RabbitMQ."""
        return amqp.Message(
            body,
            priority=priority,
            content_type=content_type,
            content_encoding=content_encoding,
            application_headers=headers,
            **properties or {},
        )

    def basic_publish(
        self,
        msg: amqp.Message,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
    ) -> None:
        """Publish; on return, or after tx_commit, the message is on disk.

        A mandatory message that reaches no queue goes to the callbacks in `events["basic_return"]`, called as
        py-amqp calls them: (error, exchange, routing key, message).

        Raises: amqp.NotFound if the exchange is missing, amqp.ChannelError if a message returns unheard.
        """
        if msg.properties.get("expiration") is not None:
            raise amqp.AMQPNotImplementedError("the embedded broker has no message expiration")
        body = msg.body
        if isinstance(body, str):
            encoding = msg.properties["content_encoding"] = msg.properties.get("content_encoding") or "utf-8"
            body = body.encode(encoding)
        self._publications.append(
            Publication(
                exchange=exchange,
                routing_key=routing_key,
                mandatory=mandatory,
                properties=encode_properties(msg.properties),
                body=bytes(body),
                original=msg,
            )
        )
        self._commit_unless_in_transaction()

    def tx_select(self) -> None:
        """Keep what is published and settled until tx_commit."""
        self._in_transaction = True

    def tx_commit(self) -> None:
        """Write all since the last commit in one transaction, with one fsync if it publishes.

        Raises: what basic_publish raises; then nothing was done, and the channel is closed, or with
        BrokerDown and BrokerUnusable the whole connection.
        """
        if not self._publications and not self._settlements:
            return
        try:
            returned = self._store.carry_out(self._publications, self._settlements)
        except amqp.ChannelError:
            self.close()
            raise
        except amqp.ConnectionError:
            # Else the same would be published again with the next commit, beside the caller's own repetition.
            if self.connection is not None:
                self.connection.collect()
            raise
        self._publications, self._settlements = [], []
        for publication in returned:
            self._return(publication)

    def _commit_unless_in_transaction(self) -> None:
        if not self._in_transaction:
            self.tx_commit()

    def _return(self, publication: Publication) -> None:
        exchange, routing_key = publication.exchange, publication.routing_key
        error = error_for_code(
            _NO_ROUTE, f"no queue for {routing_key!r} of {exchange!r}", (50, 60), amqp.ChannelError
        )
        callbacks = self.events["basic_return"]
        if not callbacks:
            raise error
        for callback in tuple(callbacks):
            callback(error, exchange, routing_key, publication.original)

    # Consuming

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool) -> None:
        """Limit the unacked messages of each consumer of this channel; 0 is no limit.

        Raises: amqp.AMQPNotImplementedError for a limit over all consumers, as RabbitMQ's quorum queues do.
        """
        if a_global:
            raise amqp.AMQPNotImplementedError("the embedded broker does not support global qos")
        self.subscriptions.prefetch_count = prefetch_count
        self._store.may_have_news = True

    def basic_consume(
        self,
        queue: str = "",
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        callback: Callable[[Any], object] | None = None,
        arguments: Mapping[str, Any] | None = None,
        on_cancel: Callable[[str], object] | None = None,
    ) -> str:
        """Start a consumer, whose callback drain_events calls with each amqp.Message; returns its tag.

        Raises: amqp.NotFound, amqp.ResourceLocked, amqp.AMQPNotImplementedError.
        """
        if exclusive:
            raise amqp.AMQPNotImplementedError("the embedded broker has no exclusive consumers")
        if callback is None:
            raise ValueError("a consumer needs a callback")
        tag = consumer_tag or f"amq.ctag-{uuid4().hex}"
        found = self._declarations.queue_id(queue)
        self.subscriptions.start(
            Consumer(tag=tag, queue=found, no_ack=no_ack, callback=callback, on_cancel=on_cancel)
        )
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """End a consumer: what was delivered stays unacked, what was only fetched goes back unread."""
        self.subscriptions.cancel(consumer_tag)

    def basic_get(self, queue: str = "", no_ack: bool = False) -> amqp.Message | None:
        """Take one message, None if there is none. Raises: amqp.NotFound, amqp.ResourceLocked."""
        store = self._store
        found = self._declarations.queue_id(queue)
        store.take_back_from_the_dead()
        with store.transaction():
            claimed = store.claim(found, 1)
        if not claimed:
            return None
        message = self._message(claimed[0], None)
        message.delivery_info["message_count"] = self._declarations.queue_state(queue).message_count
        if no_ack:
            self.basic_ack(message.delivery_tag)
        return message

    def deliver_one(self) -> bool:
        """Hand one fetched message to its consumer's callback; False if there is none."""
        due = self.subscriptions.next()
        if due is None:
            return False
        consumer, claimed = due
        message = self._message(claimed, consumer)
        if consumer.no_ack:
            self._settle([message.delivery_tag], Verdict.DONE)
        consumer.callback(message)
        return True

    def _message(self, claimed: Claimed, consumer: Consumer | None) -> amqp.Message:
        self._last_tag += 1
        self._unacked[self._last_tag] = (claimed.position, consumer)
        properties = decode_properties(claimed.properties)
        if claimed.failures:
            properties.setdefault("application_headers", {})["x-delivery-count"] = claimed.failures
        message = amqp.Message(claimed.body, channel=self, **properties)
        message.delivery_info = {
            "delivery_tag": self._last_tag,
            "redelivered": claimed.redelivered,
            "exchange": claimed.exchange,
            "routing_key": claimed.routing_key,
        }
        if consumer is not None:
            consumer.unacked += 1
            message.delivery_info["consumer_tag"] = consumer.tag
        return message

    def message_to_python(self, raw_message: amqp.Message) -> Any:
        """Give kombu the message it knows."""
        return self.Message(raw_message, channel=self)

    # Settling

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Remove a message for good, or with `multiple` all up to it. Raises: amqp.PreconditionFailed."""
        self._settle(self._tags(delivery_tag, multiple), Verdict.DONE)

    def basic_nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """Hand back, which does not count as failed, or dead-letter. Raises: amqp.PreconditionFailed."""
        self._settle(self._tags(delivery_tag, multiple), Verdict.HANDED_BACK if requeue else Verdict.REJECTED)

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        """Give back as failed, or dead-letter. Raises: amqp.PreconditionFailed."""
        self._settle(
            self._tags(delivery_tag, multiple=False), Verdict.FAILED if requeue else Verdict.REJECTED
        )

    def _tags(self, delivery_tag: int, multiple: bool) -> list[int]:
        if not multiple:
            tags = [delivery_tag] if delivery_tag in self._unacked else []
        elif delivery_tag == 0:
            return list(self._unacked)
        else:
            tags = list(takewhile(lambda tag: tag <= delivery_tag, self._unacked))
        if not tags:
            raise amqp.PreconditionFailed(f"unknown delivery tag {delivery_tag}")
        return tags

    def _settle(self, tags: list[int], verdict: Verdict) -> None:
        for tag in tags:
            position, consumer = self._unacked.pop(tag)
            self._settlements.append((verdict, position))
            if consumer is not None:
                consumer.unacked -= 1
        self._commit_unless_in_transaction()

    def close(self) -> None:
        """Return what is unacked, as failed, and what was only fetched, unread; drop the uncommitted."""
        if self.connection is None:
            return
        try:
            self.subscriptions.cancel_all()
            seen = (position for position, _ in self._unacked.values())
            uncommitted = (position for _, position in self._settlements)
            returned = [(Verdict.FAILED, position) for position in chain(seen, uncommitted)]
            if returned:
                self._store.carry_out([], returned)
        finally:
            self.connection.channels.discard(self)
            self.connection = None
