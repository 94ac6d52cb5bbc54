"""The publishing half of the bus: knows what became of every message written, and says so exactly once."""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from time import monotonic, time

import structlog

from consumers.delivery import Outgoing, Receipts
from consumers.frames import UNREADABLE
from consumers.line import ConfirmListener, Line

log = structlog.get_logger()

APP_ID = "payment-service"
_PERSISTENT = 2

_CHUNK = 100
"""Messages written before we look whether the broker has answered or has blocked us."""


@dataclass(frozen=True, slots=True)
class _Pending:
    message: Outgoing
    deadline: float


class Publisher:
    """Publishes over one line after another; unconfirmed messages fail with the line that carried them."""

    def __init__(self, *, confirm_timeout_s: float) -> None:
        self._confirm_timeout_s = confirm_timeout_s
        self._line: Line | None = None
        self._waiting: deque[_Pending] = deque()
        # By publish number, which rises: so the oldest, and the first to time out, is the first.
        self._unconfirmed: dict[int, _Pending] = {}
        self._returned: set[int] = set()
        self._last_number = 0
        self._confirmed: list[Hashable] = []
        self._failed: list[Hashable] = []

    @property
    def has_receipts(self) -> bool:
        """Whether receipts() has something to say."""
        return bool(self._confirmed or self._failed)

    @property
    def next_deadline(self) -> float | None:
        """When the oldest unconfirmed message times out, on the monotonic clock."""
        oldest = next(iter(self._unconfirmed.values()), None) or next(iter(self._waiting), None)
        return oldest.deadline if oldest else None

    def use(self, line: Line) -> None:
        """Publish over this line from now on."""
        self._line = line
        self._last_number = 0
        line.listen_for_confirms(ConfirmListener(on_confirm=self._on_confirm, on_return=self._on_return))

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Write messages out, or keep them until the broker takes publishes again."""
        deadline = monotonic() + self._confirm_timeout_s
        self._waiting.extend(_Pending(message, deadline) for message in messages)
        self.write_waiting()

    def write_waiting(self) -> None:
        """Write what the broker's alarm has held up, if it is over."""
        line = self._line
        while line is not None and self._waiting and not line.blocked:
            with line.gathered():
                for _ in range(min(_CHUNK, len(self._waiting))):
                    self._write(line, self._waiting.popleft())
            line.read()

    def expire(self, now: float) -> None:
        """Fail what was not confirmed in time; it may still arrive, as a duplicate of the same id."""
        unconfirmed, waiting = self._unconfirmed, self._waiting
        late = list(takewhile(lambda number: unconfirmed[number].deadline <= now, unconfirmed))
        for number in late:
            self._settle(number, taken=False)
        count = len(late)
        while waiting and waiting[0].deadline <= now:
            self._failed.append(waiting.popleft().message.receipt)
            count += 1
        if count:
            log.warning("publishes_not_confirmed_in_time", count=count, timeout_s=self._confirm_timeout_s)

    def fail_all(self) -> None:
        """Fail everything unconfirmed: the line is lost."""
        self._line = None
        self._failed.extend(pending.message.receipt for pending in self._unconfirmed.values())
        self._failed.extend(pending.message.receipt for pending in self._waiting)
        self._unconfirmed.clear()
        self._returned.clear()
        self._waiting.clear()

    def fail(self, messages: Sequence[Outgoing]) -> None:
        """Fail messages that no line carries."""
        self._failed.extend(message.receipt for message in messages)

    def receipts(self) -> Receipts:
        """Return what was confirmed and what failed since the last call."""
        receipts = Receipts(confirmed=self._confirmed, failed=self._failed)
        self._confirmed, self._failed = [], []
        return receipts

    def _write(self, line: Line, pending: _Pending) -> None:
        number = self._last_number + 1
        self._unconfirmed[number] = pending
        try:
            _send(line, pending.message)
        except UNREADABLE as error:
            log.error("message_cannot_be_encoded", message_id=pending.message.message_id, error=str(error))
            self._settle(number, taken=False)
        else:
            self._last_number = number

    def _on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        if not multiple:
            self._settle(number, taken=taken)
            return
        for each in list(takewhile(lambda each: each <= number, self._unconfirmed)):
            self._settle(each, taken=taken)

    def _settle(self, number: int, *, taken: bool) -> None:
        pending = self._unconfirmed.pop(number, None)
        if pending is None:
            return  # It timed out before.
        if taken and number not in self._returned:
            self._confirmed.append(pending.message.receipt)
        else:
            self._failed.append(pending.message.receipt)
        self._returned.discard(number)

    def _on_return(self, message_id: str | None, exchange: str, routing_key: str) -> None:
        log.warning(
            "message_reached_no_queue", exchange=exchange, routing_key=routing_key, message_id=message_id
        )
        returned = (True, message_id, exchange, routing_key)
        for number, pending in self._unconfirmed.items():
            message = pending.message
            sent = (message.mandatory, message.message_id, message.exchange, message.routing_key)
            if sent == returned and number not in self._returned:
                self._returned.add(number)
                return


def _send(line: Line, message: Outgoing) -> None:
    content = line.channel.prepare_message(
        message.body,
        content_type=message.content_type,
        headers=message.headers,
        properties={
            "delivery_mode": _PERSISTENT,
            "message_id": message.message_id,
            "correlation_id": message.correlation_id,
            "reply_to": message.reply_to,
            "type": message.type,
            "app_id": message.app_id or APP_ID,
            "timestamp": int(time()),
        },
    )
    line.publish(
        content, exchange=message.exchange, routing_key=message.routing_key, mandatory=message.mandatory
    )
