"""What PayPal's refusals mean, in our endings: every answer but a 2xx.

No sentence of PayPal's is passed on, as it may quote what we sent; only its machine words and debug ids are.
"""

from __future__ import annotations

from gateways.paypal_answers import Reference, dig, machine_word
from gateways.paypal_codes import LATER_ISSUES, Verdicts
from gateways.paypal_http import Answer
from gateways.protocol import Declined, NotSent, Outcome, Unknown


def issue_in(answer: Answer) -> str | None:
    """The machine word for why PayPal could not do it; None unless it is PayPal's own 422."""
    issue = dig(answer.body, "details", 0, "issue")
    return machine_word(issue) if answer.status == 422 and isinstance(issue, str) else None


def read_refusal(answer: Answer, verdicts: Verdicts, reference: Reference | None) -> Outcome:
    """What is true when PayPal did not answer 2xx: the one place that decides between NotSent, Declined, Unknown.

    Anything not listed is Unknown, such as a 5xx, a redirect, or a 4xx that is not in PayPal's form. A 409 is
    Unknown, too: this call did nothing, but another one under the same request id is under way.
    """
    issue = issue_in(answer)
    if issue is not None:
        if issue in verdicts:
            reason, firmness = verdicts[issue]
            known = str(reference) if reference else None
            return Declined(reason=reason, firmness=firmness, code=issue, reference=known)
        return NotSent(detail=described(answer), retryable=issue in LATER_ISSUES)
    match answer.status:
        case 401 | 403 | 429:
            # Wrong credentials are for a person to mend; the payment can wait for that.
            return NotSent(detail=described(answer), retryable=True)
        case 400 | 404 | 405 | 406 | 415 if isinstance(dig(answer.body, "name"), str):
            return NotSent(detail=described(answer), retryable=False)
        case _:
            return Unknown(detail=described(answer), reference=str(reference) if reference else None)


def described(answer: Answer) -> str:
    """Status, machine words and debug id; never PayPal's sentence, which may quote what we sent."""
    words = (dig(answer.body, "name"), dig(answer.body, "error"), dig(answer.body, "details", 0, "issue"))
    parts = [f"HTTP {answer.status}", *(machine_word(word) for word in words if word)]
    if answer.debug_id:
        parts.append(machine_word(answer.debug_id))
    return " ".join(parts)
