"""What a turn costs does not grow with the books: every row is found by an index, on new and on grown tables."""

from __future__ import annotations

from ledger.ledger import Ledger
from ledger.records import Changes, Wanted
from messages.ids import AttemptId, CaptureId, PaymentId, RefundId
from tests.builders import a_payment, an_attempt
from tests.ledger import raw

SCANS = """
    SELECT relname, seq_scan FROM pg_stat_user_tables WHERE seq_scan > 0
    AND relname IN ('payments', 'attempts', 'refunds', 'inbox', 'outbox', 'journals', 'entries')
"""


def test_a_worker_reads_no_table_from_end_to_end_even_before_the_first_analyze(
    postgres_url: str, postgres_ledger: Ledger
) -> None:
    raw.run(postgres_url, "SELECT pg_stat_reset()")
    for start in range(0, 2000, 200):  # often enough for its statements to be prepared
        numbers = range(start, start + 200)
        payments = [a_payment(payment_id=PaymentId(f"pay_{n}"), order_id=f"order_{n}") for n in numbers]
        attempts = [
            an_attempt(attempt_id=AttemptId(f"pay_{n}.a1"), payment_id=PaymentId(f"pay_{n}")) for n in numbers
        ]
        wanted = Wanted(
            messages={("/order-service", f"msg_{n}") for n in numbers},
            payment_ids={payment.payment_id for payment in payments},
            timer_payment_ids={PaymentId(f"pay_{n}") for n in range(0, start, 20)},
            order_ids={payment.order_id for payment in payments},
            capture_ids={CaptureId(f"cap_{n}") for n in numbers},
            callbacks={("stripe", f"evt_{n}") for n in numbers},
            refund_ids={RefundId(f"ref_{n}") for n in numbers},
        )
        with postgres_ledger.turn() as turn:
            turn.load(wanted)
            turn.write(Changes(new_payments=payments, new_attempts=attempts))
        with postgres_ledger.turn() as turn:
            turn.load(wanted)
            turn.write(Changes(payments=payments, attempts=attempts))
    postgres_ledger.close()  # a connection that ends hands its counts in

    assert raw.run(postgres_url, SCANS) == []
