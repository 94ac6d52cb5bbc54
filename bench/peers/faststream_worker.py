"""A FastStream subscriber on its RabbitMQ broker: asyncio, and many messages at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from psycopg_pool import AsyncConnectionPool

from bench.peers import work

broker = RabbitBroker(
    work.BROKER_URL, default_channel=Channel(prefetch_count=work.THREADS, publisher_confirms=True)
)
commands = RabbitQueue(work.COMMANDS, queue_type=QueueType.QUORUM, durable=True)
events = RabbitExchange(work.EVENTS, type=ExchangeType.TOPIC, durable=True)
pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
    work.DATABASE_URL, min_size=8, max_size=8, open=False, kwargs={"autocommit": True}, timeout=60
)


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Open the pool with the app."""
    async with pool:
        yield


app = FastStream(broker, lifespan=lifespan)


@broker.subscriber(commands, ack_policy=AckPolicy.NACK_ON_ERROR)
async def pay(command: dict[str, Any]) -> None:
    """Pay, book, publish; FastStream acknowledges when this returns."""
    async with pool.connection() as database:
        known = await work.is_known_async(database, command)
    if not known:
        if work.GATEWAY_S:
            await asyncio.sleep(work.GATEWAY_S)
        async with pool.connection() as database:
            await work.book_async(database, command)
    await broker.publish(
        work.event(command),
        exchange=events,
        routing_key=work.EVENT_KEY,
        persist=True,
        content_type="application/json",
        message_id=command["payment_id"],
    )
