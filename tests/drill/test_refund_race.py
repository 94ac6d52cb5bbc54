"""A hundred refunds at once for a payment that allows exactly one, on two workers."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

from gateways.sandbox_record import SandboxRecord
from ledger.schema import migrate
from ledger.verify import verify
from messages.operation import Operation
from ops.publish import CommandLine, publish
from tests.listener import Listener
from tests.workers import QUICK, eventually, workers

REFUNDS = 100


def _command(kind: str, message_id: str, **data: object) -> CommandLine:
    return CommandLine(id=message_id, type=kind, source="/race", data=json.dumps(data).encode())


def test_of_a_hundred_racing_refunds_exactly_one_succeeds(vhost: str, database: str, tmp_path: Path) -> None:
    migrate(database)
    environment = {
        **QUICK,
        "PAYMENTS_BROKER_URL": vhost,
        "PAYMENTS_DATABASE_URL": database,
        "PAYMENTS_DATA_DIR": str(tmp_path),
        "PAYMENTS_BROKER__PREFETCH": "5",  # so that both workers get their share
    }
    money = {"minor": 10_000, "currency": "EUR"}
    payment = _command(
        "PaymentRequested",
        "race-payment",
        payment_id="pay-race",
        order_id="race",
        amount=money,
        payment_method={"token": "tok_approved"},
    )
    refunds = [
        _command(
            "RefundRequested",
            f"race-{number}",
            refund_id=f"ref-race-{number}",
            payment_id="pay-race",
            amount={"minor": 6_000, "currency": "EUR"},
        )
        for number in range(REFUNDS)
    ]
    with (
        closing(Listener(vhost)) as listener,
        workers(environment, tmp_path, count=2),
    ):
        publish([vhost], [payment])
        eventually(lambda: len(listener.listen()) == 1, within_s=30, what="the payment has succeeded")
        publish([vhost], refunds)
        eventually(lambda: len(listener.listen()) == 1 + REFUNDS, within_s=60, what="all refunds have ended")

    kinds = Counter(event.type for event in listener.heard)
    reasons = {event.body["reason"] for event in listener.heard if event.type == "RefundFailed"}
    record = SandboxRecord(tmp_path / "sandbox.db")
    given_back = [e.amount.minor for e in record.executions("pay-race") if e.operation is Operation.REFUND]
    assert kinds == {"PaymentSucceeded": 1, "RefundProcessed": 1, "RefundFailed": REFUNDS - 1}
    assert reasons == {"more_than_refundable"}
    assert given_back == [6_000]
    assert verify(database).problems == []
