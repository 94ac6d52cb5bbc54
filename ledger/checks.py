"""What must be so in the books, as questions in SQL: every answer is a problem, and says where it is."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.states import PaymentStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A question whose every answer is a problem."""

    what: str
    sql: str
    sentence: str


_OFF = "sum(CASE side WHEN 'D' THEN amount ELSE -amount END)"

JOURNALS = [
    Check(
        what="journals balance",
        sql=f"""
            SELECT journal_id, currency, layer, {_OFF} AS rest FROM entries
            GROUP BY journal_id, currency, layer HAVING {_OFF} <> 0
        """,
        sentence="journal {journal_id}: {layer} {currency} is off by {rest} minor units",
    ),
    Check(
        what="entries belong to their journals",
        sql="""
            SELECT e.journal_id, e.line_no FROM entries e LEFT JOIN journals j USING (journal_id)
            WHERE j.journal_id IS NULL OR e.payment_id <> j.payment_id OR e.gateway <> j.gateway
            OR e.currency <> j.currency OR coalesce(e.refund_id, '') <> coalesce(j.refund_id, '')
        """,
        sentence="entry {journal_id} line {line_no}: it does not belong to its journal",
    ),
    Check(
        what="journals are what they are called",
        sql="SELECT journal_id FROM journals WHERE journal_id <> source_id || '/' || journal_type",
        sentence="journal {journal_id}: its type or source was changed",
    ),
]


def _gone(table: str, key: str, *, parent: str, parent_key: str) -> Check:
    name = parent.removesuffix("s")
    return Check(
        what=f"the {name} of everything is there",
        sql=f"""
            SELECT t.{key} AS key, t.{parent_key} AS parent FROM {table} t
            LEFT JOIN {parent} p ON p.{parent_key} = t.{parent_key}
            WHERE p.{parent_key} IS NULL AND t.{parent_key} IS NOT NULL
        """,
        sentence=f"{table} {{key}}: its {name} {{parent}} is gone",
    )


_ORPHANS = [  # A capture or refund may be there before its payment is; nothing else may.
    _gone("attempts", "attempt_id", parent="payments", parent_key="payment_id"),
    _gone("attempts", "attempt_id", parent="captures", parent_key="capture_id"),
    _gone("attempts", "attempt_id", parent="refunds", parent_key="refund_id"),
    _gone("journals", "journal_id", parent="payments", parent_key="payment_id"),
    _gone("journals", "journal_id", parent="refunds", parent_key="refund_id"),
    Check(
        what="events are about payments, rejections or dead letters",
        sql="""
            SELECT o.stream, o.sequence FROM outbox o LEFT JOIN payments p ON p.payment_id = o.stream
            LEFT JOIN dead_letters d ON d.letter_id = o.stream
            WHERE p.payment_id IS NULL AND d.letter_id IS NULL AND substr(o.stream, 1, 4) <> 'rej_'
        """,
        sentence="event {stream}.e{sequence}: there is no payment {stream}",
    ),
]

_CAPTURES = "j.journal_type IN ('J10', 'J10s') AND e.account = 1100 AND e.side = 'D'"
_IN = "CASE e.side WHEN 'D' THEN e.amount ELSE -e.amount END"
_HAPPENED = "state IN ('succeeded', 'reversed')"
_STATUSES = ", ".join(f"'{status.value}'" for status in PaymentStatus)
_OPEN = "state IN ('created', 'sent', 'pending', 'action_required', 'unknown')"

_THREE_WAYS = f"""
    SELECT p.payment_id, p.captured_gross, p.capture_pending, p.capture_reversed,
           p.refunded + p.refunded_external AS given_back, p.refund_pending, p.authorized,
           coalesce(a.captured, 0) AS attempts_captured, coalesce(a.reversed, 0) AS attempts_reversed,
           coalesce(a.capturing, 0) AS attempts_capturing,
           coalesce(a.authorized, 0) AS attempts_authorized, coalesce(a.given_back, 0) AS attempts_given_back,
           coalesce(b.captured, 0) AS booked_captured, coalesce(b.reversed, 0) AS booked_reversed,
           coalesce(b.given_back, 0) AS booked_given_back,
           coalesce(b.pending, 0) AS booked_pending, coalesce(b.held, 0) AS booked_held,
           p.authorized - p.captured_gross - p.released AS held
    FROM payments p
    LEFT JOIN (
        SELECT payment_id,
               sum(CASE WHEN operation IN ('sale', 'capture') AND {_HAPPENED} THEN amount ELSE 0 END) AS captured,
               sum(CASE WHEN operation IN ('sale', 'capture') AND state = 'reversed' THEN amount ELSE 0 END)
                   AS reversed,
               sum(CASE WHEN operation = 'capture' AND {_OPEN} THEN amount ELSE 0 END) AS capturing,
               sum(CASE WHEN operation IN ('sale', 'authorize') AND {_HAPPENED} THEN amount ELSE 0 END) AS authorized,
               sum(CASE WHEN operation = 'refund' AND state = 'succeeded' THEN amount ELSE 0 END) AS given_back
        FROM attempts GROUP BY payment_id
    ) a USING (payment_id)
    LEFT JOIN (
        SELECT e.payment_id,
               sum(CASE WHEN {_CAPTURES} THEN e.amount ELSE 0 END) AS captured,
               -sum(CASE WHEN j.journal_type IN ('J11', 'J11u') AND e.account = 1100 THEN {_IN} ELSE 0 END) AS reversed,
               -sum(CASE WHEN j.journal_type IN ('J31', 'J33') AND e.account = 1100 THEN {_IN} ELSE 0 END)
                   AS given_back,
               -sum(CASE WHEN e.account = 2200 THEN {_IN} ELSE 0 END) AS pending,
               sum(CASE WHEN e.account = 9100 THEN {_IN} ELSE 0 END) AS held
        FROM entries e JOIN journals j USING (journal_id) GROUP BY e.payment_id
    ) b USING (payment_id)
"""


_AMOUNTS = [  # The amounts on a payment, the sums of its attempts, and the sums of its journals are one (books, I12).
    Check(
        what="amounts agree three ways",
        sql=f"""
            SELECT * FROM ({_THREE_WAYS}) AS ways
            WHERE captured_gross <> attempts_captured OR captured_gross <> booked_captured
            OR capture_reversed <> attempts_reversed OR capture_reversed <> booked_reversed
            OR capture_pending <> attempts_capturing
            OR given_back <> attempts_given_back OR given_back <> booked_given_back
            OR refund_pending <> booked_pending OR held <> booked_held OR authorized <> attempts_authorized
        """,
        sentence=(
            "payment {payment_id}: captured {captured_gross} on the payment, {attempts_captured} by attempts, "
            "{booked_captured} booked; of that taken back {capture_reversed}, {attempts_reversed}, {booked_reversed}; "
            "being captured {capture_pending}, {attempts_capturing}; "
            "refunded {given_back}, {attempts_given_back}, {booked_given_back}; "
            "being refunded {refund_pending}, booked {booked_pending}; "
            "authorized {authorized}, by attempts {attempts_authorized}; held {held}, booked {booked_held}"
        ),
    ),
    Check(
        what="no amount is there that nothing books",
        sql="SELECT payment_id FROM payments WHERE disputed_open <> 0 OR charged_back <> 0",
        sentence="payment {payment_id}: it has an amount that no journal books",
    ),
    Check(
        what="attempts are for what was asked",
        sql="""
            SELECT a.attempt_id FROM attempts a JOIN payments p USING (payment_id)
            LEFT JOIN refunds r ON r.refund_id = a.refund_id LEFT JOIN captures c ON c.capture_id = a.capture_id
            WHERE a.currency <> p.currency
            OR (a.operation <> 'void' AND a.amount <> coalesce(r.amount, c.amount, p.requested))
            OR a.payment_id <> coalesce(r.payment_id, c.payment_id, a.payment_id)
        """,
        sentence="attempt {attempt_id}: it is not for what was asked",
    ),
    Check(
        what="refunds agree",
        sql="""
            SELECT p.payment_id, p.refund_pending, p.refunded + p.refunded_external AS given_back,
                   coalesce(r.pending, 0) AS pending, coalesce(r.done, 0) AS done
            FROM payments p LEFT JOIN (
                SELECT payment_id,
                    sum(CASE WHEN status IN ('submitted', 'pending', 'unknown', 'reversed') THEN amount ELSE 0 END)
                        AS pending,
                    sum(CASE WHEN status = 'succeeded' THEN amount ELSE 0 END) AS done
                FROM refunds GROUP BY payment_id
            ) r USING (payment_id)
            WHERE p.refund_pending <> coalesce(r.pending, 0)
            OR p.refunded + p.refunded_external <> coalesce(r.done, 0)
        """,
        sentence=(
            "payment {payment_id}: its refunds make {done} refunded and {pending} under way, "
            "it says {given_back} and {refund_pending}"
        ),
    ),
]

_STATES = [
    Check(
        what="payments stand where their attempts and amounts say",
        sql=f"""
            SELECT p.payment_id, p.status FROM payments p LEFT JOIN (
                SELECT DISTINCT payment_id FROM attempts WHERE operation IN ('sale', 'authorize') AND {_OPEN}
            ) a USING (payment_id)
            WHERE (p.status IN ('authorizing', 'action_required', 'pending', 'in_doubt')) <> (a.payment_id IS NOT NULL)
            OR p.status NOT IN ({_STATUSES})
            OR (p.status = 'capturing' AND p.capture_pending = 0)
            OR (p.status IN ('captured', 'partially_captured') AND p.captured_gross <= p.capture_reversed)
            OR (p.status = 'reversed' AND (p.captured_gross = 0 OR p.captured_gross <> p.capture_reversed))
            OR (p.status = 'authorized' AND p.captured_gross > 0)
            OR (p.status IN ('authorized', 'partially_captured', 'voiding')
                AND p.authorized <= p.captured_gross + p.capture_pending + p.released)
            OR (p.status = 'captured' AND p.authorized <> p.captured_gross + p.released)
            OR (p.status = 'voiding' AND NOT EXISTS (SELECT 1 FROM attempts v
                WHERE v.payment_id = p.payment_id AND v.operation = 'void' AND {_OPEN}))
            OR (p.status IN ('voided', 'canceled', 'expired', 'declined', 'failed', 'rejected')
                AND ((p.authorized > p.captured_gross + p.released AND NOT EXISTS (SELECT 1 FROM attempts v
                      WHERE v.payment_id = p.payment_id AND v.operation = 'void' AND {_OPEN}))
                     -- A success too many is given back, and a person was told; or one has resolved the case of it.
                     OR (p.captured_gross > 0 AND NOT p.attention AND NOT EXISTS (SELECT 1 FROM audit l
                         WHERE l.payment_id = p.payment_id AND l.action = 'CaseResolved'))
                     OR p.captured_gross - p.capture_reversed
                        > p.refunded + p.refund_pending + p.refunded_external))
        """,
        sentence="payment {payment_id}: it is {status}, its attempts and amounts say otherwise",
    ),
    Check(
        what="captures stand where their attempts say",
        sql=f"""
            SELECT c.capture_id, c.status FROM captures c LEFT JOIN (
                SELECT capture_id, sum(CASE WHEN {_OPEN} THEN 1 ELSE 0 END) AS under_way,
                    sum(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END) AS done
                FROM attempts WHERE capture_id IS NOT NULL GROUP BY capture_id
            ) a USING (capture_id)
            WHERE (c.status IN ('requested', 'rejected')) <> (a.capture_id IS NULL)
            OR (c.status = 'submitted') <> (coalesce(a.under_way, 0) > 0)
            OR (c.status = 'succeeded') <> (coalesce(a.done, 0) > 0)
        """,
        sentence="capture {capture_id}: it is {status}, its attempts say otherwise",
    ),
    Check(
        what="refunds stand where their attempts say",
        sql=f"""
            SELECT r.refund_id, r.status FROM refunds r LEFT JOIN (
                SELECT refund_id, sum(CASE WHEN {_OPEN} THEN 1 ELSE 0 END) AS under_way,
                    sum(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END) AS done
                FROM attempts WHERE refund_id IS NOT NULL GROUP BY refund_id
            ) a USING (refund_id)
            WHERE (r.status IN ('requested', 'rejected')) <> (a.refund_id IS NULL)
            OR (r.status IN ('submitted', 'pending', 'unknown')) <> (coalesce(a.under_way, 0) > 0)
            OR (r.status = 'succeeded') <> (coalesce(a.done, 0) > 0)
        """,
        sentence="refund {refund_id}: it is {status}, its attempts say otherwise",
    ),
    Check(
        what="what ended has its journal, and what has a journal ended so",
        sql="""
            SELECT a.attempt_id, a.operation, a.state FROM attempts a
            LEFT JOIN refunds r ON r.refund_id = a.refund_id
            LEFT JOIN journals j ON j.journal_id =
                a.attempt_id || CASE WHEN a.operation = 'sale' THEN '/J10s' WHEN a.operation = 'authorize' THEN '/J01'
                WHEN a.operation = 'capture' THEN '/J10' WHEN a.state IN ('succeeded', 'reversed') THEN '/J31'
                ELSE '/J32' END
            WHERE a.operation <> 'void' AND (j.journal_id IS NULL) = (
                a.state IN ('succeeded', 'reversed')
                OR (a.operation = 'refund' AND a.state IN ('declined', 'failed', 'canceled') AND NOT r.external)
            ) OR a.gateway <> j.gateway
        """,
        sentence="attempt {attempt_id}: {operation} {state} and the books disagree",
    ),
    Check(
        what="events without gaps",
        sql="""
            SELECT p.payment_id, p.sequence, coalesce(o.events, 0) AS events, coalesce(o.last, 0) AS last
            FROM payments p LEFT JOIN (
                SELECT stream, count(*) AS events, max(sequence) AS last, min(sequence) AS first
                FROM outbox GROUP BY stream
            ) o ON o.stream = p.payment_id
            WHERE p.sequence <> coalesce(o.events, 0) OR p.sequence <> coalesce(o.last, 0) OR o.first <> 1
        """,
        sentence="payment {payment_id}: {events} events up to number {last}, it says {sequence}",
    ),
]

_CASES = [
    Check(
        what="cases were resolved by somebody",
        sql="""
            SELECT c.case_id FROM cases c LEFT JOIN audit a ON a.subject = c.case_id AND a.action = 'CaseResolved'
                AND a.happened_at = c.changed_at AND a.actor = 'operator:' || c.changed_by
            WHERE c.state = 'resolved' AND a.subject IS NULL
        """,
        sentence="case {case_id}: it is resolved, and the audit log does not say by whom",
    ),
]

CHECKS = [*JOURNALS, *_ORPHANS, *_AMOUNTS, *_STATES, *_CASES]
