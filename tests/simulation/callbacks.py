"""The gateway's callbacks as the webhook ingestor would put them on the bus: notices, written as they are kept."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from consumers.notices import as_json, from_json
from consumers.topology import GATEWAY_CALLBACKS
from gateways.notice import Notice
from messages.callbacks import GatewayCallbackReceived
from tests.simulation.broker import Sent


def callback(notice: Notice, now: datetime) -> Sent:
    """A message with one notice."""
    message = GatewayCallbackReceived(
        gateway=notice.gateway,
        body=base64.b64encode(as_json(notice).encode()).decode(),
        received_at=now,
    )
    return Sent(
        queue=GATEWAY_CALLBACKS,
        routing_key=f"callback.{notice.gateway}",
        message_id=notice.notice_id,
        type=GatewayCallbackReceived.__name__,
        headers={},
        body=message.model_dump_json().encode(),
    )


def read_callback(body: bytes) -> Sequence[Notice]:
    """See `gateways.notice.Reader`."""
    return [from_json(body.decode())]
