"""Examples of every message as on the wire: commands as others send them, events as we publish them.

They stand in the JSON Schemas and in the AsyncAPI document, and are checked against both and the models.
"""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]

PAYMENT_ID = "pay_01JD5RZ3"
CAPTURE_ID = "cap_01JD5S01"
REFUND_ID = "ref_01JD5S07"
COMMAND_ID = "cmd_01JD5RZ1"
REJECTION_ID = "rej_5f0c21d9a8e74b60b1f4c37d2e9a0b18"
OCCURRED_AT = "2026-11-22T18:00:01.250000Z"

_OF_THE_PAYMENT: Body = {"occurred_at": OCCURRED_AT, "payment_id": PAYMENT_ID, "order_id": "1001"}


def _eur(minor: int) -> Body:
    return {"minor": minor, "currency": "EUR"}


COMMAND_EXAMPLES: dict[str, list[Body]] = {
    "PaymentRequested": [
        {
            "payment_id": PAYMENT_ID,
            "order_id": "1001",
            "amount": _eur(1999),
            "payment_method": {"gateway": "stripe", "token": "pm_card_visa"},
        },
        {
            "payment_id": "pay_01JD5RZ4",
            "order_id": "1002",
            "amount": {"minor": 5400, "currency": "JPY"},
            "payment_method": {"token": "pm_card_visa", "kind": "card"},
            "alternatives": [{"gateway": "adyen", "token": "M469509594859802"}],
            "customer_id": "cus_42",
            "capture": "manual",
            "initiator": "customer",
            "return_url": "https://shop.example/orders/1002",
            "description": "Order 1002",
            "statement_descriptor": "SHOP 1002",
            "gateway": "stripe",
            "context": {
                "ip": "203.0.113.7",
                "email": "ada@example.com",
                "device_id": "dev_9",
                "billing_country": "DE",
                "shipping_country": "AT",
            },
            "metadata": {"basket": "b-77"},
        },
    ],
    "CaptureRequested": [
        {"capture_id": CAPTURE_ID, "payment_id": PAYMENT_ID},
        {
            "capture_id": "cap_01JD5S02",
            "payment_id": PAYMENT_ID,
            "amount": _eur(1000),
            "final": False,
        },
    ],
    "VoidRequested": [
        {"payment_id": PAYMENT_ID},
        {"payment_id": PAYMENT_ID, "reason": "the customer changed their mind"},
    ],
    "PaymentActionCompleted": [
        {"payment_id": PAYMENT_ID},
        {"payment_id": PAYMENT_ID, "brought": {"redirectResult": "X6XtfGC3!Y"}},
    ],
    "RefundRequested": [
        {"refund_id": REFUND_ID, "payment_id": PAYMENT_ID},
        {
            "refund_id": "ref_01JD5S08",
            "payment_id": PAYMENT_ID,
            "amount": _eur(500),
            "reason": "requested_by_customer",
            "metadata": {"case": "c-12"},
        },
    ],
}
"""Data of commands by wire name; the first of each is the shortest that is accepted."""

EVENT_EXAMPLES: dict[str, list[Body]] = {
    "PaymentAuthorized": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 1,
            "amount": _eur(1999),
            "gateway": "stripe",
            "capture_before": "2026-11-29T18:00:01Z",
            "late": False,
        }
    ],
    "PaymentSucceeded": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 1,
            "amount": _eur(1999),
            "captured": _eur(1999),
            "capturable": _eur(0),
            "gateway": "stripe",
            "late": False,
        },
        {
            **_OF_THE_PAYMENT,
            "sequence": 2,
            "amount": _eur(1000),
            "captured": _eur(1000),
            "capturable": _eur(999),
            "gateway": "stripe",
            "capture_id": "cap_01JD5S02",
            "late": False,
        },
    ],
    "PaymentFailed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 1,
            "amount": _eur(1999),
            "category": "declined",
            "reason": "insufficient_funds",
            "retryable": True,
            "message": "the gateway declined",
            "gateway": "stripe",
            "gateway_code": "insufficient_funds",
        },
        {
            **_OF_THE_PAYMENT,
            "sequence": 1,
            "amount": _eur(1999),
            "category": "rejected",
            "reason": "order_already_paid",
            "retryable": False,
            "message": "payment pay_01JD5RYX of order 1001 is under way or has succeeded",
        },
    ],
    "PaymentActionRequired": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 1,
            "amount": _eur(1999),
            "next_action": {"type": "redirect", "url": "https://bank.example/3ds"},
            "expires_at": "2026-11-22T19:00:01.250000Z",
        }
    ],
    "PaymentPending": [{**_OF_THE_PAYMENT, "sequence": 1, "amount": _eur(1999)}],
    "PaymentInDoubt": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 1,
            "amount": _eur(1999),
            "message": "the gateway's answer was lost; it is being looked up",
        }
    ],
    "PaymentVoided": [{**_OF_THE_PAYMENT, "sequence": 2, "amount": _eur(1999)}],
    "PaymentExpired": [{**_OF_THE_PAYMENT, "sequence": 2, "amount": _eur(1999)}],
    "PaymentExpiring": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 2,
            "amount": _eur(1999),
            "capture_before": "2026-11-29T18:00:01Z",
        }
    ],
    "PaymentReleased": [{**_OF_THE_PAYMENT, "sequence": 3, "amount": _eur(999)}],
    "PaymentReversed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 3,
            "amount": _eur(1999),
            "captured": _eur(0),
            "capture_id": CAPTURE_ID,
        }
    ],
    "PaymentCaptureFailed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 2,
            "capture_id": CAPTURE_ID,
            "amount": _eur(2500),
            "category": "rejected",
            "reason": "more_than_capturable",
            "message": f"19.99 EUR of payment {PAYMENT_ID} are left to capture",
        }
    ],
    "PaymentVoidFailed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 2,
            "amount": _eur(0),
            "category": "rejected",
            "reason": "nothing_held",
            "message": "it has been captured and nothing is held: send RefundRequested",
        }
    ],
    "RefundReversed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 3,
            "refund_id": REFUND_ID,
            "amount": _eur(500),
            "sent_again_at": "2026-11-23T18:00:01Z",
        }
    ],
    "RefundProcessed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 2,
            "refund_id": REFUND_ID,
            "amount": _eur(500),
            "refunded": _eur(500),
            "refundable": _eur(1499),
            "external": False,
        }
    ],
    "RefundPending": [
        {**_OF_THE_PAYMENT, "sequence": 2, "refund_id": REFUND_ID, "amount": _eur(500), "in_doubt": False}
    ],
    "RefundFailed": [
        {
            **_OF_THE_PAYMENT,
            "sequence": 2,
            "refund_id": REFUND_ID,
            "amount": _eur(5000),
            "category": "rejected",
            "reason": "more_than_refundable",
            "message": f"19.99 EUR of payment {PAYMENT_ID} are left to refund",
        }
    ],
    "CommandRejected": [
        {
            "occurred_at": OCCURRED_AT,
            "command_id": COMMAND_ID,
            "command_type": "PaymentRequested",
            "command_source": "/order-service",
            "reason": "unknown_field",
            "field": "amonut",
            "message": "amonut: Extra inputs are not permitted",
        }
    ],
}
"""Data of events by wire name."""
