"""Puts callbacks on the bus, many at once over one connection, and tells each sender when the broker has it.

The bus belongs to a thread of its own; requests hand over a message and wait for its receipt.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Hashable
from concurrent.futures import Future

import structlog

from consumers.delivery import Bus, BusDown, BusRefused, Outgoing

log = structlog.get_logger()

WAIT_S = 0.5
RETRY_S = 1.0
RETRY_MOST_S = 15.0
ROOM = 256
"""Messages that wait for the bus at most; beyond it a gateway is told to come again."""


class Post:
    """A thread with the bus in it. `send` may be called from any event loop."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: queue.Queue[tuple[Outgoing, Future[bool]]] = queue.Queue(ROOM)
        self._sent: dict[Hashable, Future[bool]] = {}
        self._is_up = False
        self._closing = threading.Event()
        self._pause_s = 0.0
        self._refused: BusRefused | None = None
        self._thread = threading.Thread(target=self._run, name="post", daemon=True)

    @property
    def is_up(self) -> bool:
        """Whether the broker is there, as far as is known."""
        return self._is_up

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    async def send(self, message: Outgoing) -> bool:
        """Publish, and say whether the broker has confirmed it. False: nobody knows, send it again later."""
        if not self._is_up:
            return False
        answer: Future[bool] = Future()
        try:
            self._waiting.put_nowait((message, answer))
        except queue.Full:
            return False
        self._bus.wake()
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Wait for what is on its way, then leave.

        Raises:
            BusRefused: the broker never took us; a person must act.
        """
        self._closing.set()
        self._bus.wake()
        self._thread.join()
        if self._refused is not None:
            raise self._refused

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._sent and self._waiting.empty()):
            try:
                self._turn()
            except BusDown as error:
                self._lose(error)
            except BusRefused as error:
                self._refused = error
                self._lose(error)
                if self._closing.is_set():
                    return
            except Exception as error:  # a thread that died in silence would leave every caller waiting
                log.exception("post_failed")
                self._lose(error)
        self._is_up = False
        self._bus.close()
        self._fail_waiting()

    def _turn(self) -> None:
        if not self._is_up:
            self._fail_waiting()
            if self._closing.is_set():
                self._sent.clear()
                return
            self._bus.open()
            self._is_up, self._pause_s, self._refused = True, 0.0, None
            log.info("broker_connected")
        batch: list[Outgoing] = []
        while not self._waiting.empty():
            message, answer = self._waiting.get_nowait()
            if not answer.cancelled():  # else its sender has been told to come again
                self._sent[message.receipt] = answer
                batch.append(message)
        try:
            if batch:
                self._bus.publish(batch)
            self._bus.receive(wait_s=WAIT_S, limit=0)
        finally:
            receipts = self._bus.receipts()
            for taken, ended in ((True, receipts.confirmed), (False, receipts.failed)):
                for receipt in ended:
                    self._answer(receipt, taken=taken)

    def _lose(self, error: Exception) -> None:
        self._is_up = False
        for receipt in list(self._sent):
            self._answer(receipt, taken=False)
        self._fail_waiting()
        self._pause_s = min(self._pause_s * 2 or RETRY_S, RETRY_MOST_S)
        log.warning("broker_away", error=str(error), retry_s=self._pause_s)
        self._closing.wait(self._pause_s)

    def _fail_waiting(self) -> None:
        while not self._waiting.empty():
            _settle(self._waiting.get_nowait()[1], taken=False)

    def _answer(self, receipt: Hashable, *, taken: bool) -> None:
        answer = self._sent.pop(receipt, None)
        if answer is not None:
            _settle(answer, taken=taken)


def _settle(answer: Future[bool], *, taken: bool) -> None:
    if answer.set_running_or_notify_cancel():  # else whoever asked has gone
        answer.set_result(taken)
